"""Peers beside each other in one run: the embedding operation, and a T5's training step."""

from collections.abc import Sequence
from typing import Any

from benchmarks import steps
from benchmarks.operations import Operation
from benchmarks.providers import Provider, UnavailableError, check
from benchmarks.shapes import Dimensions, Shape
from benchmarks.timing import Work, provider_work, take_turns


def compare_operation(operation: Operation, shape: Dimensions, device: str, rounds: int) -> list[dict[str, Any]]:
    """Forward, backward and both of every peer; ratios are to the operation's plain peer.

    Returns:
        rows {operation, pass, peer, lacks, shape, baseline, ...}, or with ``missing`` for a peer that cannot run here.
    """
    batch = operation.make_batch(shape, device)
    about = {"operation": operation.name, "shape": shape.to_json(), "baseline": operation.plain}
    rows: list[dict[str, Any]] = []
    providers: dict[str, Provider] = {}
    for name, peer in operation.peers.items():
        try:
            provider = peer.build(shape, batch)
        except UnavailableError as reason:
            rows.append({**about, "peer": name, "missing": str(reason)})
            continue
        wrong = check(provider, batch.constant)
        if wrong:
            rows.append({**about, "peer": name, "missing": f"wrong: {wrong}"})
        else:
            providers[name] = provider
    for what in ("forward", "backward", "both"):
        works = {
            name: provider_work(provider, what)
            for name, provider in providers.items()
            if what == "forward" or provider.parameters
        }
        for name, timing in take_turns(works, rounds, baseline=lambda _: operation.plain).items():
            lacks = operation.peers[name].lacks
            rows.append({**about, "pass": what, "peer": name, "lacks": lacks, **timing.to_json()})
    return rows


def compare_steps(
    sizes: steps.Sizes,
    shape: Shape,
    device: str,
    rounds: int,
    names: Sequence[str] = tuple(steps.MODELS),
    baseline: str = "bare prompt",
    budget: float = float("inf"),
) -> list[dict[str, Any]]:
    """A training step of every model that can run here; rows as in :func:`compare_operation`."""
    bench = steps.make_bench(sizes, shape, device)
    about = {"operation": "training_step", "pass": "step", "shape": bench.shape.to_json(), "baseline": baseline}
    rows: list[dict[str, Any]] = []
    works: dict[str, Work] = {}
    lacks: dict[str, str] = {}
    for name in names:
        try:
            prompted = steps.MODELS[name](bench)
        except UnavailableError as reason:
            rows.append({**about, "peer": name, "missing": str(reason)})
            continue
        wrong = steps.check(prompted, bench)
        if wrong:
            rows.append({**about, "peer": name, "missing": f"wrong: {wrong}"})
        else:
            works[name], lacks[name] = steps.training_work(prompted), prompted.lacks
    timings = take_turns(works, rounds, baseline=lambda _: baseline, budget=budget)
    return rows + [{**about, "peer": name, "lacks": lacks[name], **t.to_json()} for name, t in timings.items()]

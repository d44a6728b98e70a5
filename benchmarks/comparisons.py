"""Peers beside each other in one run: the embedding operation, and a T5's training step."""

from collections.abc import Sequence
from typing import Any

from benchmarks import peers, steps
from benchmarks.shapes import Shape, make_batch
from benchmarks.timing import Work, provider_work, take_turns


def compare_embedding(shape: Shape, device: str, rounds: int) -> list[dict[str, Any]]:
    """Forward, backward and both of every peer; ratios are to the literal formulation.

    Returns:
        rows {operation, pass, peer, lacks, shape, baseline, ...}, or with ``missing`` for a peer that cannot run here.
    """
    batch = make_batch(shape, device)
    about = {"operation": "embedding", "shape": shape.to_json(), "baseline": "literal"}
    rows: list[dict[str, Any]] = []
    providers: dict[str, peers.Provider] = {}
    for name, peer in peers.PEERS.items():
        try:
            provider = peer.build(shape, batch)
        except peers.UnavailableError as reason:
            rows.append({**about, "peer": name, "missing": str(reason)})
            continue
        wrong = peers.check(provider, batch)
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
        for name, timing in take_turns(works, rounds, baseline=lambda _: "literal").items():
            rows.append({**about, "pass": what, "peer": name, "lacks": peers.PEERS[name].lacks, **timing.to_json()})
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
    """A training step of every model that can run here; rows as in :func:`compare_embedding`."""
    bench = steps.make_bench(sizes, shape, device)
    about = {"operation": "training_step", "pass": "step", "shape": bench.shape.to_json(), "baseline": baseline}
    rows: list[dict[str, Any]] = []
    works: dict[str, Work] = {}
    lacks: dict[str, str] = {}
    for name in names:
        try:
            prompted = steps.MODELS[name](bench)
        except peers.UnavailableError as reason:
            rows.append({**about, "peer": name, "missing": str(reason)})
            continue
        wrong = steps.check(prompted, bench)
        if wrong:
            rows.append({**about, "peer": name, "missing": f"wrong: {wrong}"})
        else:
            works[name], lacks[name] = steps.training_work(prompted), prompted.lacks
    timings = take_turns(works, rounds, baseline=lambda _: baseline, budget=budget)
    return rows + [{**about, "peer": name, "lacks": lacks[name], **t.to_json()} for name, t in timings.items()]

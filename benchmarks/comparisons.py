"""Peers beside each other in one run: the embedding operation, and a T5's training step."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import steps
from benchmarks.operations import Operation
from benchmarks.providers import Provider, UnavailableError, check
from benchmarks.shapes import Dimensions
from benchmarks.timing import Timing, Work, provider_work, take_turns


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


MODEL_OPERATIONS: dict[str, tuple[str, Callable[[steps.Prompted], Work], Callable[[steps.Prompted], str]]] = {
    "training_step": ("step", steps.training_work, lambda prompted: prompted.name),
    "gradient": ("forward and backward", steps.gradient_work, lambda prompted: prompted.name),
    "inference": ("forward", steps.inference_work, steps.warm_name),
    "answers": (f"{steps.ANSWER_TOKENS} tokens", steps.answering_work, steps.warm_name),
}
"""What whole T5s are compared at: the name of the pass, the work, and the name that a model goes by."""


def time_models(
    operation: str,
    bench: steps.Bench,
    models: Mapping[str, Callable[[steps.Bench], steps.Prompted]],
    rounds: int,
    baseline: str,
    budget: float = float("inf"),
) -> tuple[list[dict[str, Any]], dict[str, Timing]]:
    """Models beside each other on one batch, checked on two rows of every task.

    Args:
        operation: one of MODEL_OPERATIONS.
        bench: the T5 and the batch.
        models: what builds them, by name.
        rounds: most rounds.
        baseline: the name that ratios are to.
        budget: seconds after which no further round starts.

    Returns:
        rows as in :func:`compare_operation`, and the timings by name.
    """
    what, make_work, describe = MODEL_OPERATIONS[operation]
    about = {"operation": operation, "pass": what, "shape": bench.shape.to_json(), "baseline": baseline}
    few = bench.first(2 * bench.shape.T)
    missing: list[dict[str, Any]] = []
    works: dict[str, Work] = {}
    prompteds: dict[str, steps.Prompted] = {}
    for name, build in models.items():
        try:
            wrong = steps.check(build(few), few)
            if wrong:
                missing.append({**about, "peer": name, "missing": f"wrong: {wrong}"})
                continue
            prompteds[name] = build(bench)
            works[name] = make_work(prompteds[name])
        except UnavailableError as reason:
            missing.append({**about, "peer": name, "missing": str(reason)})
    timings = take_turns(works, rounds, baseline=lambda _: baseline, budget=budget)
    rows = [
        {**about, "peer": describe(prompteds[name]), "lacks": prompteds[name].lacks, **timing.to_json()}
        for name, timing in timings.items()
    ]
    return missing + rows, timings

"""How cost grows with one size while the others stay: with n, T, m, B and L.

Every value of a size takes its turn in every round, so that a ratio to the smallest value is one within a round.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks import peers, steps
from benchmarks.providers import UnavailableError, check
from benchmarks.shapes import REFERENCE, STEP, Shape, make_batch
from benchmarks.timing import Work, provider_work, take_turns

VALUES: dict[str, tuple[int, ...]] = {
    "n": (1, 4, 16, 64, 256),
    "T": (1, 8, 64, 256, 1024),
    "m": (1, 10, 50, 100, 200),
    "B": (1, 4, 16, 64),
    "L": (16, 64, 256, 512),
}
EMBEDDING_PEERS = ("triton", "torch", "literal", "PEFT multitask", "bare prompt")
STEP_MODELS = ("CrossPTModel", "literal")


def slope(values: Sequence[float], costs: Sequence[float]) -> float:
    """Exponent of growth: the slope of log cost over log value, by least squares."""
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def grow_embedding(size: str, values: Sequence[int], device: str, rounds: int, budget: float) -> list[dict[str, Any]]:
    """Forward and backward of the embedding operation.

    Args:
        size: which size grows.
        values: its values, smallest first.
        device: where to measure.
        rounds: most rounds.
        budget: seconds after which no further round starts.

    Returns:
        a row for every peer and value; peers that cannot run here, and wrong ones, have none.
    """

    def make(shape: Shape) -> dict[str, Work]:
        batch, works = make_batch(shape, device), {}
        for name in EMBEDDING_PEERS:
            try:
                provider = peers.PEERS[name].build(shape, batch)
            except UnavailableError:
                continue
            # The largest shapes cost the float64 reference gigabytes; each peer is checked at the smallest.
            if shape != first or check(provider, batch.constant) is None:
                works[name] = provider_work(provider, "both")
        return works

    first = REFERENCE.moved(**{size: values[0]})
    return _grow("embedding", size, values, lambda value: make(REFERENCE.moved(**{size: value})), rounds, budget)


def grow_step(
    sizes: steps.Sizes, values: Sequence[int], device: str, rounds: int, budget: float
) -> list[dict[str, Any]]:
    """A T5's training step over n; rows as in :func:`grow_embedding`."""
    bench = steps.make_bench(sizes, STEP, device)

    def make(n: int) -> dict[str, Work]:
        grown = replace(bench, shape=bench.shape.moved(n=n))
        models = {name: steps.MODELS[name](grown) for name in STEP_MODELS}
        if n == values[0]:
            models = {name: model for name, model in models.items() if steps.check(model, grown) is None}
        return {name: steps.training_work(model) for name, model in models.items()}

    return _grow("training_step", "n", values, make, rounds, budget)


def _grow(
    operation: str,
    size: str,
    values: Sequence[int],
    make: Callable[[int], dict[str, Work]],
    rounds: int,
    budget: float,
) -> list[dict[str, Any]]:
    made = {value: make(value) for value in values}
    names = [name for name in made[values[0]] if all(name in works for works in made.values())]
    works = {(name, value): made[value][name] for name in names for value in values}
    timings = take_turns(works, rounds, baseline=lambda key: (key[0], values[0]), budget=budget)
    about = {"operation": operation, "size": size}
    return [{**about, "peer": name, "value": value, **timing.to_json()} for (name, value), timing in timings.items()]


def slopes(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The growth of every operation, size and peer: its slope, and the ratio of the largest value to the smallest.

    Both rest on the ratios within rounds, and are given for time and for peak memory.
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["operation"], row["size"], row["peer"]), []).append(row)
    table = []
    for (operation, size, peer), group in groups.items():
        values = [row["value"] for row in group]
        ratios = [row["ratio"]["q50"] for row in group]
        memory = [max(row["peak_bytes"], 1) for row in group]
        table.append(
            {
                "operation": operation,
                "size": size,
                "peer": peer,
                "from": values[0],
                "to": values[-1],
                "slope": slope(values, ratios),
                "ratio": ratios[-1],
                "memory_slope": slope(values, memory),
            }
        )
    return table

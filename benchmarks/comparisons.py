"""Peers beside each other, or one size that grows: checked first, then timed in turns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.peers import Operation, UnavailableError
from benchmarks.shapes import Dimensions
from benchmarks.timing import DEVICE, Timing, Work, take_turns

Key = tuple[Any, str]


@dataclass
class Outcome:
    """What a comparison found, by its keys; the rows of ``missing`` say why a peer was not timed, by its name."""

    timings: dict[Key, Timing] = field(default_factory=dict)
    rows: dict[Key, dict[str, Any]] = field(default_factory=dict)
    missing: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> list[dict[str, Any]]:
        """All rows, those of missing peers first."""
        return [*self.missing.values(), *self.rows.values()]


@dataclass(frozen=True)
class Comparison:
    """Peers of an operation that take turns at each of its passes, with ratios to the operation's baseline.

    Where ``values`` are given, the size of that name grows and the last pass is timed alone: every value takes its turn
    in every round, and ratios are those to the smallest, the first.
    """

    operation: Operation
    shape: Dimensions
    rounds: int  # at most
    budget: float = float("inf")  # seconds after which no further round starts
    peers: tuple[str, ...] = ()  # their names; empty for all
    size: str = ""
    values: tuple[int, ...] = ()

    def __repr__(self) -> str:
        return f"{self.operation.name} {self.size or self.shape}"

    @property
    def keys(self) -> list[Key]:
        """(pass, peer), or (value, peer), for everything that is timed where no peer is missing."""
        peers = self.peers or self.operation.peers
        return [(what, name) for what in self.values or self.operation.passes for name in peers]

    def measure(self, device: str = DEVICE) -> Outcome:
        """Check and time all.

        Rows are {operation, shape, baseline, pass, peer, lacks, ...}, or where a size grows {operation, size, value,
        peer, ...}; and {..., peer, missing} for a peer that is wrong or cannot run here.
        """
        operation, outcome = self.operation, Outcome()
        shapes = [self.shape.moved(**{self.size: value}) for value in self.values] or [self.shape]
        batches = [operation.make_batch(shape, device) for shape in shapes]
        about: dict[str, Any] = {"operation": operation.name}
        about |= {"size": self.size} if self.size else {"shape": shapes[0].to_json(), "baseline": operation.baseline}
        built: dict[str, list[Any]] = {}
        for name in self.peers or operation.peers:
            peer = operation.peers[name]
            try:
                # The largest shapes cost the float64 reference gigabytes; each peer is checked at the first.
                built[name] = [peer.checked(batches[0]), *map(peer.build, batches[1:])]
            except UnavailableError as reason:
                outcome.missing[name] = {**about, "peer": name, "missing": str(reason)}
        for what in operation.passes[-1:] if self.size else operation.passes:
            works = {
                (value, name): work
                for name, ready in built.items()
                for value, one in zip(self.values or (what,), ready, strict=True)
                if (work := one.work(what)) is not None
            }
            self._time(works, about, outcome)
        return outcome

    def _time(self, works: dict[Key, Work], about: dict[str, Any], outcome: Outcome) -> None:
        def baseline(key: Key) -> Key:
            return (self.values[0], key[1]) if self.size else (key[0], self.operation.baseline)

        for (value, name), timing in take_turns(works, self.rounds, baseline, budget=self.budget).items():
            title = f"{name}, warm cache" if works[value, name].warm else name
            lacks = self.operation.peers[name].lacks
            names = {"value": value, "peer": name} if self.size else {"pass": value, "peer": title, "lacks": lacks}
            outcome.timings[value, name] = timing
            outcome.rows[value, name] = {**about, **names, **timing.to_json()}


def slope(values: Sequence[float], costs: Sequence[float]) -> float:
    """Exponent of growth: the slope of log cost over log value, by least squares."""
    return float(np.polyfit(np.log(values), np.log(costs), 1)[0])


def slopes(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The growth of every operation, size and peer: its slope, and the ratio of the largest value to the smallest.

    Both rest on the ratios within rounds, and are given for time and for peak memory.
    """
    table = pd.DataFrame(rows)
    table["ratio"] = [row["ratio"]["q50"] for row in rows]
    return [
        {
            **dict(zip(("operation", "size", "peer"), names, strict=True)),
            "from": int(group["value"].iloc[0]),
            "to": int(group["value"].iloc[-1]),
            "slope": slope(group["value"], group["ratio"]),
            "ratio": float(group["ratio"].iloc[-1]),
            "memory_slope": slope(group["value"], group["peak_bytes"].clip(lower=1)),
        }
        for names, group in table.groupby(["operation", "size", "peer"], sort=False)
    ]

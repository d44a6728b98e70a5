"""What the cells of an experiment come to: every condition's mean and sample standard deviation over seeds."""

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crosspt.report.cells import Cell, Experiment
from crosspt.report.tables import mean

GENERATE = "generate"
MAJORITY = "majority"


@dataclass(frozen=True)
class Spread:
    """Values of several seeds.

    Attributes:
        mean: their mean; None where there is no value.
        deviation: their sample standard deviation; None for fewer than two values.
        count: how many seeds have a value.
    """

    mean: float | None
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread":
        """The spread of the values that are defined."""
        known = [value for value in values if value is not None]
        return cls(
            mean=statistics.fmean(known) if known else None,
            deviation=statistics.stdev(known) if len(known) > 1 else None,
            count=len(known),
        )


class Condition:
    """The cells that differ in their seed alone.

    Args:
        settings: value of every axis, of ``scheme`` and of ``shots``.
        cells: the cells, finished or not.
        decode: the way of answering that the scores are of, unless another is named.
    """

    def __init__(self, settings: Mapping[str, Any], cells: Sequence[Cell], decode: str) -> None:
        self.settings = settings
        self.planned = len(cells)
        self.cells = [cell for cell in cells if cell.results is not None]
        self.decode = decode

    @property
    def scheme(self) -> str:
        """The scheme's name."""
        return str(self.settings["scheme"])

    def rows(self, decode: str | None = None) -> list[list[dict[str, Any]]]:
        """The rows of the scheme, a list for each finished cell."""
        return [rows_of(cell, self.scheme, decode or self.decode) for cell in self.cells]

    def task(self, task: str) -> Spread:
        """The primary metric of a task."""
        return Spread.of(row["value"] for rows in self.rows() for row in rows if row["primary"] and row["task"] == task)

    def overall(self, decode: str | None = None) -> Spread:
        """Every seed's mean over its tasks, which is undefined where the metric of one of them is."""
        return Spread.of(mean([row["value"] for row in rows if row["primary"]]) for rows in self.rows(decode))

    def invalid(self, decode: str | None = None) -> Spread:
        """Every seed's mean rate of answers that are no label."""
        return Spread.of(mean([row["invalid_rate"] for row in rows if row["primary"]]) for rows in self.rows(decode))

    def banks(self) -> list[list[Mapping[str, Any]]]:
        """The analysed banks of each finished cell: one, or one for every target that has its own."""
        return [list(cell.results.get("analysis", [])) for cell in self.cells if cell.results]

    def wssp(self) -> Spread:
        """Equation 3: every seed's weighted similarity to source prompts, the mean over its banks."""
        return Spread.of(mean([bank["wssp"] for bank in banks]) for banks in self.banks())

    def source_weight(self, task: str) -> Spread:
        """What a task's attention weights on source prompts sum to, in percent."""
        return Spread.of(
            100 * sum(weight for weight, name in zip(row, bank["candidates"], strict=True) if name != "private")
            for banks in self.banks()
            for bank in banks
            for name, row in zip(bank["tasks"], bank["weights"], strict=True)
            if name == task and None not in row
        )

    def parameters(self) -> int | None:
        """Trainable parameters, over all banks."""
        counts = {sum(bank["trainable_parameters"] for bank in banks) for banks in self.banks() if banks}
        return counts.pop() if len(counts) == 1 else None


@dataclass(frozen=True)
class Summary:
    """The conditions of an experiment.

    Attributes:
        experiment: the experiment.
        conditions: in the order of their first cells.
        tasks: every task with results, in the order of the rows.
        varying: the axes with more than one value; their values by axis.
        decode: the way of answering that main tables show.
        majority: the majority baseline of every task.
    """

    experiment: Experiment
    conditions: list[Condition]
    tasks: list[str]
    varying: dict[str, list[Any]]
    decode: str
    majority: dict[str, Spread]

    @property
    def has_ranks(self) -> bool:
        """Whether answers were also ranked beside generated."""
        return self.decode == GENERATE and any(any(condition.rows("rank")) for condition in self.conditions)

    def find(self, **settings: Any) -> list[Condition]:
        """The finished conditions with these settings."""
        return [
            condition
            for condition in self.conditions
            if condition.cells
            and all(name in condition.settings and condition.settings[name] == settings[name] for name in settings)
        ]


def summarize(experiment: Experiment) -> Summary:
    """Bring the cells of the same settings together."""
    finished = experiment.finished
    decodes = {row.get("decode", GENERATE) for cell in finished for row in (cell.results or {})["results"]}
    decode = GENERATE if GENERATE in decodes or not decodes else sorted(decodes)[0]
    groups: dict[str, list[Cell]] = {}
    values: dict[str, dict[str, Any]] = {axis: {} for axis in experiment.axes}
    for cell in experiment.cells:
        groups.setdefault(json.dumps(cell.settings, sort_keys=True), []).append(cell)
        for axis in experiment.axes:
            values[axis].setdefault(json.dumps(cell.settings[axis]), cell.settings[axis])
    tasks = list(dict.fromkeys(row["task"] for cell in finished for row in rows_of(cell, cell.scheme, decode)))
    majority: dict[str, dict[int, float | None]] = {task: {} for task in tasks}
    for cell in finished:
        for row in rows_of(cell, MAJORITY, None):
            if row["primary"] and row["task"] in majority:
                majority[row["task"]].setdefault(cell.seed, row["value"])
    return Summary(
        experiment=experiment,
        conditions=[Condition(cells[0].settings, cells, decode) for cells in groups.values()],
        tasks=tasks,
        varying={axis: list(known.values()) for axis, known in values.items() if len(known) > 1},
        decode=decode,
        majority={task: Spread.of(by_seed.values()) for task, by_seed in majority.items() if by_seed},
    )


def rows_of(cell: Cell, scheme: str, decode: str | None) -> list[dict[str, Any]]:
    """The result rows of a finished cell that are of a scheme and a way of answering, or of any."""
    return [
        row
        for row in (cell.results or {"results": ()})["results"]
        if row["scheme"] == scheme and decode in (None, row.get("decode", GENERATE))
    ]


def split_scheme(scheme: str) -> tuple[str, int | None]:
    """A scheme without its number of sources, and the number: ``SL3`` is ``SL`` with 3, ``SLN`` has none."""
    match = re.fullmatch(r"(SLP?I?)(\d*)", scheme)
    return (match[1], int(match[2] or 1)) if match else (scheme, None)


def show(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(show(part) for part in value)
    return "all" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

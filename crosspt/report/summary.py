"""What the cells of an experiment come to: every condition's mean and sample standard deviation over seeds."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import pandas as pd

from crosspt.evaluation.results import ROW
from crosspt.report.read import Cell, Experiment

MEAN, INVALID, RANKED, WSSP = "mean", "invalid", "mean, ranked", "WSSP"  # quantities, beside the tasks
SPREAD = {"mean": "mean", "deviation": "std", "count": "count"}
AXES = {
    "shots": "training rows of each task",
    "sources": "source prompts",
    "label_set": "labels",
    "prefix": "task prefix",
    "source_learning_rate": "learning rate of source prompts",
    "private_learning_rate": "learning rate of private prompts",
}


@dataclass(frozen=True)
class Condition:
    """The cells that differ in their seed alone.

    ``spreads`` has a row for each quantity: its ``mean`` and ``deviation`` over seeds, NaN where undefined, and
    ``count``, the number of seeds that have a value. Quantities are ``MEAN``, the mean of the tasks' primary metrics,
    undefined where one of them is; ``INVALID``; ``RANKED``, the mean of ranked answers; ``WSSP`` (equation 3), the mean
    over banks; every task, its primary metric; and :func:`source_weight` of every task. All are in percent.
    """

    settings: Mapping[str, Any]  # value of every axis, of ``scheme`` and of ``shots``
    planned: int  # number of cells
    cells: list[Cell]  # that have finished
    spreads: pd.DataFrame

    @property
    def scheme(self) -> str:
        """The scheme's name."""
        return str(self.settings["scheme"])

    @property
    def parameters(self) -> int | None:
        """Trainable parameters, over all banks; None where the cells differ in it or have none."""
        counts = {sum(bank["trainable_parameters"] for bank in cell.banks) for cell in self.cells if cell.banks}
        return counts.pop() if len(counts) == 1 else None


@dataclass(frozen=True)
class Summary:
    """The conditions of an experiment."""

    experiment: Experiment
    rows: pd.DataFrame  # of results, with ``condition`` (its number) and ``own``, whether a row is of the cell's scheme
    conditions: list[Condition]  # in the order of their first cells
    tasks: list[str]  # with results, in the order of the rows
    varying: dict[str, list[Any]]  # the axes with more than one value; their values by axis
    decode: str  # the way of answering that means and tasks are of
    majority: pd.DataFrame  # spread of the majority baseline of every task that has one

    @property
    def has_ranks(self) -> bool:
        """Whether answers were also ranked beside generated."""
        return self.decode == "generate" and bool((self.rows["own"] & (self.rows["decode"] == "rank")).any())

    def find(self, **settings: Any) -> list[Condition]:
        """The finished conditions with these settings."""
        finished = [condition for condition in self.conditions if condition.cells]
        return [condition for condition in finished if {**condition.settings, **settings} == condition.settings]


def summarize(experiment: Experiment) -> Summary:
    """Bring the cells of the same settings together."""
    groups: dict[str, list[Cell]] = {}
    values: dict[str, dict[str, Any]] = {axis: {} for axis in experiment.axes}
    for cell in experiment.cells:
        groups.setdefault(json.dumps(cell.settings, sort_keys=True), []).append(cell)
        for axis, known in values.items():
            known.setdefault(json.dumps(cell.settings[axis]), cell.settings[axis])
    numbered = [(number, cell) for number, cells in enumerate(groups.values()) for cell in cells if cell.results]
    rows = pd.DataFrame(
        [
            {"condition": number, "own": row["scheme"] == cell.settings["scheme"], **row, "seed": cell.seed}
            for number, cell in numbered
            for row in cell.results["results"]
        ],
        columns=["condition", "own", *ROW, "decode"],
    ).astype({"own": bool, "primary": bool, "value": float, "invalid_rate": float})
    decode = "rank" if set(rows["decode"]) == {"rank"} else "generate"
    tasks = list(rows[rows["own"] & (rows["decode"] == decode)]["task"].unique())
    majority = rows[(rows["scheme"] == "majority") & rows["primary"] & rows["task"].isin(tasks)]
    found = _measure(numbered, rows[rows["own"] & rows["primary"]], decode)
    names = [MEAN, INVALID, RANKED, WSSP, *tasks, *map(source_weight, tasks)]
    index = pd.MultiIndex.from_product([range(len(groups)), names])
    spreads = found.groupby(["condition", "quantity"])["value"].agg(**SPREAD).reindex(index)
    spreads = spreads.fillna({"count": 0}).astype({"count": int})
    return Summary(
        experiment=experiment,
        rows=rows,
        conditions=[
            Condition(cells[0].settings, len(cells), [cell for cell in cells if cell.results], spreads.loc[number])
            for number, cells in enumerate(groups.values())
        ],
        tasks=tasks,
        varying={axis: list(known.values()) for axis, known in values.items() if len(known) > 1},
        decode=decode,
        majority=majority.drop_duplicates(["task", "seed"]).groupby("task")["value"].agg(**SPREAD),
    )


def _measure(cells: list[tuple[int, Cell]], primary: pd.DataFrame, decode: str) -> pd.DataFrame:
    """Every quantity of every cell, a row each; a mean over something undefined is undefined."""
    main, ranked = primary[primary["decode"] == decode], primary[primary["decode"] == "rank"]
    parts = [main.assign(quantity=main["task"])]
    for name, rows, column in ((MEAN, main, "value"), (INVALID, main, "invalid_rate"), (RANKED, ranked, "value")):
        means = rows.groupby(["condition", "cell"])[column].agg(lambda values: values.mean(skipna=False))
        parts.append(means.rename("value").reset_index().assign(quantity=name))
    records = []
    for number, cell in cells:
        scores = pd.Series([bank["wssp"] for bank in cell.banks], dtype=float)
        records.append((number, WSSP, scores.mean(skipna=False)))
        for bank in cell.banks:
            weights = bank["weights"].dropna().drop(columns="private", errors="ignore").sum(axis=1)
            records += [(number, source_weight(task), 100 * weight) for task, weight in weights.items()]
    parts.append(pd.DataFrame(records, columns=["condition", "quantity", "value"]))
    return pd.concat([part[["condition", "quantity", "value"]] for part in parts])


def source_weight(task: str) -> str:
    """The quantity that a task's attention weights on source prompts sum to."""
    return f"{plain_task(task)}: weight on sources"


def plain_task(task: str) -> str:
    """The paper's task that a task stands for: the embedded suite's are named after them."""
    return task.removeprefix("syn_")


def split_scheme(scheme: str) -> tuple[str, int | None]:
    """A scheme without its number of sources, and the number: ``SL3`` is ``SL`` with 3, ``SLN`` has none."""
    match = re.fullmatch(r"(SLP?I?)(\d*)", scheme)
    return (match[1], int(match[2] or 1)) if match else (scheme, None)


def axis_name(axis: str) -> str:
    """What an axis is called in tables and figures."""
    return AXES.get(axis, axis.replace("_", " "))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a number; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def percent(value: float) -> str:
    """One decimal, or a word where there is no value."""
    return "undefined" if math.isnan(value) else f"{value:.1f}"


def show(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(show, value))
    return "all" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

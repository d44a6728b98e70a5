"""What the cells of an experiment come to: every condition's mean and sample standard deviation over seeds."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_type_hints

import numpy as np
import pandas as pd

from crosspt.config.layout import CELLS
from crosspt.config.training import TrainingConfig
from crosspt.config.values import fits
from crosspt.evaluation.resampling import DRAWS, draw_rows, resample_metric
from crosspt.evaluation.results import ROW
from crosspt.runs.experiments.read import Cell, Experiment

MEAN, INVALID, RANKED, WSSP = "mean", "invalid", "mean, ranked", "WSSP"  # quantities, beside the tasks


@dataclass(frozen=True)
class Condition:
    """The cells that differ in their seed alone.

    ``values`` has a row for each finished cell, by its seed, and a column for each quantity: ``MEAN``, the mean of the
    tasks' primary metrics; ``INVALID``; ``RANKED``, the mean of ranked answers beside generated ones, over the tasks
    that have some, which those of free text have not; ``WSSP``
    (equation 3), the mean over banks; every task, its primary metric; and :func:`source_weight` of every task. All are
    in percent, and NaN where they are undefined or not measured. ``spreads`` has a row for each quantity: ``mean`` and
    ``std`` over seeds, and ``count``, the number of seeds that have a value. A seed that lacks a task's metric has no
    mean; where no seed has all of them, means are over the tasks that have one.
    """

    settings: Mapping[str, Any]  # value of every axis, of ``scheme`` and of ``shots``
    planned: int  # number of cells
    cells: list[Cell]  # that have finished
    values: pd.DataFrame
    spreads: pd.DataFrame
    facts: Mapping[str, float]  # ``parameters`` that learn, over all banks, and what an answer costs

    @property
    def scheme(self) -> str:
        """The scheme's name."""
        return str(self.settings["scheme"])


@dataclass(frozen=True)
class Summary:
    """The conditions of an experiment."""

    experiment: Experiment
    rows: pd.DataFrame  # of the results of each cell's scheme, with the number of its ``condition``
    conditions: list[Condition]  # in the order of their first cells
    majority: Condition  # the baseline that answers each task's most frequent label
    tasks: list[str]  # with results, in the order of the rows
    varying: dict[str, list[Any]]  # the axes with more than one value; their values by axis
    decode: str  # the way of answering that means and tasks are of
    ranked: list[str]  # the tasks with ranked answers

    def find(self, **settings: Any) -> list[Condition]:
        """The finished conditions with these settings."""
        return [one for one in self.conditions if one.cells and {**one.settings, **settings} == one.settings]

    @cached_property
    def draws(self) -> dict[str, dict[tuple[str, str], np.ndarray]]:
        """By cell, task and way of decoding the primary metric (1 + DRAWS,) of draws of the rows.

        Answers that do not come to a cell's results are left out with a line in the warnings.
        """
        found = {cell.name: _draw(cell) for cell in sorted(self.experiment.finished, key=lambda cell: cell.seed)}
        for cell in self.experiment.finished:
            for row in cell.results["results"]:
                drawn = found[cell.name].get((row["task"], row["decode"])) if row["primary"] else None
                if drawn is None or row["scheme"] != cell.settings["scheme"]:
                    continue
                told = math.nan if row["value"] is None else row["value"]
                if not np.isclose(drawn[0], told, rtol=0, atol=1e-6, equal_nan=True):
                    self.experiment.warnings.append(
                        f"{CELLS}/{cell.name}: its answers ({row['decode']}) to task {row['task']!r} come to "
                        f"{drawn[0]:g}, its results say {told:g}; used by the results alone"
                    )
                    found[cell.name] = {}
        return found

    def sample(self, condition: Condition, quantity: str) -> pd.DataFrame:
        """A condition's values of a quantity for :func:`crosspt.report.statistics.estimate`.

        A line for each seed that has a value: the value, then what it would be on DRAWS draws of the rows, which are
        the same ones for all conditions. Quantities that no answers go into are the same for every draw.
        """
        tasks = {MEAN: self.tasks, RANKED: self.ranked}.get(quantity, [quantity])
        lines, decode = [], "rank" if quantity == RANKED else self.decode
        for cell, value in zip(condition.cells, condition.values[quantity], strict=True):
            line = np.full(1 + DRAWS, value)
            if tasks and tasks[0] in self.tasks:
                answers = self.draws[cell.name] if condition.scheme == cell.settings["scheme"] else {}
                drawn = [answers.get((task, decode), np.full(1 + DRAWS, math.nan)) for task in tasks]
                line[1:] = np.mean(drawn, axis=0)[1:]
            lines.append(line)
        content = np.array(lines, dtype=float).reshape(-1, 1 + DRAWS)
        return pd.DataFrame(content, condition.values.index).dropna(subset=[0])


def summarize(experiment: Experiment) -> Summary:
    """Bring the cells of the same settings together. Cells that lack a task's metric get a line in the warnings."""
    groups: dict[str, list[Cell]] = {}
    for cell in experiment.cells:
        groups.setdefault(json.dumps(cell.settings, sort_keys=True), []).append(cell)
    numbered = [(number, cell) for number, cells in enumerate(groups.values()) for cell in cells]
    rows = [
        {**row, "condition": number}
        for number, cell in numbered
        for row in cell.results.get("results", ())
        if row["scheme"] == cell.settings["scheme"]
    ]
    decode = "rank" if {row["decode"] for row in rows} == {"rank"} else "generate"
    tasks = list(dict.fromkeys(row["task"] for row in rows if row["decode"] == decode))
    conditions = [_condition(cells[0].settings, cells, tasks, decode) for cells in groups.values()]
    seeds = {cell.seed: cell for cell in experiment.finished}
    majority = _condition({"scheme": "majority"}, list(seeds.values()), tasks, decode)
    for condition in conditions:
        for cell, (_, values) in zip(condition.cells, condition.values.iterrows(), strict=True):
            if missing := [task for task in tasks if pd.isna(values[task])]:
                lack = f"{CELLS}/{cell.name}: no value for {', '.join(missing)}; its mean is"
                mean = "undefined and left out" if pd.isna(values[MEAN]) else "over the other tasks"
                experiment.warnings.append(f"{lack} {mean}")
    varying: dict[str, list[Any]] = {}
    for axis in experiment.axes:
        if axis == "method":  # which the scheme of a condition says
            continue
        values = {json.dumps(one.settings[axis]): one.settings[axis] for one in conditions}
        varying |= {axis: list(values.values())} if len(values) > 1 else {}
    frame = pd.DataFrame(rows, columns=["condition", *ROW, "decode"]).astype({"value": float, "invalid_rate": float})
    ranked = [task for task in tasks if any((row["task"], row["decode"]) == (task, "rank") for row in rows)]
    return Summary(experiment, frame, conditions, majority, tasks, varying, decode, ranked)


def summarize_run(rows: Sequence[Mapping[str, Any]]) -> Summary:
    """The summary of a run's results, a condition for each scheme, the majority baseline among them."""
    cells = []
    for scheme in dict.fromkeys(row["scheme"] for row in rows):
        own = [row for row in rows if row["scheme"] == scheme]
        cells.append(Cell(scheme, 0, {"scheme": scheme}, {"results": own}, ""))
    return summarize(Experiment("", "", "", "", [], ["scheme"], False, {}, cells))


def _condition(settings: Mapping[str, Any], cells: list[Cell], tasks: list[str], decode: str) -> Condition:
    done = [cell for cell in cells if cell.results]
    names = [MEAN, INVALID, RANKED, WSSP, *tasks, *map(source_weight, tasks)]
    measured = [_measure(cell, settings["scheme"], decode) for cell in done]
    values = pd.DataFrame(measured, index=[cell.seed for cell in done], columns=names, dtype=float)
    if values[MEAN].isna().all():
        values[MEAN] = values[tasks].mean(axis=1)
    spreads = values.agg(["mean", "std", "count"]).T.astype({"count": int})
    banks = next((cell.banks for cell in done if cell.banks), [])
    methods = [cell.results["method"] for cell in done if "method" in cell.results]
    learned = next((method.get("trainable_parameters") for method in methods), None)
    if banks:
        learned = sum(bank["trainable_parameters"] for bank in banks)
    facts: dict[str, float] = {"parameters": learned} if isinstance(learned, int) else {}
    costs = [bank["inference_cost"] for bank in banks[:1] if isinstance(bank.get("inference_cost"), dict)]
    facts |= {name.replace("_", " "): cost for known in costs for name, cost in known.items() if fits(cost, float)}
    taken = [method["seconds_per_step"] for method in methods if fits(method.get("seconds_per_step"), float)]
    facts |= {"seconds a step": float(np.mean(taken))} if taken else {}
    return Condition(settings, len(cells), done, values, spreads, facts)


def _draw(cell: Cell) -> dict[tuple[str, str], np.ndarray]:
    """By task and way of decoding the primary metric of draws of a cell's rows; nothing without its answers."""
    if cell.predictions is None:
        return {}
    own = cell.predictions.rows[cell.predictions.rows["scheme"] == cell.settings["scheme"]]
    drawn = {}
    for (task, decode), rows in own.groupby(["task", "decode"], observed=True, sort=False):
        asked, counts = cell.predictions.tasks[task], draw_rows(task, cell.seed, len(rows))
        drawn[task, decode] = resample_metric(
            asked.task, list(rows["answer"]), list(rows["reference"]), asked.answers, counts
        )
    return drawn


def _measure(cell: Cell, scheme: str, decode: str) -> dict[str, float]:
    """The quantities of a cell's rows of a scheme and, if it is the cell's own, of its banks."""
    rows = [row for row in cell.results["results"] if row["primary"] and row["scheme"] == scheme]
    tasks, ranked = ({row["task"]: row["value"] for row in rows if row["decode"] == one} for one in (decode, "rank"))
    banks = cell.banks if scheme == cell.settings["scheme"] else []
    mixed = [bank["weights"].dropna().drop(columns="private", errors="ignore").sum(axis=1) for bank in banks]
    return {
        MEAN: _mean(tasks.values()),
        INVALID: _mean(row["invalid_rate"] for row in rows if row["decode"] == decode),
        RANKED: _mean(ranked.values() if decode == "generate" else []),
        WSSP: _mean(bank["wssp"] for bank in banks),
        **tasks,
        **{source_weight(task): 100 * weight for weights in mixed for task, weight in weights.items()},
    }


def _mean(values: Iterable[float | None]) -> float:
    """The mean; NaN where there is no value or one is undefined."""
    return float(pd.Series(list(values), dtype=float).mean(skipna=False))


def say_tuning(summary: Summary) -> str:
    """How many settings of the training were tried, of which a reader might take the best."""
    tuned = [axis for axis in summary.varying if axis in get_type_hints(TrainingConfig)]
    if choices := summary.experiment.choices:
        tried: dict[str, int] = {}
        for one in choices:
            scheme = str(one["settings"]["scheme"])
            tried[scheme] = max(tried.get(scheme, 0), one["tried"])
        counts = ", ".join(f"{scheme} {count}" for scheme, count in tried.items())
        names = " and ".join(map(axis_name, summary.experiment.choose))
        return (
            f"Each seed of a scheme was trained with several settings of {names} ({counts}), and counts with the one "
            "of the highest score on its development rows; no test row chose any."
        )
    if not tuned:
        return "Every scheme was trained with one setting of learning rates and epochs: none was tuned."
    count = math.prod(len(summary.varying[axis]) for axis in tuned)
    names = " and ".join(map(axis_name, tuned))
    return f"Every scheme was trained with {count} settings of {names}: all of them are reported and none is chosen."


def source_weight(task: str) -> str:
    """The quantity that a task's attention weights on source prompts sum to."""
    return f"{plain_task(task)}: weight on sources"


def plain_task(task: str) -> str:
    """The paper's task that a task stands for: the embedded suite's are named after them."""
    return task.removeprefix("syn_")


def axis_name(axis: str) -> str:
    """What an axis is called in tables and figures."""
    return axis.replace("_", " ")


def show(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(show, value))
    return "all" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

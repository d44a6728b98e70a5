"""The paper's numbers and statements, from ``paper.yaml``, beside what an experiment came to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import yaml

from crosspt.report.summary import MEAN, WSSP, Condition, Summary, axis_name, plain_task, show, source_weight
from crosspt.report.table import Entry


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper."""

    table: str  # its name
    title: str
    suite: str
    shots: int | None  # training rows of each task; None for all
    experiments: list[str]  # those of ours that it belongs to
    columns: list[str]  # tasks, and ``mean``
    rows: Mapping[str, list[float]]  # values of each method by column
    footnotes: list[Mapping[str, Any]]  # which note belongs to which rows and columns
    deviations: Mapping[str, float] = field(default_factory=dict)  # of each method's mean, where printed
    methods: Mapping[str, str] = field(default_factory=dict)  # the row of a scheme that has another name here

    def row(self, scheme: str) -> str:
        """The row that a scheme would have."""
        return self.methods.get(scheme, scheme)

    def number(self, row: str, column: str) -> tuple[float, float, list[str]]:
        """A printed number, the deviation printed with it, NaN where there is none, and the notes that concern both."""
        every = self.footnotes
        notes = [one["note"] for one in every if row in one.get("rows", row) and column in one.get("columns", column)]
        std = self.deviations.get(row, math.nan) if column == MEAN else math.nan
        return self.rows[row][self.columns.index(column)], std, notes


@cache
def load_paper() -> dict[str, Any]:
    """``paper.yaml``: the paper's tables, its statements, and the footnotes to both by name."""
    content = yaml.safe_load(files("crosspt.report").joinpath("paper.yaml").read_text(encoding="utf-8"))
    return {**content, "tables": [PaperTable(**table) for table in content["tables"]]}


def tables_of(summary: Summary) -> list[PaperTable]:
    """The paper's tables that an experiment's numbers belong beside: of the same experiment and the same tasks."""
    if _is_isolated(summary.experiment.definition.get("settings", {})):
        return []
    suite = "glue" if summary.experiment.suite == "embedded" else summary.experiment.suite
    tables = [table for table in load_paper()["tables"] if {*table.columns} == {MEAN, *map(plain_task, summary.tasks)}]
    return [table for table in tables if table.suite == suite and summary.experiment.experiment in table.experiments]


def table_of(summary: Summary, condition: Condition) -> PaperTable | None:
    """The one of the paper's tables that has a row for a condition."""
    shots = 0 if _is_isolated(condition.settings) else condition.settings.get("shots", 0)
    found = (
        table for table in tables_of(summary) if table.shots == shots and table.row(condition.scheme) in table.rows
    )
    return next(found, None)


def check_statements(summary: Summary) -> list[dict[str, Any]]:
    """Of every statement about an experiment its place and text, our values, the verdict and the names of footnotes.

    A statement says that one side is higher than another; the verdict is whether it is in each pair of conditions.
    """
    experiment, verdicts = summary.experiment, []
    for one in () if _is_isolated(experiment.definition.get("settings", {})) else load_paper()["statements"]:
        if experiment.experiment in one["experiments"] and experiment.suite in one.get("suites", [experiment.suite]):
            sides = [_values(summary, one["quantity"], one[side], one.get("at", {})) for side in ("higher", "lower")]
            differences = np.subtract.outer(*(list(side.values()) for side in sides))
            count, total = int((differences > one.get("above", 0.0)).sum()), differences.size
            verdict = "agrees" if count == total else f"holds in {count} of {total} comparisons" if count else "differs"
            verdict = "cannot be told" if np.isnan(differences).any() else verdict
            ours = " / ".join(", ".join(f"{name} {Entry(v).shown}" for name, v in side.items()) for side in sides)
            found = {"where": one["where"], "text": one["text"], "ours": ours, "verdict": verdict}
            verdicts.append({**found, "footnotes": one.get("footnotes", [])})
    return verdicts


def _values(
    summary: Summary, quantity: str, selectors: Sequence[str | dict[str, Any]], at: Mapping[str, Any]
) -> dict[str, float]:
    """For each selector the mean of a quantity over the conditions that it means; NaN where one lacks it."""
    values = {}
    for one in selectors:
        selector = one if isinstance(one, dict) else {"scheme": one}
        settings = {**at, **selector}
        task = settings.pop("task", None)
        named = next((name for name in summary.tasks if plain_task(name) == task), "")
        row = {"wssp": WSSP, "task": named, "source_weight": source_weight(named)}.get(quantity, MEAN)
        column = "std" if quantity == "deviation" else "mean"
        found = [one for one in summary.find(**settings) if not _is_isolated(one.settings)]
        words = [axis_name(axis) * (axis not in ("scheme", "task")) + f" {show(selector[axis])}" for axis in selector]
        means = [condition.spreads[column].get(row, math.nan) for condition in found]
        values[",".join(words).strip()] = float(np.mean(means)) if means else math.nan
    return values


def _is_isolated(settings: Mapping[str, Any]) -> bool:
    """Whether prompts do not see the text, which is another model than the paper's."""
    return settings.get("prefix_mode") == "isolated"

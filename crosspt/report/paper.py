"""The paper's numbers and statements, from ``paper.yaml``, beside what an experiment came to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import yaml

from crosspt.report.summary import MEAN, WSSP, Condition, Summary, percent, plain_task, source_weight


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

    def value(self, row: str, column: str) -> float:
        """A printed number."""
        return self.rows[row][self.columns.index(column)]

    def notes(self, row: str, column: str) -> list[str]:
        """The notes that concern a number."""
        return [
            note["note"]
            for note in self.footnotes
            if row in note.get("rows", [row]) and column in note.get("columns", [column])
        ]


@dataclass(frozen=True)
class Paper:
    """All that is kept of the paper: its tables, its statements, and the footnotes to both by name."""

    source: str
    model: str
    notes: Mapping[str, str]
    tables: list[PaperTable]
    statements: list[Mapping[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """How a statement of the paper fares."""

    where: str  # its place in the paper
    text: str
    ours: str  # the values that it is about
    verdict: str  # ``agrees``, ``differs``, in how many comparisons it holds, or ``cannot be told``
    footnotes: Sequence[str]  # names of notes


@cache
def load_paper() -> Paper:
    """Read ``paper.yaml``."""
    content = yaml.safe_load(files("crosspt.report").joinpath("paper.yaml").read_text(encoding="utf-8"))
    return Paper(**{**content, "tables": [PaperTable(**table) for table in content["tables"]]})


def tables_of(summary: Summary) -> list[PaperTable]:
    """The paper's tables that an experiment's numbers belong beside: of the same experiment and the same tasks."""
    suite = "glue" if summary.experiment.suite == "embedded" else summary.experiment.suite
    columns = {MEAN, *map(plain_task, summary.tasks)}
    return [
        table
        for table in load_paper().tables
        if table.suite == suite
        and summary.experiment.experiment in table.experiments
        and {*table.columns} == columns
        and not _is_isolated(summary.experiment.definition.get("settings", {}))
    ]


def table_of(condition: Condition, tables: list[PaperTable]) -> PaperTable | None:
    """The one of these tables that has a row for a condition."""
    for table in () if _is_isolated(condition.settings) else tables:
        if table.shots == condition.settings["shots"] and table.row(condition.scheme) in table.rows:
            return table
    return None


def check_statements(summary: Summary) -> list[Verdict]:
    """Check every statement about an experiment that its conditions allow to check."""
    experiment = summary.experiment
    if _is_isolated(experiment.definition.get("settings", {})):
        return []
    return [
        Verdict(
            statement["where"],
            statement["text"],
            *(_order(summary, **statement["order"]) if "order" in statement else _equal(summary, **statement["equal"])),
            statement.get("footnotes", []),
        )
        for statement in load_paper().statements
        if experiment.experiment in statement["experiments"]
        and experiment.suite in statement.get("suites", [experiment.suite])
    ]


def _order(
    summary: Summary,
    quantity: str,
    higher: list[Any],
    lower: list[Any],
    at: Mapping[str, Any] | None = None,
    above: float = 0.0,
) -> tuple[str, str]:
    found = [{_label(one): {**(at or {}), **_settings(one)} for one in side} for side in (higher, lower)]
    sides = [{label: _value(summary, quantity, settings) for label, settings in side.items()} for side in found]
    ours = " / ".join(map(_list, sides))
    differences = np.subtract.outer(*(list(side.values()) for side in sides))
    if np.isnan(differences).any():
        return ours, "cannot be told"
    holds = int((differences > above).sum())
    if 0 < holds < differences.size:
        return ours, f"holds in {holds} of {differences.size} comparisons"
    return ours, "agrees" if holds else "differs"


def _equal(summary: Summary, quantity: str, of: list[Any], value: float | None) -> tuple[str, str]:
    found = {_label(one): _value(summary, quantity, _settings(one)) for one in of}
    ours = _list(found)
    if not all(_find(summary, _settings(one)) for one in of):
        return ours, "cannot be told"
    agrees = [math.isnan(mine) if value is None else abs(mine - value) < 0.05 for mine in found.values()]
    return ours, "agrees" if all(agrees) else "differs"


def _value(summary: Summary, quantity: str, settings: Mapping[str, Any]) -> float:
    """The mean of a quantity over the conditions that are meant; NaN where one lacks it or there are none."""
    task = settings.get("task")
    named = next((name for name in summary.tasks if plain_task(name) == task), "")
    row = {"wssp": WSSP, "task": named, "source_weight": source_weight(named)}.get(quantity, MEAN)
    column = "deviation" if quantity == "deviation" else "mean"
    found = _find(summary, {name: value for name, value in settings.items() if name != "task"})
    values = [condition.spreads[column].get(row, math.nan) for condition in found]
    return float(np.mean(values)) if values else math.nan


def _find(summary: Summary, settings: Mapping[str, Any]) -> list[Condition]:
    return [condition for condition in summary.find(**settings) if not _is_isolated(condition.settings)]


def _is_isolated(settings: Mapping[str, Any]) -> bool:
    """Whether prompts do not see the text, which is another model than the paper's."""
    return settings.get("prefix_mode") == "isolated"


def _list(values: Mapping[str, float]) -> str:
    return ", ".join(f"{label} {percent(value)}" for label, value in values.items())


def _settings(selector: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"scheme": selector} if isinstance(selector, str) else dict(selector)


def _label(selector: str | Mapping[str, Any]) -> str:
    if isinstance(selector, str):
        return selector
    plain = ("task", "label_set")
    return ", ".join(
        str(value) if name in plain else f"{name.replace('_', ' ')} {str(value).lower()}"
        for name, value in selector.items()
    )

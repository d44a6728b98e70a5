"""The paper's numbers and statements, from ``paper.yaml``, and which of them an experiment's stand beside."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from crosspt.report.summary import MEAN, Condition, Summary, plain_task


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
    methods: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    """The row of a scheme or method of another name here, or its rows by how stage 2 is trained."""

    def row(self, condition: Condition) -> str:
        """The row that a condition would have."""
        name = self.methods.get(condition.scheme, condition.scheme)
        return name if isinstance(name, str) else name.get(condition.settings.get("stage2", "joint"), "")

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
    if is_isolated(summary.experiment.definition.get("settings", {})):
        return []
    suite = "glue" if summary.experiment.suite == "embedded" else summary.experiment.suite
    tables = [table for table in load_paper()["tables"] if {*table.columns} == {MEAN, *map(plain_task, summary.tasks)}]
    return [table for table in tables if table.suite == suite and summary.experiment.experiment in table.experiments]


def table_of(summary: Summary, condition: Condition) -> PaperTable | None:
    """The one of the paper's tables that has a row for a condition."""
    shots = 0 if is_isolated(condition.settings) else condition.settings.get("shots", 0)
    found = (table for table in tables_of(summary) if table.shots == shots and table.row(condition) in table.rows)
    return next(found, None)


def statements_of(summary: Summary) -> list[dict[str, Any]]:
    """The paper's statements about an experiment on its suite, or those of an experiment of one's own."""
    experiment = summary.experiment
    if own := experiment.definition.get("statements"):
        return [{"where": experiment.experiment, "quantity": "mean", **one, "own": True} for one in own]
    if is_isolated(experiment.definition.get("settings", {})):
        return []
    every = [one for one in load_paper()["statements"] if experiment.experiment in one["experiments"]]
    return [one for one in every if experiment.suite in one.get("suites", [experiment.suite])]


def is_isolated(settings: Mapping[str, Any]) -> bool:
    """Whether prompts do not see the text, which is another model than the paper's."""
    return settings.get("prefix_mode") == "isolated"

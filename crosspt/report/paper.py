"""The paper's numbers and statements, from ``paper.yaml``, beside what an experiment came to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from crosspt.report.summary import Condition, Summary

MEAN = "mean"


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper.

    Attributes:
        table: its name.
        title: what it is about.
        suite: the tasks' suite.
        shots: training rows of each task; None for all.
        experiments: those of ours that it belongs to.
        columns: tasks, and ``mean``.
        rows: values of each method by column.
        deviations: of each method's mean, where printed.
        methods: the row of a scheme that has another name here.
        footnotes: which note belongs to which rows and columns.
    """

    table: str
    title: str
    suite: str
    shots: int | None
    experiments: list[str]
    columns: list[str]
    rows: Mapping[str, list[float]]
    footnotes: list[Mapping[str, Any]]
    deviations: Mapping[str, float] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)

    def row(self, scheme: str) -> str:
        """The row that a scheme would have."""
        return self.methods.get(scheme, scheme)

    def value(self, row: str, column: str) -> float | None:
        """A printed number; None where there is none."""
        if row not in self.rows or column not in self.columns:
            return None
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


@cache
def load_paper() -> Paper:
    """Read ``paper.yaml``."""
    content = yaml.safe_load(files("crosspt.report").joinpath("paper.yaml").read_text(encoding="utf-8"))
    return Paper(**{**content, "tables": [PaperTable(**table) for table in content["tables"]]})


def plain_task(task: str) -> str:
    """The paper's task that a task stands for: the embedded suite's are named after them."""
    return task.removeprefix("syn_")


def tables_of(summary: Summary) -> list[PaperTable]:
    """The paper's tables that an experiment's numbers belong beside: of the same experiment and the same tasks."""
    if _is_isolated(summary.experiment.definition.get("settings", {})):
        return []
    suite = "glue" if summary.experiment.suite == "embedded" else summary.experiment.suite
    tasks = {plain_task(task) for task in summary.tasks}
    return [
        table
        for table in load_paper().tables
        if table.suite == suite and summary.experiment.name in table.experiments and {*table.columns} == tasks | {MEAN}
    ]


def table_of(condition: Condition, tables: list[PaperTable]) -> PaperTable | None:
    """The one of these tables that has a row for a condition."""
    for table in () if _is_isolated(condition.settings) else tables:
        if table.shots == condition.settings["shots"] and table.row(condition.scheme) in table.rows:
            return table
    return None


@dataclass(frozen=True)
class Verdict:
    """How a statement of the paper fares.

    Attributes:
        where: its place in the paper.
        text: the statement.
        ours: the values that it is about.
        verdict: ``agrees``, ``differs``, in how many comparisons it holds, or ``cannot be told``.
        footnotes: names of notes.
    """

    where: str
    text: str
    ours: str
    verdict: str
    footnotes: list[str]


def check_statements(summary: Summary) -> list[Verdict]:
    """Check every statement about an experiment that its conditions allow to check."""
    if _is_isolated(summary.experiment.definition.get("settings", {})):
        return []
    return [
        _check(summary, statement)
        for statement in load_paper().statements
        if summary.experiment.name in statement["experiments"]
        and summary.experiment.suite in statement.get("suites", [summary.experiment.suite])
    ]


def _check(summary: Summary, statement: Mapping[str, Any]) -> Verdict:
    ours, verdict = (
        _order(summary, **statement["order"]) if "order" in statement else _equal(summary, **statement["equal"])
    )
    return Verdict(statement["where"], statement["text"], ours, verdict, statement.get("footnotes", []))


def _order(
    summary: Summary,
    quantity: str,
    higher: list[Any],
    lower: list[Any],
    at: Mapping[str, Any] | None = None,
    above: float = 0.0,
) -> tuple[str, str]:
    sides = [[(_label(one), _value(summary, quantity, one, at)) for one in side] for side in (higher, lower)]
    ours = " / ".join(", ".join(f"{name} {_percent(value)}" for name, value in side) for side in sides)
    pairs = [(one, other) for _, one in sides[0] for _, other in sides[1] if one is not None and other is not None]
    if len(pairs) < len(higher) * len(lower):
        return ours, "cannot be told"
    holds = sum(one - other > above for one, other in pairs)
    if 0 < holds < len(pairs):
        return ours, f"holds in {holds} of {len(pairs)} comparisons"
    return ours, "agrees" if holds else "differs"


def _equal(summary: Summary, quantity: str, of: list[Any], value: float | None) -> tuple[str, str]:
    found = [(_label(one), _find(summary, _settings(one)), _value(summary, quantity, one, None)) for one in of]
    ours = ", ".join(f"{name} {_percent(mine)}" for name, _, mine in found)
    if not all(conditions for _, conditions, _ in found):
        return ours, "cannot be told"
    same = [mine is value if value is None or mine is None else abs(mine - value) < 0.05 for _, _, mine in found]
    return ours, "agrees" if all(same) else "differs"


def _value(summary: Summary, quantity: str, selector: Any, at: Mapping[str, Any] | None) -> float | None:
    """The mean of a quantity over the conditions that are meant; None where one lacks it or there are none."""
    settings = {**(at or {}), **_settings(selector)}
    task = settings.pop("task", None)
    named = next((name for name in summary.tasks if plain_task(name) == task), "")
    values = []
    for condition in _find(summary, settings):
        if quantity == "task":
            values.append(condition.task(named).mean)
        elif quantity == "source_weight":
            values.append(condition.source_weight(named).mean)
        elif quantity == "wssp":
            values.append(condition.wssp().mean)
        else:
            values.append(getattr(condition.overall(), quantity))
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _find(summary: Summary, settings: Mapping[str, Any]) -> list[Condition]:
    return [condition for condition in summary.find(**settings) if not _is_isolated(condition.settings)]


def _is_isolated(settings: Mapping[str, Any]) -> bool:
    """Whether prompts do not see the text, which is another model than the paper's."""
    return settings.get("prefix_mode") == "isolated"


def _settings(selector: Any) -> dict[str, Any]:
    return {"scheme": selector} if isinstance(selector, str) else dict(selector)


def _label(selector: Any) -> str:
    if isinstance(selector, str):
        return selector
    return ", ".join(
        str(value) if name in ("task", "label_set") else f"{name.replace('_', ' ')} {str(value).lower()}"
        for name, value in selector.items()
    )


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1f}"

"""The report's tables."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from crosspt.report.paper import PaperTable, Verdict, table_of, tables_of
from crosspt.report.summary import (
    INVALID,
    MEAN,
    RANKED,
    WSSP,
    Condition,
    Summary,
    axis_name,
    is_number,
    plain_task,
    show,
    source_weight,
)

SPREAD = "percent ± standard deviation over seeds"


class Entry(NamedTuple):
    """One place of a table."""

    value: Any = ""  # text, or a number in full; NaN is undefined, and "" does not apply
    std: float = math.nan  # over seeds
    paper: float = math.nan  # the paper's number
    paper_std: float = math.nan  # the deviation that the paper prints with it
    notes: Sequence[str] = ()  # names of footnotes
    text: str = ""  # shown in place of the value
    digits: int = 1  # decimals shown

    @property
    def shown(self) -> str:
        """The value as text, with its deviation."""
        if self.text or not is_number(self.value):
            return self.text or str(self.value)
        if math.isnan(self.value):
            return "undefined"
        spread = "" if math.isnan(self.std) else f" ± {self.std:.{self.digits}f}"
        return f"{self.value:,.{0 if isinstance(self.value, int) else self.digits}f}{spread}"

    @property
    def beside(self) -> str:
        """The paper's number as text."""
        spread = "" if math.isnan(self.paper_std) else f" ± {self.paper_std:g}"
        return "" if math.isnan(self.paper) else f"paper {self.paper:g}{spread}"

    @property
    def with_paper(self) -> str:
        """The value as text, with the paper's number."""
        return f"{self.shown} ({self.beside})" if self.beside else self.shown


Row = dict[str, Entry]


class Table(NamedTuple):
    """A table: the name of its files, what it shows, and an entry for each column of each row."""

    name: str
    title: str
    rows: list[Row]

    @property
    def numeric(self) -> dict[str, bool]:
        """The columns, and whether they hold numbers."""
        headings = dict.fromkeys(heading for row in self.rows for heading in row)
        return {name: any(is_number(row[name].value) for row in self.rows if name in row) for name in headings}

    def entries(self) -> list[list[Entry]]:
        """The entries of each row, one for each column."""
        headings = list(self.numeric)
        return [[row.get(heading, Entry()) for heading in headings] for row in self.rows]

    def csv(self) -> str:
        """Every number in full; deviations and the paper's numbers in columns of their own."""
        columns: dict[str, list[Any]] = {}
        for heading, column in zip(self.numeric, zip(*self.entries(), strict=True), strict=True):
            columns[heading] = [entry.value for entry in column]
            for label, place in (("std", 1), ("paper", 2), ("paper std", 3)):
                if not all(math.isnan(entry[place]) for entry in column):
                    columns[f"{heading} {label}"] = [entry[place] for entry in column]
        return pd.DataFrame(columns, dtype=object).to_csv(index=False, lineterminator="\n")

    def markdown(self, numbers: Mapping[str, int], texts: Mapping[str, str]) -> str:
        """A table of GitHub's Markdown with its footnotes below; notes have the page's numbers."""
        lines = [list(self.numeric), ["---:" if numeric else "---" for numeric in self.numeric.values()]]
        for entries in self.entries():
            marks = ["".join(f" [{numbers[note]}]" for note in entry.notes) for entry in entries]
            lines.append([entry.with_paper + mark for entry, mark in zip(entries, marks, strict=True)])
        used = {note for row in self.rows for entry in row.values() for note in entry.notes}
        text = "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)
        notes = "".join(f"\n{number}. {texts[note]}" for note, number in numbers.items() if note in used)
        return f"**{_plain(self.title)}**\n\n{text}\n" + (f"{notes}\n" if notes else "")


def make_tables(summary: Summary, verdicts: Sequence[Verdict]) -> list[Table]:
    """The tables of an experiment that have rows, and before them that of means."""
    means, *tables = [
        Table("means", f"Mean over tasks, {SPREAD}", _means(summary)),
        Table("tasks", f"Primary metric of each task, {SPREAD}", _tasks(summary)),
        Table("statements", "What the paper says in words", [_statement(verdict) for verdict in verdicts]),
        *(_printed(summary, printed) for printed in tables_of(summary)),
        Table("metrics", "Every metric; * marks the primary one, which the means are of", _metrics(summary)),
        Table("prompts", "Prompts: similarity, attention weights in percent, parameters, cost", _prompts(summary)),
        Table(
            "unfinished",
            "Failed and unfinished cells",
            [
                {"cell": Entry(one.name), "reason": Entry(one.problem)}
                for one in summary.experiment.cells
                if one.problem
            ],
        ),
    ]
    return [means, *(table for table in tables if table.rows)]


def _means(summary: Summary) -> list[Row]:
    quantities = [MEAN, INVALID, *([RANKED] if summary.has_ranks else [])]
    if any(condition.spreads.at[WSSP, "count"] for condition in summary.conditions):
        quantities.append(WSSP)
    rows = []
    for condition in summary.conditions:
        seeds = len(condition.cells)
        row = _settings(summary, condition)
        row["seeds"] = Entry(seeds, text=f"{seeds} of {condition.planned}")
        row |= {quantity: _entry(summary, condition, quantity) for quantity in quantities}
        row |= {} if seeds else {MEAN: Entry(math.nan, text="no result")}
        rows.append({**row, "parameters": _parameters(condition)})
    if len(summary.majority):
        mean = summary.majority["mean"].reindex(summary.tasks).mean(skipna=False)
        rows.append({"scheme": Entry("majority"), MEAN: Entry(float(mean))})
    return rows


def _tasks(summary: Summary) -> list[Row]:
    rows = [
        _settings(summary, one) | {name: _entry(summary, one, name) for name in [*summary.tasks, MEAN]}
        for one in summary.find()
    ]
    if len(summary.majority):
        found = summary.majority.reindex(summary.tasks)
        entries = map(Entry, found["mean"].tolist(), found["deviation"])
        rows.append({"scheme": Entry("majority"), **dict(zip(summary.tasks, entries, strict=True))})
    return rows


def _statement(verdict: Verdict) -> Row:
    text = Entry(verdict.text, notes=verdict.footnotes)
    ours, outcome = Entry(verdict.ours), Entry(verdict.verdict)
    return {"place": Entry(verdict.where), "the paper says": text, "ours": ours, "verdict": outcome}


def _printed(summary: Summary, table: PaperTable) -> Table:
    """A table of the paper, with our rows under its own."""
    rows = []
    for method, values in table.rows.items():
        row = {"method": Entry(method), "from": Entry("paper")}
        for column, value in zip(table.columns, values, strict=True):
            std = table.deviations.get(method, math.nan) if column == MEAN else math.nan
            digits = 1 if table.table == "Table 2" else 2
            row[column] = Entry(value, std, notes=table.notes(method, column), digits=digits)
        rows.append(row)
    quantities = {MEAN: MEAN, **{plain_task(task): task for task in summary.tasks}}
    for condition in summary.find(shots=table.shots):
        others = [show(condition.settings[axis]) for axis in summary.varying if axis not in ("scheme", "shots")]
        row = {"method": Entry(", ".join([condition.scheme, *others])), "from": Entry("here")}
        rows.append(row | {column: _spread(condition, quantities[column]) for column in table.columns})
    name = table.table.lower().replace(",", "").replace(" ", "-")
    return Table(f"paper-{name}", f"{table.table} of the paper: {table.title}, with our rows", rows)


def _metrics(summary: Summary) -> list[Row]:
    rows = summary.rows[summary.rows["own"]]
    rows = rows.assign(metric=rows["metric"] + rows["primary"].map({True: " *", False: ""}))
    found = rows.groupby(["condition", "decode", "task", "metric"], sort=False).agg(
        value=("value", "mean"),
        value_std=("value", "std"),
        invalid=("invalid_rate", "mean"),
        invalid_std=("invalid_rate", "std"),
        seeds=("value", "count"),
        rows=("count", "min"),
    )
    return [
        {
            **_settings(summary, summary.conditions[one.condition]),
            "task": Entry(one.task),
            "metric": Entry(one.metric),
            "answers": Entry({"generate": "generated", "rank": "ranked"}[one.decode]),
            "value": Entry(one.value, one.value_std),
            "invalid": Entry(one.invalid, one.invalid_std),
            "seeds": Entry(one.seeds),
            "rows": Entry(one.rows),
        }
        for one in found.reset_index().sort_values(["condition", "decode"], kind="stable").itertuples()
    ]


def _prompts(summary: Summary) -> list[Row]:
    """Prompts in numbers; the cost is that of the first bank of any seed."""
    rows = []
    for condition in summary.find():
        banks = [bank for cell in condition.cells for bank in cell.banks]
        if banks:
            cost = banks[0].get("inference_cost")
            costs = cost.items() if isinstance(cost, dict) else ()
            row = {**_settings(summary, condition), WSSP: _spread(condition, WSSP)}
            row["trainable parameters"] = _parameters(condition)
            row |= {source_weight(task): _spread(condition, source_weight(task)) for task in summary.tasks}
            rows.append(row | {key.replace("_", " "): Entry(value) for key, value in costs if is_number(value)})
    return rows


def _settings(summary: Summary, condition: Condition) -> Row:
    """What tells a condition apart; an axis is of numbers where all its values are."""
    row = {"scheme": Entry(condition.scheme)}
    for axis, values in summary.varying.items():
        value = condition.settings[axis]
        row[axis_name(axis)] = Entry(value if all(map(is_number, values)) else show(value), text=show(value))
    return row


def _parameters(condition: Condition) -> Entry:
    return Entry("" if condition.parameters is None else condition.parameters)


def _spread(condition: Condition, quantity: str) -> Entry:
    return Entry(*condition.spreads.loc[quantity, ["mean", "deviation"]].tolist())


def _entry(summary: Summary, condition: Condition, quantity: str) -> Entry:
    """A quantity, with the paper's number where it prints one."""
    table = table_of(condition, tables_of(summary))
    row, column = table.row(condition.scheme) if table else "", plain_task(quantity)
    entry = _spread(condition, quantity)
    if table is None or column not in table.columns:
        return entry
    std = table.deviations.get(row, math.nan) if column == MEAN else math.nan
    return entry._replace(paper=table.value(row, column), paper_std=std, notes=table.notes(row, column))


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

"""The tables of an experiment for its report, and of a run's results for a terminal."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from crosspt.config.values import fits
from crosspt.report.paper import table_of, tables_of
from crosspt.report.statistics import MOST_SEEDS, estimate
from crosspt.report.summary import (
    INVALID,
    MEAN,
    RANKED,
    WSSP,
    Condition,
    Summary,
    axis_name,
    plain_task,
    show,
    source_weight,
    summarize_run,
)
from crosspt.report.table import Entry, Row, Table
from crosspt.runs.experiments.read import Experiment

SPREAD = "percent ± standard deviation over seeds"
INTERVAL = f"{SPREAD} [95 % interval]"
SAID, STATED = "the paper says", "the statement"  # headings of statements
MEANS = (
    (MEAN, "primary *", "mean"),
    (RANKED, "primary *, ranked", "mean, ranked"),
    (INVALID, "invalid", "mean, invalid answers"),
)
DIFFERENCES = "Difference of the means of every two conditions, percentage points [95 % interval]"


def make_tables(summary: Summary, verdicts: Sequence[Mapping[str, Any]]) -> list[Table]:
    """The tables of an experiment that have rows, and before them that of means."""
    rows = [_row(summary, condition) for condition in summary.conditions]
    majority = _select([_row(summary, summary.majority)], ["scheme", *summary.tasks, MEAN])
    majority *= bool(summary.majority.spreads["count"].any())
    finished = [row for row in rows if row["seeds"].value]
    axes, weights = ["scheme", *map(axis_name, summary.varying)], [source_weight(task) for task in summary.tasks]
    means = [*axes, "seeds", MEAN, INVALID, RANKED, WSSP, "parameters"]
    facts = dict.fromkeys(fact for condition in summary.conditions for fact in condition.facts)
    prompts = _select((row for row in finished if "parameters" in row), [*axes, WSSP, *weights, *facts])
    unfinished = [{"cell": cell.name, "reason": cell.problem} for cell in summary.experiment.cells if cell.problem]
    tasks = _select(finished + majority, [*axes, *summary.tasks, MEAN])
    first, *others = [
        Table("means", f"Mean over tasks, {INTERVAL}", _select(rows + majority, means), "results", len(axes)),
        Table("tasks", f"Primary metric of each task, {SPREAD}", tasks, "results", len(axes)),
        _statements(verdicts),
        *_printed(summary),
        Table("differences", DIFFERENCES, list(_differences(summary)), "differences"),
        Table("metrics", "Every metric; * marks the primary one, which the means are of", _metrics(summary), "metrics"),
        choices_table(summary.experiment),
        Table("prompts", "Prompts: similarity, attention weights in percent, parameters, cost", prompts, "prompts"),
        Table("unfinished", "Failed and unfinished cells", unfinished, "unfinished"),
    ]
    return [first, *(table for table in others if table.rows)]


def choices_table(experiment: Experiment) -> Table:
    """What development rows chose: for every seed of each condition its cell, and the values of the chosen axes."""
    rows = []
    for one in experiment.choices:
        settings = {axis: one["settings"][axis] for axis in dict.fromkeys(["scheme", *experiment.axes])}
        where = {axis_name(axis): show(value) for axis, value in settings.items() if axis != "method"}
        chosen = {axis_name(axis): "" if value is None else show(value) for axis, value in one["chosen"].items()}
        rows.append(
            {**where, "seed": one["seed"], **chosen, "score": one["score"], "tried": one["tried"], "cell": one["cell"]}
        )
    return Table("choices", "Chosen by the score on development rows, percent", rows, "metrics")


def _statements(verdicts: Sequence[Mapping[str, Any]]) -> Table:
    """The paper's statements, or those of an experiment of one's own."""
    said, title, section = SAID, "What the paper says in words", "paper"
    if any(one["own"] for one in verdicts):
        said, title, section = STATED, "What was stated", "stated"
    return Table("statements", title, [_statement(one, said) for one in verdicts], section)


def _statement(one: Mapping[str, Any], said: str) -> Row:
    """A statement with its verdict and the comparison that it stands or falls with."""
    row = {"place": one["where"], said: Entry(one["text"], notes=one["footnotes"]), "ours": one["ours"]}
    if decisive := one["decisive"]:
        row["decided by"] = f"{decisive['higher']} - {decisive['lower']}"
        row["difference"] = _difference(*(decisive[key] for key in ("difference", "low", "high")))
    row |= {"p": Entry(one["p"], digits=3)} if one["p"] is not None else {}
    row |= {"verdict": one["verdict"], "reason": one["reason"]}
    if more := one["more_seeds"]:
        row["more seeds"] = Entry(more, text=f"over {MOST_SEEDS}" if more > MOST_SEEDS else "")
    return row


def _differences(summary: Summary) -> Iterator[Row]:
    """The difference of every pair of conditions over the seeds that both have."""
    conditions, quantities = summary.find(), {"difference": MEAN, "difference, ranked": RANKED}
    names = [", ".join(show(one.settings[axis]) for axis in summary.varying) or one.scheme for one in conditions]
    for column, quantity in list(quantities.items()):
        if not any(one.spreads.at[quantity, "count"] for one in conditions):
            del quantities[column]
    samples = [[summary.sample(one, quantity) for quantity in quantities.values()] for one in conditions]
    for (one, those), (other, these) in itertools.combinations(zip(names, samples, strict=True), 2):
        found = [estimate((above - below).dropna(subset=[0])) for above, below in zip(those, these, strict=True)]
        entries = {
            column: _difference(each.mean, each.low, each.high) for column, each in zip(quantities, found, strict=True)
        }
        yield {"condition": one, "less": other, "seeds": found[0].seeds, **entries}


def _difference(value: float, low: float | None, high: float | None) -> Entry:
    return Entry(value, low=math.nan if low is None else low, high=math.nan if high is None else high)


def results_table(rows: Sequence[Mapping[str, Any]], title: str, brief: bool = False) -> Table:
    """The metrics of a run, a line each, with a column for each scheme, and below them the means.

    Where answers were both generated and ranked the lines are of the generated ones; the ranked ones add their mean.
    ``invalid`` is the rate of answers that are no label. ``brief`` leaves out what is not a primary metric or a mean,
    and the metrics' names.
    """
    summary = summarize_run(rows)
    lines: dict[tuple[str, str], Row] = {}
    for row in (row for row in _metrics(summary) if row["decode"] == summary.decode):
        for metric, entry in ((row["metric"], row["value"]), ("invalid", row["invalid"])):
            if metric.endswith("*") or not (brief or (metric == "invalid" and not entry.value)):
                line = {"task": row["task"]} | ({} if brief else {"metric": metric, "rows": row["rows"]})
                lines.setdefault((row["task"], metric), line)[row["scheme"]] = entry
    found = [_row(summary, condition) for condition in summary.conditions]
    for quantity, metric, short in MEANS:
        means = {row["scheme"]: row[quantity] for row in found if quantity in row}
        line = {"task": short} if brief else {"task": "mean", "metric": metric}
        lines |= {("mean", metric): {**line, **means}} if means else {}
    return Table("results", title, list(lines.values()), keys=1 if brief else 2)


def shorten(table: Table, columns: Sequence[str]) -> Table:
    """The table with these of its columns alone."""
    return table._replace(rows=_select(table.rows, columns))


def _select(rows: Iterable[Row], columns: Sequence[str]) -> list[Row]:
    return [{column: row[column] for column in columns if column in row} for row in rows]


def _settings(summary: Summary, condition: Condition) -> Row:
    """What tells a condition apart; an axis is of numbers where all its values are."""
    row: Row = {"scheme": condition.scheme}
    for axis in (axis for axis in summary.varying if axis in condition.settings and axis != "scheme"):
        value, numeric = condition.settings[axis], all(fits(value, float) for value in summary.varying[axis])
        row[axis_name(axis)] = Entry(value if numeric else show(value), text=show(value))
    return row


def _row(summary: Summary, condition: Condition) -> Row:
    """All that is said of a condition, with the paper's numbers."""
    seeds, paper = len(condition.cells), table_of(summary, condition)
    row = _settings(summary, condition) | {"seeds": Entry(seeds, text=f"{seeds} of {condition.planned}")}
    for quantity, spread in condition.spreads.iterrows():
        if quantity in (RANKED, WSSP) and not any(one.spreads.at[quantity, "count"] for one in summary.conditions):
            continue
        row[quantity] = Entry(spread["mean"], spread["std"])
        if quantity in (MEAN, RANKED, WSSP):
            found = estimate(summary.sample(condition, quantity))
            row[quantity] = row[quantity]._replace(low=found.low, high=found.high)
        if quantity == RANKED and len(summary.ranked) < len(summary.tasks) and spread["count"]:
            of = f"({len(summary.ranked)} of {len(summary.tasks)} tasks)"
            row[quantity] = row[quantity]._replace(text=f"{row[quantity].shown} {of}")
        if paper and plain_task(quantity) in paper.columns:
            number, std, notes = paper.number(paper.row(condition), plain_task(quantity))
            row[quantity] = row[quantity]._replace(paper=number, paper_std=std, notes=notes)
    known = condition.values[summary.tasks].notna()
    if not seeds:
        row[MEAN] = Entry(math.nan, text="no result")
    elif known.any(axis=None) and not known.all(axis=1).any():
        of = f"({known.any().sum()} of {len(summary.tasks)} tasks)"
        row[MEAN] = row[MEAN]._replace(text=f"{row[MEAN].value:.1f} {of}")
    return {**row, **condition.facts}


def _printed(summary: Summary) -> Iterator[Table]:
    """The paper's tables, with our rows under its own."""
    for table in tables_of(summary):
        digits, rows = 1 if table.table == "Table 2" else 2, []
        for method in table.rows:
            row: Row = {"method": method, "from": "paper"}
            for column in table.columns:
                value, std, notes = table.number(method, column)
                row[column] = Entry(value, std, notes=notes, digits=digits)
            rows.append(row)
        for one in summary.find(shots=table.shots):
            others = [show(one.settings[axis]) for axis in summary.varying if axis not in ("scheme", "shots")]
            spreads = one.spreads.rename(index=plain_task)[["mean", "std"]]
            entries = {column: Entry(*spreads.loc[column]) for column in table.columns}
            rows.append({"method": ", ".join([one.scheme, *others]), "from": "here", **entries})
        name = table.table.lower().replace(",", "").replace(" ", "-")
        yield Table(f"paper-{name}", f"{table.table} of the paper: {table.title}, with our rows", rows, "paper")


def _metrics(summary: Summary) -> list[Row]:
    found, keys = [], ["condition", "decode", "task", "metric"]
    ordered = summary.rows.sort_values(keys[:2], kind="stable")
    for (number, decode, task, metric), rows in ordered.groupby(keys, sort=False):
        row = _settings(summary, summary.conditions[number]) | {"task": task, "metric": metric, "decode": decode}
        row["metric"] += " *" * int(rows["primary"].all())
        row |= {"value": Entry(rows["value"].mean(), rows["value"].std())}
        row |= {"invalid": Entry(rows["invalid_rate"].mean(), rows["invalid_rate"].std())}
        found.append(row | {"seeds": int(rows["value"].count()), "rows": int(rows["count"].min())})
    return found

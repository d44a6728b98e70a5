"""Tables of results rows for the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text


def primary_values(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """The primary metric of each task by scheme, in the order of the rows."""
    values: dict[str, dict[str, float | None]] = {}
    for row in rows:
        if row["primary"]:
            values.setdefault(row["scheme"], {})[row["task"]] = row["value"]
    return values


def mean(values: Sequence[float | None]) -> float | None:
    """The mean; None where a value is undefined."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def split_rows(rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows that a table is about, the generated answers or else the ranked ones, and the ranked ones besides."""
    generated = [row for row in rows if row["decode"] == "generate"]
    ranked = [row for row in rows if row["decode"] == "rank"]
    return (generated, ranked) if generated else (ranked, [])


def results_table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    """A line for every scheme, task and metric, and the mean of the primary metrics of each scheme.

    Where answers were both generated and ranked the lines are of the generated ones; the ranked ones add their mean.
    """
    rows, ranked = split_rows(rows)
    ranked_values = primary_values(ranked)
    table = Table(title=Text(title))
    for heading in ("scheme", "task", "metric", "value", "invalid", "rows"):
        table.add_column(heading, justify="left" if heading in ("scheme", "task", "metric") else "right")
    for scheme, values in primary_values(rows).items():
        for row in rows:
            if row["scheme"] == scheme:
                metric = row["metric"] + (" *" if row["primary"] else "")
                invalid = f"{row['invalid_rate']:.1f}%"
                table.add_row(scheme, row["task"], metric, percent(row["value"]), invalid, str(row["count"]))
        table.add_row(scheme, "mean", "primary *", percent(mean(list(values.values()))), "", "")
        if scheme in ranked_values and scheme != "majority":
            ranked_mean = mean(list(ranked_values[scheme].values()))
            table.add_row(scheme, "mean", "primary *, ranked", percent(ranked_mean), "", "")
        table.add_section()
    return table


def schemes_table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    """The primary metric of every scheme (a line each) on every task (a column each), and the means.

    Then come the mean rate of answers that are no label and, where answers were ranked besides, the mean by ranking.
    """
    rows, ranked = split_rows(rows)
    values, ranked_values = primary_values(rows), primary_values(ranked)
    tasks = list(dict.fromkeys(task for scheme in values.values() for task in scheme))
    table = Table(title=Text(title))
    table.add_column("scheme")
    for heading in [*tasks, "mean", "invalid", *(["ranked"] if ranked else [])]:
        table.add_column(heading, justify="right")
    for scheme, by_task in values.items():
        cells = [by_task.get(task) for task in tasks]
        invalid = mean([row["invalid_rate"] for row in rows if row["scheme"] == scheme and row["primary"]])
        shown = [*cells, mean(cells), invalid]
        if ranked:
            shown.append(mean(list(ranked_values[scheme].values())))
        table.add_row(scheme, *(percent(value) for value in shown))
    return table


def percent(value: float | None) -> str:
    """One decimal, or a word where there is no value."""
    return "undefined" if value is None else f"{value:.1f}"

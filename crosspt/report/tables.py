"""Tables of results rows."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table


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


def schemes_table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    """The primary metric of every scheme (a line each) on every task (a column each), and the mean."""
    values = primary_values(rows)
    tasks = list(dict.fromkeys(task for scheme in values.values() for task in scheme))
    table = Table(title=title)
    table.add_column("scheme")
    for heading in [*tasks, "mean"]:
        table.add_column(heading, justify="right")
    for scheme, by_task in values.items():
        cells = [by_task.get(task) for task in tasks]
        table.add_row(scheme, *(percent(value) for value in [*cells, mean(cells)]))
    return table


def percent(value: float | None) -> str:
    """One decimal, or a word where there is no value."""
    return "undefined" if value is None else f"{value:.1f}"

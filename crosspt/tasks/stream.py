"""Rows to be answered, read a part at a time."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from crosspt.tasks.files import stream_columns
from crosspt.tasks.source import missing_column, take_columns
from crosspt.tasks.task import Task
from crosspt.tasks.values import is_missing, show

RowId = str | int


@dataclass(frozen=True)
class Inputs:
    """Some rows of a file.

    Attributes:
        ids: of the rows.
        rows: their text columns.
    """

    ids: list[RowId]
    rows: list[dict[str, str]]


@dataclass(frozen=True)
class Checked:
    """What a whole file of rows holds.

    Attributes:
        rows: how many.
        kinds: the types of their ids.
    """

    rows: int
    kinds: set[type]


def stream_inputs(task: Task, source: Path | BinaryIO, size: int, id_column: str | None = None) -> Iterator[Inputs]:
    """Reads the rows of a file by the rules of `load_inputs`, but that nothing is said of empty texts.

    Args:
        task: the task of the rows.
        source: a file of rows, or an open file of JSON lines.
        size: rows of a part.
        id_column: the column of the rows' ids; None numbers them from 0.

    Raises:
        ValueError: when what is read is broken, has no text column or no id in a row; when there is no row.
    """
    name, done = str(source) if isinstance(source, Path) else "stdin", 0
    for columns in stream_columns(source, size):
        part = take_columns(task, name, columns, first=done + 1)
        rows = [dict(zip(task.fields, row, strict=True)) for row in zip(*part.texts.values(), strict=True)]
        ids: list[RowId] = list(range(done, done + len(rows)))
        if id_column is not None and rows:
            if id_column not in columns:
                raise missing_column(task, part, id_column)
            ids = [
                _check_id(f"{name}: row {done + place}", id_column, id)
                for place, id in enumerate(columns[id_column], 1)
            ]
        if rows:
            yield Inputs(ids, rows)
        done += len(rows)
    if not done:
        raise ValueError(f"{name}: no rows for task {task.name!r}")


def check_inputs(task: Task, source: Path, size: int, id_column: str | None = None) -> Checked:
    """Reads a whole file once before any of it is answered; see `stream_inputs`. A warning tells of empty texts.

    Raises:
        ValueError: as `stream_inputs`; when a column has no text in any row.
    """
    rows, empty, kinds, filled = 0, 0, set(), set()
    for part in stream_inputs(task, source, size, id_column):
        rows += len(part.rows)
        kinds |= set(map(type, part.ids))
        for row in part.rows:
            missing = {field for field, text in row.items() if is_missing(text)}
            empty += bool(missing)
            filled |= row.keys() - missing
    for field in task.fields:
        if field not in filled:
            raise ValueError(f"{source}: column {field!r} of task {task.name!r} has no text in any row")
    if empty:
        warnings.warn(f"task {task.name!r}: {empty} of {rows} rows of {source} have an empty text", stacklevel=2)
    return Checked(rows, kinds)


def _check_id(place: str, column: str, value: Any) -> RowId:
    fits = isinstance(value, str) or (type(value) is int and -(2**63) <= value < 2**63)
    if not fits:
        raise ValueError(f"{place}: the id in {column!r} must be text or an integer of 64 bits, got {show(value)}")
    return value

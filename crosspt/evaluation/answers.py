"""``predictions.parquet``: every answer of an evaluation, from which its results are computed."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from crosspt.config.files import SCHEMA, parse_json, write_atomically
from crosspt.config.run import Decode
from crosspt.config.values import check_types
from crosspt.evaluation.metrics import MAJORITY, are_references, are_valid
from crosspt.tasks.task import Task
from crosspt.tasks.values import one_line

_TEXT = pa.dictionary(pa.int32(), pa.string())
_LOG_PROBABILITIES = pa.list_(pa.field("element", pa.float32(), nullable=False))
COLUMNS = pa.schema(
    [
        pa.field("scheme", _TEXT, nullable=False),
        pa.field("task", _TEXT, nullable=False),
        pa.field("row", pa.int32(), nullable=False),  # its number in the split that was answered, from 0
        pa.field("decode", _TEXT, nullable=False),
        pa.field("reference", _TEXT, nullable=False),
        pa.field("answer", _TEXT, nullable=False),
        pa.field("valid", pa.bool_(), nullable=False),  # whether it is an answer to the task at all, see `are_valid`
        pa.field("log_probabilities", _LOG_PROBABILITIES),  # of the task's answers; null where they were not ranked
    ]
)
GROUP = ["scheme", "task", "decode"]
_HEADER = "crosspt"  # the key of the file's metadata, which Parquet's and Arrow's part of it both hold
_TASK = {
    "fields": list[str],
    "labels": list[str],
    "metrics": list[str],
    "regression": bool,
    "free_text": bool,
    "answers": list[str],
}
_LATER = {"free_text": False}  # what files of older versions lack
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError, pa.ArrowException)


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers to B rows: their texts and, where C answers were ranked, the log-probabilities (B, C) float32."""

    texts: list[str]
    log_probabilities: np.ndarray | None = None

    @staticmethod
    def join(parts: Sequence["Answers"]) -> "Answers":
        """The answers of all parts, all of them ranked or none."""
        ranked = [part.log_probabilities for part in parts if part.log_probabilities is not None]
        return Answers([text for part in parts for text in part.texts], np.concatenate(ranked) if ranked else None)

    def take(self, places: Sequence[int] | np.ndarray) -> "Answers":
        """The answers at these places, in their order."""
        ranked = None if self.log_probabilities is None else self.log_probabilities[places]
        return Answers([self.texts[place] for place in places], ranked)


class Asked(NamedTuple):
    """A task and every text that may be ranked: the words of its classes, or scores; none for free text."""

    task: Task
    answers: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Predictions:
    """The answers of an evaluation.

    Args:
        rows: the columns of ``COLUMNS``, an answer each: texts as categories, log-probabilities as lists of Arrow.
        tasks: what was asked, by the task's name; a list of log-probabilities has the order of its answers.
    """

    rows: pd.DataFrame
    tasks: Mapping[str, Asked]


def keep_answers(
    scheme: str, asked: Asked, references: Sequence[str], answers: Mapping[Decode, Answers]
) -> Predictions:
    """The answers to all rows of a task.

    Args:
        scheme: whose answers.
        asked: the task.
        references: the right answers, from :meth:`Task.reference_text`.
        answers: the answers by the way of decoding.

    Raises:
        ValueError: there is no row, a number of answers is another, or the words do not fit the task's classes.
    """
    task, count, tables = asked.task, len(references), []
    for decode, given in answers.items():
        if not count or len(given.texts) != count:
            raise ValueError(
                f"keep_answers: task {task.name!r} needs one answer for each of 1 or more references, "
                f"got {len(given.texts)} for {count}"
            )
        columns = [
            _repeat(scheme, count),
            _repeat(task.name, count),
            pa.array(np.arange(count, dtype=np.int32)),
            _repeat(decode, count),
            pa.array(references, pa.string()).dictionary_encode(),
            pa.array(given.texts, pa.string()).dictionary_encode(),
            pa.array(are_valid(task, given.texts, asked.answers)),
            _lists(given.log_probabilities, count),
        ]
        tables.append(pa.table(columns, schema=COLUMNS))
    return Predictions(_frame(pa.concat_tables(tables)), {task.name: asked})


def join_predictions(parts: Sequence[Predictions]) -> Predictions:
    """The answers of all parts, one after the other.

    Raises:
        ValueError: two parts were asked another task by one name.
    """
    tasks: dict[str, Asked] = {}
    for name, asked in (pair for part in parts for pair in part.tasks.items()):
        if tasks.setdefault(name, asked).answers != asked.answers:
            raise ValueError(
                f"join_predictions: task {name!r} must have the same answers in all parts, "
                f"got {', '.join(tasks[name].answers)} and {', '.join(asked.answers)}"
            )
    return Predictions(_frame(pa.concat_tables([_table(part.rows) for part in parts])), tasks)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the file atomically; its folder is made when missing."""
    tasks = {
        name: {key: getattr(task, key) for key in _TASK if key != "answers"} | {"answers": answers}
        for name, (task, answers) in predictions.tasks.items()
    }
    header = {_HEADER: json.dumps({"schema": SCHEMA, "tasks": tasks})}
    content = io.BytesIO()
    pa.parquet.write_table(
        _table(predictions.rows).replace_schema_metadata(header),
        content,
        compression="zstd",
        use_dictionary=[field.name for field in COLUMNS if field.type == _TEXT],
        column_encoding={"row": "DELTA_BINARY_PACKED", "log_probabilities.list.element": "BYTE_STREAM_SPLIT"},
        write_page_checksum=True,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())


def read_predictions(path: Path, results: Sequence[Mapping[str, Any]] | None = None) -> Predictions:
    """Read a file that :func:`write_predictions` wrote.

    Args:
        path: the file.
        results: the rows of the results beside it, which it must be the answers of.

    Raises:
        ValueError: the file is missing, cut off, foreign, of another version or not that of the results; the message
            is a line that names it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    try:
        with pa.parquet.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
            found = file.schema_arrow
            header, copy = (kept.get(_HEADER.encode()) for kept in (found.metadata or {}, file.metadata.metadata or {}))
            if header != copy:
                raise ValueError("its two descriptions of the tasks differ")
            table = file.read() if header is not None and found.equals(COLUMNS) else None
            if table is not None:
                table = table.replace_schema_metadata()  # what other programs note there of their own types
                table.validate(full=True)
    except _UNREADABLE as error:
        raise ValueError(f"{path} is not a readable Parquet file: {one_line(error)}") from None
    if header is None:
        raise ValueError(f"{path} was not written by CrossPT")
    tasks = _read_tasks(path, parse_json(header, path))
    if table is None:
        wanted, got = (", ".join(f"{field.name} {field.type}" for field in one) for one in (COLUMNS, found))
        raise ValueError(f"{path} must have the columns {wanted}; it has {one_line(got)}")
    _check_rows(path, table, tasks)
    predictions = Predictions(_frame(table), tasks)
    if results is not None:
        _check_results(path, predictions.rows, results)
    return predictions


def _repeat(text: str, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, dtype=np.int32)), pa.array([text]))


def _lists(values: np.ndarray | None, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, _LOG_PROBABILITIES)
    ends = np.arange(count + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(ends, pa.array(values.ravel()), type=_LOG_PROBABILITIES)


def _frame(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas(types_mapper={_LOG_PROBABILITIES: pd.ArrowDtype(_LOG_PROBABILITIES)}.get)


def _table(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, schema=COLUMNS, preserve_index=False).replace_schema_metadata()


def _read_tasks(path: Path, header: Mapping[str, Any]) -> dict[str, Asked]:
    check_types(path, header, {"tasks": dict[str, dict]})
    tasks = {}
    for name, values in header["tasks"].items():
        origin, values = f"{path}: task {name!r}", _LATER | values
        check_types(origin, values, _TASK)
        parts: dict[str, Any] = {
            key: tuple(value) if isinstance(value := values[key], list) else value for key in _TASK
        }
        answers = parts.pop("answers")
        try:
            tasks[name] = Asked(Task(name=name, **parts), answers)
            are_valid(tasks[name].task, answers, answers)
        except ValueError as error:
            raise ValueError(f"{origin}: {one_line(error)}") from None
    return tasks


def _check_rows(path: Path, table: pa.Table, tasks: Mapping[str, Asked]) -> None:
    """Raise ValueError unless the rows are such as :func:`keep_answers` makes."""
    lengths = pa.compute.fill_null(pa.compute.list_value_length(table["log_probabilities"]), -1).to_numpy()
    rows = table.drop_columns("log_probabilities").to_pandas().assign(lengths=lengths)
    for (scheme, task, decode), part in rows.groupby(GROUP, observed=True, sort=False):
        origin = f"{path}: answers ({decode}) of {scheme} to task {task!r}"
        if task not in tasks or decode not in get_args(Decode):
            raise ValueError(f"{origin} must be to one of {', '.join(tasks)}, by {' or '.join(get_args(Decode))}")
        asked, ranked = tasks[task], decode == "rank"
        known = part["answer"].unique()
        valid = dict(zip(known, are_valid(asked.task, list(known), asked.answers), strict=True))
        facts = {
            "be to the rows 0, 1, ... in their order": (part["row"] == np.arange(len(part))).all(),
            "have right answers of the task": are_references(
                asked.task, list(part["reference"].unique()), asked.answers
            ),
            "not be ranked, as free text": not (ranked and asked.task.free_text),
            "say which are valid": (part["answer"].map(valid).astype(bool) == part["valid"]).all(),
            "be some of the task's, where they are ranked": not ranked or set(known) <= set(asked.answers),
            "have a log-probability for each of the task's, where they are ranked": (
                part["lengths"] == (len(asked.answers) if ranked else -1)
            ).all(),
        }
        for must, holds in facts.items():
            if not holds:
                raise ValueError(f"{origin} must {must}")
    if rows.duplicated(["task", "row", "reference"]).sum() != rows.duplicated(["task", "row"]).sum():
        raise ValueError(f"{path} must have one right answer for each row of a task")


def _check_results(path: Path, rows: pd.DataFrame, results: Sequence[Mapping[str, Any]]) -> None:
    wanted = {tuple(row[key] for key in GROUP): row["count"] for row in results if row["scheme"] != MAJORITY}
    found = rows.groupby(GROUP, observed=True, sort=False).size().to_dict()
    for scheme, task, decode in {**wanted, **found}:
        want, got = (counts.get((scheme, task, decode), 0) for counts in (wanted, found))
        if want != got:
            raise ValueError(
                f"{path} does not belong to its results: they are of {want} answers ({decode}) of {scheme} to "
                f"task {task!r}, it holds {got}"
            )

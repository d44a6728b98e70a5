"""A batch job: a file of rows answered into another, a part at a time, which goes on where it was stopped.

Answers are gathered as JSON lines behind a line that says what the job is, in a file beside the output. When all rows
are answered the output is written from it, aside, and renamed; a file at the output's path is always a whole one.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet

from crosspt.config.files import SCHEMA, NotJSONError, check_writable, decode_json, parse_json
from crosspt.config.run import Compute, Decode, RunConfig
from crosspt.evaluation.mixed import answer_questions
from crosspt.methods import find_method
from crosspt.runs.answering import AnsweringTask
from crosspt.runs.folder import differences
from crosspt.runs.lock import lock
from crosspt.tasks.collation import warn_of_cut
from crosspt.tasks.stream import Inputs
from crosspt.tasks.task import Task

SUFFIXES = (".jsonl", ".csv", ".parquet")
GROUP = 2**16  # rows of a row group
COLUMNS: dict[Decode, tuple[str, ...]] = {"rank": ("id", "label", "probability"), "generate": ("id", "text")}


class Job:
    """The output of a job, and what is answered of it so far.

    Args:
        output: the file to write, which must not be there; its suffix is one of ``SUFFIXES``.
        identity: what the job is, as plain JSON values; only a job that is the same goes on.
        decode: how rows are answered, which decides on the columns.
        resume: whether a part of the job may be there already.
    """

    def __init__(self, output: Path, identity: Mapping[str, Any], decode: Decode, *, resume: bool):
        self.output = output
        self.identity = {"schema": SCHEMA, **identity}
        self.decode = decode
        self.resume = resume
        self.part = output.with_name(f"{output.name}.part")
        self._open = ExitStack()
        self._file: BinaryIO

    def __enter__(self) -> "Job":
        """Lock the output, and make or find the file of what is answered.

        Raises:
            ValueError: the output is there, another process writes it, a part of it is there that ``resume`` does not
                allow to continue, or one of another job.
        """
        check_writable(self.output.parent)
        aside = self.output.with_name(f".{self.output.name}.lock")
        with ExitStack() as stack:
            stack.enter_context(lock(aside, f"{self.output} is being written", "choose another --output"))
            if self.output.exists():
                raise ValueError(f"{self.output} is there already; another --output starts a new job")
            if self.part.exists() and not self.resume:
                raise ValueError(
                    f"{self.part} holds a part of a job; --resume goes on with it, another --output starts a new one"
                )
            self._file = stack.enter_context(self.part.open("a+b"))
            self._file.seek(0)
            first = self._file.readline()
            if json.dumps(self.identity).encode().startswith(first):  # new, or stopped before anything was answered
                self._file.truncate(0)
                self.write([self.identity])
            else:
                self._check(first)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _check(self, line: bytes) -> None:
        different = differences("job", parse_json(line, self.part), self.identity)
        if different:
            shown = ", ".join(f"{key} (there {was!r}, here {now!r})" for key, was, now in different)
            raise ValueError(f"{self.part} holds a part of another job: {shown}")

    def skip(self, parts: Iterable[Inputs]) -> Iterator[Inputs]:
        """What is left of the rows to answer; a last line that was cut off is dropped, and its row answered again.

        Raises:
            ValueError: the rows that are answered are not the first ones.
        """
        self._file.seek(0)
        self._file.readline()
        known = True
        for part in parts:
            done = 0
            while known and done < len(part.ids):
                place = self._file.tell()
                row = self._read(self._file.readline())
                if row is None:
                    known = False
                    self._file.truncate(place)
                elif row["id"] != part.ids[done]:
                    raise ValueError(f"{self.part} answers row {row['id']!r} where the input has {part.ids[done]!r}")
                else:
                    done += 1
            if done < len(part.ids):
                yield Inputs(part.ids[done:], part.rows[done:])

    def _read(self, line: bytes) -> dict[str, Any] | None:
        """An answered row; None for what a stop left of one."""
        try:
            row = decode_json(line, self.part) if line.endswith(b"\n") else None
        except NotJSONError:
            return None
        return row if isinstance(row, dict) and row.keys() == set(COLUMNS[self.decode]) else None

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add answered rows."""
        self._file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
        self._file.flush()

    def finish(self) -> int:
        """Write the output out of all that is answered, and return its number of rows.

        Raises:
            ValueError: ids of a .parquet file are of several types.
        """
        aside = self.output.with_name(f".{self.output.name}.{os.getpid()}.tmp")
        write = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}[self.output.suffix.lower()]
        try:
            with aside.open("wb") as file:
                rows = write(file, self._answered, COLUMNS[self.decode])
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.output)
        finally:
            aside.unlink(missing_ok=True)
        self.part.unlink()
        return rows

    def _answered(self) -> Iterator[dict[str, Any]]:
        with self.part.open("rb") as file:
            file.readline()
            for line in file:
                yield decode_json(line, self.part)


def describe_job(
    checkpoint: Path, run: RunConfig, task: Task, decode: Decode, source: Path | None, id_column: str | None
) -> dict[str, Any]:
    """What a job is: what is asked of which model, and which rows; None stands for stdin."""
    learned = find_method(run.method).folder_of(checkpoint, task.name)
    length = {"max_target_length": task.max_target_length} if task.free_text else {}
    names = ("prefix", "label_set", "max_length")
    return {
        "checkpoint": str(checkpoint.resolve()),
        "learned": [[file.name, *_stamp(file)] for file in sorted(learned.glob("*.safetensors"))],
        "model": run.model,
        "task": task.name,
        "decode": decode,
        "data": {name: getattr(run.data, name) for name in names} | length,
        "input": None if source is None else [str(source.resolve()), *_stamp(source)],
        "id_column": id_column,
    }


def answer_parts(
    task: AnsweringTask, parts: Iterable[Inputs], decode: Decode, compute: Compute
) -> Iterator[list[dict[str, Any]]]:
    """The answered rows of each part, with the columns of ``COLUMNS``; warns at the end where some were cut."""
    cut = rows = 0
    for part in parts:
        questions, long = task.ask(part.rows, decode)
        replies = answer_questions(task.model, task.tokenizer, questions, compute)
        cut, rows = cut + long, rows + len(replies)
        yield [
            dict(zip(COLUMNS[decode], (id, *reply), strict=False)) for id, reply in zip(part.ids, replies, strict=True)
        ]
    warn_of_cut(task.task, cut, rows, task.data.max_length)


def check_kinds(kinds: set[type], origin: object) -> None:
    """Raise ValueError unless the ids are of one type, as a column of a .parquet file must be."""
    if len(kinds) > 1:
        raise ValueError(f"{origin}: the ids of a .parquet file must be all text or all integers, got both")


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


Answered = Callable[[], Iterator[dict[str, Any]]]


def _write_jsonl(file: BinaryIO, answered: Answered, columns: Sequence[str]) -> int:
    count = 0
    for row in answered():
        file.write(json.dumps(row).encode() + b"\n")
        count += 1
    return count


def _write_csv(file: BinaryIO, answered: Answered, columns: Sequence[str]) -> int:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    count = 0
    for row in answered():
        writer.writerow(row)
        count += 1
    text.detach()  # the file is flushed and closed by who opened it
    return count


def _write_parquet(file: BinaryIO, answered: Answered, columns: Sequence[str]) -> int:
    kinds = {type(row["id"]) for row in answered()}
    check_kinds(kinds, "the input")
    types = {"id": pa.int64() if kinds == {int} else pa.string(), "probability": pa.float64()}
    schema = pa.schema([pa.field(name, types.get(name, pa.string()), nullable=False) for name in columns])
    count, rows = 0, answered()
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        while group := list(islice(rows, GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema))
            count += len(group)
    return count

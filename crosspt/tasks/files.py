"""Reads a file of rows, afresh each time.

The readers of `datasets` and pandas guess types column by column in JSON and CSV (a text "NA" becomes null, one that
looks like a date a timestamp) and fill up lines that lack cells, so these formats are read here.
"""

import csv
import gzip
import io
import json
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet

from crosspt.tasks.values import one_line

TEXT_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet", *(f"{suffix}.gz" for suffix in TEXT_SUFFIXES))

_ENCLOSED = re.compile(r'(?:^|(?<=\t))"([^"]*(?:""[^"]*)*)"(?=\t|\r?$)', re.MULTILINE)
_FIELD_LIMIT = threading.Lock()


class MissingRowsError(ValueError):
    """A file of rows, or the folder that should hold it, is not there."""


def split_suffix(name: str) -> tuple[str, str]:
    """Returns a file's name without its suffix, and that one of SUFFIXES, both in lower case; "" for no such suffix."""
    name = name.lower()
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
    return name.removesuffix(suffix), suffix


def read_columns(path: Path) -> dict[str, list[Any]]:
    """Reads a .jsonl, .json, .csv, .tsv (each also .gz) or .parquet file into lists of one length, by column name.

    Every CSV and TSV value is text. A TSV file has no quoting, as in those that GLUE and PAWS publish: a quotation mark
    is part of the text. It has CSV's quoting where every quotation mark keeps its rules (a cell is enclosed in them,
    those inside are doubled) and either the header or a mark, tab or line break inside a cell shows that a program
    meant it so. A .json file holds an array of objects, or an object a line as a .jsonl file does; a key that some
    objects lack is None there.

    Raises:
        MissingRowsError: when there is no such file.
        ValueError: when the suffix is none of these or the content is broken; one line that names the file.
    """
    path, suffix = _find(path)
    with _explained(path):
        if suffix == ".parquet":
            return _read_parquet(path)
        text = _read_text(path)
        if ".json" in suffix:
            return _columns_of(_json_rows(text, array=".jsonl" not in suffix))
        return _read_delimited(text, ".tsv" in suffix)


def stream_columns(source: Path | BinaryIO, rows: int) -> Iterator[dict[str, list[Any]]]:
    """Reads what `read_columns` does in parts of so many rows, the last one smaller.

    Of .jsonl, .csv and .parquet files a part at a time is in memory, of others the whole file.

    Args:
        source: a file of rows, or an open file of JSON lines.
        rows: of a part.

    Raises:
        MissingRowsError, ValueError: as `read_columns`, when the part that is broken is read.
    """
    if not isinstance(source, Path):
        with _explained("stdin"):
            yield from _stream_json(source, rows)
        return
    path, suffix = _find(source)
    with _explained(path):
        if suffix == ".parquet":
            with path.open("rb") as file, _explained_parquet():
                content = pyarrow.parquet.ParquetFile(file)
                _check_names(content.schema_arrow.names)
                yield from (part.to_pydict() for part in content.iter_batches(batch_size=rows))
        elif suffix.removesuffix(".gz") in (".jsonl", ".csv"):
            stream = _stream_json if suffix.startswith(".jsonl") else _stream_csv
            opened: Any = gzip.open if suffix.endswith(".gz") else open
            with opened(path, "rb") as file:
                yield from stream(file, rows)
        else:
            columns = read_columns(path)
            for start in range(0, max(map(len, columns.values()), default=0), rows):
                yield {name: values[start : start + rows] for name, values in columns.items()}


def _find(path: Path) -> tuple[Path, str]:
    """Returns the path of a file of rows, and its suffix."""
    path = path.expanduser()
    suffix = split_suffix(path.name)[1]
    if not suffix:
        raise ValueError(f"{path}: rows must be in a file ending in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise MissingRowsError(f"{path}: no such file")
    return path, suffix


@contextmanager
def _explained(path: object) -> Iterator[None]:
    """Raises what is wrong with a file as a ValueError of one line that names it."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except (OSError, EOFError, zlib.error, csv.Error, MemoryError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read: {one_line(error)}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(error)}") from error


def _read_text(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.name.lower().endswith(".gz") else content).decode("utf-8-sig")


def _read_parquet(path: Path) -> dict[str, list[Any]]:
    with path.open("rb") as file, _explained_parquet():
        table = pyarrow.parquet.ParquetFile(file).read()
        _check_names(table.column_names)
        return table.to_pydict()


@contextmanager
def _explained_parquet() -> Iterator[None]:
    """Raises what pyarrow raises as a ValueError."""
    try:
        yield
    except UnicodeDecodeError:
        raise
    except (OSError, ValueError, TypeError, KeyError, OverflowError, pyarrow.ArrowException) as error:
        raise ValueError(f"cannot be read: {error}") from error


def _stream_json(file: BinaryIO, rows: int) -> Iterator[dict[str, list[Any]]]:
    """Yields parts of JSON lines; a column that was there before is there as None."""
    lines = enumerate(_text_lines(file, newline=None), start=1)
    found = ((number, line) for number, line in lines if line.strip())
    names: dict[str, None] = {}
    while part := [_json_object(f"line {number}", line) for number, line in islice(found, rows)]:
        names.update(dict.fromkeys(name for row in part for name in row))
        yield {name: [row.get(name) for row in part] for name in names}


def _stream_csv(file: BinaryIO, rows: int) -> Iterator[dict[str, list[Any]]]:
    lines = csv.reader(_text_lines(file, newline=""), strict=True)
    with _wide_fields():
        names = next(lines, [])
    _check_names(names)
    while True:
        with _wide_fields():  # not while another part is worked on
            part = list(islice(_cells(lines, len(names)), rows))
        if not part:
            return
        yield {name: [row[position] for row in part] for position, name in enumerate(names)}


def _text_lines(file: BinaryIO, newline: str | None) -> Iterator[str]:
    """Yields the lines of UTF-8 text."""
    number = 0
    try:
        for line in io.TextIOWrapper(file, encoding="utf-8-sig", newline=newline):
            number += 1
            yield line
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text behind line {number}: {error.reason}") from error


def _json_rows(text: str, array: bool) -> list[dict[str, Any]]:
    if array and text.lstrip().startswith("["):
        entries = enumerate(_parse_json(text, "the content"), start=1)
        return [_checked_object(f"entry {number}", row) for number, row in entries]
    lines = enumerate(io.StringIO(text, newline=None), start=1)
    return [_json_object(f"line {number}", line) for number, line in lines if line.strip()]


def _json_object(place: str, text: str) -> dict[str, Any]:
    return _checked_object(place, _parse_json(text, place))


def _checked_object(place: str, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"{place} must be a JSON object, got {type(row).__name__}")
    return row


def _parse_json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:  # JSONDecodeError, and that of numbers with thousands of digits
        raise ValueError(f"{place} is not JSON: {error}") from error


def _columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _read_delimited(text: str, tabs: bool) -> dict[str, list[Any]]:
    plain = tabs and not _has_quoting(text)
    lines = csv.reader(
        io.StringIO(text, newline=""),
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
        strict=not plain,
    )
    with _wide_fields():
        names = next(lines, [])
        _check_names(names)
        rows = list(_cells(lines, len(names)))
    return {name: [row[position] for row in rows] for position, name in enumerate(names)}


@contextmanager
def _wide_fields() -> Iterator[None]:
    """Lifts the csv module's limit of 128 KiB to a field, which is the whole process's."""
    with _FIELD_LIMIT:
        limit = csv.field_size_limit(2**31 - 1)
        try:
            yield
        finally:
            csv.field_size_limit(limit)


def _cells(lines: Any, columns: int) -> Iterator[list[str]]:
    """Yields the cells of each line that has some."""
    for cells in lines:
        if cells and len(cells) != columns:
            raise ValueError(f"line {lines.line_num} must have {columns} columns, got {len(cells)}")
        if cells:
            yield cells


def _has_quoting(text: str) -> bool:
    """Tells whether the cells of a TSV text are quoted as in CSV, see `read_columns`."""
    if '"' not in text or '"' in _ENCLOSED.sub("", text):
        return False
    return text.startswith('"') or any(set(cell) & set('"\t\r\n') for cell in _ENCLOSED.findall(text))


def _check_names(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"column names must be distinct, got {', '.join(names)}")

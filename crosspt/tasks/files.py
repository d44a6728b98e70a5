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
from pathlib import Path
from typing import Any

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
    path = path.expanduser()
    suffix = split_suffix(path.name)[1]
    if not suffix:
        raise ValueError(f"{path}: rows must be in a file ending in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise MissingRowsError(f"{path}: no such file")
    try:
        if suffix == ".parquet":
            return _read_parquet(path)
        text = _read_text(path)
        if ".json" in suffix:
            return _columns_of(_json_rows(text, array=".jsonl" not in suffix))
        return _read_delimited(text, ".tsv" in suffix)
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
    try:
        with path.open("rb") as file:
            table = pyarrow.parquet.ParquetFile(file).read()
            _check_names(table.column_names)
            return table.to_pydict()
    except UnicodeDecodeError:
        raise
    except (OSError, ValueError, TypeError, KeyError, OverflowError, pyarrow.ArrowException) as error:
        raise ValueError(f"cannot be read: {error}") from error


def _json_rows(text: str, array: bool) -> list[dict[str, Any]]:
    if array and text.lstrip().startswith("["):
        rows = [(f"entry {number}", row) for number, row in enumerate(_parse_json(text, "the content"), start=1)]
    else:
        lines = enumerate(io.StringIO(text, newline=None), start=1)
        rows = [(f"line {number}", _parse_json(line, f"line {number}")) for number, line in lines if line.strip()]
    for place, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{place} must be a JSON object, got {type(row).__name__}")
    return [row for _, row in rows]


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
    with _FIELD_LIMIT:  # the module's own limit of 128 KiB is for the whole process
        limit = csv.field_size_limit(2**31 - 1)
        try:
            names = next(lines, [])
            _check_names(names)
            rows = []
            for cells in lines:
                if not cells:
                    continue
                if len(cells) != len(names):
                    raise ValueError(f"line {lines.line_num} must have {len(names)} columns, got {len(cells)}")
                rows.append(cells)
        finally:
            csv.field_size_limit(limit)
    return {name: [row[position] for row in rows] for position, name in enumerate(names)}


def _has_quoting(text: str) -> bool:
    """Tells whether the cells of a TSV text are quoted as in CSV, see `read_columns`."""
    if '"' not in text or '"' in _ENCLOSED.sub("", text):
        return False
    return text.startswith('"') or any(set(cell) & set('"\t\r\n') for cell in _ENCLOSED.findall(text))


def _check_names(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"column names must be distinct, got {', '.join(names)}")

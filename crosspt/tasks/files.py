"""Reads a file of rows, afresh each time.

The readers of `datasets` guess types column by column in JSON and CSV (a text "NA" becomes null, one that looks like a
date a timestamp) and keep what they read in a cache, so these formats are read here.
"""

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import datasets

SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")


def read_columns(path: Path) -> dict[str, list[Any]]:
    """Reads a .jsonl, .csv, .tsv or .parquet file into lists of one length, by column name.

    Every CSV and TSV value is text. TSV knows no quoting, as in the files GLUE and PAWS publish: a quotation mark is
    part of the text. A key that some JSON rows lack is None there.

    Raises:
        ValueError: when the suffix is none of these or the content is broken; the message names the file.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: rows must be in a file ending in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    try:
        return _read_jsonl(path) if path.suffix == ".jsonl" else _read_delimited(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except (OSError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error


def _read_parquet(path: Path) -> dict[str, list[Any]]:
    try:
        with tempfile.TemporaryDirectory() as cache:
            return datasets.Dataset.from_parquet(str(path), cache_dir=cache, keep_in_memory=True).to_dict()
    except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise ValueError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error


def _read_jsonl(path: Path) -> dict[str, list[Any]]:
    rows = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}: line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}: line {number} must be a JSON object, got {type(row).__name__}")
            rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _read_delimited(path: Path) -> dict[str, list[Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".csv":
            lines = csv.reader(file, strict=True)
        else:
            lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        names = next(lines, [])
        if len(set(names)) < len(names):
            raise ValueError(f"{path}: column names must be distinct, got {', '.join(names)}")
        rows = []
        for cells in lines:
            if not cells:
                continue
            if len(cells) != len(names):
                raise ValueError(f"{path}: line {lines.line_num} must have {len(names)} columns, got {len(cells)}")
            rows.append(cells)
    return {name: [row[position] for row in rows] for position, name in enumerate(names)}

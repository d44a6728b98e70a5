import os
from pathlib import Path

import datasets
import pytest

from crosspt.tasks.files import read_columns


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_jsonl_keeps_what_is_written(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        '\ufeff{"text": "NA", "label": 0}\n\n{"text": "2020-01-01\u2028", "label": 1, "idx": 7}\n',
    )
    assert read_columns(path) == {"text": ["NA", "2020-01-01\u2028"], "label": [0, 1], "idx": [None, 7]}


def test_csv_is_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"one, ""two""\nthree\r\n",0\nNA,1\n\n,2\n')
    assert read_columns(path) == {"text": ['one, "two"\nthree\r\n', "NA", ""], "label": ["0", "1", "2"]}


def test_tsv_has_no_quoting(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"an open quote\t0\nb "c"\t1\n')
    assert read_columns(path) == {"text": ['"an open quote', 'b "c"'], "label": ["0", "1"]}


def test_parquet_is_read_afresh(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for text in ("first", "other"):
        datasets.Dataset.from_dict({"text": [text], "label": [1]}).to_parquet(path)
        os.utime(path, (1, 1))
        assert read_columns(path) == {"text": [text], "label": [1]}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n', "line 2 is not JSON: Expecting value"),
        ("a.jsonl", "[1]\n", "line 1 must be a JSON object, got list"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", "line 3 must have 2 columns, got 3"),
        ("a.tsv", "a\tb\n1\n", "line 2 must have 2 columns, got 1"),
        ("a.csv", "a,a\n1,2\n", "column names must be distinct, got a, a"),
        ("a.csv", 'a,b\n"1,2\n', "cannot be read: unexpected end of data"),
        ("a.parquet", "not parquet", "cannot be read: "),
        ("a.json", "{}", r"rows must be in a file ending in \.jsonl, \.csv, \.tsv, \.parquet"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: {message}") as caught:
        read_columns(write(tmp_path / name, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_missing_file(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ValueError, match=rf"none\.{suffix}: no such file"):
        read_columns(tmp_path / f"none.{suffix}")


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_not_utf8(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"text\n\xff\n")
    with pytest.raises(ValueError, match=rf"a\.{suffix}: not UTF-8 text: invalid start byte at byte 5"):
        read_columns(path)

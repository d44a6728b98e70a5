import gzip
import io
import os
from pathlib import Path

import datasets
import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


def test_tsv_that_a_program_quoted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"say ""hi"""\t0\n"a\ttab"\t1\nplain\t0\n')
    assert read_columns(path) == {"text": ['say "hi"', "a\ttab", "plain"], "label": ["0", "1", "0"]}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json"])
def test_fields_of_any_length(tmp_path: Path, suffix: str) -> None:
    long = "word " * 60_000
    text = f'[{{"text": "{long}"}}]\n' if suffix == "json" else f'{{"text": "{long}"}}\n'
    path = write(tmp_path / f"a.{suffix}", text if "json" in suffix else f"text\n{long}\n")
    assert read_columns(path) == {"text": [long]}


@given(st.data(), st.sampled_from(["csv", "tsv", "jsonl", "json", "parquet", "csv.gz"]))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_give_rows_or_one_line(tmp_path: Path, data: st.DataObject, suffix: str) -> None:
    whole = io.BytesIO()
    frame = pandas.DataFrame({"text": ["one", 'two "quoted"', "three, four\t"], "label": [0, 1, 0]})
    if suffix == "parquet":
        frame.to_parquet(whole)
    elif "json" in suffix:
        frame.to_json(whole, orient="records", lines=suffix == "jsonl")
    else:
        text = frame.to_csv(index=False, sep="\t" if suffix == "tsv" else ",").encode()
        whole.write(gzip.compress(text) if suffix.endswith("gz") else text)
    content = bytearray(whole.getvalue())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data.draw(st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe"])) + content)
    said, columns = str(path), {}
    try:
        columns = read_columns(path)
    except ValueError as error:
        said = str(error)
    assert str(path) in said
    assert "\n" not in said
    assert len({len(column) for column in columns.values()}) <= 1


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
        ("a.json", "[1]", "entry 1 must be a JSON object, got int"),
        ("a.csv.gz", "a,b", "cannot be read: Not a gzipped file"),
        ("a.txt", "{}", r"rows must be in a file ending in \.jsonl, \.json, \.csv, \.tsv, \.parquet"),
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

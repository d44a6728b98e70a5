"""Damaged files of tasks and of rows: what is in them, or one line that names the file."""

import gzip
import io
import json
from dataclasses import replace
from pathlib import Path

import datasets
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosspt.tasks.data import load_split
from crosspt.tasks.task import Task
from crosspt.tasks.task_file import load_task_file
from tests.damage import VALUES, damages, read, unhurried

TASK = Task(name="own", fields=("text",), labels=("no", "yes"), metrics=("accuracy",))
YAML = (
    b'{name: own, fields: [text], labels: ["no", "yes"], label_values: [0, 1], data_files: {train: a.csv, test: b.csv}}'
)
TABLE = pandas.DataFrame({"text": ["one", 'two "quoted"', "three, f\u00f6ur\t"], "label": [0, 1, 0]})


def whole(suffix: str) -> bytes:
    """The table as a program writes it."""
    if suffix == "parquet":
        content = io.BytesIO()
        TABLE.to_parquet(content)
        return content.getvalue()
    if suffix.startswith("json"):
        return TABLE.to_json(orient="records", lines=suffix == "jsonl").encode()
    text = TABLE.to_csv(index=False, sep="\t" if suffix.startswith("tsv") else ",").encode()
    return gzip.compress(text) if suffix.endswith("gz") else text


def read_rows(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    rows: datasets.Dataset | None = read(path, lambda: load_split(replace(TASK, data_files={"train": path}), "train"))
    if rows is not None:
        assert rows.column_names == ["text", "label"]
        assert set(rows["label"]) <= {0, 1}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet", "csv.gz"])
@given(data=st.data())
@unhurried(100)
def test_rows(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    read_rows(tmp_path / f"rows.{suffix}", data.draw(damages(whole(suffix))))


@given(data=st.data())
@unhurried(100)
def test_values_of_every_type(tmp_path: Path, data: st.DataObject) -> None:
    row = st.dictionaries(st.sampled_from(["text", "label", "text\n"]), VALUES) | VALUES
    read_rows(tmp_path / "rows.json", json.dumps(data.draw(st.lists(row, max_size=3))).encode())


@given(content=damages(YAML))
@unhurried(100)
def test_tasks(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(content)
    task: Task | None = read(path, lambda: load_task_file(path))
    assert task is None or task.fields

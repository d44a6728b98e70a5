import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from crosspt.config.run import Decode
from crosspt.evaluation.answers import (
    COLUMNS,
    Answers,
    Asked,
    Predictions,
    join_predictions,
    keep_answers,
    read_predictions,
    write_predictions,
)
from crosspt.evaluation.metrics import compute_metrics, majority_baseline
from crosspt.evaluation.results import result_rows, save_evaluation, score_predictions
from crosspt.tasks.task import Task

CLASSES = Asked(
    Task(name="cola", fields=("sentence",), labels=("bad", "good"), metrics=("accuracy", "f1", "matthews")),
    ("A0", "A1"),
)
SCORES = Asked(
    Task(name="stsb", fields=("a", "b"), regression=True, metrics=("pearson", "spearman")), ("1.0", "2.0", "3.0")
)
SOURCE: dict[str, Any] = {"cell": "run", "seed": 3, "shots": None}
TRUTH = {"cola": ["A1", "A0", "A1", "A0"], "stsb": ["3.0", "1.0", "2.0"]}
GENERATED = {"cola": ["A1", "A1", " A1", "h\u00e9, \n?"], "stsb": ["2.6", "1", "nan"]}
RANKED = {
    "cola": Answers(["A0", "A0", "A1", "A1"], np.array([[-1, -2], [0, -9], [-3, -1], [-np.inf, -1]], np.float32)),
    "stsb": Answers(["2.0", "1.0", "3.0"], np.array([[-2, -1, -3], [-1, -2, -3], [-3, -3, -1]], np.float32)),
}


def make_predictions(scheme: str = "SLP") -> Predictions:
    parts = []
    for asked in (CLASSES, SCORES):
        name = asked.task.name
        given: dict[Decode, Answers] = {"generate": Answers(GENERATED[name]), "rank": RANKED[name]}
        parts.append(keep_answers(scheme, asked, TRUTH[name], given))
    return join_predictions(parts)


def make_results(predictions: Predictions) -> list[dict[str, Any]]:
    return list(score_predictions(predictions, **SOURCE))


def test_rows() -> None:
    predictions = make_predictions()
    rows = predictions.rows
    assert list(rows.columns) == COLUMNS.names
    assert list(rows["row"]) == [0, 1, 2, 3] * 2 + [0, 1, 2] * 2
    assert list(rows["answer"]) == GENERATED["cola"] + RANKED["cola"].texts + GENERATED["stsb"] + RANKED["stsb"].texts
    assert list(rows["reference"]) == TRUTH["cola"] * 2 + TRUTH["stsb"] * 2
    assert list(rows["valid"]) == [True, True, True, False, *[True] * 4, True, True, False, *[True] * 3]
    assert list(rows["log_probabilities"].isna()) == [True] * 4 + [False] * 4 + [True] * 3 + [False] * 3
    assert list(rows["log_probabilities"].iloc[7]) == [-np.inf, -1]
    assert list(rows["log_probabilities"].iloc[11]) == [-2, -1, -3]
    assert predictions.tasks == {"cola": CLASSES, "stsb": SCORES}


def test_scores_are_those_of_each_task_by_itself() -> None:
    expected = []
    for asked in (CLASSES, SCORES):
        truth = TRUTH[asked.task.name]
        for decode, texts in (("generate", GENERATED[asked.task.name]), ("rank", RANKED[asked.task.name].texts)):
            for scheme, scores in (
                ("SLP", compute_metrics(asked.task, texts, truth, asked.answers)),
                ("majority", majority_baseline(asked.task, truth, asked.answers)),
            ):
                expected += result_rows(scores, scheme=scheme, task=asked.task.name, decode=decode, **SOURCE)
    assert make_results(make_predictions()) == expected


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    path, written = tmp_path / "new" / "predictions.parquet", join_predictions([make_predictions(s) for s in "PI"])
    results = make_results(written)
    write_predictions(path, written)
    read = read_predictions(path, results)
    pd.testing.assert_frame_equal(read.rows, written.rows)
    assert make_results(read) == results
    assert {name: (asked.task.metrics, asked.answers) for name, asked in read.tasks.items()} == {
        name: (asked.task.metrics, asked.answers) for name, asked in written.tasks.items()
    }
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    first = path.read_bytes()
    write_predictions(path, read)
    assert path.read_bytes() == first


def test_results_never_lie_beside_the_answers_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_evaluation(tmp_path, {"results": 1}, make_predictions("P"))

    def fail(path: Path, content: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("crosspt.evaluation.results.write_json", fail)
    with pytest.raises(OSError, match="no space left"):
        save_evaluation(tmp_path, {"results": 2}, make_predictions("I"))
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.parquet"]


def test_mistakes_of_a_caller() -> None:
    with pytest.raises(ValueError, match=r"task 'cola' needs one answer for each .* got 1 for 2"):
        keep_answers("P", CLASSES, ["A0", "A1"], {"generate": Answers(["A0"])})
    with pytest.raises(ValueError, match=r"task 'cola' needs one answer for each .* got 0 for 0"):
        keep_answers("P", CLASSES, [], {"generate": Answers([])})
    other = keep_answers("P", CLASSES._replace(answers=("0", "1")), ["0"], {"generate": Answers(["1"])})
    with pytest.raises(ValueError, match="must have the same answers in all parts, got A0, A1 and 0, 1"):
        join_predictions([make_predictions(), other])


def rewrite(content: bytes, change: Callable[[pa.Table], pa.Table]) -> bytes:
    out = io.BytesIO()
    pa.parquet.write_table(change(pa.parquet.read_table(io.BytesIO(content))), out)
    return out.getvalue()


def with_rows(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[bytes], bytes]:
    def changed(table: pa.Table) -> pa.Table:
        frame = change(table.to_pandas(types_mapper={COLUMNS[-1].type: pd.ArrowDtype(COLUMNS[-1].type)}.get))
        return pa.Table.from_pandas(frame, table.schema, preserve_index=False)

    return lambda content: rewrite(content, changed)


def in_header(old: str, new: str) -> Callable[[bytes], bytes]:
    def changed(table: pa.Table) -> pa.Table:
        header = table.schema.metadata[b"crosspt"].decode()
        assert old in header
        return table.replace_schema_metadata({"crosspt": header.replace(old, new)})

    return lambda content: rewrite(content, changed)


def put(column: str, row: int, value: Any) -> Callable[[bytes], bytes]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        values = frame[column].astype(object)
        values.iloc[row] = value
        return frame.assign(**{column: values})

    return with_rows(change)


def flip(content: bytes) -> bytes:
    """A bit of a page's values, which the page's checksum tells."""
    place = content.index(b"A0") if b"A0" in content else 60
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda c: c[: len(c) // 2], " is not a readable Parquet file: "),
    "empty": (lambda c: b"", " is not a readable Parquet file: "),
    "text": (lambda c: b"row,answer\n0,yes\n", " is not a readable Parquet file: "),
    "a changed bit": (flip, " is not a readable Parquet file: "),
    "foreign": (lambda c: rewrite(c, lambda t: t.replace_schema_metadata()), " was not written by CrossPT"),
    "older": (in_header('"schema": 1', '"schema": 0'), " is not of this version: its schema must be 1, got 0"),
    "no column": (lambda c: rewrite(c, lambda t: t.drop(["valid"])), " must have the columns scheme dictionary<"),
    "a column more": (
        lambda c: rewrite(c, lambda t: t.append_column("more", pa.nulls(len(t)))),
        " must have the columns scheme dictionary<",
    ),
    "another type": (
        lambda c: rewrite(c, lambda t: t.set_column(2, "row", t["row"].cast(pa.int64()))),
        " must have the columns scheme dictionary<",
    ),
    "no tasks": (in_header('"tasks"', '"task"'), ": the key 'tasks' is missing"),
    "a metric": (in_header('"f1"', '"f2"'), ": task 'cola': task 'cola': metrics must be distinct names out of "),
    "a word less": (
        in_header('["A0", "A1"]', '["A0"]'),
        ": task 'cola': compute_metrics: task 'cola' needs 2 ",
    ),
    "no such task": (in_header('"cola"', '"rte"'), ": answers (generate) of SLP to task 'cola' must be to one of rte"),
    "no such way": (
        with_rows(lambda f: f.assign(decode=f["decode"].astype(str).replace("rank", "beam"))),
        ": answers (beam) of SLP to task 'cola' must be to one of cola, stsb, by generate or rank",
    ),
    "rows in another order": (
        with_rows(lambda f: f.iloc[[1, 0, *range(2, 14)]]),
        ": answers (generate) of SLP to task 'cola' must be to the rows 0, 1, ... in their order",
    ),
    "a wrong reference": (
        put("reference", 2, "A2"),
        ": answers (generate) of SLP to task 'cola' must have right answers of the task",
    ),
    "two references": (put("reference", 2, "A0"), " must have one right answer for each row of a task"),
    "valid": (put("valid", 3, True), ": answers (generate) of SLP to task 'cola' must say which are valid"),
    "ranked": (
        put("answer", 12, "2.5"),
        ": answers (rank) of SLP to task 'stsb' must be some of the task's, where they are ranked",
    ),
    "a log-probability less": (
        put("log_probabilities", 4, [-1.0]),
        ": answers (rank) of SLP to task 'cola' must have a log-probability for each of the task's",
    ),
    "a log-probability too many": (
        put("log_probabilities", 0, [-1.0, -2.0]),
        ": answers (generate) of SLP to task 'cola' must have a log-probability for each of the task's",
    ),
    "a row less": (
        with_rows(lambda f: f.iloc[:-1]),
        " does not belong to its results: they are of 3 answers (rank) of SLP to task 'stsb', it holds 2",
    ),
    "a task less": (
        with_rows(lambda f: f.iloc[:8]),
        " does not belong to its results: they are of 3 answers (generate) of SLP to task 'stsb', it holds 0",
    ),
    "another scheme": (
        with_rows(lambda f: f.assign(scheme="SLPN")),
        " does not belong to its results: they are of 4 answers (generate) of SLP to task 'cola', it holds 0",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files(damage: str, tmp_path: Path) -> None:
    change, message = DAMAGE[damage]
    path, predictions = tmp_path / "predictions.parquet", make_predictions()
    write_predictions(path, predictions)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}{message}')}") as caught:
        read_predictions(path, make_results(predictions))
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.parquet cannot be read: No such file or directory$"):
        read_predictions(tmp_path / "none.parquet")

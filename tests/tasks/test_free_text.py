"""Tasks whose target is a text column."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from transformers import PreTrainedTokenizerFast

from crosspt.config.data import DataConfig
from crosspt.tasks.collation import PromptCollator, encode_rows
from crosspt.tasks.data import load_split, load_test, load_train, load_train_and_dev
from crosspt.tasks.rows import load_rows
from crosspt.tasks.task import Task
from crosspt.tasks.task_file import copy_task_file, load_task_file
from tests.workspace import write_jsonl

GOOD = "name: qa\nfields: [text]\ntarget_column: reply\ndata_files: {train: train.jsonl, test: test.jsonl}\n"
FREE = Task("qa", ("text",), label_column="reply", free_text=True, metrics=("token_f1",), max_target_length=4)


def write(folder: Path, text: str = GOOD) -> Path:
    path = folder / "qa.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def rows_of(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"text": f"w{n % 20} w{n // 20}", "reply": f"w{n % 20}"} for n in range(start, start + count)]


def make_task(folder: Path, train: list[dict[str, Any]], test: list[dict[str, Any]] | None = None) -> Task:
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "test.jsonl", rows_of(3, 30) if test is None else test)
    return load_task_file(write(folder))


def test_a_file(tmp_path: Path) -> None:
    task = load_task_file(write(tmp_path))
    assert (task.free_text, task.label_column, task.labels, task.max_target_length) == (True, "reply", (), 64)
    assert task.metrics == ("exact_match", "token_f1")
    task = load_task_file(write(tmp_path, GOOD + "max_target_length: 8\nmetrics: [rougeL, rouge1]\n"))
    assert (task.max_target_length, task.metrics) == (8, ("rougeL", "rouge1"))
    copy_task_file(tmp_path / "qa.yaml", tmp_path / "copies" / "qa.yaml")
    copied = load_task_file(tmp_path / "copies" / "qa.yaml")
    assert (copied.data_files, copied.max_target_length) == (task.data_files, 8)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("target_column", "target_colum", "unknown key 'target_colum', did you mean 'target_column'?"),
        ("name: qa", "name: qa\nlabels: [a, b]", "got labels and target_column"),
        (
            "name: qa",
            "name: qa\nlabel_column: x",
            "label_column goes with labels or a scale; target_column names a col",
        ),
        ("name: qa", "name: qa\nmetrics: [accuracy]", "metrics must be distinct names out of exact_match, token_f1, r"),
        ("name: qa", "name: qa\nmax_target_length: 0", "max_target_length must be at least 1, got 0"),
        ("name: qa", "name: qa\nmax_target_length: long", "max_target_length must be a whole number, got 'long'"),
        ("name: qa", "name: qa\nlabel_values: [1]", "a task of free text has no labels, label_values"),
        ("target_column: reply", "target_column: text", "target_column must be a column outside fields, got 'text'"),
        ("target_column: reply", "target_column: [a]", r"target_column must be text, got \['a'\]"),
    ],
)
def test_errors_name_the_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ValueError, match=f"^{path}: .*{message}") as caught:
        load_task_file(path)
    assert "\n" not in str(caught.value)


def test_one_text_or_several(tmp_path: Path) -> None:
    train: list[dict[str, Any]] = [
        {"text": "a", "reply": " one\ntwo "},
        {"text": "b", "reply": ["1", "one", 7]},
        {"text": "c", "reply": 1912},
        {"text": "d", "reply": "-1"},  # which would hide a label
    ]
    task = make_task(tmp_path, train)
    rows = load_split(task, "train")
    assert list(rows["reply"]) == [["one\ntwo"], ["1", "one", "7"], ["1912"], ["-1"]]
    assert [task.target_text(row, ()) for row in rows] == ["one\ntwo", "1", "1912", "-1"]
    assert json.loads(task.reference_text(rows[1], ())) == ["1", "one", "7"]
    assert [task.target(row["reply"]) for row in rows] == [0] * 4


def test_a_list_in_parquet(tmp_path: Path) -> None:
    pd.DataFrame({"text": ["a", "b"], "reply": [["x", "y"], ["z"]]}).to_parquet(tmp_path / "train.parquet")
    task = load_task_file(write(tmp_path, GOOD.replace("train.jsonl", "train.parquet")))
    assert list(load_split(task, "train")["reply"]) == [["x", "y"], ["z"]]


@pytest.mark.parametrize("reply", [None, "", " \n", [], ["a", ""], ["a", None], [["a"]], {"text": ["a"]}, "\ud800"])
def test_what_is_no_target_names_file_and_row(tmp_path: Path, reply: Any) -> None:
    rows = [{"text": "a", "reply": "b"}, {"text": "c", "reply": reply}]
    for split in ("train", "test"):
        task = make_task(tmp_path, rows if split == "train" else rows_of(2), rows if split == "test" else rows_of(2))
        message = f"^{tmp_path}/{split}.jsonl: row 2: task 'qa': column 'reply' must hold a text, or a list of one or"
        with pytest.raises(ValueError, match=message) as caught:
            load_rows({0: task}, DataConfig())
        assert "\n" not in str(caught.value)


def test_a_missing_column(tmp_path: Path) -> None:
    task = make_task(tmp_path, [{"text": "a", "answer": "b"}])
    with pytest.raises(ValueError, match=r"train\.jsonl: column 'reply' of task 'qa' is missing, got text, answer"):
        load_train(task)


def test_a_test_split_without_any_target_is_hidden(tmp_path: Path) -> None:
    task = make_task(tmp_path, rows_of(2), [{"text": "a", "reply": None}, {"text": "b", "reply": ""}])
    with pytest.raises(ValueError, match="no rows to report on, neither a test split with public labels nor a valid"):
        load_test(task)


def test_draws(tmp_path: Path) -> None:
    task = make_task(tmp_path, rows_of(30), rows_of(5, 28))
    few = load_train(task, shots=8, data_seed=1)
    assert len(few) == 8
    assert list(few["text"]) != list(load_train(task, shots=8, data_seed=2)["text"])
    train, dev = load_train_and_dev(task, shots=8, data_seed=1)
    assert list(train["text"]) == list(few["text"])
    assert len(dev) == 8
    assert not {*train["text"]} & {*dev["text"]}
    train, dev = load_train_and_dev(task)
    assert (len(train), len(dev)) == (27, 3)
    same = make_task(tmp_path, [{**row, "reply": "one"} for row in rows_of(6)])
    assert len(load_train(same)) == 6  # classes must differ, free text need not


def encode(rows: list[dict[str, Any]], tokenizer: Any, task: Task = FREE, **options: Any) -> list[dict[str, Any]]:
    return encode_rows(task, rows, tokenizer, task_id=1, words=(), prefix=False, max_length=8, **options)


def test_targets_are_cut_with_a_warning(tokenizer: PreTrainedTokenizerFast) -> None:
    rows: list[dict[str, Any]] = [{"text": "w0", "reply": "w1 w2 w3"}, {"text": "w0", "reply": ["w4 w5 w6 w7", "w1"]}]
    with pytest.warns(UserWarning, match="task 'qa': 1 of 2 targets have more than 4 tokens and lose their ends"):
        encoded = encode(rows, tokenizer)
    assert [row["labels"] for row in encoded] == [[9, 10, 11, 1], [12, 13, 14, 1]]
    assert tokenizer.decode(encoded[1]["labels"]) == "w4 w5 w6 </s>"


def test_a_causal_model_continues_the_text(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [{"text": "w0", "reply": "w1 w2 w3"}, {"text": "w0 w1", "reply": "w4"}]
    batch = PromptCollator(tokenizer, causal=True)(encode(rows, tokenizer, causal=True))
    for ids, labels, row in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), rows, strict=True):
        told = [token for token in labels if token != -100]
        assert tokenizer.decode(told) == f"{row['reply']} </s>"
        place = labels.index(told[0])
        assert ids[place : place + len(told)] == told


def test_what_the_tokenizer_cannot_say(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.warns(UserWarning, match="1 of 2 targets hold characters that the tokenizer has no tokens for"):
        encode([{"text": "w0", "reply": "w1 blah"}, {"text": "w0", "reply": "w1"}], tokenizer)
    with pytest.raises(ValueError, match="the target 'w1 </s> w2' of task 'qa' holds </s>, which the tokenizer takes"):
        encode([{"text": "w0", "reply": "w1 </s> w2"}], tokenizer)
    with pytest.raises(ValueError, match="the tokenizer leaves nothing of the target 'blah' of task 'qa'"):
        encode([{"text": "w0", "reply": "blah"}], tokenizer)
    with pytest.raises(ValueError, match="task 'qa' needs a max_target_length of 2 or more, got 1"):
        encode([], tokenizer, Task("qa", ("text",), free_text=True, metrics=("token_f1",), max_target_length=1))

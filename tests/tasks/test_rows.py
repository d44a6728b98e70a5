import dataclasses
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from crosspt.config.data import DataConfig
from crosspt.tasks.collation import PromptCollator
from crosspt.tasks.registry import get_task
from crosspt.tasks.rows import encode_training_rows, load_rows
from tests.workspace import Workspace, make_tokenizer


def test_rows_of_two_tasks(workspace: Workspace) -> None:
    config = DataConfig(data_dir=str(workspace.data), shots=4, test_rows=6, label_set="synthetic")
    tasks = {0: get_task("mrpc"), 2: get_task("sst2")}
    rows = load_rows(tasks, config)
    assert {name: part.words for name, part in rows.items()} == {"mrpc": ("A0", "A1"), "sst2": ("C0", "C1")}
    assert all((len(part.train), len(part.test)) == (4, 6) for part in rows.values())
    assert sorted(rows["mrpc"].train["label"]) == [0, 0, 1, 1]
    only_test = load_rows(tasks, config, train=False)
    assert len(only_test["sst2"].train) == 0
    assert only_test["sst2"].test.to_list() == rows["sst2"].test.to_list()
    only_train = load_rows(tasks, config, test=False)
    assert len(only_train["sst2"].test) == 0
    assert only_train["sst2"].train.to_list() == rows["sst2"].train.to_list()


def test_a_task_without_the_rows_that_are_not_needed(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "sst2").symlink_to(workspace.data / "sst2")
    (tmp_path / "rte").mkdir()
    (tmp_path / "rte" / "train.jsonl").symlink_to(workspace.data / "rte" / "train.jsonl")
    config = DataConfig(data_dir=str(tmp_path))
    assert len(load_rows({0: get_task("rte")}, config, test=False)["rte"].train) == 12
    with pytest.raises(ValueError, match="task 'rte': no rows to report on"):
        load_rows({0: get_task("rte")}, config)


def test_a_warning_tells_of_rows_that_were_trained_on(tmp_path: Path) -> None:
    (tmp_path / "sst2").mkdir()
    for split, texts in {"train": ("a", "b", "c", "d"), "validation": ("b", "e", " d", "d")}.items():
        rows = [f"{text},{number % 2}\n" for number, text in enumerate(texts)]
        (tmp_path / "sst2" / f"{split}.csv").write_text("sentence,label\n" + "".join(rows))
    with pytest.warns(UserWarning, match="task 'sst2': 2 of 4 rows to report on have the texts of training rows"):
        load_rows({0: get_task("sst2")}, DataConfig(data_dir=str(tmp_path)))


def test_a_warning_tells_of_labels_that_no_row_to_train_on_has(tmp_path: Path) -> None:
    (tmp_path / "mnli").mkdir()
    for split, labels in {"train": "0022", "validation_matched": "01212"}.items():
        rows = [f"{split} {number},b,{label}\n" for number, label in enumerate(labels)]
        (tmp_path / "mnli" / f"{split}.csv").write_text("premise,hypothesis,label\n" + "".join(rows))
    said = "^task 'mnli': no row to train on is labelled 'neutral', as 2 of 5 rows to report on are$"
    with pytest.warns(UserWarning, match=said) as caught:
        load_rows({0: get_task("mnli")}, DataConfig(data_dir=str(tmp_path)))
    assert len(caught) == 1


def test_encoded_training_rows(workspace: Workspace) -> None:
    tokenizer: PreTrainedTokenizerFast = make_tokenizer()
    config = DataConfig(data_dir=str(workspace.data), shots=2, prefix=True)
    rows = load_rows({0: get_task("mrpc"), 1: get_task("rte")}, config)
    encoded = encode_training_rows(["rte", "mrpc"], rows, tokenizer, config)
    assert [row["task_ids"] for row in encoded] == [0, 0, 1, 1]
    assert [tokenizer.decode(row["input_ids"][:1]) for row in encoded] == ["rte", "rte", "mrpc", "mrpc"]
    targets = [tokenizer.decode(row["labels"], skip_special_tokens=True) for row in encoded]
    assert set(targets[:2]) == {"entailment", "not_entailment"}
    assert set(targets[2:]) == {"equivalent", "not_equivalent"}
    assert not any("weight" in row for row in encoded)
    task = rows["rte"].task
    rows["rte"].task = dataclasses.replace(task, class_weights={"entailment": 1, "not_entailment": 3})
    weighed = encode_training_rows(["rte", "mrpc"], rows, tokenizer, config)
    assert [row.get("weight") for row in weighed] == [
        *({"entailment": 1.0, "not_entailment": 3.0}[str(target)] for target in targets[:2]),
        *(None, None),
    ]
    assert [{**row, "weight": 0} for row in weighed] == [{**row, "weight": 0} for row in encoded]
    batch = PromptCollator(tokenizer)(weighed[1:3])
    assert batch["weights"].tolist() == [weighed[1]["weight"], 1.0]
    assert "weights" not in PromptCollator(tokenizer)(weighed[2:])

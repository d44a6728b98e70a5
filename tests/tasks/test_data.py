import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pandas
import pytest

from crosspt.tasks.data import load_split, load_test, load_train
from crosspt.tasks.task import Task

Writer = Callable[[str, list[dict[str, Any]]], Path]

PAIR = Task(
    name="pair",
    fields=("left", "right"),
    labels=("no", "yes"),
    hub="someone/pair",
    hub_config="plain",
    hub_splits={"train": "train", "validation": "validation_matched", "test": "test"},
)
SCORE = Task(name="score", fields=("text",), metrics=("pearson",), regression=True, data_folders=("mine", "shared"))
BINS = Task(name="bins", fields=("text",), labels=("low", "high"), bin_edges=(2.5,), data_folders=("mine", "shared"))


def pairs(count: int, offset: int = 0) -> list[dict[str, Any]]:
    return [{"left": f"l{i}", "right": f"r{i}", "label": i % 2, "idx": i} for i in range(offset, offset + count)]


def hidden(count: int) -> list[dict[str, Any]]:
    return [{**row, "label": -1} for row in pairs(count)]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """Stands in for the hub: rows by split name; asking for another split fails as `datasets` does."""
    splits: dict[str, list[dict[str, Any]]] = {}

    def load_dataset(path: str, name: str | None, split: str) -> datasets.Dataset:
        assert (path, name) == ("someone/pair", "plain")
        if split not in splits:
            raise ValueError(f'Unknown split "{split}".\nShould be one of {list(splits)}.')
        dataset = datasets.Dataset.from_list(splits[split])
        return dataset.cast_column("label", datasets.ClassLabel(names=["0", "1"])) if splits[split] else dataset

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return splits


def test_jsonl(tmp_path: Path, write_rows: Writer) -> None:
    write_rows("pair/train.jsonl", pairs(4))
    rows = load_split(PAIR, "train", tmp_path)
    assert rows.column_names == ["left", "right", "label"]
    assert rows[3] == {"left": "l3", "right": "r3", "label": 1}


def test_csv_labels_become_ints(tmp_path: Path) -> None:
    (tmp_path / "pair").mkdir()
    (tmp_path / "pair/validation.csv").write_text('label,left,right\n0,"a, b",NA\n1,3,\n')
    rows = load_split(PAIR, "validation", str(tmp_path))
    assert rows.to_list() == [{"left": "a, b", "right": "NA", "label": 0}, {"left": "3", "right": "", "label": 1}]


@pytest.mark.parametrize("suffix", ["tsv", "parquet"])
def test_other_formats(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "pair").mkdir()
    path = tmp_path / f"pair/test.{suffix}"
    if suffix == "parquet":
        datasets.Dataset.from_list(pairs(3)).to_parquet(path)
    else:
        path.write_text("left\tright\tlabel\n" + "".join(f"l{i}\tr{i}\t{i % 2}\n" for i in range(3)))
    assert load_split(PAIR, "test", tmp_path)["label"][:] == [0, 1, 0]


def test_scores_become_floats(tmp_path: Path, write_rows: Writer) -> None:
    write_rows("shared/train.jsonl", [{"text": "a", "label": 5}, {"text": "b", "label": "1.25"}])
    for task in (SCORE, BINS):
        assert load_split(task, "train", tmp_path)["label"][:] == [5.0, 1.25]


def test_the_first_folder_wins(tmp_path: Path, write_rows: Writer) -> None:
    write_rows("shared/train.jsonl", [{"text": "shared", "label": 0}])
    write_rows("mine/train.jsonl", [{"text": "mine", "label": 0}])
    assert load_split(SCORE, "train", tmp_path)["text"][0] == "mine"


def test_a_changed_file_is_read_again(tmp_path: Path, write_rows: Writer) -> None:
    path = write_rows("pair/train.jsonl", pairs(2))
    stamp = path.stat()
    load_split(PAIR, "train", tmp_path)
    write_rows("pair/train.jsonl", pairs(2, offset=4))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert load_split(PAIR, "train", tmp_path)["left"][:] == ["l4", "l5"]


def test_own_files_come_before_the_data_directory(tmp_path: Path, write_rows: Writer) -> None:
    task = replace(PAIR, data_files={"train": write_rows("own.jsonl", pairs(1, offset=8))})
    write_rows("pair/train.jsonl", pairs(2))
    assert load_split(task, "train", tmp_path)["left"][:] == ["l8"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows for task 'pair'"),
        ([{"left": "a", "label": 0}], "column 'right' of task 'pair' is missing, got left, label"),
        ([{"left": "a", "right": "b"}], "column 'label' of task 'pair' is missing, got left, right"),
        ([{"left": None, "right": "b", "label": 0}], "column 'left' of task 'pair' has no text in any row"),
        ([{"left": " ", "right": "b", "label": 0}], "column 'left' of task 'pair' has no text in any row"),
        (
            [{"left": ["a"], "right": "b", "label": 0}],
            r"row 1: column 'left' of task 'pair' must hold text, got \['a'\]",
        ),
        ([{"left": True, "right": {"b": 1}, "label": 0}], "row 1: column 'right' of task 'pair' must hold text"),
        ([*pairs(1), *hidden(1)], "row 2: task 'pair': a label must be one of 0, 1, got -1"),
        ([{"left": "a", "right": "b", "label": "maybe"}], "row 1: task 'pair': a label must be one of 0, 1, got 'may"),
        ([{"left": "a", "right": "b", "label": None}], "row 1: task 'pair': a label must be one of 0, 1, got None"),
    ],
)
def test_bad_rows(tmp_path: Path, write_rows: Writer, rows: list[dict[str, Any]], message: str) -> None:
    write_rows("pair/train.jsonl", rows)
    with pytest.raises(ValueError, match=rf"pair/train\.jsonl: {message}"):
        load_split(PAIR, "train", tmp_path)


def test_numbers_are_text_and_empty_texts_are_told_of(tmp_path: Path, write_rows: Writer) -> None:
    rows: list[dict[str, Any]] = [{"left": 1, "right": "b", "label": 0}, {"left": 2.5, "label": 1}, *pairs(1)]
    write_rows("pair/train.jsonl", rows)
    with pytest.warns(UserWarning, match=r"task 'pair': 1 of 3 rows of .*train\.jsonl have an empty text"):
        loaded = load_split(PAIR, "train", tmp_path)
    assert loaded["left"][:] == ["1", "2.5", "l0"]
    assert loaded["right"][:] == ["b", "", "r0"]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet", "csv.gz", "JSONL"])
def test_one_label_is_one_label_in_every_format(tmp_path: Path, suffix: str) -> None:
    for labels in (["0", "1"], [0, 1], [0.0, 1.0], ["0.0", " 1.0 "], [False, True]):
        frame = pandas.DataFrame({"left": ["a", "b"], "right": ["c", "d"], "label": labels})
        path = tmp_path / f"pair/train.{suffix}"
        path.parent.mkdir(exist_ok=True)
        if suffix == "parquet":
            frame.to_parquet(path)
        elif suffix == "json":
            frame.to_json(path, orient="records")
        elif suffix.lower() == "jsonl":
            frame.to_json(path, orient="records", lines=True)
        else:
            frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
        assert load_split(PAIR, "train", tmp_path)["label"][:] == [0, 1]


def test_files_as_the_hub_lays_them_out(tmp_path: Path, write_rows: Writer) -> None:
    for shard in (1, 0):
        write_rows(f"pair/data/train-0000{shard}-of-00002.jsonl", pairs(1, offset=shard))
    write_rows("pair/data/validation_matched-00000-of-00001.jsonl", pairs(2))
    assert load_split(PAIR, "train", tmp_path)["left"][:] == ["l0", "l1"]
    assert len(load_split(PAIR, "validation", tmp_path)) == 2
    (tmp_path / "pair/data/train-00000-of-00002.jsonl").unlink()
    with pytest.raises(ValueError, match="a split of 2 shards must have each of them once, got train-00001-of-00002"):
        load_split(PAIR, "train", tmp_path)


def test_two_files_for_one_split_are_both_named(tmp_path: Path, write_rows: Writer) -> None:
    write_rows("pair/train.jsonl", pairs(1))
    (tmp_path / "pair/train.csv").write_text("left,right,label\na,b,0\n")
    with pytest.raises(ValueError, match=r"train\.csv and .*train\.jsonl both hold a train split; keep one of them"):
        load_split(PAIR, "train", tmp_path)


def test_a_header_alone_is_empty(tmp_path: Path) -> None:
    (tmp_path / "pair").mkdir()
    (tmp_path / "pair/train.csv").write_text("left,right,label\n")
    with pytest.raises(ValueError, match=r"train\.csv: no rows for task 'pair'"):
        load_split(PAIR, "train", tmp_path)


@pytest.mark.parametrize("label", [-1, None, ""])
def test_hidden_test_labels(tmp_path: Path, write_rows: Writer, label: object) -> None:
    write_rows("pair/test.jsonl", [{"left": "a", "right": "b", "label": label}] * 2)
    with pytest.raises(ValueError, match=r"test\.jsonl: task 'pair' has hidden labels in its test split"):
        load_split(PAIR, "test", tmp_path)


@pytest.mark.parametrize("label", [-1, None, ""])
def test_a_label_that_is_missing_among_others(tmp_path: Path, write_rows: Writer, label: object) -> None:
    write_rows("pair/validation.jsonl", pairs(4))  # which would stand in for hidden ones
    write_rows("pair/test.jsonl", [*pairs(3), {"left": "a", "right": "b", "label": label}])
    with pytest.raises(ValueError, match=r"test\.jsonl: row 4: task 'pair': a label must be one of 0, 1, got"):
        load_test(PAIR, tmp_path)


def test_a_score_of_minus_one_is_hidden_only_outside_the_scale(tmp_path: Path, write_rows: Writer) -> None:
    write_rows("mine/test.jsonl", [{"text": "a", "label": -1}] * 2)
    with pytest.raises(ValueError, match="hidden labels"):
        load_split(SCORE, "test", tmp_path)
    assert load_split(replace(SCORE, scale=(-1.0, 1.0, 0.5)), "test", tmp_path)["label"][:] == [-1.0, -1.0]


def test_places_that_do_not_exist(tmp_path: Path, write_rows: Writer) -> None:
    with pytest.raises(ValueError, match="load_split: split must be one of train, validation, test, got 'dev'"):
        load_split(PAIR, "dev", tmp_path)
    with pytest.raises(ValueError, match=r"task 'pair': the data directory .*nowhere does not exist"):
        load_split(PAIR, "train", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="task 'score': no folder mine or shared in "):
        load_split(SCORE, "train", tmp_path)
    with pytest.raises(ValueError, match="task 'score': has neither data files nor a place on the hub"):
        load_split(SCORE, "train")
    write_rows("pair/train.jsonl", pairs(1))
    with pytest.raises(ValueError, match=r"no validation split in .*pair as validation, .*\.tsv\.gz; it holds train"):
        load_split(PAIR, "validation", tmp_path)
    task = replace(PAIR, data_files={"train": tmp_path / "gone.csv"})
    with pytest.raises(ValueError, match=r"task 'pair': no test split among its data files .*gone\.csv"):
        load_split(task, "test")
    with pytest.raises(ValueError, match=r"gone\.csv: no such file"):
        load_split(task, "train")


def test_hub_split(hub: dict[str, list[dict[str, Any]]]) -> None:
    hub["validation_matched"] = pairs(3)
    rows = load_split(PAIR, "validation")
    assert rows.features["label"] == datasets.Value("int64")
    assert rows.to_list()[2] == {"left": "l2", "right": "r2", "label": 0}


def test_hub_errors(hub: dict[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    message = "someone/pair plain train: cannot load task 'pair' from the hub, give a data directory .*: Unknown split"
    with pytest.raises(RuntimeError, match=message) as caught:
        load_split(PAIR, "train")
    assert "\n" not in str(caught.value)
    hub["train"] = []
    with pytest.raises(ValueError, match="someone/pair plain train: no rows for task 'pair'"):
        load_split(PAIR, "train")
    hub["train"] = [{"left": "a", "label": 0}]
    with pytest.raises(ValueError, match="someone/pair plain train: column 'right' of task 'pair' is missing"):
        load_split(PAIR, "train")
    with pytest.raises(ValueError, match="task 'pair': no test split on the hub in someone/pair"):
        load_split(replace(PAIR, hub_splits={"train": "train"}), "test")

    def unreachable(*args: object, **kwargs: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(RuntimeError, match="to read files instead: ConnectionError"):
        load_split(PAIR, "train")


def test_all_rows(tmp_path: Path, write_rows: Writer) -> None:
    write_rows("pair/train.jsonl", pairs(9))
    write_rows("pair/test.jsonl", pairs(5))
    write_rows("pair/validation.jsonl", pairs(7))
    assert len(load_train(PAIR, tmp_path)) == 9
    assert len(load_test(PAIR, tmp_path)) == 5


def test_few_shots(tmp_path: Path, write_rows: Writer) -> None:
    write_rows("pair/train.jsonl", pairs(40))
    first, again, other = (load_train(PAIR, tmp_path, shots=8, data_seed=seed) for seed in (1, 1, 2))
    assert Counter(first["label"]) == {0: 4, 1: 4}
    assert first.to_list() == again.to_list() != other.to_list()


def test_drawn_test_rows(tmp_path: Path, write_rows: Writer) -> None:
    write_rows("pair/test.jsonl", pairs(30))
    first, again, other = (load_test(PAIR, tmp_path, rows=10, data_seed=seed) for seed in (1, 1, 2))
    assert len(set(first["left"])) == 10
    assert first.to_list() == again.to_list() != other.to_list()


def test_shots_are_balanced_over_the_classes_of_binned_scores(tmp_path: Path, write_rows: Writer) -> None:
    rows = [{"text": str(i), "label": 0.1 * i if i < 20 else 4.9} for i in range(25)]
    write_rows("shared/train.jsonl", rows)
    train = load_train(BINS, tmp_path, shots=8)
    assert Counter(BINS.target_text(row, BINS.labels) for row in train) == {"low": 4, "high": 4}
    scores = load_train(SCORE, tmp_path, shots=5)["label"]
    assert sum(score > 4 for score in scores) >= 1


def test_validation_stands_in_for_hidden_test_labels(tmp_path: Path, write_rows: Writer) -> None:
    write_rows("pair/test.jsonl", hidden(3))
    write_rows("pair/validation.jsonl", pairs(2))
    assert len(load_test(PAIR, tmp_path)) == 2


def test_a_broken_test_file_is_not_passed_over(tmp_path: Path, write_rows: Writer) -> None:
    write_rows("pair/validation.jsonl", pairs(4))
    write_rows("pair/test.jsonl", [{"left": "a", "right": "b", "label": 7}])
    with pytest.raises(ValueError, match=r"test\.jsonl: row 1: task 'pair': a label must be one of 0, 1, got 7"):
        load_test(PAIR, tmp_path)


def test_hub_test_split(hub: dict[str, list[dict[str, Any]]]) -> None:
    hub.update(train=pairs(4), validation_matched=pairs(3), test=pairs(2))
    assert len(load_test(PAIR)) == 2
    del hub["test"]  # not even asked for where its labels are not public
    assert len(load_test(replace(PAIR, test_labels_public=False))) == 3
    without = replace(PAIR, hub_splits={"train": "train", "validation": "validation_matched"})
    assert len(load_test(without)) == 3


def test_labelled_test_rows_in_a_file_are_used(tmp_path: Path, write_rows: Writer) -> None:
    write_rows("pair/validation.jsonl", pairs(4))
    write_rows("pair/test.jsonl", pairs(3))
    assert len(load_test(replace(PAIR, test_labels_public=False), tmp_path)) == 3


def test_minus_one_can_be_a_label(tmp_path: Path, write_rows: Writer) -> None:
    task = replace(PAIR, label_values=(-1, 1))
    rows = [{"left": "a", "right": "b", "label": label} for label in (-1, 1)]
    write_rows("pair/test.jsonl", rows)
    assert load_test(task, tmp_path).to_list() == rows


def test_what_a_run_cannot_use(tmp_path: Path, write_rows: Writer) -> None:
    write_rows("pair/train.jsonl", pairs(4))
    with pytest.raises(
        ValueError, match="task 'pair': no rows to report on, neither a test split with public labels nor"
    ):
        load_test(PAIR, tmp_path)
    with pytest.raises(ValueError, match="task 'pair': few_shot_indices: shots must be from 1 to the 4 rows, got 5"):
        load_train(PAIR, tmp_path, shots=5)
    with pytest.raises(ValueError, match="load_test: rows must be 1 or more, got 0"):
        load_test(PAIR, tmp_path, rows=0)

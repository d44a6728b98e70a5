"""Development rows come from the train split, and share no texts with the rows that are trained on or reported on."""

import re
from collections import Counter
from contextlib import suppress
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosspt.config.data import DataConfig
from crosspt.tasks.data import load_train, load_train_and_dev, row_texts
from crosspt.tasks.registry import get_task
from crosspt.tasks.rows import load_rows
from crosspt.tasks.sampling import dev_count
from crosspt.tasks.task import Task
from tests.workspace import Workspace


def task_of(train: list[dict[str, Any]], **options: Any) -> Task:
    def generate(split: str) -> list[dict[str, Any]]:
        return train

    return Task(**{"name": "made", "fields": ("text",), "labels": ("no", "yes", "maybe"), **options}, generate=generate)


def rows_of(labels: list[Any], texts: list[str] | None = None) -> list[dict[str, Any]]:
    texts = texts or [f"w{row}" for row in range(len(labels))]
    return [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]


def texts_of(task: Task, rows: datasets.Dataset) -> set[tuple[str, ...]]:
    return set(row_texts(task, rows))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_nothing_is_shared_and_the_training_rows_stay(data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.integers(0, 2), min_size=6, max_size=40).filter(lambda drawn: len(set(drawn)) > 1))
    texts = data.draw(
        st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), min_size=len(labels), max_size=len(labels))
    )
    reported = {(text,) for text in data.draw(st.sets(st.sampled_from("abcdefghij")))}
    shots = data.draw(st.none() | st.integers(1, 6))
    options: dict[str, Any] = {"shots": shots, "data_seed": data.draw(st.integers(0, 99))}
    task = task_of(rows_of(labels, texts))
    with suppress(ValueError):  # too few rows
        train, dev = load_train_and_dev(
            task, dev_rows=data.draw(st.none() | st.integers(1, 6)), reported=reported, **options
        )
        assert not texts_of(task, dev) & (texts_of(task, train) | reported)
        if shots is not None:
            assert train.to_list() == load_train(task, **options).to_list()


def test_as_many_as_shots_of_each_class() -> None:
    task = task_of(rows_of([0, 1, 2] * 20))
    train, dev = load_train_and_dev(task, shots=12, data_seed=3)
    assert Counter(train["label"]) == Counter(dev["label"]) == {0: 4, 1: 4, 2: 4}
    again = load_train_and_dev(task, shots=12, data_seed=3)[1]
    other = load_train_and_dev(task, shots=12, data_seed=4)[1]
    assert again.to_list() == dev.to_list() != other.to_list()
    assert Counter(load_train_and_dev(task, shots=12, dev_rows=6)[1]["label"]) == {0: 2, 1: 2, 2: 2}


def test_a_tenth_of_all_rows_is_held_out() -> None:
    task = task_of(rows_of([0, 1, 2, 1] * 25))
    train, dev = load_train_and_dev(task)
    assert (len(train), len(dev)) == (90, 10)
    assert Counter(dev["label"]) == {0: 3, 1: 5, 2: 2}
    assert sorted([*train["text"], *dev["text"]]) == sorted(f"w{row}" for row in range(100))
    assert len(load_train_and_dev(task, dev_rows=33)[1]) == 33


def test_a_held_out_row_is_not_trained_on_in_another_copy() -> None:
    task = task_of(rows_of([0, 1] * 20, [f"w{row // 4}" for row in range(40)]))
    train, dev = load_train_and_dev(task, dev_rows=3)
    assert len(dev) == 3
    assert len(train) == 40 - 4 * len(texts_of(task, dev))


def test_scores_are_spread_too() -> None:
    task = task_of(rows_of([0.0, 1.2, 2.4, 3.6, 5.0] * 4), labels=(), regression=True, metrics=("pearson",))
    assert Counter(load_train_and_dev(task, shots=5)[1]["label"]) == {0.0: 1, 1.2: 1, 2.4: 1, 3.6: 1, 5.0: 1}


@pytest.mark.parametrize(
    ("rows", "shots", "dev_rows", "count"),
    [
        (100, 8, None, 8),
        (100, 8, 3, 3),
        (100, None, None, 10),
        (5, None, None, 1),
        (10**6, None, None, 1000),
        (9, None, 4, 4),
    ],
)
def test_the_number_of_them(rows: int, shots: int | None, dev_rows: int | None, count: int) -> None:
    assert dev_count(rows, shots, dev_rows) == count


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (
            [0, 1] * 6,
            {"shots": 8},
            "select best needs 8 development rows with other texts than those that are trained on or reported on, "
            "got 4 of the 12 rows of its train split",
        ),
        ([0, 1] * 6, {"shots": 13}, "few_shot_indices: shots must be from 1 to the 12 rows, got 13"),
        ([0, 1] * 6, {"reported": {("w3",)}, "dev_rows": 12}, "select best needs 12 development rows with other texts"),
        ([0, 1] * 6, {"dev_rows": 12}, "its 12 development rows leave 0 of 12 rows to train on, which lack a class"),
        ([1] + [0] * 9, {"dev_rows": 9}, "leave 1 of 10 rows to train on, which lack a class; lower dev_rows"),
        ([1] + [0] * 9, {"shots": 2}, "the 2 development rows must be of two classes or more, got 0 in each"),
        ([1] * 9, {}, "the 9 rows of its train split must be of two classes or more, got 1 in each"),
    ],
)
def test_too_few_rows(labels: list[int], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^task 'made': .*{re.escape(message)}"):
        load_train_and_dev(task_of(rows_of(labels)), **options)


def test_the_rows_of_a_run(workspace: Workspace) -> None:
    tasks = {0: get_task("mrpc"), 1: get_task("sst2")}
    config = DataConfig(data_dir=str(workspace.data), shots=4, dev_rows=2, test_rows=4)
    without, rows = load_rows(tasks, config), load_rows(tasks, config, dev=True)
    for name, part in rows.items():
        assert len(without[name].dev) == 0
        assert (len(part.dev), sorted(part.dev["label"])) == (2, [0, 1])
        assert part.train.to_list() == without[name].train.to_list()
        assert part.test.to_list() == without[name].test.to_list()
        assert not texts_of(part.task, part.dev) & texts_of(part.task, part.test)
    assert load_rows(tasks, config, test=False, dev=True)["mrpc"].dev.num_rows == 2


def test_a_reported_row_is_no_development_row(tmp_path: Any) -> None:
    (tmp_path / "sst2").mkdir()
    for split, texts in {"train": "abcdefgh", "validation": "efgh"}.items():
        lines = [f"{text},{'aceg'.count(text)}\n" for text in texts]
        (tmp_path / "sst2" / f"{split}.csv").write_text("sentence,label\n" + "".join(lines))
    rows = load_rows({0: get_task("sst2")}, DataConfig(data_dir=str(tmp_path), dev_rows=2), dev=True)["sst2"]
    assert set(rows.dev["sentence"]) <= set("abcd")

"""The rows of a run: from tasks to encoded rows."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import datasets

from crosspt.config.data import DataConfig
from crosspt.tasks.collation import encode_rows
from crosspt.tasks.data import load_test, load_train, load_train_and_dev, row_texts
from crosspt.tasks.task import Task, task_letter


def no_rows() -> datasets.Dataset:
    """Returns a dataset without rows or columns."""
    return datasets.Dataset.from_dict({})


@dataclass
class TaskRows:
    """One task's part of a run.

    Attributes:
        task: the task.
        words: the word of each class; empty for regression and free text.
        train: rows to train on; empty where the run only reports.
        test: rows to report on; empty where the run only trains.
        dev: rows to select prompts on; empty where the run does not select.
    """

    task: Task
    words: tuple[str, ...]
    train: datasets.Dataset
    test: datasets.Dataset
    dev: datasets.Dataset = field(default_factory=no_rows)


def load_rows(
    tasks: Mapping[int, Task], config: DataConfig, *, train: bool = True, test: bool = True, dev: bool = False
) -> dict[str, TaskRows]:
    """Load the rows of tasks, by name.

    Args:
        tasks: tasks by their position in the run, which gives the letter of synthetic labels.
        config: which rows.
        train: whether rows to train on are needed.
        test: whether rows to report on are needed.
        dev: whether, beside the rows to train on, rows to select on are needed.
    """
    rows = {}
    for position, task in tasks.items():
        part = TaskRows(task, task.label_words(config.label_set, task_letter(position)), no_rows(), no_rows())
        draw: dict[str, Any] = {"shots": config.shots, "data_seed": config.data_seed}
        if train and not dev:
            part.train = load_train(task, config.data_dir, **draw)
        if test:
            part.test = load_test(task, config.data_dir, rows=config.test_rows, data_seed=config.data_seed)
        if train and dev:
            draw |= {"dev_rows": config.dev_rows, "reported": set(row_texts(task, part.test)) if test else set()}
            part.train, part.dev = load_train_and_dev(task, config.data_dir, **draw)
        if train and test:
            _warn_of_shared_rows(part)
            _warn_of_unseen_labels(part)
        rows[task.name] = part
    return rows


def _warn_of_shared_rows(rows: TaskRows) -> None:
    trained, test = set(row_texts(rows.task, rows.train)), row_texts(rows.task, rows.test)
    shared = len([texts for texts in test if texts in trained])
    if shared:
        warnings.warn(
            f"task {rows.task.name!r}: {shared} of {len(test)} rows to report on have the texts of training rows",
            stacklevel=3,
        )


def _warn_of_unseen_labels(rows: TaskRows) -> None:
    task, column = rows.task, rows.task.label_column
    trained, test = set(rows.train[column]) if task.labels else set(), rows.test[column][:]
    for value in dict.fromkeys(test) if trained else ():
        if value not in trained:
            warnings.warn(
                f"task {task.name!r}: no row to train on is labelled {task.labels[int(task.target(value))]!r}, as "
                f"{test.count(value)} of {len(test)} rows to report on are",
                stacklevel=3,
            )


def encode_training_rows(
    names: Sequence[str], rows: Mapping[str, TaskRows], tokenizer: Any, config: DataConfig, *, causal: bool = False
) -> list[dict[str, Any]]:
    """The training rows of the named tasks, one after the other; a row's task id is the position of its name.

    A row of a task that weighs its classes has its ``weight``.
    """
    found: list[dict[str, Any]] = []
    for task_id, name in enumerate(names):
        task, train = rows[name].task, rows[name].train
        encoded = encode_rows(
            task,
            train,
            tokenizer,
            task_id=task_id,
            words=rows[name].words,
            prefix=config.prefix,
            max_length=config.max_length,
            causal=causal,
        )
        weights = task.row_weights([task.target(label) for label in train[task.label_column]])
        found += (
            encoded
            if weights is None
            else [{**row, "weight": weight} for row, weight in zip(encoded, weights, strict=True)]
        )
    return found

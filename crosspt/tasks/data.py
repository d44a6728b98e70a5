"""Loads a task's rows, from files or from the hub, and checks every one of them."""

import warnings
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from crosspt.tasks.sampling import dev_count, few_shot_indices, share_indices
from crosspt.tasks.source import Part, describe_place, find_source, missing_column, read_source
from crosspt.tasks.task import SPLITS, Task
from crosspt.tasks.values import is_missing


def load_split(task: Task, split: str, data_dir: str | Path | None = None) -> datasets.Dataset:
    """Loads a split: the task's text columns, and its label column in one type.

    That is a label value, a float score, or a list of texts.

    A task with data files of its own is read from those; any other from its folder in the data directory where one is
    given, see `find_split` and `read_columns`. Where none is, it is generated or on the hub. In every format a number
    in a text column is its text, and a null, NaN or blank is an empty text, of which a warning tells.

    Raises:
        ValueError: when there is no such split or two files claim to be it, it is empty, lacks a column, a text column
            holds anything but text and numbers or is empty in every row, a label is unknown or hidden, or free text is
            none or empty.
        RuntimeError: when the hub cannot be read.
    """
    if split not in SPLITS:
        raise ValueError(f"load_split: split must be one of {', '.join(SPLITS)}, got {split!r}")
    if task.generate is not None and data_dir is None:
        return datasets.Dataset.from_list(task.generate(split))
    source = find_source(task, split, data_dir)
    if source is None:
        raise ValueError(f"task {task.name!r}: no {split} split {describe_place(task, split, data_dir)}")
    parts = read_source(task, source)
    if split == "test" and _has_hidden_labels(task, parts):
        raise ValueError(f"{parts[0].name}: task {task.name!r} has hidden labels in its test split")
    return _join(task, parts)


def load_inputs(task: Task, path: str | Path) -> list[dict[str, str]]:
    """Loads the text columns of the rows in a file, by the rules of `load_split`; labels need not be there.

    Raises:
        ValueError: as `load_split`.
    """
    (part,) = read_source(task, [Path(path)])
    _check_texts(task, [part])
    return [dict(zip(task.fields, row, strict=True)) for row in zip(*part.texts.values(), strict=True)]


def load_train(
    task: Task, data_dir: str | Path | None = None, *, shots: int | None = None, data_seed: int = 0
) -> datasets.Dataset:
    """Loads the rows to train on: the train split, or `shots` rows of it.

    Args:
        task: the task.
        data_dir: see `load_split`.
        shots: number of few-shot rows in total, see `few_shot_indices`; None takes all.
        data_seed: of the draw.

    Raises:
        ValueError: as `load_split`; when all rows of the split are of one class; when shots is below 1 or above the
            number of rows.
        RuntimeError: when the hub cannot be read.
    """
    train = load_split(task, "train", data_dir)
    targets = [task.target(label) for label in train[task.label_column]]
    _check_classes(task, train, "rows of its train split")
    return train if shots is None else train.select(_draw(task, targets, shots, data_seed))


def load_train_and_dev(
    task: Task,
    data_dir: str | Path | None = None,
    *,
    shots: int | None = None,
    dev_rows: int | None = None,
    data_seed: int = 0,
    reported: AbstractSet[tuple[str, ...]] = frozenset(),
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Loads the rows to train on and, from the train split too, development rows to select prompts on.

    No development row has the texts of a row that is trained on or reported on. With shots, the rows to train on are
    those of `load_train`, and the development rows are drawn from the rest, as many of each class as possible. Without,
    they are drawn from all rows, the same share of each class, and rows with their texts are not trained on.

    Args:
        task: the task.
        data_dir: see `load_split`.
        shots: see `load_train`.
        dev_rows: number of development rows, by default that of `dev_count`.
        data_seed: of the draws.
        reported: the texts of the rows that are reported on, see `row_texts`.

    Raises:
        ValueError: as `load_train`; when there are too few rows for the development rows, or these or those left to
            train on lack classes.
        RuntimeError: when the hub cannot be read.
    """
    split = load_split(task, "train", data_dir)
    targets, texts = [task.target(label) for label in split[task.label_column]], row_texts(task, split)
    _check_classes(task, split, "rows of its train split")
    count = dev_count(len(split), shots, dev_rows)
    trained = [] if shots is None else _draw(task, targets, shots, data_seed)
    known = reported | {texts[row] for row in trained}
    free = [row for row, text in enumerate(texts) if text not in known]
    if len(free) < count:
        raise ValueError(
            f"task {task.name!r}: select best needs {count} development rows with other texts than those that are "
            f"trained on or reported on, got {len(free)} of the {len(texts)} rows of its train split"
        )
    if shots is None:
        dev = [free[place] for place in share_indices([targets[row] for row in free], count, data_seed)]
        held = {texts[row] for row in dev}
        trained = [row for row, text in enumerate(texts) if text not in held]
        if not trained or (task.labels and {targets[row] for row in trained} != set(targets)):
            raise ValueError(
                f"task {task.name!r}: its {count} development rows leave {len(trained)} of {len(texts)} rows to train "
                "on, which lack a class; lower dev_rows"
            )
    else:
        dev = [free[place] for place in _draw(task, [targets[row] for row in free], count, data_seed)]
    _check_classes(task, split.select(dev), "development rows")
    return split.select(trained), split.select(dev)


def load_test(
    task: Task, data_dir: str | Path | None = None, *, rows: int = 300, data_seed: int = 0
) -> datasets.Dataset:
    """Loads the rows to report on: drawn from the test split, or from validation where its labels are withheld.

    Args:
        task: the task.
        data_dir: see `load_split`.
        rows: most rows to draw.
        data_seed: of the draw.

    Raises:
        ValueError: as `load_split`; when there is neither a public test split nor a validation split; when rows is
            below 1.
        RuntimeError: when the hub cannot be read.
    """
    if rows < 1:
        raise ValueError(f"load_test: rows must be 1 or more, got {rows}")
    test = _load_public_test(task, data_dir)
    if test is None:
        if find_source(task, "validation", data_dir) is None:
            raise ValueError(
                f"task {task.name!r}: no rows to report on, neither a test split with public labels nor a validation "
                f"split {describe_place(task, 'validation', data_dir)}"
            )
        test = load_split(task, "validation", data_dir)
    if len(test) > rows:
        drawn = np.random.Generator(np.random.PCG64(data_seed)).permutation(len(test))[:rows]
        test = test.select(sorted(drawn.tolist()))
    labels = set() if task.free_text else set(test[task.label_column])
    if len(test) > 1 and len(labels) == 1:
        warnings.warn(
            f"task {task.name!r}: all {len(test)} rows to report on are labelled {labels.pop()!r}, which leaves "
            "metrics other than accuracy undefined",
            stacklevel=2,
        )
    return test


def row_texts(task: Task, rows: datasets.Dataset) -> list[tuple[str, ...]]:
    """Returns the texts of each row, by which rows are told apart."""
    return list(zip(*(rows[field][:] for field in task.fields), strict=True))


def _check_classes(task: Task, rows: datasets.Dataset, what: str) -> None:
    """Raises ValueError where several rows are of one class; free text has none."""
    if task.free_text:
        return
    labels = rows[task.label_column][:]
    if len(labels) > 1 and len(set(labels)) == 1:
        raise ValueError(
            f"task {task.name!r}: the {len(labels)} {what} must be of two classes or more, got {labels[0]!r} in each"
        )


def _draw(task: Task, targets: Sequence[Any], count: int, seed: int) -> list[int]:
    try:
        return few_shot_indices(targets, count, seed)
    except ValueError as error:
        raise ValueError(f"task {task.name!r}: {error}") from error


def _load_public_test(task: Task, data_dir: str | Path | None) -> datasets.Dataset | None:
    if task.generate is not None and data_dir is None:
        return load_split(task, "test")
    source = find_source(task, "test", data_dir)
    if source is None or (isinstance(source, str) and not task.test_labels_public):
        return None
    parts = read_source(task, source)
    if any(part.labels is None for part in parts) or _has_hidden_labels(task, parts):
        return None
    return _join(task, parts)


def _has_hidden_labels(task: Task, parts: list[Part]) -> bool:
    """Tells whether labels are withheld, which all are then: one among others that are there is an error."""
    hidden = [task.is_hidden(label) for part in parts for label in part.labels or ()]
    return bool(hidden) and all(hidden)


def _join(task: Task, parts: list[Part]) -> datasets.Dataset:
    """Returns the rows of all parts with every label checked and in the task's own type."""
    values: list[int | str | float | list[str]] = []
    for part in parts:
        if part.labels is None:
            raise missing_column(task, part, task.label_column)
        for row, label in enumerate(part.labels, start=1):
            try:
                values.append(task.label_value(label))
            except ValueError as error:
                raise ValueError(f"{part.name}: row {row}: {error}") from error
    texts = {field: [text for part in parts for text in part.texts[field]] for field in task.fields}
    _check_texts(task, parts)
    return datasets.Dataset.from_dict({**texts, task.label_column: values})


def _check_texts(task: Task, parts: list[Part]) -> None:
    """Raises ValueError where a column has no text in any row, and warns of empty ones."""
    for field in task.fields:
        if all(is_missing(text) for part in parts for text in part.texts[field]):
            raise ValueError(f"{parts[0].name}: column {field!r} of task {task.name!r} has no text in any row")
    rows = [any(map(is_missing, row)) for part in parts for row in zip(*part.texts.values(), strict=True)]
    if any(rows):
        warnings.warn(
            f"task {task.name!r}: {sum(rows)} of {len(rows)} rows of {parts[0].name} have an empty text", stacklevel=3
        )

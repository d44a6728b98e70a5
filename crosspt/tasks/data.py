"""Loads a task's rows, from files or from the hub, and checks every one of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from crosspt.tasks.files import SUFFIXES, read_columns
from crosspt.tasks.sampling import few_shot_indices
from crosspt.tasks.task import SPLITS, Task


def load_split(task: Task, split: str, data_dir: str | Path | None = None) -> datasets.Dataset:
    """Loads a split: the task's text columns, and its label column in one type (a label value, or a float score).

    A task with data files of its own is read from those; any other from `<data_dir>/<folder>/<split>` with the suffix
    .jsonl, .csv, .tsv or .parquet where a data directory is given. Where none is, it is generated or on the hub.

    Raises:
        ValueError: when there is no such split, it is empty, lacks a column, or holds a null text or an unknown or
            hidden label.
        RuntimeError: when the hub cannot be read.
    """
    if split not in SPLITS:
        raise ValueError(f"load_split: split must be one of {', '.join(SPLITS)}, got {split!r}")
    if task.generate is not None and data_dir is None:
        return datasets.Dataset.from_list(task.generate(split))
    source = _find_source(task, split, data_dir)
    if source is None:
        raise ValueError(f"task {task.name!r}: no {split} split {_place(task, data_dir)}")
    texts, labels = _read_source(task, source)
    if split == "test" and any(_is_hidden(task, label) for label in labels):
        raise ValueError(f"{source}: task {task.name!r} has hidden labels in its test split")
    return _add_labels(task, source, texts, labels)


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
        ValueError: as `load_split`; when shots is below 1 or above the number of rows.
        RuntimeError: when the hub cannot be read.
    """
    train = load_split(task, "train", data_dir)
    if shots is None:
        return train
    targets = [task.target(label) for label in train[task.label_column]]
    try:
        return train.select(few_shot_indices(targets, shots, data_seed))
    except ValueError as error:
        raise ValueError(f"task {task.name!r}: {error}") from error


def load_test(
    task: Task, data_dir: str | Path | None = None, *, rows: int = 300, data_seed: int = 0
) -> datasets.Dataset:
    """Loads the rows to report on: drawn from the test split where all its labels are public, else from validation.

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
        if _find_source(task, "validation", data_dir) is None:
            raise ValueError(
                f"task {task.name!r}: no rows to report on, neither a test split with public labels nor a validation "
                f"split {_place(task, data_dir)}"
            )
        test = load_split(task, "validation", data_dir)
    if len(test) > rows:
        drawn = np.random.Generator(np.random.PCG64(data_seed)).permutation(len(test))[:rows]
        test = test.select(sorted(drawn.tolist()))
    return test


def _load_public_test(task: Task, data_dir: str | Path | None) -> datasets.Dataset | None:
    if task.generate is not None and data_dir is None:
        return load_split(task, "test")
    source = _find_source(task, "test", data_dir)
    if source is None or not (isinstance(source, Path) or task.test_labels_public):
        return None
    texts, labels = _read_source(task, source)
    return None if any(_is_hidden(task, label) for label in labels) else _add_labels(task, source, texts, labels)


def _find_source(task: Task, split: str, data_dir: str | Path | None) -> Path | str | None:
    """Returns the file of a split, or its name on the hub, or None where the task has no such split."""
    if task.data_files:
        return task.data_files.get(split)
    if data_dir is not None:
        folder = _find_folder(task, Path(data_dir))
        return next((path for path in (folder / f"{split}{suffix}" for suffix in SUFFIXES) if path.is_file()), None)
    if task.hub is None:
        raise ValueError(f"task {task.name!r}: has neither data files nor a place on the hub; give a data directory")
    return task.hub_splits.get(split)


def _find_folder(task: Task, data_dir: Path) -> Path:
    if not data_dir.is_dir():
        raise ValueError(f"task {task.name!r}: the data directory {data_dir} does not exist")
    for name in task.data_folders:
        if (data_dir / name).is_dir():
            return data_dir / name
    raise ValueError(f"task {task.name!r}: no folder {' or '.join(task.data_folders)} in {data_dir}")


def _place(task: Task, data_dir: str | Path | None) -> str:
    """Returns where a split was looked for, to end an error message with."""
    if task.data_files:
        return f"among its data files {', '.join(map(str, task.data_files.values()))}"
    if data_dir is not None:
        return f"in {_find_folder(task, Path(data_dir))} as <split>{', '.join(SUFFIXES)}"
    return f"on the hub in {task.hub}"


def _read_source(task: Task, source: Path | str) -> tuple[datasets.Dataset, list[Any]]:
    """Returns the checked text columns, and the labels as they are stored."""
    name = _source_name(task, source)
    if isinstance(source, Path):
        columns = read_columns(source)
        if not any(columns.values()):
            raise ValueError(f"{name}: no rows for task {task.name!r}")
        _check_columns(task, name, columns)
        try:
            texts = datasets.Dataset.from_dict({field: columns[field] for field in task.fields})
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{name}: task {task.name!r} needs text in {', '.join(task.fields)}: {error}") from error
        labels = columns[task.label_column]
    else:
        dataset = _load_hub(task, source)
        if not len(dataset):
            raise ValueError(f"{name}: no rows for task {task.name!r}")
        _check_columns(task, name, dataset.column_names)
        texts = dataset.select_columns(list(task.fields))
        labels = list(dataset[task.label_column])
    for field in task.fields:
        if texts.data.column(field).null_count:
            row = list(texts[field]).index(None) + 1
            raise ValueError(f"{name}: row {row} has no text in column {field!r} of task {task.name!r}")
        feature = texts.features[field]
        if feature not in (datasets.Value("string"), datasets.Value("large_string")):
            raise ValueError(f"{name}: column {field!r} of task {task.name!r} must hold text, got {feature}")
    return texts, labels


def _load_hub(task: Task, split: str) -> datasets.Dataset:
    try:
        return datasets.load_dataset(task.hub, task.hub_config, split=split)
    except Exception as error:  # the hub's client, its HTTP library and the dataset's builder each raise their own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RuntimeError(
            f"{_source_name(task, split)}: cannot load task {task.name!r} from the hub, "
            f"give a data directory to read files instead: {reason}"
        ) from error


def _source_name(task: Task, source: Path | str) -> str:
    if isinstance(source, Path):
        return str(source)
    return " ".join(part for part in (task.hub, task.hub_config, source) if part)


def _check_columns(task: Task, name: str, present: Iterable[str]) -> None:
    present = list(present)
    for column in (*task.fields, task.label_column):
        if column not in present:
            raise ValueError(f"{name}: column {column!r} of task {task.name!r} is missing, got {', '.join(present)}")


def _is_hidden(task: Task, label: Any) -> bool:
    """Tells whether a label is withheld: -1, as the hub marks it, or empty."""
    return label in (None, "", -1, "-1", "-1.0") and label not in task.label_values


def _add_labels(task: Task, source: Path | str, texts: datasets.Dataset, labels: list[Any]) -> datasets.Dataset:
    """Returns the rows with every label checked and in the task's own type."""
    values: list[int | str | float] = []
    for row, label in enumerate(labels, start=1):
        try:
            target = task.target(label)
        except ValueError as error:
            raise ValueError(f"{_source_name(task, source)}: row {row}: {error}") from error
        values.append(task.label_values[int(target)] if task.label_values else float(label))
    return texts.add_column(task.label_column, values)

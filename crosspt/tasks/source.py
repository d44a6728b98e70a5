"""Where the rows of a task lie, and the task's columns out of what is read there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from crosspt.tasks.files import MissingRowsError, read_columns
from crosspt.tasks.splits import describe_search, find_split, list_folder
from crosspt.tasks.task import Task
from crosspt.tasks.values import as_text, is_unicode, one_line, show


@dataclass
class Part:
    """What a file, or a split on the hub, holds of a task.

    Attributes:
        name: the file, or the place on the hub.
        columns: the names of all its columns.
        texts: the text columns.
        labels: the label column as it is stored, None where there is none.
    """

    name: str
    columns: list[str]
    texts: dict[str, list[str]]
    labels: list[Any] | None


def find_source(task: Task, split: str, data_dir: str | Path | None) -> list[Path] | str | None:
    """Returns the files of a split, or its name on the hub, or None where the task has no such split.

    Raises:
        ValueError: when there is no place to look in, or it holds two such splits.
    """
    if task.data_files:
        return [task.data_files[split]] if split in task.data_files else None
    if data_dir is not None:
        return find_split(_find_folder(task, data_dir), split, task.hub_splits.get(split), task.hub_config) or None
    if task.hub is None:
        raise ValueError(f"task {task.name!r}: has neither data files nor a place on the hub; give a data directory")
    return task.hub_splits.get(split)


def describe_place(task: Task, split: str, data_dir: str | Path | None) -> str:
    """Returns where a split was looked for and what is there, to end an error message with."""
    if task.data_files:
        return f"among its data files {', '.join(map(str, task.data_files.values()))}"
    if data_dir is not None:
        return describe_search(_find_folder(task, data_dir), split, task.hub_splits.get(split))
    return f"on the hub in {task.hub}"


def read_source(task: Task, source: list[Path] | str) -> list[Part]:
    """Reads the files of a split, or a split on the hub.

    Raises:
        ValueError: when a file is broken, a text column is missing or holds anything but text and numbers, or there is
            no row.
        RuntimeError: when the hub cannot be read.
    """
    if isinstance(source, str):
        parts = [take_columns(task, _hub_name(task, source), _load_hub(task, source))]
    else:
        parts = [take_columns(task, str(path), read_columns(path)) for path in source]
    filled = [part for part in parts if part.texts]
    if not filled:
        raise ValueError(f"{parts[0].name}: no rows for task {task.name!r}")
    return filled


def missing_column(task: Task, part: Part, column: str) -> ValueError:
    """Returns the error that a column is not there."""
    present = one_line(", ".join(part.columns))
    return ValueError(f"{part.name}: column {column!r} of task {task.name!r} is missing, got {present}")


def _find_folder(task: Task, data_dir: str | Path) -> Path:
    data_dir = Path(data_dir).expanduser()
    if not data_dir.is_dir():
        raise MissingRowsError(f"task {task.name!r}: the data directory {data_dir} does not exist")
    for name in task.data_folders:
        if (data_dir / name).is_dir():
            return data_dir / name
    seen = one_line(", ".join(path.name for path in list_folder(data_dir))) or "nothing"
    raise ValueError(f"task {task.name!r}: no folder {' or '.join(task.data_folders)} in {data_dir}; it holds {seen}")


def take_columns(task: Task, name: str, columns: Mapping[str, list[Any]], *, first: int = 1) -> Part:
    """Returns the task's columns with every text checked; without texts where there is no row.

    Args:
        task: the task.
        name: the file, or the place on the hub.
        columns: all columns by name.
        first: the number of the first row, for messages.

    Raises:
        ValueError: when a text column is missing or holds anything but text and numbers.
    """
    part = Part(name, list(columns), {}, columns.get(task.label_column))
    if not any(columns.values()):
        return part
    for field in task.fields:
        if field not in columns:
            raise missing_column(task, part, field)
        texts = []
        for row, value in enumerate(columns[field], start=first):
            text = as_text(value)
            if text is None or not is_unicode(text):
                problem = f"column {field!r} of task {task.name!r} must hold text, got {show(value)}"
                raise ValueError(f"{name}: row {row}: {problem}")
            texts.append(text)
        part.texts[field] = texts
    return part


def _load_hub(task: Task, split: str) -> dict[str, list[Any]]:
    try:
        dataset = datasets.load_dataset(task.hub, task.hub_config, split=split)
    except Exception as error:  # the hub's client, its HTTP library and the dataset's builder each raise their own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RuntimeError(
            f"{_hub_name(task, split)}: cannot load task {task.name!r} from the hub, "
            f"give a data directory to read files instead: {reason}"
        ) from error
    wanted = [name for name in dataset.column_names if name in (*task.fields, task.label_column)]
    return dataset.select_columns(wanted).to_dict()


def _hub_name(task: Task, split: str) -> str:
    return " ".join(part for part in (task.hub, task.hub_config, split) if part)

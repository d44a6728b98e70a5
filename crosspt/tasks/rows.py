"""Which rows a run reads and how it writes them as text; from names of tasks to encoded rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import datasets

from crosspt.tasks.collation import encode_rows
from crosspt.tasks.data import load_test, load_train
from crosspt.tasks.task import LABEL_SETS, Task, task_letter


@dataclass
class DataConfig:
    """The rows of a run.

    Args:
        data_dir: folder with ``<task>/{train,validation,test}.{jsonl,csv,tsv,parquet}``; by default the hub.
        shots: training rows of each task in total, balanced over its classes; by default all.
        data_seed: of the draw of training and test rows.
        test_rows: most rows to report on.
        prefix: whether the input begins with the task's name.
        label_set: label words: natural, synthetic (A0, A1, B0, ...) or numeric (0, 1, 2).
        max_length: most tokens of an input; longer texts are cut, the longest first.
    """

    data_dir: str | None = None
    shots: int | None = None
    data_seed: int = 0
    test_rows: int = 300
    prefix: bool = False
    label_set: Literal["natural", "synthetic", "numeric"] = "natural"
    max_length: int = 256

    def __post_init__(self) -> None:
        for name in ("shots", "test_rows", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"DataConfig: {name} must be at least 1, got {value}")
        if self.data_seed < 0:
            raise ValueError(f"DataConfig: data_seed must be 0 or more, got {self.data_seed}")
        if self.label_set not in LABEL_SETS:
            raise ValueError(f"DataConfig: label_set must be one of {', '.join(LABEL_SETS)}, got {self.label_set!r}")


@dataclass
class TaskRows:
    """One task's part of a run.

    Attributes:
        task: the task.
        words: the word of each class; empty for regression.
        train: rows to train on; empty where the run only reports.
        test: rows to report on; empty where the run only trains.
    """

    task: Task
    words: tuple[str, ...]
    train: datasets.Dataset
    test: datasets.Dataset


def load_rows(
    tasks: Mapping[int, Task], config: DataConfig, *, train: bool = True, test: bool = True
) -> dict[str, TaskRows]:
    """Load the rows of tasks, by name.

    Args:
        tasks: tasks by their position in the run, which gives the letter of synthetic labels.
        config: which rows.
        train: whether rows to train on are needed.
        test: whether rows to report on are needed.
    """
    none = datasets.Dataset.from_dict({})
    return {
        task.name: TaskRows(
            task,
            task.label_words(config.label_set, task_letter(position)),
            load_train(task, config.data_dir, shots=config.shots, data_seed=config.data_seed) if train else none,
            load_test(task, config.data_dir, rows=config.test_rows, data_seed=config.data_seed) if test else none,
        )
        for position, task in tasks.items()
    }


def encode_training_rows(
    names: Sequence[str], rows: Mapping[str, TaskRows], tokenizer: Any, config: DataConfig
) -> list[dict[str, Any]]:
    """The training rows of the named tasks, one after the other; a row's task id is the position of its name."""
    return [
        encoded
        for task_id, name in enumerate(names)
        for encoded in encode_rows(
            rows[name].task,
            rows[name].train,
            tokenizer,
            task_id=task_id,
            words=rows[name].words,
            prefix=config.prefix,
            max_length=config.max_length,
        )
    ]

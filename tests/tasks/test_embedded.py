from collections import Counter

import pytest

from crosspt.tasks.data import load_split, load_test, load_train
from crosspt.tasks.embedded.suite import EMBEDDED_TASKS, ROWS
from crosspt.tasks.task import Task


@pytest.mark.parametrize("task", EMBEDDED_TASKS, ids=lambda task: task.name)
def test_rows_are_generated_and_drawn_like_any_other(task: Task) -> None:
    train = load_train(task, shots=24, data_seed=1)
    counts = Counter(task.target_text(row, task.labels) for row in train)
    assert len(counts) == len(task.labels)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert train.to_list() == load_train(task, shots=24, data_seed=1).to_list()
    assert len(load_test(task, rows=30)) == 30
    assert len(load_split(task, "validation")) == ROWS["validation"]


def test_a_task_is_named_only_by_its_prefix() -> None:
    shapes = {task.format_input(dict.fromkeys(task.fields, "x"), prefix=False) for task in EMBEDDED_TASKS}
    assert shapes == {"sentence: x", "sentence1: x sentence2: x"}
    prefixed = {task.format_input(dict.fromkeys(task.fields, "x"), prefix=True) for task in EMBEDDED_TASKS}
    assert len(prefixed) == len(EMBEDDED_TASKS)

"""The tasks in plain English: balanced, the same everywhere, and nothing to copy from the training rows."""

import re
from collections import Counter

import pytest

from crosspt.tasks.plain import PLAIN_TASKS, ROWS, WORDS
from crosspt.tasks.task import Task


@pytest.mark.parametrize("task", PLAIN_TASKS, ids=lambda task: task.name)
def test_rows(task: Task) -> None:
    assert task.generate is not None
    splits = {split: task.generate(split) for split in ROWS}
    assert {split: len(rows) for split, rows in splits.items()} == ROWS
    sentences = [row["sentence"] for rows in splits.values() for row in rows]
    assert len(set(sentences)) == len(sentences)
    for rows in splits.values():
        assert len(set(Counter(row["label"] for row in rows).values())) == 1
    assert not [sentence for sentence in sentences if re.search(r"\ba ([aeio]|the )", sentence)]


@pytest.mark.parametrize("slot", WORDS)
def test_no_word_of_a_training_row_is_reported_on(slot: str) -> None:
    words = [word.replace("-", " ") for word in WORDS[slot].split()]
    read = {}
    for split in ("train", "test"):
        sentences = [row["sentence"] for task in PLAIN_TASKS if task.generate for row in task.generate(split)]
        read[split] = {word for word in words for text in sentences if re.search(rf"\b{word}\b", text)}
    assert read["train"]
    assert read["test"]
    assert not read["train"] & read["test"]


def test_the_same_on_every_machine() -> None:
    generate = PLAIN_TASKS[0].generate
    assert generate is not None
    assert generate("train")[0]["sentence"] == "i regret buying this bad bicycle"

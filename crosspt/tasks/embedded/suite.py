"""The embedded suite as tasks: rows generated on demand, the same on every machine."""

from functools import cache, partial
from typing import Any

from crosspt.tasks.embedded.synthetic import SYNTHETIC_TASKS, describe, generate_rows
from crosspt.tasks.task import Task

ROWS = {"train": 2000, "validation": 1000, "test": 1000}
"""Rows of each split, from which a run draws its own."""


@cache  # a process that does several runs draws the rows once
def _generate(name: str, split: str) -> list[dict[str, Any]]:
    return generate_rows(name, split, ROWS[split])


EMBEDDED_TASKS = tuple(
    Task(
        name=name,
        fields=task.question.form.fields,
        labels=task.labels,
        metrics=task.metrics,
        prefix=" ".join(describe(name, task.question.slots)),
        generate=partial(_generate, name),
    )
    for name, task in SYNTHETIC_TASKS.items()
)

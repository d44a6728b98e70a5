"""What a run with tasks of free text must fit, checked before anything is trained or answered."""

from collections.abc import Iterable
from typing import Any

from crosspt.config.data import DataConfig
from crosspt.config.run import DecodeChoice
from crosspt.evaluation.prediction import ways_to_decode
from crosspt.evaluation.text_metrics import check_installed
from crosspt.models.family import find_family
from crosspt.tasks.task import Task


def check_free_text(tasks: Iterable[Task], decode: DecodeChoice) -> None:
    """Raise ValueError where free text is to be ranked, or a metric needs a package that is not installed."""
    for task in tasks:
        ways_to_decode(task, decode)
        check_installed(task)


def check_room(tasks: Iterable[Task], data: DataConfig, prompt_length: int, base_model: Any) -> None:
    """Raise ValueError where a text of the greatest length and its answer might not fit a table of positions."""
    family = find_family(base_model, "check_room")
    limit = family.positions(base_model)
    before = prompt_length + data.max_length if family.causal else 0  # a decoder of its own reads the answer alone
    for task in tasks:
        if task.free_text and limit is not None and before + task.max_target_length > limit:
            counted = f"{prompt_length} of the prompt, {data.max_length} of max_length and " if family.causal else ""
            raise ValueError(
                f"task {task.name!r}: {counted}{task.max_target_length} of its max_target_length must fit the {limit} "
                f"positions of a {type(base_model).__name__}"
            )

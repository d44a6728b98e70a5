"""Tasks: what they are, where their rows come from, how rows become batches. Knows nothing of prompts or models."""

from crosspt.tasks.collation import PromptCollator, encode_inputs, encode_rows
from crosspt.tasks.data import load_split, load_test, load_train
from crosspt.tasks.registry import SUITES, get_task, register_task, task_names
from crosspt.tasks.sampling import few_shot_indices
from crosspt.tasks.task import LABEL_SETS, Task, task_letter
from crosspt.tasks.task_file import load_task_file

__all__ = [
    "LABEL_SETS",
    "SUITES",
    "PromptCollator",
    "Task",
    "encode_inputs",
    "encode_rows",
    "few_shot_indices",
    "get_task",
    "load_split",
    "load_task_file",
    "load_test",
    "load_train",
    "register_task",
    "task_letter",
    "task_names",
]

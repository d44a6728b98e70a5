"""Tasks by name, and the suites the paper groups them in."""

import difflib
import re

from crosspt.tasks.embedded.suite import EMBEDDED_TASKS
from crosspt.tasks.glue import GLUE_TASKS
from crosspt.tasks.group2 import GROUP2_TASKS
from crosspt.tasks.plain import PLAIN_TASKS
from crosspt.tasks.task import Task
from crosspt.tasks.task_file import is_task_file, load_task_file

SUITES: dict[str, tuple[str, ...]] = {
    "embedded": tuple(task.name for task in EMBEDDED_TASKS),
    "plain": tuple(task.name for task in PLAIN_TASKS),
    "glue": ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte"),
    "group2": ("scitail", "paws", "imdb", "yelp_polarity", "multi_nli", "mrpc", "stsb2"),
}

_ALIASES = {"yelp": "yelppolarity"}
_TASKS: dict[str, Task] = {}


def register_task(task: Task) -> None:
    """Makes a task available by its name.

    Raises:
        ValueError: when the name is taken; `-` and `_` do not tell names apart.
    """
    key = _key(task.name)
    if key in _TASKS:
        raise ValueError(f"register_task: the name {task.name!r} is taken by the task {_TASKS[key].name!r}")
    _TASKS[key] = task


def task_names() -> list[str]:
    """Returns the names of the registered tasks, GLUE first, the embedded suite last."""
    return [task.name for task in _TASKS.values()]


def get_task(name: str) -> Task:
    """Returns a task by its name, in the paper's spelling too (`SST-2`, `Yelp`), or from a YAML file by its path.

    Raises:
        ValueError: when there is no such task, or the file does not describe one.
    """
    if is_task_file(name):
        return load_task_file(name)
    key = _key(name)
    if key not in _TASKS:
        names = {_key(known): known for known in task_names()}
        close = [names[match] for match in difflib.get_close_matches(key, names, n=3)]
        hint = f"did you mean {' or '.join(close)}?" if close else f"the tasks are {', '.join(task_names())}"
        raise ValueError(f"get_task: unknown task {name!r}, {hint}")
    return _TASKS[key]


def _key(name: str) -> str:
    key = re.sub(r"[-_ ]", "", name.lower())
    return _ALIASES.get(key, key)


for _task in (*GLUE_TASKS, *GROUP2_TASKS, *PLAIN_TASKS, *EMBEDDED_TASKS):
    register_task(_task)

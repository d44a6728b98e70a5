"""The tasks of a run, by their names and by where they stand in it."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from crosspt.config.files import did_you_mean
from crosspt.config.run import RunConfig
from crosspt.methods import find_method
from crosspt.tasks.registry import get_task
from crosspt.tasks.task import Task
from crosspt.tasks.task_file import is_task_file


def run_tasks(run: RunConfig) -> dict[int, Task]:
    """The run's tasks by position: the targets, then the other source tasks of methods that use them."""
    names = list(run.prompts.tasks)
    if find_method(run.method).needs_source_prompts(run.prompts):
        names = list(dict.fromkeys([*names, *run.prompts.resolved_source_tasks]))
    return {position: get_task(run.task_files.get(name, name)) for position, name in enumerate(names)}


def find_task(run: RunConfig, name: str) -> Task:
    """The task of a checkpoint by its name, in any spelling. Raises ValueError where it has no prompt for it."""
    targets = {task.name: task for task in run_tasks(run).values() if task.name in run.prompts.tasks}
    if name not in targets:
        with suppress(ValueError):
            name = get_task(name).name
    if name not in targets:
        raise ValueError(f"the checkpoint has no prompt for task {name!r}{did_you_mean(name, targets)}")
    return targets[name]


def name_tasks(task_files: dict[str, str], specifications: Iterable[str]) -> list[str]:
    """Names of tasks, given as names or as YAML files; the files are noted by the names of their tasks."""
    names = []
    for specification in specifications:
        name = get_task(specification).name
        if is_task_file(specification):
            file = str(Path(specification).expanduser().resolve())
            if task_files.setdefault(name, file) != file:
                raise ValueError(f"{task_files[name]} and {file} both describe a task {name!r}")
        names.append(name)
    return names

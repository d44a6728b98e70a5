"""The tasks of several runs, by the names that they are asked for."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crosspt.config.files import did_you_mean
from crosspt.runs.answering import AnsweringTask, load_tasks
from crosspt.runs.evaluate import load_run_model, open_checkpoint


class Runs:
    """Runs whose tasks are served together. Those over the same language model share its weights.

    Args:
        checkpoints: folders of runs, or of saved prompts.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        model: the language model to use instead of those that the runs were trained on.

    Raises:
        ValueError: two folders have the same name.
    """

    def __init__(self, checkpoints: Sequence[Path], device: str = "auto", model: str | None = None):
        self.device = device
        self.model = model
        self.checkpoints = {checkpoint.resolve().name: checkpoint for checkpoint in checkpoints}
        if len(self.checkpoints) < len(checkpoints):
            raise ValueError(
                f"the folders of runs that are served together must have different names, got "
                f"{', '.join(map(str, checkpoints))}"
            )
        self._base_models: dict[str, tuple[Any, Any]] = {}

    def __call__(self) -> dict[str, AnsweringTask]:
        """The tasks by ``RUN/TASK``, loaded anew, each language model but once.

        Raises:
            ValueError: a run cannot be loaded, or is since the first call one over another language model.
        """
        started = bool(self._base_models)
        tasks = {}
        for name, checkpoint in self.checkpoints.items():
            run = open_checkpoint(checkpoint, self.model)
            if run.model not in self._base_models:
                if started:  # transformers loads with settings of the whole process, which others compute in
                    raise ValueError(f"{checkpoint} is a run over {run.model!r} now, which only a new start can load")
                self._base_models[run.model] = load_run_model(run)
            loaded = load_tasks(checkpoint, run, *self._base_models[run.model], device=self.device)
            tasks.update({f"{name}/{task}": asked for task, asked in loaded.items()})
        return tasks


class Roster:
    """Tasks by name: ``RUN/TASK``, and ``TASK`` where one run alone has it.

    Args:
        load: makes the tasks by ``RUN/TASK``, see :class:`Runs`.
    """

    def __init__(self, load: Callable[[], Mapping[str, AnsweringTask]]):
        self._load = load
        self.reload()

    def reload(self) -> None:
        """Load the tasks anew; where that raises, they stay as they are. Whoever holds one of before can ask it on."""
        tasks = dict(self._load())
        homes: dict[str, list[str]] = defaultdict(list)
        for name in tasks:
            homes[name.rpartition("/")[2]].append(name)
        tasks.update({task: tasks[names[0]] for task, names in homes.items() if len(names) == 1})
        self.tasks: Mapping[str, AnsweringTask] = tasks
        self._homes = homes

    @property
    def names(self) -> list[str]:
        """One name of each task, the shortest."""
        return [task if len(names) == 1 else name for task, names in self._homes.items() for name in names]

    def find(self, name: str) -> AnsweringTask:
        """The task of a name. Raises KeyError, which says what the names are, where there is none."""
        if name in self.tasks:
            return self.tasks[name]
        if name in self._homes:
            raise KeyError(f"several runs have a task {name!r}: ask {' or '.join(self._homes[name])}")
        raise KeyError(f"unknown task {name[:100]!r}{did_you_mean(name[:100], self.names)}")

"""What the rest of the program asks of a method: its jobs, its model, its optimizer's groups, its files."""

import dataclasses
import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from crosspt.config.layout import EXTENDED, SOURCES, TARGETS
from crosspt.config.prompts import CrossPTConfig, Initialization
from crosspt.config.run import CROSSPT, RunConfig
from crosspt.config.training import RATES, TrainingConfig
from crosspt.methods import find_method
from crosspt.models.family import Family
from crosspt.prompts.bank import PromptBank

OPTIONAL = (
    *(field.name for field in dataclasses.fields(CrossPTConfig) if field.name != "tasks"),
    *RATES,
    "learning_rate",
    "stage1",
    "stage1_epochs",
)
"""Settings of a run that a method may have no use for."""
FROM_SOURCES = frozenset({"source_tasks", "source_prompts", "stage1", "stage1_epochs"})
"""What a method that starts from the prompts of source tasks has use for."""


def baseline(**values: Any) -> Mapping[str, Any]:
    """Defaults of a method: these, and what ATTEMPT's baselines share. They keep transformers' clipping."""
    return {"epochs": 20, "max_grad_norm": 1.0, **values}


@dataclass(frozen=True)
class Job:
    """The training of one model.

    Args:
        folder: where what it learns goes, below the run's folder.
        config: the tasks, and the prompts of methods that have some.
        training: the settings.
        method: name of the method.
    """

    folder: str
    config: CrossPTConfig
    training: TrainingConfig
    method: str = CROSSPT

    @property
    def scheme(self) -> str:
        """What its answers are noted as those of: the scheme of the prompts, or another method."""
        return self.config.scheme if self.method == CROSSPT else self.method

    def is_finished(self, folder: Path) -> bool:
        """Whether what it learns is below a folder."""
        return find_method(self.method).is_saved(folder / self.folder)


class Method(ABC):
    """A way to learn tasks over a language model.

    A model of it is an ``nn.Module`` with ``base_model``, the language model that answers; ``config``, a
    ``CrossPTConfig`` whose tasks the task ids count; ``device``; and ``forward``, ``encode``, ``generate``,
    ``keep_prompts`` and ``count_parameters`` as :class:`crosspt.CrossPTModel` has them. The weights of the language
    model that a model is built over are the program's and are left as they are: a model that changes some has its own
    copies of them.

    Attributes:
        name: as ``--method`` takes it.
        source: where its default settings come from, in one line.
        defaults: values of a run's settings where none are given, by name.
        uses: those of the ``OPTIONAL`` settings, and ``source_prompts``, that make a difference.
        changes_backbone: whether what it learns lies inside the language model, and not only in front of it.
        sees_tasks: whether what a model makes of a row depends on the row's task.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]] = {}
    uses: ClassVar[frozenset[str]] = frozenset()
    changes_backbone: ClassVar[bool] = False
    sees_tasks: ClassVar[bool] = True

    def check(self, run: RunConfig) -> None:
        """Raise ValueError where a run's settings do not go together, or the method has no use for one."""
        run.check()
        values = settings_of(run)
        for name, default in self.all_defaults().items():
            if name in OPTIONAL and name not in self.uses and values[name] != default:
                raise ValueError(f"method {self.name} has no use for {name}, got {values[name]!r}")
        together = run.training.stage2 == "joint" and len(run.prompts.tasks) > 1
        if together and not (self.sees_tasks or run.data.prefix):
            warnings.warn(
                f"method {self.name} learns {len(run.prompts.tasks)} tasks together and does not see which one a row "
                "is of; give --prefix, or --stage2 per_target",
                stacklevel=2,
            )
        if run.source_prompts and "source_prompts" not in self.uses:
            raise ValueError(f"method {self.name} starts from no source prompts, got {', '.join(run.source_prompts)}")

    def all_defaults(self) -> dict[str, Any]:
        """The value of each setting of prompts and training that is not given."""
        fields = (*dataclasses.fields(CrossPTConfig), *dataclasses.fields(TrainingConfig))
        return {**{field.name: field.default for field in fields if field.default is not MISSING}, **self.defaults}

    def suited_to(self, family: Family, config: CrossPTConfig) -> Mapping[str, Any]:
        """The values that count over a family of language models instead of :meth:`all_defaults`."""
        return {}

    def describe(self, run: RunConfig, family: Family) -> dict[str, Any]:
        """What tells how fairly a run's results compare to those of other methods, as plain JSON values.

        Args:
            run: the settings.
            family: of its language model.

        Returns:
            ``name``, ``settings_source``; ``settings_given``, the names of settings with another value than the
            method's default; ``tuning_budget``; ``selection``; ``pretrained_on``, the source tasks whose prompts were
            trained first; ``changes_backbone``.
        """
        values = settings_of(run)
        suited = self.suited_to(family, run.prompts)
        defaults = {**self.all_defaults(), **suited}
        given = [name for name, default in defaults.items() if name != "seed" and values[name] != default]
        pretrained = run.prompts.resolved_source_tasks if self.needs_source_prompts(run.prompts) else []
        return {
            "name": self.name,
            "settings_source": f"{self.source}; {family.defaults_source}" if suited else self.source,
            "settings_given": given,
            "tuning_budget": "none: one setting",
            "selection": run.training.select,
            "pretrained_on": list(pretrained),
            "changes_backbone": self.changes_backbone,
        }

    def needs_source_prompts(self, config: CrossPTConfig) -> bool:
        """Whether anything starts from the prompts of source tasks."""
        return "source_prompts" in self.uses

    def plan_sources(
        self, config: CrossPTConfig, training: TrainingConfig, available: Collection[str] = ()
    ) -> list[Job]:
        """The jobs that train the source prompts that targets start from: none where they start from none.

        They are of CrossPT's scheme P on the source tasks whose prompt is not available yet, with P's own learning
        rates. The texts of ``init_texts`` belong to the targets; source prompts start from the vocabulary instead.
        """
        if not self.needs_source_prompts(config):
            return []
        missing = [task for task in config.resolved_source_tasks if task not in available]
        settings = dataclasses.replace(training)
        for name in (*RATES, "learning_rate"):
            setattr(settings, name, None)
        for name in ("epochs", "max_grad_norm"):  # what the method would rather have is not P's
            if getattr(settings, name) == self.defaults.get(name):
                setattr(settings, name, getattr(TrainingConfig, name))
        settings.epochs = training.stage1_epochs or settings.epochs
        if training.stage1 == "joint":
            groups = [("joint", missing)] if missing else []
        else:
            groups = [(task, [task]) for task in missing]
        fresh: Initialization = "vocabulary" if config.initialization == "text" else config.initialization
        jobs = []
        for name, tasks in groups:
            prompts = dataclasses.replace(
                config,
                tasks=tasks,
                scheme="P",
                source_tasks=None,
                initialization=fresh,
                init_texts=None,
                freeze_shared=False,
            )
            jobs.append(Job(f"{SOURCES}/{name}", prompts, settings))
        return jobs

    def plan_targets(self, config: CrossPTConfig, training: TrainingConfig) -> list[Job]:
        """One job for all targets, in the run's folder itself, or one for every target below ``targets/``."""
        if training.stage2 == "joint":
            return [Job("", config, training, self.name)]
        sources = list(config.resolved_source_tasks) if "source_tasks" in self.uses else None
        return [
            Job(
                f"{TARGETS}/{task}",
                dataclasses.replace(config, tasks=[task], source_tasks=sources),
                training,
                self.name,
            )
            for task in config.tasks
        ]

    @abstractmethod
    def build(
        self,
        base_model: Any,
        config: CrossPTConfig,
        *,
        source_prompts: Mapping[str, Tensor] | None = None,
        tokenizer: Any = None,
        initialize: bool = True,
    ) -> Any:
        """A model that is to be trained.

        Args:
            base_model: the language model, which is frozen in place and whose weights stay as they are.
            config: the tasks and prompts.
            source_prompts: encoded prompts (m, d) by source task, where any are needed.
            tokenizer: its, for initialisation from text.
            initialize: False where weights are put in afterwards.
        """

    def epochs(self, config: CrossPTConfig, training: TrainingConfig) -> int:
        """Passes over the training rows."""
        return training.epochs or self.defaults["epochs"]

    def groups(self, model: Any, training: TrainingConfig) -> list[dict[str, Any]]:
        """The optimizer's parameter groups: each has a ``name``, ``params``, ``lr`` and what else Adam takes."""
        rate = training.learning_rate or self.defaults["learning_rate"]
        return [{"name": "all", "params": [p for p in model.parameters() if p.requires_grad], "lr": rate}]

    def prompts(self, model: Any) -> Mapping[str, Tensor]:
        """The prompt (m, d) of each task, for methods that others can start from."""
        return {}

    @abstractmethod
    def save(self, model: Any, folder: Path) -> None:
        """Write what a model has learned; a folder with a part of it is not one that :meth:`is_saved`."""

    @abstractmethod
    def restore(self, model: Any, folder: Path) -> None:
        """Put what was saved into a model. Raises ValueError where it is another model's."""

    @abstractmethod
    def load(self, base_model: Any, folder: Path) -> Any:
        """The saved model over a language model. Warns where it was trained over another one."""

    @abstractmethod
    def is_saved(self, folder: Path) -> bool:
        """Whether a folder holds all that :meth:`save` writes."""

    @abstractmethod
    def read(self, folder: Path) -> tuple[CrossPTConfig, dict[str, Any]]:
        """The configuration of what a folder holds, and its model, see :func:`crosspt.models.family.describe`."""

    def take_shared(self, model: Any, folder: Path) -> None:
        """Put what all tasks of a saved bank use into a model whose configuration has ``freeze_shared``.

        Raises:
            ValueError: the bank is another model's, or the method has none.
        """
        raise ValueError(f"method {self.name} has no bank to add a task to")

    def load_bank(self, folder: Path) -> PromptBank | None:
        """The saved prompts, for methods that mix some."""
        return None

    def folder_of(self, checkpoint: Path, task: str) -> Path:
        """Where a checkpoint keeps what it has learned of a task: its own folder, the target's, or an extended run."""
        for folder in (checkpoint, checkpoint / TARGETS / task):
            if self.is_saved(folder):
                return folder
        place = checkpoint
        while (place := place / EXTENDED).is_dir():
            for folder in (place, place / TARGETS / task):
                if self.is_saved(folder) and task in self.read(folder)[0].tasks:
                    return folder
        what = "prompts" if self.name == CROSSPT else f"weights of {self.name}"
        raise ValueError(f"checkpoint {checkpoint} holds no {what} for task {task!r} yet: its training is not finished")


def source_jobs(run: RunConfig, available: Collection[str] = ()) -> list[Job]:
    """Stage 1 of a run, see :meth:`Method.plan_sources`; one that extends a run has the sources of that run."""
    if run.extends is not None:
        fresh = run.learned_tasks if run.prompts.parsed_scheme.initializes_privates else []
        available = [*available, *(task for task in run.prompts.resolved_source_tasks if task not in fresh)]
    return find_method(run.method).plan_sources(run.prompts, run.training, available)


def target_jobs(run: RunConfig) -> list[Job]:
    """Stage 2 of a run, see :meth:`Method.plan_targets`."""
    prompts = run.prompts if run.extends is None else dataclasses.replace(run.prompts, tasks=run.learned_tasks)
    return find_method(run.method).plan_targets(prompts, run.training)


def settings_of(run: RunConfig) -> dict[str, Any]:
    """The settings of a run's prompts and training by name."""
    return {**vars(run.prompts), **vars(run.training)}

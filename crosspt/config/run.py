"""The settings of a run, and how a model is asked."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from crosspt.config.data import DataConfig
from crosspt.config.files import SCHEMA, read_json
from crosspt.config.layout import RUN_NAME
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.training import TrainingConfig
from crosspt.config.values import build

EMBEDDED = "embedded"  # the name of the embedded T5
SMOLLM2 = "smollm2"  # that of a causal language model in the user's cache, see crosspt.models.smollm2
CROSSPT = "crosspt"  # the method that is meant where none is named
Decode = Literal["generate", "rank"]
DecodeChoice = Literal["generate", "rank", "both"]
ReportTo = Literal["none", "tensorboard", "wandb"]  # what draws the curves of a training


@dataclass(frozen=True)
class Compute:
    """How a model answers rows; none of it decides what is asked.

    Args:
        batch_size: rows in a batch.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        bf16: compute in bfloat16 autocast.
        progress: whether to show progress bars.
    """

    batch_size: int = 32
    device: str = "auto"
    bf16: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")


@dataclass
class Extension:
    """The finished run whose tasks a run has beside those that it trains.

    Args:
        folder: of that run, when it was extended; the run holds what it needs of it in ``extended``.
        tasks: the names of its targets.
    """

    folder: str
    tasks: list[str]


@dataclass
class RunConfig:
    """Everything that decides what a run learns, and its results.

    Args:
        model: of the language model, see :func:`crosspt.models.loading.load_model`.
        task_files: the YAML file of each task that is not built in, by the task's name.
        source_prompts: folders with stage-1 prompts to use instead of training them.
        prompts: the prompts' configuration.
        training: the training's settings.
        data: the rows.
        decode: how the test rows are answered: ``"generate"``, greedily, ``"rank"``, with the likeliest of the task's
            answers, or ``"both"``.
        method: what learns, see ``crosspt.methods``; settings that it has no use for are at their defaults.
        processes: how many trained together, each with batches of its own.
        extends: the run whose tasks come before those that this one trains.
    """

    model: str
    task_files: dict[str, str]
    source_prompts: list[str]
    prompts: CrossPTConfig
    training: TrainingConfig
    data: DataConfig
    decode: DecodeChoice = "both"
    method: str = CROSSPT
    processes: int = 1
    extends: Extension | None = None

    def __post_init__(self) -> None:
        if self.decode not in get_args(DecodeChoice):
            raise ValueError(
                f"RunConfig: decode must be one of {', '.join(get_args(DecodeChoice))}, got {self.decode!r}"
            )
        earlier = [] if self.extends is None else self.extends.tasks
        if self.prompts.tasks[: len(earlier)] != earlier or not self.learned_tasks:
            raise ValueError(
                f"RunConfig: tasks must be those of the run that is extended, {', '.join(earlier)}, and more, "
                f"got {', '.join(self.prompts.tasks)}"
            )

    @property
    def learned_tasks(self) -> list[str]:
        """The targets that this run trains: all but those of a run that it extends."""
        return self.prompts.tasks[0 if self.extends is None else len(self.extends.tasks) :]

    @property
    def scheme(self) -> str:
        """What its answers are noted as those of: the scheme of the prompts, or another method."""
        return self.prompts.scheme if self.method == CROSSPT else self.method

    @property
    def temperature_value(self) -> float | None:
        """The tau that the targets' banks use, for methods that mix prompts."""
        prompts = self.prompts
        if self.method != CROSSPT:
            return None
        if self.training.stage2 == "per_target":
            sources = list(prompts.resolved_source_tasks)
            prompts = dataclasses.replace(prompts, tasks=prompts.tasks[:1], source_tasks=sources)
        return prompts.temperature_value

    def check(self) -> None:
        """Raise ValueError where something is given that the selection has no use for; a method checks the rest."""
        if self.data.dev_rows is not None and self.training.select != "best":
            raise ValueError(f"dev_rows goes with select best, got select {self.training.select}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the schema's number and the temperature that is used.

        What came with other methods is left out of CrossPT's, the number of processes where it is 1, and what came
        with extensions where there is none: these stay readable for the versions before.
        """
        values = {"schema": SCHEMA, **dataclasses.asdict(self), "temperature_value": self.temperature_value}
        values["prompts"] = self.prompts.to_dict()
        if self.method == CROSSPT:
            del values["method"], values["training"]["learning_rate"]
        if self.processes == 1:
            del values["processes"]
        if self.extends is None:
            del values["extends"]
        return values

    @classmethod
    def load(cls, folder: Path) -> "RunConfig":
        """Read ``run.json``. Raises ValueError that names the file where something in it does not fit."""
        path = folder / RUN_NAME
        values = read_json(path)
        for derived in ("schema", "temperature_value"):
            values.pop(derived, None)
        sections = {"prompts": CrossPTConfig, "training": TrainingConfig, "data": DataConfig, "extends": Extension}
        for name, section in sections.items():
            if name in values:
                values[name] = build(section, values[name], f"{path}: {name}")
        return build(cls, values, path)

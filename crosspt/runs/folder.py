"""A run: its settings and its folder, and the T5 and the device it takes."""

import dataclasses
import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, T5ForConditionalGeneration

from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import EMBEDDED, Decode, DecodeChoice
from crosspt.config.training import TrainingConfig
from crosspt.evaluation.results import write_json
from crosspt.models.embedded import EMBEDDED_T5
from crosspt.prompts.storage import CONFIG_NAME
from crosspt.tasks.registry import get_task
from crosspt.tasks.rows import DataConfig
from crosspt.tasks.task import Task

RUN_NAME = "run.json"
TARGETS = "targets"  # folder of the targets that have a bank of their own
SCHEMA = 1


@dataclass
class RunConfig:
    """Everything that decides a run's prompts and results.

    Args:
        model: folder or hub name of the T5, or ``embedded``.
        task_files: the YAML file of each task that is not built in, by the task's name.
        source_prompts: folders with stage-1 prompts to use instead of training them.
        prompts: the prompts' configuration.
        training: the training's settings.
        data: the rows.
        decode: how the test rows are answered: ``"generate"``, greedily, ``"rank"``, with the likeliest of the task's
            answers, or ``"both"``.
    """

    model: str
    task_files: dict[str, str]
    source_prompts: list[str]
    prompts: CrossPTConfig
    training: TrainingConfig
    data: DataConfig
    decode: DecodeChoice = "both"

    def __post_init__(self) -> None:
        if self.decode not in get_args(DecodeChoice):
            raise ValueError(
                f"RunConfig: decode must be one of {', '.join(get_args(DecodeChoice))}, got {self.decode!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the schema's number and the temperature that is used."""
        return {
            "schema": SCHEMA,
            **dataclasses.asdict(self),
            "temperature_value": self.temperature_value,
        }

    @property
    def temperature_value(self) -> float:
        """The tau that the targets' banks use."""
        prompts = self.prompts
        if self.training.stage2 == "per_target":
            sources = list(prompts.resolved_source_tasks)
            prompts = dataclasses.replace(prompts, tasks=prompts.tasks[:1], source_tasks=sources)
        return prompts.temperature_value

    @classmethod
    def load(cls, folder: Path) -> "RunConfig":
        """Read ``run.json``. Raises ValueError that names the file where it cannot be read."""
        path = folder / RUN_NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise ValueError(f"expected an object, got {type(values).__name__}")
            if values.pop("schema") != SCHEMA:
                raise ValueError("its schema is of another version")
            del values["temperature_value"]
            texts = [values["model"], *values["source_prompts"], *values["task_files"].values()]
            if not all(isinstance(text, str) for text in texts):
                raise ValueError("model, source_prompts and task_files must be text")
            return cls(
                **{
                    **values,
                    "prompts": CrossPTConfig.from_dict(values["prompts"], origin="prompts"),
                    "training": TrainingConfig(**values["training"]),
                    "data": DataConfig(**values["data"]),
                }
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = f"the key {error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{path} is not a run of this version: {reason}") from None

    def check(self) -> None:
        """Raise ValueError where something is given that the scheme has no use for."""
        if not self.prompts.parsed_scheme.needs_source_prompts:
            for setting, value in (
                ("source prompts", self.source_prompts),
                ("source tasks", self.prompts.source_tasks),
            ):
                if value:
                    raise ValueError(f"scheme {self.prompts.scheme} starts from no {setting}, got {', '.join(value)}")
        self.training.learning_rates(self.prompts)

    def positions(self) -> dict[int, Task]:
        """The run's tasks by position: the targets, then the other source tasks of schemes that use them."""
        names = list(self.prompts.tasks)
        if self.prompts.parsed_scheme.needs_source_prompts:
            names = list(dict.fromkeys([*names, *self.prompts.resolved_source_tasks]))
        return {position: get_task(self.task_files.get(name, name)) for position, name in enumerate(names)}


def name_tasks(task_files: dict[str, str], specifications: Iterable[str]) -> list[str]:
    """Names of tasks, given as names or as YAML files; the files are noted by the names of their tasks."""
    names = []
    for specification in specifications:
        name = get_task(specification).name
        if specification.endswith((".yaml", ".yml")):
            file = str(Path(specification).resolve())
            if task_files.setdefault(name, file) != file:
                raise ValueError(f"{task_files[name]} and {file} both describe a task {name!r}")
        names.append(name)
    return names


def load_t5(name: str) -> tuple[T5ForConditionalGeneration, Any]:
    """A T5 in float32 and its tokenizer: the embedded one by its name, else from a folder or the hub.

    Raises:
        ValueError: it cannot be had, is no T5, lacks weights, or has no tokenizer; in one line.
    """
    place = str(EMBEDDED_T5) if name == EMBEDDED else name
    try:
        config = AutoConfig.from_pretrained(place)
        if config.model_type not in ("t5", "mt5"):
            raise ValueError(f"expected a T5, got model type {config.model_type!r}")
        # float32 whatever the file holds: T5 overflows in float16.
        t5, report = AutoModelForSeq2SeqLM.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
        unfit = [*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]
        if unfit:
            raise ValueError(f"{len(unfit)} of its tensors are missing or misshapen, such as {min(unfit)}")
        tokenizer = AutoTokenizer.from_pretrained(place)
    except Exception as error:  # transformers, tokenizers, safetensors and the hub's client each raise their own
        reason = " ".join(str(error).split()) or type(error).__name__
        what = "cannot be loaded" if Path(place).is_dir() else "is no folder, nor to be had from the hub"
        raise ValueError(f"model {name!r} {what}: {reason}") from error
    if set(tokenizer.get_vocab()) <= {*tokenizer.all_special_tokens, "\N{LOWER ONE EIGHTH BLOCK}"}:
        raise ValueError(f"model {name!r} has no tokenizer beside its weights")
    t5.config.name_or_path = name  # what saved prompts say they were trained on
    return t5, tokenizer


def pick_device(device: str) -> torch.device:
    """``"auto"`` takes the GPU where there is one. Raises ValueError for a GPU that is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: 'cuda' was asked for, but torch sees no GPU; use 'auto' or 'cpu'")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def decodes(choice: DecodeChoice) -> tuple[Decode, ...]:
    """The ways of decoding that a choice stands for."""
    return get_args(Decode) if choice == "both" else (choice,)


def prepare_folder(run: RunConfig, folder: Path, resume: bool) -> None:
    """Make a run's folder and write ``run.json``, or check that the folder holds this very run.

    Raises:
        ValueError: the folder holds something else, or a run that ``resume`` does not allow to continue.
    """
    if (folder / RUN_NAME).is_file():
        if not resume:
            raise ValueError(f"{folder} holds a run already; --resume continues it, another --output starts a new one")
        saved, wanted = RunConfig.load(folder).to_dict(), run.to_dict()
        different = [
            f"{key} (there {was!r}, here {now!r})"
            for section in wanted
            for key, was, now in _differences(section, saved[section], wanted[section])
        ]
        if different:
            raise ValueError(f"{folder} holds a run with other settings: {', '.join(different)}")
        return
    if folder.exists() and (not folder.is_dir() or not all(_is_leftover(file) for file in folder.iterdir())):
        raise ValueError(f"{folder} must be a new or empty folder, or one that holds a run to resume")
    check_writable(folder)
    write_json(folder / RUN_NAME, run.to_dict())


def prompts_folder(checkpoint: Path, task: str) -> Path:
    """Where a checkpoint keeps the prompts of a task: its own folder, or that of the target."""
    for folder in (checkpoint, checkpoint / TARGETS / task):
        if (folder / CONFIG_NAME).is_file():
            return folder
    raise ValueError(f"checkpoint {checkpoint} holds no prompts for task {task!r} yet: its training is not finished")


def check_writable(folder: Path) -> None:
    """Make a folder, and raise ValueError where nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{folder} is no folder that can be written to: {error.strerror}") from None


def _is_leftover(file: Path) -> bool:
    """Whether the file is what a run leaves that was killed while it wrote ``run.json``."""
    return file.name.startswith(f".{RUN_NAME}.") and file.suffix == ".tmp"


def _differences(name: str, saved: Any, wanted: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(saved, dict) and isinstance(wanted, dict) and saved.keys() == wanted.keys():
        return [difference for key in wanted for difference in _differences(key, saved[key], wanted[key])]
    return [] if saved == wanted else [(name, saved, wanted)]

"""Tasks that are added to a finished run, whose own keep their prompts: the settings, and what is taken of that run."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from crosspt.config.data import DataConfig
from crosspt.config.layout import EXTENDED, PREDICTIONS_NAME, RESULTS_NAME, RUN_NAME
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import CROSSPT, Extension, RunConfig
from crosspt.config.scheme import Scheme
from crosspt.config.training import GROUPS, TrainingConfig
from crosspt.evaluation.answers import Predictions, read_predictions
from crosspt.evaluation.results import read_results
from crosspt.methods import find_method
from crosspt.methods.method import Job
from crosspt.runs.evaluate import open_checkpoint

OWN = {"tasks", "initialization", "init_texts", "freeze_shared"}  # what a new task's prompts may have otherwise
KEPT = (  # all others, and what decides how the rows of all tasks are drawn, written and answered
    *(field.name for field in dataclasses.fields(CrossPTConfig) if field.name not in OWN),
    *("data_seed", "test_rows", "prefix", "label_set", "max_length"),
    *("decode", "method", "model"),
)
WITH_BEST = ("eval_steps", "patience", "dev_rows")  # settings that go with select best alone


def extend_run(
    folder: Path,
    tasks: Sequence[str],
    task_files: Mapping[str, str],
    source_prompts: Sequence[str],
    given: Mapping[str, Any],
) -> RunConfig:
    """The settings of a run that has the tasks of a finished run and trains some more: as there, where none is given.

    Args:
        folder: of the finished run.
        tasks: names of the tasks that are added.
        task_files: the YAML file of each that is not built in, by its name.
        source_prompts: folders with stage-1 prompts that private prompts start from, where the scheme has it so.
        given: the settings that are given, by name.

    Raises:
        ValueError: the run is not finished or cannot be extended, has one of the tasks, or was made with another value
            of a setting that all tasks share.
    """
    base = _open_finished(folder)
    if given.get("select") == "last":
        given = {**dict.fromkeys(WITH_BEST), **given}
    prompts = base.prompts
    scheme = prompts.parsed_scheme
    # One source for every task would be more of them now.
    pinned = scheme.name.removesuffix("N") + str(prompts.num_sources) if scheme.count == "N" else scheme.name
    pinned = Scheme.parse(pinned).name
    _check_extendable(folder, base)
    _check_given(folder, base, given, {scheme.name, pinned})
    known = [task for task in tasks if task in prompts.tasks]
    if known or not tasks:
        raise ValueError(
            f"--extend {folder} needs --tasks that the run does not have, got {', '.join(known) or 'none'}"
        )
    if source_prompts and not scheme.initializes_privates:
        raise ValueError(f"--extend {folder}: its sources are there, got source prompts {', '.join(source_prompts)}")
    return RunConfig(
        model=given.get("model", base.model),
        task_files={**base.task_files, **task_files},
        source_prompts=list(source_prompts),
        prompts=dataclasses.replace(
            prompts,
            tasks=[*prompts.tasks, *tasks],
            scheme=pinned,
            source_tasks=_source_tasks(folder, prompts, tasks),
            freeze_shared=True,
            **_start(folder, prompts, given),
        ),
        training=_training(base, given),
        data=dataclasses.replace(base.data, **_of(DataConfig, given)),
        decode=base.decode,
        extends=Extension(str(folder.resolve()), prompts.tasks),
    )


def shared_bank(run: RunConfig, job: Job, folder: Path | None = None) -> Path | None:
    """The folder of the bank whose sources and encoder the tasks of a job are mixed with; None for one of its own.

    Args:
        run: the settings.
        job: of the run.
        folder: of the run, which holds a copy of the one that it extends; by default that one itself is meant.
    """
    if run.extends is None or not job.config.freeze_shared:
        return None
    checkpoint = Path(run.extends.folder) if folder is None else folder / EXTENDED
    return find_method(run.method).folder_of(checkpoint, run.extends.tasks[0])


def earlier_answers(run: RunConfig, folder: Path) -> Predictions:
    """The answers to the tasks of the run that is extended, which a run's folder holds, as those of its own scheme."""
    found = read_predictions(folder / EXTENDED / PREDICTIONS_NAME)
    scheme = pd.Categorical.from_codes([0] * len(found.rows), [run.scheme])
    return Predictions(found.rows.assign(scheme=scheme), found.tasks)


def _open_finished(folder: Path) -> RunConfig:
    """The settings of a finished run; everything that is taken of it is read once."""
    if not (folder / RUN_NAME).is_file():
        raise ValueError(f"--extend {folder} must be the folder of a run, which holds {RUN_NAME}")
    base = open_checkpoint(folder)
    if not (folder / RESULTS_NAME).is_file():
        raise ValueError(f"--extend {folder} must be a finished run, it holds no {RESULTS_NAME}")
    read_predictions(folder / PREDICTIONS_NAME, read_results(folder / RESULTS_NAME)["results"])
    return base


def _check_extendable(folder: Path, base: RunConfig) -> None:
    """Raise ValueError where a task has nothing of its own to learn, or nothing in common with the others."""
    if base.method != CROSSPT:
        raise ValueError(
            f"--extend {folder} must be a run of method {CROSSPT}, got {base.method}: what other methods learn, all "
            "tasks share, and it would move, or none do; train the new task by itself"
        )
    if base.training.stage2 == "per_target" and base.extends is None:
        raise ValueError(
            f"--extend {folder} must be a run whose tasks share a bank, got stage2 per_target; train the new task by "
            "itself"
        )
    prompts = base.prompts
    if prompts.num_candidates == 1 and not prompts.parsed_scheme.uses_privates:
        raise ValueError(
            f"--extend {folder}: in scheme {prompts.scheme} all tasks share all that learns, so that a new one would "
            "move the others"
        )


def _check_given(folder: Path, base: RunConfig, given: Mapping[str, Any], schemes: set[str]) -> None:
    """Raise ValueError where a setting is given that another value of the run's stands against."""
    there = {**vars(base.prompts), **vars(base.data), **vars(base)}
    for name in KEPT:
        value = given.get(name, there[name])
        if name == "scheme":
            same = Scheme.parse(value).name in schemes
        elif name == "source_tasks":
            same = value is None or value == base.prompts.resolved_source_tasks
        elif name == "model":
            moved = Path(base.model).is_absolute() and not Path(base.model).exists()
            if moved and name not in given:
                raise ValueError(
                    f"--extend {folder}: its model, {base.model}, is not there; if it has moved, give --model"
                )
            same = moved or value == base.model
        else:
            same = value == there[name]
        if not same:
            raise ValueError(f"--extend {folder}: {name} is that of the run, {there[name]!r}, got {value!r}")
    if given.get("stage2") == "joint":
        raise ValueError(f"--extend {folder}: tasks that are added learn one by one, stage2 per_target, got joint")


def _source_tasks(folder: Path, prompts: CrossPTConfig, tasks: Sequence[str]) -> list[str] | None:
    """The source tasks with the new ones, where private prompts start from stage-1 prompts of their own tasks."""
    scheme, known = prompts.parsed_scheme, prompts.resolved_source_tasks
    new = [task for task in tasks if task not in known] if scheme.initializes_privates else []
    if new and scheme.initializes_sources:
        raise ValueError(
            f"--extend {folder}: scheme {scheme.name} starts a private prompt from the source of its task, and the "
            f"sources of the run are {', '.join(known)}, without {', '.join(new)}"
        )
    return [*known, *new] if scheme.needs_source_prompts else prompts.source_tasks


def _start(folder: Path, prompts: CrossPTConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """How the private prompts of new tasks start."""
    start = {name: given.get(name, getattr(prompts, name)) for name in ("initialization", "init_texts")}
    if "init_texts" not in given:
        if start["initialization"] == "text" and not prompts.parsed_scheme.uses_privates:
            start["initialization"] = "vocabulary"  # of nothing: the sources are there
        if start["initialization"] != "text":
            start["init_texts"] = None
    if len(start["init_texts"] or []) > 1:
        raise ValueError(
            f"--extend {folder} needs one text as --init-texts, from which every task that is added starts, got "
            f"{len(start['init_texts'])}"
        )
    return start


def _training(base: RunConfig, given: Mapping[str, Any]) -> TrainingConfig:
    """The settings of the training, without the rates of what does not learn now."""
    idle: dict[str, Any] = {GROUPS["sources"]: None}
    if not (base.prompts.encodes_each and base.prompts.encodes_privates):
        idle[GROUPS["encoder"]] = None
    return dataclasses.replace(base.training, **idle | _of(TrainingConfig, given) | {"stage2": "per_target"})


def _of(config: type[DataConfig | TrainingConfig], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the given settings that are fields of a dataclass."""
    return {field.name: given[field.name] for field in dataclasses.fields(config) if field.name in given}

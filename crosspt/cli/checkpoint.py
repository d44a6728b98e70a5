"""What the commands over saved prompts share."""

import dataclasses
from argparse import Namespace
from pathlib import Path
from typing import Any

from crosspt.cli.flags import add_device, add_fields
from crosspt.cli.parser import Parser
from crosspt.config.data import DataConfig
from crosspt.config.run import Compute, RunConfig
from crosspt.tasks.registry import get_task
from crosspt.tasks.task_file import is_task_file


def add_checkpoint(parser: Parser, required: bool = True) -> None:
    """Add the checkpoint, and how its answers are computed."""
    text = "folder of a run or of saved prompts"
    parser.add_setting("--checkpoint", str, text, metavar="FOLDER", required=required)
    parser.add_setting("--model", str, "language model to use instead of the one the prompts were trained on")
    parser.add_setting("--batch-size", int, "rows in a batch", default=32)
    parser.add_switch("--bf16", "generate in bfloat16 autocast")
    add_device(parser)


def add_data(parser: Parser, skip: set[str]) -> None:
    """Add the settings of the rows; what is not given stays as the run had it."""
    add_fields(parser, DataConfig, skip, defaults=False)


def data_settings(settings: Namespace) -> dict[str, Any]:
    """The settings of the rows that are given."""
    given = {field.name: getattr(settings, field.name, None) for field in dataclasses.fields(DataConfig)}
    return {name: value for name, value in given.items() if value is not None}


def computing(settings: Namespace) -> Compute:
    """How answers are computed."""
    return Compute(settings.batch_size, settings.device, settings.bf16)


def open_run(settings: Namespace) -> RunConfig:
    """The settings of the run that the checkpoint is of, with those that are given."""
    from crosspt.runs.evaluate import open_checkpoint

    run = open_checkpoint(Path(settings.checkpoint), settings.model)
    run.data = dataclasses.replace(run.data, **data_settings(settings))
    return run


def own_task(run: RunConfig, name: str) -> str:
    """The name of a task; one given as a YAML file is read from there instead of where the run had it."""
    if is_task_file(name):
        file, name = name, get_task(name).name
        run.task_files[name] = file
    return name

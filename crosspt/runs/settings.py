"""A run from the settings that are given."""

from collections.abc import Mapping
from typing import Any

from crosspt.config.data import DataConfig
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import CROSSPT, RunConfig
from crosspt.config.training import TrainingConfig
from crosspt.config.values import pick
from crosspt.methods import find_method


def make_run(values: Mapping[str, Any], *, model: str, task_files: dict[str, str], **settings: Any) -> RunConfig:
    """A run's settings.

    Args:
        values: those of method, prompts, training and data that are given, by name; of the others and of those that are
            None the method's default values count, then those of the dataclasses.
        model: folder or hub name of the language model, or ``embedded``.
        task_files: the YAML file of each task that is not built in, by the task's name.
        settings: further fields of :class:`RunConfig`.

    Raises:
        ValueError: the method is unknown, or a value does not fit.
    """
    method = find_method(values.get("method") or CROSSPT)
    values = {**method.defaults, **{name: value for name, value in values.items() if value is not None}}
    return RunConfig(
        model=model,
        task_files=task_files,
        prompts=pick(CrossPTConfig, values),
        training=pick(TrainingConfig, values),
        data=pick(DataConfig, values),
        method=method.name,
        **settings,
    )

"""A run from the settings that are given."""

from collections.abc import Mapping
from typing import Any

from crosspt.config.data import DataConfig
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import CROSSPT, EMBEDDED, RunConfig
from crosspt.config.training import GROUPS, RATES, TrainingConfig
from crosspt.config.values import pick
from crosspt.methods import find_method


def make_run(values: Mapping[str, Any], *, model: str, task_files: dict[str, str], **settings: Any) -> RunConfig:
    """A run's settings.

    Args:
        values: those of method, prompts, training and data that are given, by name; of the others and of those that are
            None :func:`default_values` count, then those of the dataclasses.
        model: of the language model, see :func:`crosspt.models.loading.load_model`.
        task_files: the YAML file of each task that is not built in, by the task's name.
        settings: further fields of :class:`RunConfig`.

    Raises:
        ValueError: the method is unknown, or a value does not fit.
    """
    method = values.get("method") or CROSSPT
    given = {name: value for name, value in values.items() if value is not None}
    values = {**default_values(method, model), **given}
    prompts, training = pick(CrossPTConfig, values), pick(TrainingConfig, values)
    suited = _suited_to(model) if method == CROSSPT else {}
    if suited:  # the scheme decides which rates there are
        for group, rate in training.learning_rates(prompts, suited).items():
            setattr(training, GROUPS[group], rate)
    return RunConfig(
        model=model,
        task_files=task_files,
        prompts=prompts,
        training=training,
        data=pick(DataConfig, values),
        method=method,
        **settings,
    )


def default_values(method: str, model: str) -> Mapping[str, Any]:
    """The values of settings that are not given: the method's, for crosspt those that suit the model, but for rates.

    Raises:
        ValueError: the method is unknown.
    """
    if method != CROSSPT:
        return find_method(method).defaults
    return {name: value for name, value in _suited_to(model).items() if name not in RATES}


def _suited_to(model: str) -> Mapping[str, Any]:
    if model in (EMBEDDED, ""):
        return {}
    from crosspt.models.loading import find_named_family  # which takes seconds to import

    family = find_named_family(model)
    return family.defaults if family else {}

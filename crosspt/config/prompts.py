"""The configuration of prompts."""

import copy
import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from crosspt.config.scheme import Scheme
from crosspt.config.values import build

TemperatureSchedule = Literal["log", "sqrt", "reciprocal"]
Encoder = Literal["linear", "none", "mlp", "lstm"]
Initialization = Literal["uniform", "vocabulary", "text"]
PrefixMode = Literal["full", "isolated"]


@dataclass
class CrossPTConfig:
    """The prompts of a set of target tasks.

    Args:
        tasks: names of the T target tasks; a row's task id is the position of its task here.
        scheme: name of the configuration, such as ``"SLPN"``; see :class:`Scheme`.
        prompt_length: m, the number of prompt tokens.
        source_tasks: tasks whose stage-1 prompts initialise sources; by default the target tasks.
        encoder: ``"linear"``, ``"none"``, ``"mlp"`` (Linear-ReLU-Linear) or ``"lstm"`` (bidirectional, then linear).
            Groups that start from saved prompts bypass an MLP or LSTM, which cannot start as the identity.
        encoder_per_prompt: whether every prompt has an encoder of its own; by default only where there are no sources,
            so that schemes P and PI train every task independently.
        encoder_hidden_size: width of the MLP's or LSTM's hidden layer; by default the model's d.
        temperature: tau of the softmax: ``"log"`` 1 / log2(n + 1), ``"sqrt"`` 1 / sqrt(n), ``"reciprocal"`` 1 / n over
            the n sources, or a positive number. 1 without sources.
        initialization: how prompts that do not start from saved ones start: ``"uniform"`` in (-0.5, 0.5),
            ``"vocabulary"`` from random rows of the token table, ``"text"`` from the tokens of ``init_texts``.
        init_texts: for ``"text"``, one text, or one for every such prompt: the sources, then each target's private one.
        prefix_mode: ``"full"``: prompt and text attend to each other, as in the paper. ``"isolated"``: prompt rows
            attend to prompt rows alone, so that what they leave in every layer is computed once for each task.
        freeze_shared: whether what tasks share is another bank's and stays as it is, for tasks that are added to one:
            the sources and the encoder, but for an encoder of a private prompt's own. See ``PromptBank.take_shared``.
    """

    tasks: list[str]
    scheme: str = "SLPN"
    prompt_length: int = 10
    source_tasks: list[str] | None = None
    encoder: Encoder = "linear"
    encoder_per_prompt: bool | None = None
    encoder_hidden_size: int | None = None
    temperature: float | TemperatureSchedule = "log"
    initialization: Initialization = "uniform"
    init_texts: list[str] | None = None
    prefix_mode: PrefixMode = "full"
    freeze_shared: bool = False

    def __post_init__(self) -> None:
        self.tasks = _task_list("tasks", self.tasks)
        self.source_tasks = None if self.source_tasks is None else _task_list("source_tasks", self.source_tasks)
        self.scheme = self.parsed_scheme.name
        _check_positive("prompt_length", self.prompt_length)
        _check_choice("encoder", self.encoder, get_args(Encoder))
        _check_choice("initialization", self.initialization, get_args(Initialization))
        _check_choice("prefix_mode", self.prefix_mode, get_args(PrefixMode))
        if self.encoder_per_prompt is not None and not isinstance(self.encoder_per_prompt, bool):
            raise TypeError(
                f"CrossPTConfig: encoder_per_prompt must be a bool or None, got {self.encoder_per_prompt!r}"
            )
        if not isinstance(self.freeze_shared, bool):
            raise TypeError(f"CrossPTConfig: freeze_shared must be a bool, got {self.freeze_shared!r}")
        if self.encoder_hidden_size is not None:
            _check_positive("encoder_hidden_size", self.encoder_hidden_size)
            if self.encoder not in ("mlp", "lstm"):
                raise ValueError(
                    f"CrossPTConfig: encoder_hidden_size is for mlp and lstm, got encoder {self.encoder!r}"
                )
        if isinstance(self.temperature, str):
            _check_choice("temperature", self.temperature, get_args(TemperatureSchedule))
        elif isinstance(self.temperature, bool) or not isinstance(self.temperature, int | float):
            raise TypeError(f"CrossPTConfig: temperature must be a number or a name, got {self.temperature!r}")
        elif not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"CrossPTConfig: temperature must be positive and finite, got {self.temperature}")
        if self.freeze_shared and self.num_candidates == 1 and not self.parsed_scheme.uses_privates:
            raise ValueError(f"CrossPTConfig: with freeze_shared scheme {self.scheme} leaves a task nothing to learn")
        self._check_texts()
        self._check_initialized_privates()

    def _check_texts(self) -> None:
        if (self.initialization == "text") != (self.init_texts is not None):
            raise ValueError(
                "CrossPTConfig: init_texts goes with initialization 'text', "
                f"got initialization {self.initialization!r} and init_texts {self.init_texts!r}"
            )
        if self.init_texts is None:
            return
        scheme, given = self.parsed_scheme, len(self.init_texts)
        given_sources = scheme.initializes_sources or self.freeze_shared
        sources = [] if given_sources else [f"source {k}" for k in range(1, self.num_sources + 1)]
        has_privates = scheme.uses_privates and not scheme.initializes_privates
        fresh = [*sources, *(f"private prompt of {task}" for task in self.tasks if has_privates)]
        if given == len(fresh) or (given == 1 and len(sources) <= 1):
            return
        if not fresh:
            raise ValueError(
                f"CrossPTConfig: scheme {self.scheme} starts every prompt from a saved one, got {given} init_texts"
            )
        one = ", or one text for all" if len(sources) <= 1 < len(fresh) else ""
        why = "; sources that start alike would stay alike" if given == 1 else ""
        raise ValueError(
            f"CrossPTConfig: init_texts must hold {len(fresh)} {'text' if len(fresh) == 1 else 'texts'} for scheme "
            f"{self.scheme}, in the order {', '.join(fresh)}{one}, got {given}{why}"
        )

    def _check_initialized_privates(self) -> None:
        missing = [task for task in self.tasks if task not in self.resolved_source_tasks]
        if self.parsed_scheme.initializes_privates and missing:
            raise ValueError(
                f"CrossPTConfig: scheme {self.scheme} initialises each private prompt from its task's source prompt; "
                f"source_tasks lack {', '.join(missing)}"
            )

    @property
    def parsed_scheme(self) -> Scheme:
        """What the scheme name says."""
        return Scheme.parse(self.scheme)

    @property
    def resolved_source_tasks(self) -> list[str]:
        """The source tasks, by default the target tasks."""
        return self.tasks if self.source_tasks is None else self.source_tasks

    @property
    def num_sources(self) -> int:
        """Number n of source prompts."""
        return self.parsed_scheme.num_sources(len(self.tasks), len(self.resolved_source_tasks))

    @property
    def num_candidates(self) -> int:
        """Number N of prompts that a task mixes."""
        return self.num_sources + self.parsed_scheme.uses_privates

    @property
    def encodes_sources(self) -> bool:
        """Whether the encoder applies to the sources.

        Saved ones bypass it where they are frozen, or where it cannot start as the identity.
        """
        scheme = self.parsed_scheme
        bypass = scheme.initializes_sources and (self.encoder != "linear" or not scheme.learns_sources)
        return scheme.uses_sources and self.encoder != "none" and not bypass

    @property
    def encodes_privates(self) -> bool:
        """Whether the encoder applies to the private prompts; saved ones bypass one that is not linear."""
        scheme = self.parsed_scheme
        bypass = scheme.initializes_privates and self.encoder != "linear"
        return scheme.uses_privates and self.encoder != "none" and not bypass

    @property
    def has_encoder(self) -> bool:
        """Whether any prompt goes through an encoder."""
        return self.encodes_sources or self.encodes_privates

    @property
    def encodes_each(self) -> bool:
        """Whether every prompt has an encoder of its own, where it has one."""
        return not self.parsed_scheme.uses_sources if self.encoder_per_prompt is None else self.encoder_per_prompt

    @property
    def learns_encoder(self) -> bool:
        """Whether any encoder learns."""
        return self.has_encoder and not (self.freeze_shared and not (self.encodes_each and self.encodes_privates))

    @property
    def temperature_value(self) -> float:
        """The tau used: the schedule's value for n sources, 1 without sources."""
        n = self.num_sources
        if n == 0:
            return 1.0
        if self.temperature == "log":
            return 1 / math.log2(n + 1)
        if self.temperature == "sqrt":
            return 1 / math.sqrt(n)
        if self.temperature == "reciprocal":
            return 1 / n
        return float(self.temperature)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values; ``freeze_shared``, which came later, only where it is set."""
        values = dataclasses.asdict(self)
        if not self.freeze_shared:
            del values["freeze_shared"]
        return values

    def to_json_string(self) -> str:
        """The settings as JSON, which reporting callbacks of the Trainer ask for."""
        return json.dumps(self.to_dict(), indent=2)

    def for_model(self, text_config: Any) -> "CrossPTConfig":
        """A copy that answers for the language model's own configuration too, as the Trainer expects of a model's."""
        bound = copy.copy(self)
        bound.__dict__["_text_config"] = text_config
        return bound

    def __getattr__(self, name: str) -> Any:
        text_config = self.__dict__.get("_text_config")
        if text_config is None or name.startswith("__"):
            raise AttributeError(f"CrossPTConfig has no {name!r}")
        return getattr(text_config, name)

    def get_text_config(self, **_: Any) -> Any:
        """The language model's configuration, whose special tokens the Trainer aligns with the tokenizer's."""
        return self.__dict__.get("_text_config")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], origin: str = "CrossPTConfig") -> "CrossPTConfig":
        """Read the fields; what is unknown, missing or does not fit raises ValueError that begins with ``origin``."""
        return build(cls, values, origin)


def _task_list(field: str, tasks: Any) -> list[str]:
    if isinstance(tasks, str) or not isinstance(tasks, Iterable):
        raise TypeError(f"CrossPTConfig: {field} must be a list of task names, got {tasks!r}")
    names = list(tasks)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"CrossPTConfig: {field} must be a list of task names and not empty, got {names!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"CrossPTConfig: {field} must not name a task twice, got {names!r}")
    return names


def _check_positive(field: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"CrossPTConfig: {field} must be a positive integer, got {value!r}")


def _check_choice(field: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"CrossPTConfig: {field} must be one of {', '.join(choices)}, got {value!r}")

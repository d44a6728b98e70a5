"""Settings of a training, with the paper's values where none are given."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from crosspt.config.prompts import CrossPTConfig
from crosspt.config.scheme import Scheme

# The paper's section 3.2: (initialised from saved prompts, otherwise)
EPOCHS = (20, 30)
SOURCE_LEARNING_RATE = (0.05, 0.15)
PRIVATE_LEARNING_RATE = (0.02, 0.07)
LOGITS_LEARNING_RATE = 0.1

GROUPS = {
    "sources": "source_learning_rate",
    "privates": "private_learning_rate",
    "logits": "logits_learning_rate",
    "encoder": "encoder_learning_rate",
}
"""The setting of the learning rate of each group of parameters."""
RATES = tuple(GROUPS.values())

COUNTS = (
    "epochs",
    "batch_size",
    "gradient_accumulation_steps",
    "save_steps",
    "eval_steps",
    "patience",
    "stage1_epochs",
)
CHOICES = {"select": ("best", "last"), "stage1": ("per_task", "joint"), "stage2": ("joint", "per_target")}


@dataclass
class TrainingConfig:
    """How a method learns: Adam with a linear decay of the learning rates.

    Args:
        epochs: passes over the training rows; by default the method's, for crosspt the paper's 20 where anything starts
            from saved prompts, 30 otherwise.
        batch_size: rows in a batch, of every process where there are several; tasks are mixed.
        gradient_accumulation_steps: batches in an optimizer step.
        source_learning_rate: for the source prompts; by default the paper's 0.05 where anything starts from saved
            prompts, 0.15 otherwise.
        private_learning_rate: for the private prompts; by default the paper's 0.02 or 0.07, likewise.
        logits_learning_rate: for the attention logits; by default the paper's 0.1.
        encoder_learning_rate: for the encoder; by default the sources' rate where sources learn, else the privates'.
        learning_rate: of all that learns, for methods other than crosspt; by default the method's.
        max_grad_norm: clip the norm of all gradients to this; 0 does not clip, which keeps the tasks of P apart.
        lm_dropout: dropout of the language model while training; by default its own.
        bf16: train in bfloat16 autocast.
        save_steps: optimizer steps between checkpoints; by default one an epoch. An evaluation leaves one too.
        select: the prompts that are kept: those of the last step, or the best on development rows, which are neither
            trained on nor reported on: by the mean over tasks of the primary metric, of equals the earlier.
        eval_steps: for select best: optimizer steps between evaluations; by default one evaluation an epoch. Answers
            are generated, or ranked where the test rows' answers are only ranked.
        patience: for select best: end the training after so many evaluations in a row without a new best.
        stage1: whether the source prompts are trained one task at a time or in mixed batches.
        stage1_epochs: passes in stage 1; by default ``epochs`` if given, else the paper's 30.
        stage2: whether the targets are trained in mixed batches, or every target by itself, with prompts or weights of
            its own.
        seed: of initialisation, data order and dropout.
    """

    epochs: int | None = None
    batch_size: int = 16
    gradient_accumulation_steps: int = 1
    source_learning_rate: float | None = None
    private_learning_rate: float | None = None
    logits_learning_rate: float | None = None
    encoder_learning_rate: float | None = None
    learning_rate: float | None = None
    max_grad_norm: float = 0.0
    lm_dropout: float | None = None
    bf16: bool = False
    save_steps: int | None = None
    select: Literal["best", "last"] = "last"
    eval_steps: int | None = None
    patience: int | None = None
    stage1: Literal["per_task", "joint"] = "per_task"
    stage1_epochs: int | None = None
    stage2: Literal["joint", "per_target"] = "joint"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in COUNTS:
            _check(name, getattr(self, name), lambda value: value >= 1, "at least 1")
        for name in (*RATES, "learning_rate"):
            _check(name, getattr(self, name), lambda value: value > 0, "positive and finite")
        _check("max_grad_norm", self.max_grad_norm, lambda value: value >= 0, "0 or more, and finite")
        _check("lm_dropout", self.lm_dropout, lambda value: 0 <= value < 1, "in [0, 1)")
        _check("seed", self.seed, lambda value: 0 <= value < 2**32, "in [0, 2^32)")
        for name, (one, other) in CHOICES.items():
            if getattr(self, name) not in (one, other):
                raise ValueError(f"TrainingConfig: {name} must be {one} or {other}, got {getattr(self, name)!r}")
        for name in ("eval_steps", "patience"):
            if getattr(self, name) is not None and self.select != "best":
                raise ValueError(f"TrainingConfig: {name} goes with select best, got select {self.select}")

    def steps_per_epoch(self, rows: int, processes: int = 1) -> int:
        """Optimizer steps in a pass over so many rows, of which every process has a batch at a time."""
        batches = -(-rows // (self.batch_size * processes))
        return -(-batches // self.gradient_accumulation_steps)

    def resolved_epochs(self, scheme: Scheme) -> int:
        """The number of epochs for a scheme."""
        return self.epochs or EPOCHS[not scheme.needs_source_prompts]

    def learning_rates(self, config: CrossPTConfig, defaults: Mapping[str, Any] | None = None) -> dict[str, float]:
        """The learning rate of each group of parameters that the scheme has.

        Args:
            config: the prompts.
            defaults: rates by the name of their setting that count before the paper's where none are given.

        Raises:
            ValueError: a rate is given for a group that the scheme does not have.
        """
        scheme = config.parsed_scheme
        paper = 0 if scheme.needs_source_prompts else 1

        def rate(name: str, otherwise: float) -> float:
            return getattr(self, name) or (defaults or {}).get(name) or otherwise

        rates: dict[str, float] = {}
        if scheme.learns_sources and not config.freeze_shared:
            rates["sources"] = rate("source_learning_rate", SOURCE_LEARNING_RATE[paper])
        if scheme.uses_privates:
            rates["privates"] = rate("private_learning_rate", PRIVATE_LEARNING_RATE[paper])
        if config.num_candidates > 1:
            rates["logits"] = rate("logits_learning_rate", LOGITS_LEARNING_RATE)
        if config.learns_encoder:
            rates["encoder"] = rate("encoder_learning_rate", rates.get("sources") or rates["privates"])
        given = {group: getattr(self, name) for group, name in GROUPS.items()}
        idle = [group for group, rate in given.items() if rate is not None and group not in rates]
        if idle:
            what = f"a task added to scheme {config.scheme}" if config.freeze_shared else f"scheme {config.scheme}"
            raise ValueError(f"learning rates: {what} learns no {', '.join(idle)}, got a rate for it")
        return rates


def _check(name: str, value: Any, accepts: Any, expected: str) -> None:
    if value is not None and not (math.isfinite(value) and accepts(value)):
        raise ValueError(f"TrainingConfig: {name} must be {expected}, got {value!r}")

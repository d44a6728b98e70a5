"""Settings of a training, with the paper's values where none are given."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from crosspt.config.prompts import CrossPTConfig
from crosspt.config.scheme import Scheme

# The paper's section 3.2: (initialised from saved prompts, otherwise)
EPOCHS = (20, 30)
SOURCE_LEARNING_RATE = (0.05, 0.15)
PRIVATE_LEARNING_RATE = (0.02, 0.07)
LOGITS_LEARNING_RATE = 0.1


@dataclass
class TrainingConfig:
    """How prompts are trained: Adam with a linear decay of the learning rates.

    Args:
        epochs: passes over the training rows; by default the paper's 20 where anything starts from saved prompts, 30
            otherwise.
        batch_size: rows in a batch; tasks are mixed.
        gradient_accumulation_steps: batches in an optimizer step.
        source_learning_rate: for the source prompts; by default the paper's 0.05 where anything starts from saved
            prompts, 0.15 otherwise.
        private_learning_rate: for the private prompts; by default the paper's 0.02 or 0.07, likewise.
        logits_learning_rate: for the attention logits; by default the paper's 0.1.
        encoder_learning_rate: for the encoder; by default the sources' rate where sources learn, else the privates'.
        max_grad_norm: clip the norm of all gradients to this; 0 does not clip, which keeps the tasks of P apart.
        lm_dropout: dropout of the T5 while training; by default its own.
        bf16: train in bfloat16 autocast.
        save_steps: optimizer steps between checkpoints; by default one checkpoint an epoch.
        stage1: whether the source prompts are trained one task at a time or in mixed batches.
        stage1_epochs: passes in stage 1; by default ``epochs`` if given, else the paper's 30.
        stage2: whether the targets are trained in mixed batches, or every target has a bank of its own.
        seed: of initialisation, data order and dropout.
    """

    epochs: int | None = None
    batch_size: int = 16
    gradient_accumulation_steps: int = 1
    source_learning_rate: float | None = None
    private_learning_rate: float | None = None
    logits_learning_rate: float | None = None
    encoder_learning_rate: float | None = None
    max_grad_norm: float = 0.0
    lm_dropout: float | None = None
    bf16: bool = False
    save_steps: int | None = None
    stage1: Literal["per_task", "joint"] = "per_task"
    stage1_epochs: int | None = None
    stage2: Literal["joint", "per_target"] = "joint"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "gradient_accumulation_steps", "save_steps", "stage1_epochs"):
            _check(name, getattr(self, name), lambda value: value >= 1, "at least 1")
        for name in ("source", "private", "logits", "encoder"):
            name += "_learning_rate"
            _check(name, getattr(self, name), lambda value: value > 0, "positive and finite")
        _check("max_grad_norm", self.max_grad_norm, lambda value: value >= 0, "0 or more, and finite")
        _check("lm_dropout", self.lm_dropout, lambda value: 0 <= value < 1, "in [0, 1)")
        _check("seed", self.seed, lambda value: 0 <= value < 2**32, "in [0, 2^32)")
        if self.stage1 not in ("per_task", "joint"):
            raise ValueError(f"TrainingConfig: stage1 must be per_task or joint, got {self.stage1!r}")
        if self.stage2 not in ("joint", "per_target"):
            raise ValueError(f"TrainingConfig: stage2 must be joint or per_target, got {self.stage2!r}")

    def resolved_epochs(self, scheme: Scheme) -> int:
        """The number of epochs for a scheme."""
        return self.epochs or EPOCHS[not scheme.needs_source_prompts]

    def learning_rates(self, config: CrossPTConfig) -> dict[str, float]:
        """The learning rate of each group of parameters that the scheme has.

        Raises:
            ValueError: a rate is given for a group that the scheme does not have.
        """
        scheme = config.parsed_scheme
        default = 0 if scheme.needs_source_prompts else 1
        rates: dict[str, float] = {}
        if scheme.learns_sources:
            rates["sources"] = self.source_learning_rate or SOURCE_LEARNING_RATE[default]
        if scheme.uses_privates:
            rates["privates"] = self.private_learning_rate or PRIVATE_LEARNING_RATE[default]
        if config.num_candidates > 1:
            rates["logits"] = self.logits_learning_rate or LOGITS_LEARNING_RATE
        if config.has_encoder:
            rates["encoder"] = self.encoder_learning_rate or rates.get("sources") or rates["privates"]
        given = {
            "sources": self.source_learning_rate,
            "privates": self.private_learning_rate,
            "logits": self.logits_learning_rate,
            "encoder": self.encoder_learning_rate,
        }
        idle = [group for group, rate in given.items() if rate is not None and group not in rates]
        if idle:
            raise ValueError(f"learning rates: scheme {config.scheme} learns no {', '.join(idle)}, got a rate for it")
        return rates


def _check(name: str, value: Any, accepts: Any, expected: str) -> None:
    if value is not None and not (math.isfinite(value) and accepts(value)):
        raise ValueError(f"TrainingConfig: {name} must be {expected}, got {value!r}")

"""MPT: one prompt for all tasks, scaled for each by a matrix of rank one (Wang et al. 2023)."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration
from transformers.modeling_outputs import Seq2SeqLMOutput

from crosspt.config.layout import SOURCES
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.training import TrainingConfig
from crosspt.methods.method import FROM_SOURCES, Job, baseline
from crosspt.methods.prompts import RowsMethod, RowsModel, TaskPrompts, from_vocabulary
from crosspt.prompts.rows import put_in_front
from crosspt.tasks.collation import IGNORED_LABEL

SHARED, POSITIONS, COLUMNS = "mpt shared", "mpt positions", "mpt columns"
"""What a source stage leaves to the targets, beside the prompts of its tasks."""
STANDARD_DEVIATION = 0.02  # of the factors' start, as in PEFT
DISTILLATION_WEIGHT = 0.9
FACTOR_LEARNING_RATE = 0.4


class ScaledPrompts(TaskPrompts):
    """``P_t = P * (u_t v_t^T)``, elementwise: m d + T (m + d) numbers.

    Args:
        shared: P (m, d) at its start.
        positions: u (T, m).
        columns: v (T, d).
    """

    def __init__(self, shared: Tensor, positions: Tensor, columns: Tensor):
        super().__init__(shared)
        self.positions = nn.Parameter(positions)
        self.columns = nn.Parameter(columns)

    def compose(self) -> Tensor:
        """Every task's prompt (T, m, d)."""
        return self.prompts * self.positions[:, :, None] * self.columns[:, None, :]

    def forward(self, input_ids: Tensor, attention_mask: Tensor, task_ids: Tensor, embedding: Any) -> Tensor:
        """As :meth:`TaskPrompts.forward`; a kernel scales the shared prompt on its way to the rows."""
        gain = self.positions, self.columns
        return put_in_front(self.prompts[None], task_ids, input_ids, embedding, gain=gain)


class DistilledModel(RowsModel):
    """Learns from teachers too, the tasks' own frozen prompts: loss + 0.9 (KL of the answers + MSE of the states).

    Args:
        base_model: the T5, whose parameters are frozen in place.
        config: the tasks and m.
        rows: what learns.
        teachers: the tasks' prompts (T, m, d).
    """

    def __init__(
        self, base_model: T5ForConditionalGeneration, config: CrossPTConfig, rows: nn.Module, teachers: Tensor
    ):
        super().__init__(base_model, config, rows)
        self.teachers = TaskPrompts(teachers).requires_grad_(False)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """As :meth:`RowsModel.forward`; with labels, while training, the loss has the teachers' part."""
        if labels is None or not self.training:
            return super().forward(input_ids, attention_mask, task_ids, labels, **kwargs)
        kwargs["output_hidden_states"] = True
        output: Any = super().forward(input_ids, attention_mask, task_ids, labels, **kwargs)
        with torch.no_grad(), _evaluating(self.base_model):
            inputs = self._put_in_front(self.teachers, input_ids, attention_mask, task_ids)
            taught = self.base_model(**inputs, labels=labels, **kwargs)
        seen, answers = inputs["attention_mask"] != 0, labels != IGNORED_LABEL
        wanted = F.log_softmax(taught.logits[answers].float(), dim=1)
        divergence = F.kl_div(
            F.log_softmax(output.logits[answers].float(), dim=1), wanted, reduction="batchmean", log_target=True
        )
        states = [
            (mine[where], theirs[where])
            for of, where in (("encoder_hidden_states", seen), ("decoder_hidden_states", answers))
            for mine, theirs in zip(output[of], taught[of], strict=True)
        ]
        difference = torch.stack([F.mse_loss(mine.float(), theirs.float()) for mine, theirs in states]).mean()
        output.loss = output.loss + DISTILLATION_WEIGHT * (divergence + difference)
        return output


@contextmanager
def _evaluating(base_model: nn.Module) -> Iterator[None]:
    """A block in which nothing is dropped."""
    training = base_model.training
    base_model.eval()
    try:
        yield
    finally:
        base_model.train(training)


class MptScratch(RowsMethod):
    """All tasks of a run learn one prompt and their factors of it at once, from the vocabulary, without teachers."""

    name = "mpt-scratch"
    source = (
        "Wang et al. 2023, rates 0.3 and 0.4, m = 100; no source stage; batches of 16; 20 epochs as ATTEMPT's baselines"
    )
    defaults = baseline(learning_rate=0.3, prompt_length=100)
    uses = frozenset({"learning_rate", "prompt_length"})

    def rows(
        self, base_model: T5ForConditionalGeneration, config: CrossPTConfig, sources: Mapping[str, Tensor] | None
    ) -> nn.Module:
        """A shared prompt from the vocabulary, and small factors."""
        (shared,), tasks = from_vocabulary(base_model, 1, config.prompt_length), len(config.tasks)
        factors = [shared.new_empty(tasks, size).normal_(std=STANDARD_DEVIATION) for size in shared.shape]
        return ScaledPrompts(shared, *factors)

    def groups(self, model: Any, training: TrainingConfig) -> list[dict[str, Any]]:
        """The shared prompt, and the factors with a rate of their own."""
        rate = training.learning_rate or self.defaults["learning_rate"]
        return [
            {"name": "shared", "params": [model.rows.prompts], "lr": rate},
            {"name": "factors", "params": [model.rows.positions, model.rows.columns], "lr": FACTOR_LEARNING_RATE},
        ]


class MptSource(MptScratch):
    """The source stage: as :class:`MptScratch`, with the tasks' own stage-1 prompts as teachers."""

    name = "mpt-source"
    source = (
        "Wang et al. 2023, rates 0.3 and 0.4, m = 100, distillation 0.9; teachers of CrossPT's stage 1, batches of 16; "
        "20 epochs as ATTEMPT's baselines"
    )
    uses = frozenset({"learning_rate", "prompt_length", *FROM_SOURCES} - {"source_tasks"})

    def make(
        self, base_model: T5ForConditionalGeneration, config: CrossPTConfig, sources: Mapping[str, Tensor] | None
    ) -> RowsModel:
        """The T5 behind what learns, with its teachers where it is to be trained."""
        if sources is None:
            return super().make(base_model, config, None)
        rows = self.rows(base_model, config, None)
        return DistilledModel(base_model, config, rows, self.need(sources, config.tasks, config.prompt_length))

    def prompts(self, model: RowsModel) -> Mapping[str, Tensor]:
        """The shared prompt and the means of the factors, for :class:`Mpt`."""
        rows: Any = model.rows
        parts = rows.prompts, rows.positions.mean(dim=0), rows.columns.mean(dim=0)
        return {name: part.detach() for name, part in zip((SHARED, POSITIONS, COLUMNS), parts, strict=True)}


class Mpt(MptScratch):
    """The targets' stage, from the shared prompt and the mean factors of a source stage with distillation."""

    name = "mpt"
    source = MptSource.source
    uses = frozenset({"learning_rate", "prompt_length", *FROM_SOURCES})

    def plan_sources(
        self, config: CrossPTConfig, training: TrainingConfig, available: Collection[str] = ()
    ) -> list[Job]:
        """Jobs for the teachers, then one for the source stage."""
        teachers = super().plan_sources(config, training, available)
        tasks = list(config.resolved_source_tasks)
        joint = CrossPTConfig.from_dict({**config.to_dict(), "tasks": tasks, "source_tasks": None})
        settings = dataclasses.replace(training, epochs=training.stage1_epochs or training.epochs)
        return [*teachers, Job(f"{SOURCES}/{MptSource.name}", joint, settings, MptSource.name)]

    def rows(
        self, base_model: T5ForConditionalGeneration, config: CrossPTConfig, sources: Mapping[str, Tensor] | None
    ) -> nn.Module:
        """The source stage's prompt, and its mean factors for each target."""
        if sources is None:
            return super().rows(base_model, config, None)
        tasks = len(config.tasks)
        factors = [sources[name].expand(tasks, -1).clone() for name in (POSITIONS, COLUMNS)]
        return ScaledPrompts(sources[SHARED].clone(), *factors)

"""ATTEMPT: every row mixes frozen source prompts and its task's own, by attention to its text (Asai et al. 2022)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from crosspt.config.prompts import CrossPTConfig
from crosspt.functional import compose_prompts, prompted_embedding
from crosspt.methods.method import FROM_SOURCES, baseline
from crosspt.methods.prompts import RowsMethod, TaskPrompts, from_vocabulary
from crosspt.prompts.rows import is_plain_lookup

PROJECTION = 100


class AttendedPrompts(TaskPrompts):
    """``[sum_j a_bj P_j + P_t ; E_b]``, where a row's weights go by its text.

    ``a_b = softmax(K h_b / (e d))`` over the sources and the task's own prompt,
    ``h_b = LayerNorm(W_up silu(W_down x_b))``, where ``x_b`` and the keys K are the largest values that the row's
    embedded tokens, without padding, and the prompts' rows have in each column.

    Args:
        prompts: the tasks' own (T, m, d) at their start.
        sources: the sources' (n, m, d), which stay as they are.
    """

    sources: Tensor

    def __init__(self, prompts: Tensor, sources: Tensor):
        super().__init__(prompts)
        self.register_buffer("sources", sources)
        width = prompts.shape[2]
        self.down = nn.Linear(width, PROJECTION, bias=False)
        self.up = nn.Linear(PROJECTION, width, bias=False)
        self.norm = nn.LayerNorm(width)

    def weigh(self, tokens: Tensor, attention_mask: Tensor, task_ids: Tensor) -> Tensor:
        """The weights a (B, n + 1) of embedded rows (B, L, d), sources first."""
        visible = (attention_mask != 0)[..., None]
        largest = tokens.masked_fill(~visible, -math.inf).amax(dim=1)
        largest = largest.masked_fill(~visible.any(dim=1), 0.0).to(self.up.weight.dtype)
        query = self.norm(self.up(nn.functional.silu(self.down(largest))))
        own = self.prompts.amax(dim=1)[task_ids]
        scores = torch.cat((query @ self.sources.amax(dim=1).T, (query * own).sum(dim=1, keepdim=True)), dim=1)
        return torch.softmax(scores / (math.e * query.shape[1]), dim=1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, task_ids: Tensor, embedding: Any) -> Tensor:
        """Embedded rows with their prompts in front (B, m + L, d)."""
        tokens = embedding(input_ids)
        weights = self.weigh(tokens, attention_mask, task_ids)
        mixture: dict[str, Any] = {
            "logits": None,
            "sources": self.sources,
            "privates": self.prompts,
            "row_alpha": weights,
            "added": self.prompts,
        }
        if is_plain_lookup(embedding):
            return prompted_embedding(input_ids, task_ids, embedding.weight, **mixture)
        prompts = compose_prompts(**mixture, task_ids=task_ids)
        return torch.cat((prompts.to(tokens.dtype), tokens), dim=1)


class Attempt(RowsMethod):
    """The tasks' own prompts and one attention for all learn: T m d + 202 d numbers, 231,936 in T5-base with one."""

    name = "attempt"
    source = (
        "AkariAsai/ATTEMPT, configs/attempt/sinlge_task.json; source prompts of CrossPT's stage 1, without warm-up, "
        "batches of 16"
    )
    defaults = baseline(learning_rate=0.3, prompt_length=100)
    uses = frozenset({"learning_rate", "prompt_length", *FROM_SOURCES})

    def rows(
        self, base_model: T5ForConditionalGeneration, config: CrossPTConfig, sources: Mapping[str, Tensor] | None
    ) -> nn.Module:
        """Prompts from the vocabulary beside those of the sources."""
        names, length = config.resolved_source_tasks, config.prompt_length
        if sources is None:
            known = torch.zeros(len(names), length, base_model.config.d_model)
        else:
            known = self.need(sources, names, length)
        return AttendedPrompts(from_vocabulary(base_model, len(config.tasks), length), known)

"""DePT: a shorter prompt, and low-rank offsets of the tokens' embeddings (Shi and Lipani 2024)."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from crosspt.config.prompts import CrossPTConfig
from crosspt.config.training import TrainingConfig
from crosspt.methods.method import baseline
from crosspt.methods.prompts import RowsMethod, TaskPrompts, from_vocabulary
from crosspt.prompts.rows import put_in_front

RANK, POSITIONS = 45, 256
OFFSET_LEARNING_RATE = 5e-3


class OffsetPrompts(TaskPrompts):
    """Rows ``[P_t ; E + A_t B_t]``: the offset of a token goes by its position behind the prompt.

    Args:
        prompts: P (T, m, d) at their start.

    Attributes:
        left: A (T, 256, r), at first uniform as a linear map's of 256 features.
        right: B (T, r, d), at first zero.
    """

    def __init__(self, prompts: Tensor):
        super().__init__(prompts)
        tasks, _, width = prompts.shape
        bound = 1 / math.sqrt(RANK)
        self.left = nn.Parameter(prompts.new_empty(tasks, POSITIONS, RANK).uniform_(-bound, bound))
        self.right = nn.Parameter(prompts.new_zeros(tasks, RANK, width))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, task_ids: Tensor, embedding: Any) -> Tensor:
        """Embedded rows (B, m + L, d). Raises ValueError where they are longer than there are offsets."""
        length = input_ids.shape[1]
        if length > POSITIONS:
            raise ValueError(f"dept: rows must have at most {POSITIONS} tokens, got {length}; set max_length to fewer")
        offsets = self.left[:, :length] @ self.right  # (T, L, d)
        return put_in_front(self.compose(), task_ids, input_ids, embedding, offsets=offsets)


class Dept(RowsMethod):
    """A prompt of 40 rows and offsets of rank 45 for each task: T (m d + (256 + d) r) numbers, 76,800 in T5-base."""

    name = "dept"
    source = (
        "ZhengxiangShi/DePT, README's first rates (0.3, offsets 5e-3) and lengths (m = 40, r = 45); without prompts "
        "from source tasks, warm-up and weight decay, batches of 16; 20 epochs as ATTEMPT's baselines"
    )
    defaults = baseline(learning_rate=0.3, prompt_length=40)
    uses = frozenset({"learning_rate", "prompt_length"})

    def rows(
        self, base_model: T5ForConditionalGeneration, config: CrossPTConfig, sources: Mapping[str, Tensor] | None
    ) -> nn.Module:
        """Prompts from the vocabulary, and offsets that are zero."""
        return OffsetPrompts(from_vocabulary(base_model, len(config.tasks), config.prompt_length))

    def groups(self, model: Any, training: TrainingConfig) -> list[dict[str, Any]]:
        """The prompts, and the offsets with a rate of their own."""
        rate = training.learning_rate or self.defaults["learning_rate"]
        return [
            {"name": "prompts", "params": [model.rows.prompts], "lr": rate},
            {"name": "offsets", "params": [model.rows.left, model.rows.right], "lr": OFFSET_LEARNING_RATE},
        ]

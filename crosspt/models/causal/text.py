"""A batch of texts that a causal language model is to read behind their prompts."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from crosspt.models.causal.prefix import CausalPrefix, smallest_window
from crosspt.prompts.rows import move_padding, put_in_front


@dataclass
class PromptedText:
    """A batch, padded on the right: rows that carry their prompts, or ids and what they read.

    Args:
        attention_mask: (B, m + L), or (B, L) beside ids.
        inputs_embeds: (B, m + L, d).
        input_ids: (B, L).
        prefix: of the tasks that ``task_ids`` count, None where there are no prompts.
        task_ids: (B,), given with a prefix.
    """

    attention_mask: Tensor
    inputs_embeds: Tensor | None = None
    input_ids: Any = None
    prefix: CausalPrefix | None = None
    task_ids: Any = None

    def as_rows(self, base_model: Any) -> "PromptedText":
        """The same batch with the prompts' rows in front of the text."""
        if self.prefix is None:
            return self
        prompts = self.prefix.prompts
        embeds = put_in_front(prompts, self.task_ids, self.input_ids, base_model.get_input_embeddings())
        mask = nn.functional.pad(self.attention_mask, (prompts.shape[1], 0), value=1)
        return PromptedText(mask, inputs_embeds=embeds)

    def in_sight(self, base_model: Any, new: float) -> "PromptedText":
        """The same batch in the form in which every token sees its prompt as far as a window lets it.

        Padding between a prompt in the cache and its text counts as distance, so that where prompt, text and ``new``
        tokens do not fit a window together, rows take the prefix's place.
        """
        if self.prefix is None:
            return self
        needed = self.prefix.length() + self.attention_mask.shape[1] + new
        fits = needed <= (smallest_window(base_model) or math.inf)
        return self if fits and self.prefix.layers is not None else self.as_rows(base_model)

    def read(self, base_model: Any, *, left: bool = False, copies: int = 1) -> dict[str, Any]:
        """What the model takes; on the left padding lies in front of the text, behind a prompt in the cache.

        Args:
            base_model: the language model.
            left: whether padding goes to the left.
            copies: of each row in the cache, for beams.
        """
        name = "input_ids" if self.inputs_embeds is None else "inputs_embeds"
        mask, rows = self.attention_mask, getattr(self, name)
        if left:
            mask, rows = move_padding(mask, mask, rows, left=True)
        positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
        if self.prefix is None:
            return {name: rows, "attention_mask": mask, "position_ids": positions}
        length = self.prefix.length()
        return {
            name: rows,
            "attention_mask": nn.functional.pad(mask, (length, 0), value=1),
            "position_ids": positions + length,
            "past_key_values": self.prefix.cache(base_model, self.task_ids.repeat_interleave(copies)),
        }

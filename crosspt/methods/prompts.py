"""Methods that leave the T5 as it is: what learns makes a row's prompt, or changes its embedded tokens."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from crosspt.config.prompts import CrossPTConfig
from crosspt.methods.saved import SavedMethod
from crosspt.models.family import find_family
from crosspt.models.prompted import PromptedModel
from crosspt.prompts.bank import embed_ids
from crosspt.prompts.rows import arrange_rows, put_in_front


class TaskPrompts(nn.Module):
    """A prompt (m, d) for each task, P (T, m, d) in all.

    Args:
        prompts: where they start.
    """

    def __init__(self, prompts: Tensor):
        super().__init__()
        self.prompts = nn.Parameter(prompts)

    def compose(self) -> Tensor:
        """Every task's prompt (T, m, d)."""
        return self.prompts

    def forward(self, input_ids: Tensor, attention_mask: Tensor, task_ids: Tensor, embedding: Any) -> Tensor:
        """Embedded rows with their prompts in front (B, m + L, d).

        Args:
            input_ids: (B, L) int64, padded on the right.
            attention_mask: (B, L), nonzero where a token counts.
            task_ids: (B,) int64 in [0, T).
            embedding: of the T5's tokens.
        """
        return put_in_front(self.compose(), task_ids, input_ids, embedding)


class RowsModel(PromptedModel):
    """A frozen T5 that gets what a module makes of token ids.

    Args:
        base_model: the T5, whose parameters are frozen in place.
        config: the tasks and m.
        rows: what learns; called as :meth:`TaskPrompts.forward` is.
    """

    def __init__(self, base_model: T5ForConditionalGeneration, config: CrossPTConfig, rows: nn.Module):
        super().__init__(base_model, config)
        base_model.requires_grad_(False)
        self.rows = rows

    @property
    def device(self) -> torch.device:
        """That of what learns."""
        return next(self.rows.parameters()).device

    def learned(self) -> dict[str, Any]:
        """What is learned and what it was learned beside, by name."""
        return {f"rows.{name}": value for name, value in self.rows.state_dict(keep_vars=True).items()}

    def _inputs(self, input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None) -> dict[str, Any]:
        """Embedded rows (B, m + L, d), and a mask that covers what is in front of them."""
        return self._put_in_front(self.rows, input_ids, attention_mask, task_ids)

    def _put_in_front(
        self, rows: nn.Module, input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None
    ) -> dict[str, Any]:
        owner = type(self).__name__
        ids, mask, task_ids = arrange_rows(owner, self.config.tasks, input_ids, attention_mask, task_ids)
        embeds = rows(ids, mask, task_ids, self.family.text_embedding(self.base_model))
        ones = mask.new_ones(len(mask), embeds.shape[1] - mask.shape[1])
        return {"inputs_embeds": embeds, "attention_mask": torch.cat((ones, mask), dim=1)}


class RowsMethod(SavedMethod, ABC):
    """A method whose models are :class:`RowsModel` s."""

    @abstractmethod
    def rows(
        self, base_model: T5ForConditionalGeneration, config: CrossPTConfig, sources: Mapping[str, Tensor] | None
    ) -> nn.Module:
        """What learns, at its start.

        Args:
            base_model: the T5, for its embedding.
            config: the tasks and m.
            sources: encoded prompts (m, d) by source task; None where weights are put in afterwards.
        """

    def make(
        self, base_model: T5ForConditionalGeneration, config: CrossPTConfig, sources: Mapping[str, Tensor] | None
    ) -> RowsModel:
        """The T5 behind what learns."""
        return RowsModel(base_model, config, self.rows(base_model, config, sources))

    def need(self, sources: Mapping[str, Tensor], tasks: list[str], length: int) -> Tensor:
        """The source prompts of these tasks (n, m, d) in float32; one that is missing or does not fit raises."""
        missing = [task for task in tasks if task not in sources]
        if missing:
            raise ValueError(f"method {self.name}: source prompts must hold one for {', '.join(missing)}")
        for task in tasks:
            if len(sources[task]) != length:
                raise ValueError(
                    f"method {self.name}: the source prompt of {task} must have m = {length} rows, "
                    f"got {len(sources[task])}"
                )
        return torch.stack([sources[task].detach().float() for task in tasks])


def from_vocabulary(base_model: Any, count: int, length: int) -> Tensor:
    """Prompts (count, m, d) of random rows of the token table, in at least float32."""
    embedding: Any = find_family(base_model, "from_vocabulary").text_embedding(base_model)
    rows = embed_ids(embedding, torch.randint(len(embedding.weight), (count * length,)))
    return rows.unflatten(0, (count, length)).to(torch.promote_types(rows.dtype, torch.float32))

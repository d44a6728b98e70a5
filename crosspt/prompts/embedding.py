"""CrossPTEmbedding: the drop-in module between token ids and a T5."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from crosspt.config.prompts import CrossPTConfig
from crosspt.functional import Backend, prepend_prompts, prompted_embedding
from crosspt.prompts.bank import PromptBank, TextTokenizer
from crosspt.prompts.cache import ParameterCache


class CrossPTEmbedding(nn.Module):
    """Embeds tokens and puts the prompt of each row's task in front of them.

    Args:
        embedding: the model's token embedding, (V, d). It is shared, not copied; whether it learns is left as it is.
        config: the prompts.
        source_prompts: encoded stage-1 prompts (m, d) by task, for schemes that start from them.
        tokenizer: for initialisation from text.
        backend: ``"auto"``, ``"torch"`` or ``"triton"``.
        initialize: False leaves the prompts at zero, for a saved state to be loaded.

    The learned parameters are ``bank.sources``, ``bank.privates``, ``bank.logits`` and ``bank.encoder.*``. With
    gradients disabled the composed prompts and the mixing weights are kept between calls until a parameter changes.
    Rows that carry their prompts are ``prefix_mode="full"``; the isolated mode is :class:`crosspt.CrossPTModel`'s.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        config: CrossPTConfig,
        *,
        source_prompts: Mapping[str, Tensor] | None = None,
        tokenizer: TextTokenizer | None = None,
        backend: Backend = "auto",
        initialize: bool = True,
    ):
        super().__init__()
        if not isinstance(embedding, nn.Embedding):
            raise TypeError(f"CrossPTEmbedding: embedding must be an nn.Embedding, got {type(embedding).__name__}")
        self.token_embedding = embedding
        self.config = config
        self.backend = backend
        self.bank = PromptBank(config, embedding.weight)
        if initialize:
            self.bank.initialize(embedding.weight, source_prompts=source_prompts, tokenizer=tokenizer)
        self._prompts: ParameterCache[Tensor] = ParameterCache()
        self._weights: ParameterCache[Tensor] = ParameterCache()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, task_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Embed a batch whose rows may belong to different tasks.

        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L), nonzero where the token counts; by default every token does.
            task_ids: (B,) int64, positions in ``config.tasks``; may be left out where there is one task.

        Returns:
            inputs_embeds (B, m + L, d) in the embedding's dtype, and attention_mask (B, m + L) that covers the prompt.
        """
        if self.config.prefix_mode != "full":
            raise ValueError(
                "CrossPTEmbedding: rows that carry their prompts need prefix_mode 'full', "
                f"got {self.config.prefix_mode!r}; use CrossPTModel"
            )
        attention_mask, task_ids = self.check_rows(input_ids, attention_mask, task_ids)
        table = self.token_embedding.weight
        if torch.is_grad_enabled():
            mixture = self.bank.mixture()._asdict()
            embeds = prompted_embedding(input_ids, task_ids, table, **mixture, backend=self.backend)
        else:
            embeds = prepend_prompts(self.compose(), task_ids, input_ids, table, backend=self.backend)
        ones = attention_mask.new_ones(attention_mask.shape[0], self.config.prompt_length)
        return embeds, torch.cat([ones, attention_mask], dim=1)

    def check_rows(
        self, input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The mask (B, L) and the task ids (B,) of a batch, filled in where they may be left out; see :meth:`forward`.

        Raises:
            ValueError: the task ids are missing beside several tasks, or the mask has another shape than the ids.
        """
        if task_ids is None:
            if len(self.config.tasks) > 1:
                raise ValueError(
                    f"CrossPTEmbedding: task_ids must say which of {self.config.tasks} each row is, got None"
                )
            task_ids = input_ids.new_zeros(input_ids.shape[0])
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        elif attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"CrossPTEmbedding: attention_mask must have shape (B, L) = {tuple(input_ids.shape)}, "
                f"got {tuple(attention_mask.shape)}"
            )
        return attention_mask, task_ids

    def compose(self) -> Tensor:
        """Every task's prompt, P (T, m, d)."""
        return self._prompts.get(self.bank.parameters(), lambda: self.bank.compose(self.backend))

    def mixing_weights(self) -> Tensor:
        """Attention weights alpha (T, N), sources first, the private prompt last."""
        return self._weights.get([self.bank.logits], self.bank.mixing_weights)

    def clear_cache(self) -> None:
        """Drop what is kept between calls; needed only after an in-place edit through ``parameter.data``."""
        self._prompts.clear()
        self._weights.clear()

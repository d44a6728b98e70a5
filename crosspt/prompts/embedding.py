"""CrossPTEmbedding: the drop-in module between token ids and a language model."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from crosspt.config.prompts import CrossPTConfig
from crosspt.functional import Backend, prompted_embedding
from crosspt.prompts.bank import PromptBank, TextTokenizer, embed_ids
from crosspt.prompts.cache import ScopedCache
from crosspt.prompts.rows import arrange_rows, is_plain_lookup, put_in_front


class CrossPTEmbedding(nn.Module):
    """Embeds tokens and puts the prompt of each row's task in front of them.

    Args:
        embedding: the model's token embedding, ids (B, L) to (B, L, d), with a weight (V, d); another module raises
            TypeError. It is shared, not copied, and called: what it scales, adds or hooks is in the rows. A plain
            ``nn.Embedding`` takes the fused operation instead, which gives the same rows. Whether it learns is left as
            it is. What a Marian or Pegasus multiplies its output by it does not know; :class:`crosspt.CrossPTModel`
            does.
        config: the prompts.
        source_prompts: encoded stage-1 prompts (m, d) by task, for schemes that start from them.
        tokenizer: for initialisation from text.
        backend: ``"auto"``, ``"torch"`` or ``"triton"``; see :func:`crosspt.functional.compose_prompts`.
        initialize: False leaves the prompts at zero, for a saved state to be loaded.

    The learned parameters are ``bank.sources``, ``bank.privates``, ``bank.logits`` and ``bank.encoder.*``. Nothing is
    kept between calls outside of :meth:`keep_prompts`.
    Rows that carry their prompts are ``prefix_mode="full"``; the isolated mode is :class:`crosspt.CrossPTModel`'s.
    """

    def __init__(
        self,
        embedding: nn.Module,
        config: CrossPTConfig,
        *,
        source_prompts: Mapping[str, Tensor] | None = None,
        tokenizer: TextTokenizer | None = None,
        backend: Backend = "auto",
        initialize: bool = True,
    ):
        super().__init__()
        row = _embed_one(embedding)
        self.token_embedding = embedding
        self.config = config
        self.backend = backend
        self.bank = PromptBank(config, row)
        if initialize:
            self.bank.initialize(embedding, source_prompts=source_prompts, tokenizer=tokenizer)
        self._prompts: ScopedCache[Tensor] = ScopedCache()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, task_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Embed a batch whose rows may belong to different tasks.

        Args:
            input_ids: (B, L), any integer dtype.
            attention_mask: (B, L), nonzero where the token counts; by default every token does.
            task_ids: (B,) integer, positions in ``config.tasks``; may be left out where there is one task.

        Returns:
            inputs_embeds (B, m + L, d) in the embedding's dtype, and attention_mask (B, m + L) that covers the prompt.
            Padding on the left of a row is moved behind its text, which stays beside its prompt.
        """
        if self.config.prefix_mode != "full":
            raise ValueError(
                "CrossPTEmbedding: rows that carry their prompts need prefix_mode 'full', "
                f"got {self.config.prefix_mode!r}; use CrossPTModel"
            )
        input_ids, attention_mask, task_ids = arrange_rows(
            "CrossPTEmbedding", self.config.tasks, input_ids, attention_mask, task_ids
        )
        embedding: Any = self.token_embedding
        if not is_plain_lookup(embedding) or (self._prompts.in_scope and not torch.is_grad_enabled()):
            embeds = put_in_front(self.compose(), task_ids, input_ids, embedding, self.backend)
        else:
            mixture = self.bank.mixture()._asdict()
            embeds = prompted_embedding(input_ids, task_ids, embedding.weight, **mixture, backend=self.backend)
        ones = attention_mask.new_ones(attention_mask.shape[0], self.config.prompt_length)
        return embeds, torch.cat([ones, attention_mask], dim=1)

    def compose(self) -> Tensor:
        """Every task's prompt, P (T, m, d)."""
        return self._prompts.get(lambda: self.bank.compose(self.backend))

    def mixing_weights(self) -> Tensor:
        """Attention weights alpha (T, N), sources first, the private prompt last."""
        return self.bank.mixing_weights()

    @contextmanager
    def keep_prompts(self) -> Iterator[None]:
        """Compose the prompts once inside the block, where nothing that they depend on may change.

        Nothing is kept while gradients are enabled.
        """
        with self._prompts.scope():
            yield

    @property
    def kept_bytes(self) -> int:
        """Bytes of the prompts that are kept at present."""
        return self._prompts.nbytes

    def clear_cache(self) -> None:
        """Drop what is kept; needed only after an edit inside :meth:`keep_prompts`."""
        self._prompts.clear()


def _embed_one(embedding: Any) -> Tensor:
    """The row (1, d) of one token. Raises TypeError for a module that is no token embedding."""
    weight = getattr(embedding, "weight", None)
    found = type(embedding).__name__
    if isinstance(embedding, nn.Module) and isinstance(weight, Tensor) and weight.dim() == 2:
        found += f" with a weight {tuple(weight.shape)}"
        try:
            row = embed_ids(embedding, torch.zeros(1, 1, dtype=torch.int64))
        except (TypeError, ValueError, RuntimeError) as error:
            found += f", which raises {' '.join(str(error).split())}"
        else:
            if isinstance(row, Tensor) and row.is_floating_point() and row.shape == (1, 1, weight.shape[-1]):
                return row[0]
            found += f", which gives {tuple(row.shape) if isinstance(row, Tensor) else type(row).__name__} for (1, 1)"
    raise TypeError(
        f"CrossPTEmbedding: embedding must be a module with a weight (V, d) that maps ids (B, L) to rows (B, L, d), "
        f"such as an nn.Embedding, got {found}"
    )

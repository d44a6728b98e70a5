"""CrossPTEmbedding: the drop-in module between token ids and a T5."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from crosspt.config.prompts import CrossPTConfig
from crosspt.functional import Backend, prepend_prompts, prompted_embedding
from crosspt.functional.torch_composition import gather_prompts
from crosspt.prompts.bank import PromptBank, TextTokenizer, embed_ids
from crosspt.prompts.cache import ScopedCache


class CrossPTEmbedding(nn.Module):
    """Embeds tokens and puts the prompt of each row's task in front of them.

    Args:
        embedding: the model's token embedding, ids (B, L) to (B, L, d). It is shared, not copied, and called: what it
            scales, adds or hooks is in the rows. A plain ``nn.Embedding`` takes the fused operation instead, which
            gives the same rows. Whether it learns is left as it is.
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
        if not isinstance(embedding, nn.Module) or not isinstance(getattr(embedding, "weight", None), Tensor):
            raise TypeError(
                f"CrossPTEmbedding: embedding must be a module with a weight (V, d), such as an nn.Embedding, "
                f"got {type(embedding).__name__}"
            )
        self.token_embedding = embedding
        self.config = config
        self.backend = backend
        self.bank = PromptBank(config, embed_ids(embedding, torch.zeros(1, dtype=torch.int64)))
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
        input_ids, attention_mask, task_ids = self.arrange_rows(input_ids, attention_mask, task_ids)
        embedding: Any = self.token_embedding
        if not _is_plain_lookup(embedding):
            tokens = embedding(input_ids)
            prompts = gather_prompts(self.compose(), task_ids).to(tokens.dtype)
            embeds = torch.cat([prompts, tokens], dim=1)
        elif self._prompts.in_scope and not torch.is_grad_enabled():
            embeds = prepend_prompts(self.compose(), task_ids, input_ids, embedding.weight, backend=self.backend)
        else:
            mixture = self.bank.mixture()._asdict()
            embeds = prompted_embedding(input_ids, task_ids, embedding.weight, **mixture, backend=self.backend)
        ones = attention_mask.new_ones(attention_mask.shape[0], self.config.prompt_length)
        return embeds, torch.cat([ones, attention_mask], dim=1)

    def arrange_rows(
        self, input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The ids (B, L), mask (B, L) and task ids (B,) of a batch, int64, padded on the right; see :meth:`forward`.

        Raises:
            ValueError: the task ids are missing beside several tasks, or the mask has another shape than the ids.
            TypeError: ids are no integers.
        """
        for name, ids in (("input_ids", input_ids), ("task_ids", task_ids)):
            if isinstance(ids, Tensor) and (ids.is_floating_point() or ids.is_complex() or ids.dtype is torch.bool):
                raise TypeError(f"CrossPTEmbedding: {name} must be integers, got {ids.dtype}")
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
        else:
            input_ids, attention_mask = _move_padding_right(input_ids, attention_mask)
        return input_ids.long(), attention_mask, task_ids.long()

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

    def clear_cache(self) -> None:
        """Drop what is kept; needed only after an edit inside :meth:`keep_prompts`."""
        self._prompts.clear()


def _is_plain_lookup(embedding: Any) -> bool:
    """Whether calling the module does nothing but read rows of its weight, whose gradient is the plain one."""
    return (
        type(embedding) is nn.Embedding
        and embedding.max_norm is None
        and not (embedding.weight.requires_grad and _has_gradient_of_its_own(embedding))
        and "forward" not in embedding.__dict__  # where offloading and quantisation put theirs
        and not (embedding._forward_hooks or embedding._forward_pre_hooks)
        and not (embedding._backward_hooks or embedding._backward_pre_hooks)
        and not nn.modules.module._has_any_global_hook()
    )


def _has_gradient_of_its_own(embedding: nn.Embedding) -> bool:
    return embedding.sparse or embedding.scale_grad_by_freq or embedding.padding_idx is not None


def _move_padding_right(input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Each row begins with its first visible token; what was in front of it goes to the end. No value is waited for."""
    length = input_ids.shape[1]
    if length == 0:
        return input_ids, attention_mask
    padding = (attention_mask != 0).int().argmax(dim=1, keepdim=True)
    order = (torch.arange(length, device=input_ids.device) + padding) % length
    return input_ids.gather(1, order), attention_mask.gather(1, order)

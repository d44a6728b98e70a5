"""CrossPTModel: a frozen T5 behind a CrossPTEmbedding."""

import os
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MT5ForConditionalGeneration, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from crosspt.config.prompts import CrossPTConfig
from crosspt.functional import Backend
from crosspt.models.t5.attention import IMPLEMENTATIONS, use_attention
from crosspt.models.t5.prefix import Prefix, PrefixedEncoderOutput, compute_prefix, hand_on_prefix, prefix_parameters
from crosspt.prompts.bank import TextTokenizer
from crosspt.prompts.cache import ParameterCache
from crosspt.prompts.embedding import CrossPTEmbedding
from crosspt.prompts.storage import SavedPrompts, check_state, load_prompts, save_prompts

PREFIX_CACHE_BYTES = 2**31


class CrossPTModel(nn.Module):
    """A T5 whose inputs carry the prompt of their task. Only the prompts learn.

    Args:
        t5: a ``T5ForConditionalGeneration`` (1.0, 1.1, flan, mT5). Its parameters are frozen in place.
        config: the prompts.
        source_prompts: encoded stage-1 prompts (m, d) by task, for schemes that start from them.
        tokenizer: for initialisation from text.
        backend: ``"auto"``, ``"torch"`` or ``"triton"``.
        initialize: False leaves the prompts at zero, for a saved state to be loaded.

    With ``prefix_mode="isolated"`` the T5's ``attn_implementation`` is set to ``"crosspt"`` (``"crosspt_torch"`` or
    ``"crosspt_triton"`` where a backend is forced), and ``generate`` finds the prefix by a hook on the T5; with
    ``"full"`` the T5's attention is left as it is. At inference the prefixes of all tasks are kept in ``prefix_cache``
    until a parameter they depend on, its dtype or device, or autocast changes: ``prefix_cache.nbytes`` is their size,
    ``prefix_cache.limit`` the most that is kept, by default 2 GiB.
    """

    # The Trainer would otherwise take **kwargs as a sign that the loss is normalised over accumulation steps.
    accepts_loss_kwargs = False

    def __init__(
        self,
        t5: T5ForConditionalGeneration,
        config: CrossPTConfig,
        *,
        source_prompts: Mapping[str, Tensor] | None = None,
        tokenizer: TextTokenizer | None = None,
        backend: Backend = "auto",
        initialize: bool = True,
    ):
        super().__init__()
        if not isinstance(t5, T5ForConditionalGeneration | MT5ForConditionalGeneration):
            raise TypeError(f"CrossPTModel: t5 must be a T5ForConditionalGeneration, got {type(t5).__name__}")
        if next(t5.parameters()).dtype == torch.float16:
            warnings.warn("CrossPTModel: T5 overflows in float16; use bfloat16 or float32", stacklevel=2)
        self.t5 = t5.requires_grad_(False)
        self.config = config
        self.embedding = CrossPTEmbedding(
            t5.get_input_embeddings(),
            config,
            source_prompts=source_prompts,
            tokenizer=tokenizer,
            backend=backend,
            initialize=initialize,
        )
        self.prefix_cache: ParameterCache[Prefix] = ParameterCache(PREFIX_CACHE_BYTES)
        if config.prefix_mode == "isolated":
            use_attention(t5, next(name for name, value in IMPLEMENTATIONS.items() if value == backend))
            if hand_on_prefix not in t5._forward_pre_hooks.values():
                t5.register_forward_pre_hook(hand_on_prefix, with_kwargs=True)

    @property
    def device(self) -> torch.device:
        """The device that inputs must be on."""
        return self.embedding.token_embedding.weight.device

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """Run the T5 on prompted inputs.

        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L), by default all ones.
            task_ids: (B,) int64, positions in ``config.tasks``; rows may be of different tasks.
            labels: (B, L') int64, -100 where the loss looks away.
            kwargs: handed to the T5, such as ``decoder_input_ids``.

        Returns:
            The T5's output; ``loss`` is set when labels are given, ``encoder_last_hidden_state`` is (B, m + L, d), or
            (B, L, d) with isolated prefixes.
        """
        if self.config.prefix_mode == "isolated":
            mask, task_ids = self.embedding.check_rows(input_ids, attention_mask, task_ids)
            reads: dict[str, Any] = {"prefix": self.prefix(), "task_ids": task_ids}
            return self.t5(input_ids=input_ids, attention_mask=mask, labels=labels, **reads, **kwargs)
        embeds, mask = self.embedding(input_ids, attention_mask, task_ids)
        return self.t5(inputs_embeds=embeds, attention_mask=mask, labels=labels, **kwargs)

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate from prompted inputs, with every option of transformers' ``generate``; see :meth:`forward`."""
        t5: Any = self.t5  # transformers types generate() for a protocol that its own T5 does not meet
        if self.config.prefix_mode == "isolated":
            states = kwargs.get("output_hidden_states")
            encoded, mask = self.encode(input_ids, attention_mask, task_ids, output_hidden_states=states)
            return t5.generate(encoder_outputs=encoded, attention_mask=mask, **kwargs)
        embeds, mask = self.embedding(input_ids, attention_mask, task_ids)
        return t5.generate(inputs_embeds=embeds, attention_mask=mask, **kwargs)

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[BaseModelOutput, Tensor]:
        """Run the encoder alone on prompted inputs, for several decoder passes over them; see :meth:`forward`.

        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L), by default all ones.
            task_ids: (B,) int64, positions in ``config.tasks``.
            kwargs: handed to the encoder, such as ``output_hidden_states``.

        Returns:
            The encoder's output and the attention mask, which the T5 takes as ``encoder_outputs`` and
            ``attention_mask``: (B, m + L) or, isolated, (B, L) beside what its decoder reads of the prefixes.
        """
        if self.config.prefix_mode == "isolated":
            mask, task_ids = self.embedding.check_rows(input_ids, attention_mask, task_ids)
            reads: dict[str, Any] = {"prefix": self.prefix(), "task_ids": task_ids}
            encoded = self.t5.encoder(input_ids=input_ids, attention_mask=mask, **reads, **kwargs)
            return PrefixedEncoderOutput(**encoded, **reads), mask
        embeds, mask = self.embedding(input_ids, attention_mask, task_ids)
        return self.t5.encoder(inputs_embeds=embeds, attention_mask=mask, **kwargs), mask

    def prefix(self) -> Prefix:
        """The keys and values that each task's prompt leaves in the T5's layers, for ``prefix_mode="isolated"``.

        Raises:
            RuntimeError: the T5 no longer has a crosspt attention, or checkpoints its layers with reentrant autograd.
        """
        for stack in (self.t5.encoder, self.t5.decoder):
            implementation = stack.config._attn_implementation
            if implementation not in IMPLEMENTATIONS:
                raise RuntimeError(
                    f"CrossPTModel: prefix_mode 'isolated' needs attn_implementation {' or '.join(IMPLEMENTATIONS)}, "
                    f"got {implementation}"
                )
            block: Any = stack.block[0]
            if block.gradient_checkpointing and block._gradient_checkpointing_func.keywords.get("use_reentrant", True):
                raise RuntimeError(
                    "CrossPTModel: prefix_mode 'isolated' needs gradient checkpointing with use_reentrant=False"
                )
        if self.t5.training:  # with dropout no two are alike
            return self._compute_prefix()
        device = self.device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        parameters = [
            *self.embedding.bank.parameters(),
            *prefix_parameters(self.t5),
            self.embedding.token_embedding.weight,
        ]
        return self.prefix_cache.get(parameters, self._compute_prefix, autocast)

    def _compute_prefix(self) -> Prefix:
        return compute_prefix(self.t5, self.embedding.compose().to(self.embedding.token_embedding.weight.dtype))

    def count_parameters(self) -> tuple[int, int]:
        """Number of trainable and of all parameters, the shared token table counted once."""
        parameters = list(self.parameters())
        return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)

    def print_trainable_parameters(self) -> None:
        """Print the number and share of trainable parameters."""
        trainable, total = self.count_parameters()
        print(f"trainable params: {trainable:,} || all params: {total:,} || trainable%: {100 * trainable / total:.4f}")

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the prompts, not the T5: ``crosspt_config.json`` and ``crosspt_model.safetensors``, each atomically."""
        t5 = self.t5.config
        base_model = {
            "name": t5.name_or_path,
            "model_type": t5.model_type,
            "d_model": t5.d_model,
            "vocab_size": t5.vocab_size,
        }
        with torch.no_grad():
            prompts = self.embedding.bank.compose("torch")
        save_prompts(folder, SavedPrompts(self.config, base_model, self.embedding.bank.state_dict(), prompts))

    @classmethod
    def from_pretrained(
        cls, t5: T5ForConditionalGeneration, folder: str | os.PathLike[str], *, backend: Backend = "auto"
    ) -> "CrossPTModel":
        """A T5 with the prompts of a folder that :meth:`save_pretrained` wrote. Training can go on from there.

        Raises:
            ValueError: a file is missing, foreign or corrupt, or the prompts were made for another width.
        """
        saved = load_prompts(folder)
        if saved.prompts.shape[-1] != t5.config.d_model:
            raise ValueError(
                f"from_pretrained: the prompts in {folder} have width {saved.prompts.shape[-1]} "
                f"(made for {saved.base_model.get('name')!r}), the T5 has d_model {t5.config.d_model}"
            )
        model = cls(t5, saved.config, backend=backend, initialize=False)
        bank = model.embedding.bank
        check_state(folder, saved.state, bank.state_dict())
        bank.load_state_dict(saved.state)
        return model

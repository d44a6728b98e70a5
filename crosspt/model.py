"""CrossPTModel: a frozen T5 behind a CrossPTEmbedding."""

import os
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MT5ForConditionalGeneration, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from crosspt.config import CrossPTConfig
from crosspt.embedding import CrossPTEmbedding
from crosspt.functional import Backend
from crosspt.prompts import TextTokenizer
from crosspt.storage import SavedPrompts, check_state, load_prompts, save_prompts


class CrossPTModel(nn.Module):
    """A T5 whose inputs carry the prompt of their task. Only the prompts learn.

    Args:
        t5: a ``T5ForConditionalGeneration`` (1.0, 1.1, flan, mT5). Its parameters are frozen in place.
        config: the prompts.
        source_prompts: encoded stage-1 prompts (m, d) by task, for schemes that start from them.
        tokenizer: for initialisation from text.
        backend: ``"auto"``, ``"torch"`` or ``"triton"``.
        initialize: False leaves the prompts at zero, for a saved state to be loaded.
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
            The T5's output; ``loss`` is set when labels are given, ``encoder_last_hidden_state`` is (B, m + L, d).
        """
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
        embeds, mask = self.embedding(input_ids, attention_mask, task_ids)
        t5: Any = self.t5  # transformers types generate() for a protocol that its own T5 does not meet
        return t5.generate(inputs_embeds=embeds, attention_mask=mask, **kwargs)

    def encode(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, task_ids: Tensor | None = None
    ) -> tuple[BaseModelOutput, Tensor]:
        """Run the encoder alone on prompted inputs, for several decoder passes over them; see :meth:`forward`.

        Returns:
            The encoder's output and the attention mask (B, m + L), which the T5 takes as ``encoder_outputs`` and
            ``attention_mask``.
        """
        embeds, mask = self.embedding(input_ids, attention_mask, task_ids)
        return self.t5.get_encoder()(inputs_embeds=embeds, attention_mask=mask), mask

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

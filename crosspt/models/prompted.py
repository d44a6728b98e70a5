"""A language model that is called with task ids, of which something learns."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from crosspt.config.prompts import CrossPTConfig
from crosspt.functional import Backend
from crosspt.models.t5 import family


class PromptedModel(nn.Module, ABC):
    """A T5 that is called with task ids. A subclass says in :meth:`_inputs` what the T5 gets for them.

    Args:
        base_model: a ``T5ForConditionalGeneration`` (1.0, 1.1, flan, mT5).
        config: the tasks, which the task ids count, and the settings of prompts.
        backend: see :func:`crosspt.functional.compose_prompts`.

    What this class does not define is the T5's: ``generation_config``, ``gradient_checkpointing_enable``, ``dtype`` and
    so on.
    """

    # The Trainer would otherwise take **kwargs as a sign that the loss is normalised over accumulation steps.
    accepts_loss_kwargs = False

    def __init__(self, base_model: T5ForConditionalGeneration, config: CrossPTConfig, backend: Backend = "auto"):
        super().__init__()
        if not isinstance(base_model, family.CLASSES):
            raise TypeError(
                f"{type(self).__name__}: expected a T5ForConditionalGeneration, got {type(base_model).__name__}"
            )
        self.base_model = base_model
        self.config = config.for_model(base_model.config)
        family.prepare(base_model, backend, isolated=config.prefix_mode == "isolated")

    def __getattr__(self, name: str) -> Any:
        """What the T5 has and this class has not."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_model":  # before it is set
                raise
            return getattr(self.base_model, name)

    @property
    def generation_config(self) -> Any:
        """The T5's, by which :meth:`generate` goes."""
        return self.base_model.generation_config

    @generation_config.setter
    def generation_config(self, config: Any) -> None:
        self.base_model.generation_config = config

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device that inputs must be on: that of what learns, also where the T5's weights are offloaded."""

    def get_input_embeddings(self) -> nn.Module:
        """The module that embeds the text."""
        return family.text_embedding(self.base_model)

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
            input_ids: (B, L), any integer dtype.
            attention_mask: (B, L), by default all ones.
            task_ids: (B,) integer, positions in ``config.tasks``; rows may be of different tasks.
            labels: (B, L') int64, -100 where the loss looks away.
            kwargs: handed to the T5, such as ``decoder_input_ids``.

        Returns:
            The T5's output; ``loss`` is set when labels are given, ``encoder_last_hidden_state`` is (B, m + L, d), or
            (B, L, d) with isolated prefixes, in which padding on the left of a row comes last.
        """
        return self.base_model(**self._inputs(input_ids, attention_mask, task_ids), labels=labels, **kwargs)

    @torch.no_grad()
    def generate(
        self,
        inputs: Tensor | None = None,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        *,
        input_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate from prompted inputs, with every option of transformers' ``generate``; see :meth:`forward`.

        Args:
            inputs: token ids (B, L), which may be given as ``input_ids`` as well.
            attention_mask: (B, L), by default all ones.
            task_ids: (B,) integer.
            input_ids: another name of ``inputs``.
            kwargs: handed to the T5's ``generate``. A draft model given as ``assistant_model`` sees the text without
                the prompt.
        """
        ids = inputs if input_ids is None else input_ids
        if ids is None or (inputs is not None and input_ids is not None):
            raise ValueError(f"{type(self).__name__}.generate: give the token ids either as inputs or as input_ids")
        defaults = kwargs.get("generation_config") or self.generation_config
        wanted = {
            name: kwargs.get(name, getattr(defaults, name, None))
            for name in ("output_attentions", "output_hidden_states")
        }
        asked = {name: True for name, value in wanted.items() if value}
        encoded, mask = self.encode(ids, attention_mask, task_ids, **asked)
        if kwargs.get("assistant_model") is not None:  # it encodes the ids by itself, under the same mask
            padding = self.generation_config.pad_token_id or 0
            ids = nn.functional.pad(ids, (mask.shape[1] - ids.shape[1], 0), value=padding)
        base_model: Any = self.base_model  # transformers types generate() for a protocol that its own T5 does not meet
        return base_model.generate(inputs=ids, encoder_outputs=encoded, attention_mask=mask, **kwargs)

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[BaseModelOutput, Tensor]:
        """Run the encoder alone on prompted inputs, for several decoder passes over them; see :meth:`forward`.

        Args:
            input_ids: (B, L), any integer dtype.
            attention_mask: (B, L), by default all ones.
            task_ids: (B,) integer, positions in ``config.tasks``.
            kwargs: handed to the encoder, such as ``output_hidden_states``.

        Returns:
            The encoder's output and the attention mask, which the T5 takes as ``encoder_outputs`` and
            ``attention_mask``: (B, m + L) or, isolated, (B, L) beside what its decoder reads of the prefixes.
        """
        inputs = self._inputs(input_ids, attention_mask, task_ids)
        return family.encode(self.base_model, inputs, **kwargs), inputs["attention_mask"]

    @abstractmethod
    def _inputs(self, input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None) -> dict[str, Any]:
        """What the T5 takes: ``attention_mask``, and ``inputs_embeds`` or ``input_ids`` with what its layers read."""

    def keep_prompts(self) -> AbstractContextManager[None]:
        """A block in which no weight changes, so that what prompts come to may be computed once; here, nothing is."""
        return nullcontext()

    def learned(self) -> dict[str, Any]:
        """What is saved of the model, by name: the parameters that learn."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def count_parameters(self) -> tuple[int, int]:
        """Number of trainable and of all parameters, the shared token table counted once."""
        parameters = list(self.parameters())
        return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)

    def print_trainable_parameters(self) -> None:
        """Print the number and share of trainable parameters."""
        trainable, total = self.count_parameters()
        print(f"trainable params: {trainable:,} || all params: {total:,} || trainable%: {100 * trainable / total:.4f}")

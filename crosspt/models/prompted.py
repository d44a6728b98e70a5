"""A language model that is called with task ids, of which something learns."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from crosspt.config.prompts import CrossPTConfig
from crosspt.functional import Backend
from crosspt.models.family import Family, find_family
from crosspt.prompts.rows import move_padding


class PromptedModel(nn.Module, ABC):
    """A language model that is called with task ids. A subclass says in :meth:`_inputs` what it gets for them.

    Args:
        base_model: a language model of one of ``crosspt.models.family.FAMILIES``.
        config: the tasks, which the task ids count, and the settings of prompts.
        backend: see :func:`crosspt.functional.compose_prompts`.

    What this class does not define is the language model's: ``generation_config``, ``gradient_checkpointing_enable``,
    ``dtype`` and so on.
    """

    # The Trainer would otherwise take **kwargs as a sign that the loss is normalised over accumulation steps.
    accepts_loss_kwargs = False
    # It would refuse a language model whose own weights are quantized; here none of these learns.
    is_quantized = False

    def __init__(self, base_model: Any, config: CrossPTConfig, backend: Backend = "auto"):
        super().__init__()
        self.family: Family = find_family(base_model, type(self).__name__)
        self.base_model = base_model
        self.config = config.for_model(base_model.config)
        self.family.prepare(base_model, backend, isolated=config.prefix_mode == "isolated")

    def __getattr__(self, name: str) -> Any:
        """What the language model has and this class has not."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_model":  # before it is set
                raise
            return getattr(self.base_model, name)

    @property
    def generation_config(self) -> Any:
        """The language model's, by which :meth:`generate` goes."""
        return self.base_model.generation_config

    @generation_config.setter
    def generation_config(self, config: Any) -> None:
        self.base_model.generation_config = config

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device that inputs must be on: that of what learns, also where other weights are offloaded."""

    def get_input_embeddings(self) -> nn.Module:
        """The module that embeds the text."""
        return self.family.text_embedding(self.base_model)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the language model on prompted inputs.

        Args:
            input_ids: (B, L), any integer dtype.
            attention_mask: (B, L), by default all ones.
            task_ids: (B,) integer, positions in ``config.tasks``; rows may be of different tasks.
            labels: -100 where the loss looks away: of a decoder's own (B, L') int64; of a causal model (B, L), the
                ids again where they are to be told.
            kwargs: handed to the language model, such as ``decoder_input_ids``.

        Returns:
            The language model's output; ``loss`` is set when labels are given. ``encoder_last_hidden_state``, or the
            ``logits`` of a causal model, are of m + L positions, or with isolated prefixes of L. Padding on the left of
            a row comes last in them.
        """
        if labels is not None and self.family.causal:
            if labels.shape != input_ids.shape:
                raise ValueError(
                    f"{type(self).__name__}: labels of a causal model must have shape (B, L) = "
                    f"{tuple(input_ids.shape)}, got {tuple(labels.shape)}"
                )
            if attention_mask is not None:
                (labels,) = move_padding(attention_mask, labels)
        inputs = self._fitting_inputs(input_ids, attention_mask, task_ids)
        return self.family.forward(self.base_model, inputs, labels, **kwargs)

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
            kwargs: handed to the language model's ``generate``.

        Returns:
            What transformers returns: the decoder's tokens, or of a causal model the text, padded on the left, and what
            continues it.
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
        if self.family.causal and attention_mask is not None:
            (ids,) = move_padding(attention_mask, ids)
        return self.family.generate(self.base_model, ids, encoded, mask, **kwargs)

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Any, Tensor]:
        """Ready prompted inputs to be answered, several times if need be; see :meth:`forward`.

        Args:
            input_ids: (B, L), any integer dtype.
            attention_mask: (B, L), by default all ones.
            task_ids: (B,) integer, positions in ``config.tasks``.
            kwargs: handed to the encoder, such as ``output_hidden_states``.

        Returns:
            What the family's ``answer`` and ``log_likelihoods`` take, and the attention mask: (B, m + L) or, isolated,
            (B, L). Where there is an encoder it has run, and its output is what a decoder takes as ``encoder_outputs``.
        """
        inputs = self._fitting_inputs(input_ids, attention_mask, task_ids)
        return self.family.encode(self.base_model, inputs, **kwargs), inputs["attention_mask"]

    def _fitting_inputs(
        self, input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None
    ) -> dict[str, Any]:
        """The same as :meth:`_inputs`; raises ValueError where they are longer than a table of positions."""
        inputs = self._inputs(input_ids, attention_mask, task_ids)
        limit = self.family.positions(self.base_model)
        length, prefix = input_ids.shape[1], inputs.get("prefix")
        rows = inputs["attention_mask"].shape[1] + (0 if prefix is None else prefix.length())
        if limit is not None and rows > limit:
            raise ValueError(
                f"{type(self).__name__}: prompt and text must fit the {limit} positions of a "
                f"{type(self.base_model).__name__}, got m + L = {rows - length} + {length} = {rows}"
            )
        return inputs

    @abstractmethod
    def _inputs(self, input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None) -> dict[str, Any]:
        """What the language model takes for a batch, see :class:`crosspt.models.family.Family`."""

    def keep_prompts(self) -> AbstractContextManager[None]:
        """A block in which no weight changes, so that what prompts come to may be computed once; here, nothing is."""
        return nullcontext()

    @property
    def kept_bytes(self) -> int:
        """Bytes of what :meth:`keep_prompts` keeps at present."""
        return 0

    def learned(self) -> dict[str, Any]:
        """What is saved of the model, by name: the parameters that learn."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def count_parameters(self) -> tuple[int, int]:
        """Number of trainable and of all parameters, the shared token table counted once, 4-bit ones each."""
        of_model = {id(parameter) for parameter in self.base_model.parameters()}
        own = sum(p.numel() for p in self.parameters() if id(p) not in of_model)
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return trainable, own + self.base_model.num_parameters()

    def print_trainable_parameters(self) -> None:
        """Print the number and share of trainable parameters."""
        trainable, total = self.count_parameters()
        print(f"trainable params: {trainable:,} || all params: {total:,} || trainable%: {100 * trainable / total:.4f}")

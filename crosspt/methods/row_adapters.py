"""Adapters with weights of a row's own: how they reach the blocks of a T5, also behind ``generate``, beams and ranking.

The encoder's output brings along what the decoder's blocks need, so that every way to decode from it repeats and
chooses rows of both together. It goes to the blocks as a keyword argument and is read inside their ``forward``, which
gradient checkpointing calls a second time with the same arguments, past the hooks of the block itself.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor
from transformers import T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from crosspt.config.prompts import CrossPTConfig
from crosspt.methods.adapted import AdaptedT5
from crosspt.models.t5.family import check_checkpointing

Place = Callable[[Any], Sequence[Any]]
"""The modules of a block that have adapters."""

Change = Callable[[Any, Any, tuple[Any, ...], Tensor], Tensor]
"""What an adapter makes of a module, the weights of B rows, the module's arguments and its output (B, L, d)."""


class RowAdapters(NamedTuple):
    """The adapters of a stack.

    Args:
        layers: for each block, for each of its adapted modules, a named tuple of weights (N, ...).
        rows: (B,) int64 in [0, N), which of them each row has.
    """

    layers: tuple[tuple[Any, ...], ...]
    rows: Tensor


@dataclass
class AdaptedEncoderOutput(BaseModelOutput):
    """The encoder's output, and the adapters of the decoder.

    Args:
        last_hidden_state: (B, L, d).
        hidden_states: as in transformers.
        attentions: as in transformers.
        rows: (B,), see :class:`RowAdapters`; ``generate`` repeats it for beams as it does the states.
        layers: see :class:`RowAdapters`; being no tensor, they are not repeated.
    """

    rows: Tensor | None = None
    layers: tuple[tuple[Any, ...], ...] | None = None


class RowAdaptedT5(AdaptedT5):
    """A T5 whose decoder has adapters that the row decides on, its task or its text.

    Args:
        base_model: a T5 of its own, with adapters in the blocks of its decoder, see :func:`adapt_blocks`.
        config: the tasks.
    """

    def __init__(self, base_model: T5ForConditionalGeneration, config: CrossPTConfig):
        super().__init__(base_model, config)
        base_model.register_forward_pre_hook(_hand_on, with_kwargs=True)

    @abstractmethod
    def decoder_adapters(self, states: Tensor, inputs: dict[str, Any]) -> RowAdapters:
        """The decoder's adapters.

        Args:
            states: the encoder's last (B, L, d).
            inputs: what the encoder got, see :meth:`_inputs`.
        """

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """Encode, then decode; see :meth:`crosspt.models.prompted.PromptedModel.forward`."""
        asked = {name: kwargs[name] for name in ("output_attentions", "output_hidden_states") if name in kwargs}
        encoded, mask = self.encode(input_ids, attention_mask, task_ids, **asked)
        return self.base_model(encoder_outputs=encoded, attention_mask=mask, labels=labels, **kwargs)

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        task_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[BaseModelOutput, Tensor]:
        """The encoder's output and the decoder's adapters; see :meth:`crosspt.models.prompted.PromptedModel.encode`.

        Raises:
            RuntimeError: the T5 checkpoints its layers with reentrant autograd.
        """
        for stack in (self.base_model.encoder, self.base_model.decoder):
            check_checkpointing(stack, type(self).__name__)
        inputs = self._inputs(input_ids, attention_mask, task_ids)
        encoded = self.family.encode(self.base_model, inputs, **kwargs)
        layers, rows = self.decoder_adapters(encoded[0], inputs)
        return AdaptedEncoderOutput(**encoded, rows=rows, layers=layers), inputs["attention_mask"]


def adapt_blocks(stack: Any, place: Place, change: Change) -> None:
    """Put adapters into the blocks of an encoder or a decoder, which from then on must be given ``adapters``.

    Args:
        stack: a ``T5Stack``, changed in place.
        place: where they are in a block.
        change: what they do there.
    """
    for index, block in enumerate(stack.block):
        modules = place(block)
        block.layer[0].register_forward_pre_hook(partial(_hand_out, index, modules), with_kwargs=True)
        for module in modules:
            module.register_forward_hook(partial(_run_through, change))


def _hand_on(base_model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Before the T5: the adapters that come with the encoder's output go to the decoder."""
    encoded = kwargs.get("encoder_outputs")
    if isinstance(encoded, AdaptedEncoderOutput):
        kwargs = {**kwargs, "adapters": RowAdapters(encoded.layers, encoded.rows)}  # type: ignore[arg-type]  # both set
    return args, kwargs


def _hand_out(index: int, modules: Sequence[Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Before the first layer of a block, which is given its keyword arguments: its modules get the rows' weights."""
    adapters = kwargs.get("adapters")
    if adapters is None:
        raise ValueError("T5: expected the output of the model's encode as encoder_outputs, got none with adapters")
    for module, weights in zip(modules, adapters.layers[index], strict=True):
        module.row_weights = type(weights)(*(tensor.index_select(0, adapters.rows) for tensor in weights))


def _run_through(change: Change, module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
    """After an adapted module, which gives its weights away: they are of this call alone."""
    weights = module.__dict__.pop("row_weights")
    if isinstance(output, tuple):  # of an attention: the states come first
        return (change(module, weights, inputs, output[0]), *output[1:])
    return change(module, weights, inputs, output)

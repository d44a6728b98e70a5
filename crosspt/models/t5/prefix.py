"""The isolated prefix: the keys and values that a task's prompt leaves in every layer of a T5.

Prompt rows attend to prompt rows alone, so what they leave in a layer depends on the task, not on the text. Text rows
attend to it by task id and stand at positions m, m + 1, ..., as in the concatenation of prompt and text.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput


class KeysAndValues(NamedTuple):
    """The keys and the values of one layer, each (T, H, m, D)."""

    keys: Tensor
    values: Tensor


@dataclass
class Record:
    """Keeps what every layer of an encoder reads; a list or a dict would be copied on its way by accelerate's hooks."""

    layers: dict[int, KeysAndValues] = field(default_factory=dict)


class Prefix(NamedTuple):
    """The prefixes of all tasks, by layer."""

    encoder: tuple[KeysAndValues, ...]
    cross: tuple[KeysAndValues, ...]

    def length(self) -> int:
        """Number m of prompt tokens; no property, see :class:`crosspt.kernels.mixture.Mixture`."""
        return self.encoder[0].keys.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that all tensors take."""
        return sum(tensor.nbytes for layer in self.encoder + self.cross for tensor in layer)

    def of(self, module: Any) -> KeysAndValues:
        """What an attention module of the T5 reads beside its own keys, which is no decoder's self-attention."""
        return (self.cross if module.is_decoder else self.encoder)[module.layer_idx]


@dataclass
class PrefixedEncoderOutput(BaseModelOutput):
    """The encoder's output for text rows, and what a decoder needs to attend to their prefixes.

    Args:
        last_hidden_state: (B, L, d).
        hidden_states: as in transformers.
        attentions: as in transformers.
        task_ids: (B,) int64; ``generate`` repeats it for beams as it does the states.
        prefix: the prefixes of all tasks.
    """

    task_ids: Tensor | None = None
    prefix: Prefix | None = None


def compute_prefix(t5: Any, prompts: Tensor) -> Prefix:
    """Run the prompts of all tasks through a T5, whose ``attn_implementation`` must be of the crosspt family.

    Args:
        t5: a ``T5ForConditionalGeneration``; its dropout is active while it trains, with one mask a task.
        prompts: P (T, m, d), positions 0 to m - 1.
    """
    record = Record()
    states = t5.encoder(inputs_embeds=prompts, record=record)[0]
    cross = [block.layer[1].EncDecAttention for block in t5.decoder.block]
    return Prefix(
        tuple(record.layers[layer] for layer in range(len(record.layers))),
        tuple(KeysAndValues(_heads(layer, layer.k(states)), _heads(layer, layer.v(states))) for layer in cross),
    )


def hand_on_prefix(t5: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A forward pre-hook that gives the decoder the prefix which comes with the encoder's output."""
    encoded = kwargs.get("encoder_outputs")
    if isinstance(encoded, PrefixedEncoderOutput):
        kwargs = {**kwargs, "prefix": encoded.prefix, "task_ids": encoded.task_ids}
    return args, kwargs


def _heads(attention: Any, projected: Tensor) -> Tensor:
    """(T, m, H D) to (T, H, m, D), contiguous."""
    return torch.stack(projected.split(attention.key_value_proj_dim, dim=2), dim=1)

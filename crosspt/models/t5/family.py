"""What a :class:`crosspt.CrossPTModel` asks of a T5 (1.0, 1.1, flan), mT5 or UMT5."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from crosspt.functional import Backend
from crosspt.models.encoder_decoder import EncoderDecoder
from crosspt.models.t5.attention import IMPLEMENTATIONS, use_attention
from crosspt.models.t5.prefix import Prefix, PrefixedEncoderOutput, compute_prefix, hand_on_prefix


class T5(EncoderDecoder):
    """A T5, mT5 or UMT5, which can read isolated prefixes."""

    def prepare(self, base_model: Any, backend: Backend, *, isolated: bool) -> None:
        """Ready a T5, in place, to be prompted; with isolated prefixes its attention becomes one that reads them."""
        if base_model.dtype == torch.float16:
            warnings.warn("CrossPTModel: T5 overflows in float16; use bfloat16 or float32", stacklevel=4)
        super().prepare(base_model, backend, isolated=False)
        for block in base_model.decoder.block:  # transformers 5.17 lets the tokens of a UMT5's answer see later ones
            block.layer[0].SelfAttention.is_causal = True
        if isolated:
            use_attention(base_model, next(name for name, value in IMPLEMENTATIONS.items() if value == backend))
            if hand_on_prefix not in base_model._forward_pre_hooks.values():
                base_model.register_forward_pre_hook(hand_on_prefix, with_kwargs=True)

    def encode(self, base_model: Any, inputs: dict[str, Any], **kwargs: Any) -> BaseModelOutput:
        """The encoder's output, which brings along what the decoder reads of prefixes."""
        encoded = base_model.encoder(**inputs, **kwargs)
        if "prefix" not in inputs:
            return encoded
        return PrefixedEncoderOutput(**encoded, prefix=inputs["prefix"], task_ids=inputs["task_ids"])

    def cross_projections(self, base_model: Any) -> list[nn.Module]:
        """The modules that the decoder's keys and values of the encoder's states come from."""
        attentions = [block.layer[1].EncDecAttention for block in base_model.decoder.block]
        return [module for attention in attentions for module in (attention.k, attention.v)]

    def prefix(self, base_model: Any, prompts: Tensor) -> Prefix:
        """The keys and values that prompts (T, m, d) leave in the layers.

        Raises:
            RuntimeError: the T5 no longer has a crosspt attention, or checkpoints its layers with reentrant autograd.
        """
        for stack in (base_model.encoder, base_model.decoder):
            implementation = stack.config._attn_implementation
            if implementation not in IMPLEMENTATIONS:
                raise RuntimeError(
                    f"CrossPTModel: prefix_mode 'isolated' needs attn_implementation {' or '.join(IMPLEMENTATIONS)}, "
                    f"got {implementation}"
                )
            check_checkpointing(stack, "CrossPTModel: prefix_mode 'isolated'")
        return compute_prefix(base_model, prompts)


def check_checkpointing(stack: Any, what: str) -> None:
    """Raise RuntimeError where blocks are checkpointed so that keyword arguments of theirs get no gradient."""
    block = stack.block[0]
    if block.gradient_checkpointing and block._gradient_checkpointing_func.keywords.get("use_reentrant", True):
        raise RuntimeError(f"{what} needs gradient checkpointing with use_reentrant=False")

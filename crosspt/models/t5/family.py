"""What a :class:`crosspt.CrossPTModel` asks of a T5 (1.0, 1.1, flan) or mT5: its share of the protocol of families."""

import functools
import inspect
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, MT5ForConditionalGeneration, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from crosspt.functional import Backend
from crosspt.models.t5.attention import IMPLEMENTATIONS, use_attention
from crosspt.models.t5.prefix import Prefix, PrefixedEncoderOutput, compute_prefix, hand_on_prefix

CLASSES = (T5ForConditionalGeneration, MT5ForConditionalGeneration)


def prepare(t5: Any, backend: Backend, *, isolated: bool) -> None:
    """Ready a T5, in place, to be prompted; with isolated prefixes its attention becomes one that reads them."""
    if t5.dtype == torch.float16:
        warnings.warn("CrossPTModel: T5 overflows in float16; use bfloat16 or float32", stacklevel=4)
    t5._expand_inputs_for_generation = functools.partial(expand_a_copy, t5)
    if isolated:
        use_attention(t5, next(name for name, value in IMPLEMENTATIONS.items() if value == backend))
        if hand_on_prefix not in t5._forward_pre_hooks.values():
            t5.register_forward_pre_hook(hand_on_prefix, with_kwargs=True)


def text_embedding(t5: Any) -> nn.Module:
    """The module that embeds the encoder's tokens at present."""
    return t5.encoder.embed_tokens


def describe(t5: Any) -> dict[str, Any]:
    """What saved prompts say of the model they were trained on."""
    config = t5.config
    return {
        "name": config.name_or_path,
        "model_type": config.model_type,
        "d_model": config.d_model,
        "vocab_size": config.vocab_size,
    }


def encode(t5: Any, inputs: dict[str, Any], **kwargs: Any) -> BaseModelOutput:
    """Run the encoder on what a model hands to its T5; the output brings along what the decoder reads of prefixes."""
    encoded = t5.encoder(**inputs, **kwargs)
    if "prefix" not in inputs:
        return encoded
    return PrefixedEncoderOutput(**encoded, prefix=inputs["prefix"], task_ids=inputs["task_ids"])


def prefix(t5: Any, prompts: Tensor) -> Prefix:
    """The keys and values that prompts (T, m, d) leave in the layers, for ``prefix_mode="isolated"``.

    Raises:
        RuntimeError: the T5 no longer has a crosspt attention, or checkpoints its layers with reentrant autograd.
    """
    for stack in (t5.encoder, t5.decoder):
        implementation = stack.config._attn_implementation
        if implementation not in IMPLEMENTATIONS:
            raise RuntimeError(
                f"CrossPTModel: prefix_mode 'isolated' needs attn_implementation {' or '.join(IMPLEMENTATIONS)}, "
                f"got {implementation}"
            )
        check_checkpointing(stack, "CrossPTModel: prefix_mode 'isolated'")
    return compute_prefix(t5, prompts)


def check_checkpointing(stack: Any, what: str) -> None:
    """Raise RuntimeError where blocks are checkpointed so that keyword arguments of theirs get no gradient."""
    block = stack.block[0]
    if block.gradient_checkpointing and block._gradient_checkpointing_func.keywords.get("use_reentrant", True):
        raise RuntimeError(f"{what} needs gradient checkpointing with use_reentrant=False")


def expand_a_copy(t5: Any, **kwargs: Any) -> Any:
    """Transformers' ``_expand_inputs_for_generation``, which repeats ``encoder_outputs`` for beams in place.

    They stay as they came, so that several generations can read the rows that were encoded once.
    """
    encoded = kwargs.get("encoder_outputs")
    if encoded is not None:
        kwargs["encoder_outputs"] = type(encoded)(**encoded)
    inherited: Any = inspect.getattr_static(GenerationMixin, "_expand_inputs_for_generation")  # static in some versions
    return inherited.__get__(t5)(**kwargs)

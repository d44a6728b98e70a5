"""``attn_implementation="crosspt"``: T5's attention through ``crosspt.functional.attention``.

Importing this module registers the implementation with transformers, for T5 and mT5: ``"crosspt"`` runs the Triton
kernels on GPU tensors and PyTorch on others; ``"crosspt_torch"`` and ``"crosspt_triton"`` force one of them. The T5
must be frozen, because its relative position bias gets no gradient.

Under these implementations a T5's position bias is a vector over the distance of key and query, and its mask is
(B, Lk): nothing of shape (Lq, Lk) is formed outside the operation. Under any other they are what transformers makes.
"""

import functools
from typing import Any, get_args

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.models.mt5.modeling_mt5 import MT5Attention
from transformers.models.t5.modeling_t5 import T5Attention

from crosspt.functional import Backend, attention
from crosspt.models.t5.prefix import Prefix

IMPLEMENTATIONS: dict[str, Backend] = {
    "crosspt" if backend == "auto" else f"crosspt_{backend}": backend for backend in get_args(Backend)
}


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float = 1.0,
    position_bias: Tensor | None = None,
    prefix: Prefix | None = None,
    task_ids: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls for each attention of a T5.

    Args:
        module: a ``T5Attention`` or ``MT5Attention``.
        query: (B, H, Lq, D).
        key: (B, H, Lk, D), with what a cache holds.
        value: (B, H, Lk, D).
        attention_mask: (B, Lk) bool, or None.
        dropout: probability with which a weight is dropped.
        scaling: factor of the scores, 1 in every T5.
        position_bias: (H, Lq + m + Lk - 1), or empty for none.
        prefix: keys and values of every task that encoder self-attention and cross-attention read as well.
        task_ids: (B,) int64, given with a prefix.
        kwargs: what transformers hands to every implementation.

    Returns:
        (B, Lq, H, D), and None in place of the weights.

    Raises:
        TypeError: the module is not a T5's or mT5's attention.
        ValueError: the mask has other dimensions, such as a custom one of four.
    """
    if not isinstance(module, T5Attention | MT5Attention):
        raise TypeError(
            f"attn_implementation crosspt: expected the attention of a T5 or mT5, got {type(module).__name__}"
        )
    if attention_mask is not None and attention_mask.dim() != 2:
        raise ValueError(
            "attn_implementation crosspt: attention masks must have shape (B, L), one value a token, "
            f"got {tuple(attention_mask.shape)}; use attn_implementation eager or sdpa for others"
        )
    prefix_key, prefix_value = (None, None) if prefix is None else prefix.of(module)
    # Under reentrant checkpointing every tensor that a layer returns asks for a gradient, the bias too.
    bias = None if position_bias is None or position_bias.dim() == 1 else position_bias.detach()
    output = attention(
        query if scaling == 1 else query * scaling,
        key,
        value,
        bias,
        attention_mask,
        prefix_key=prefix_key,
        prefix_value=prefix_value,
        task_ids=None if prefix_key is None else task_ids,
        causal=module.is_causal and query.shape[2] == key.shape[2],
        dropout=dropout,
        backend=IMPLEMENTATIONS[module.config._attn_implementation],
    )
    return output, None


def padding_mask(kv_length: int, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor | None:
    """The mask of an attention: (B, Lk) bool, True where a key counts, or None where all do.

    What lies behind a query is hidden by the position bias, also the unused end of a static cache.
    """
    if attention_mask is None or attention_mask.shape[1] == kv_length:
        return attention_mask
    return nn.functional.pad(attention_mask, (0, kv_length - attention_mask.shape[1]))


def relative_bias(
    module: Any, query_length: int, key_length: int, device: Any = None, past_seen_tokens: int | Tensor = 0
) -> Tensor:
    """The relative position bias as a vector, in place of ``T5Attention.compute_bias``.

    Args:
        module: the attention that holds the table of biases.
        query_length: Lq.
        key_length: Lk, all keys of a cache included.
        device: where the bias goes; by default where the table is.
        past_seen_tokens: keys that lie before the first query.

    Returns:
        (H, Lq + Lk - 1): the bias of key j for query i is at ``j - i + Lq - 1``. In a decoder it is -inf where the key
        comes after the query.

    Raises:
        ValueError: the table asks for a gradient.
    """
    weight = module.relative_attention_bias.weight
    if weight.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            "attn_implementation crosspt: the relative position bias must need no gradient, which is not computed; "
            "freeze the T5 (t5.requires_grad_(False)) or use attn_implementation eager or sdpa"
        )
    distance = torch.arange(1 - query_length, key_length, device=device or weight.device) - past_seen_tokens
    bucket = module._relative_position_bucket(
        distance,
        bidirectional=not module.is_decoder,
        num_buckets=module.relative_attention_num_buckets,
        max_distance=module.relative_attention_max_distance,
    )
    bias = module.relative_attention_bias(bucket).T
    return bias.masked_fill(distance > 0, float("-inf")) if module.is_decoder else bias


def _extend(cls: Any) -> None:
    """Make a class of attention modules use vectors of biases where our implementation is set."""
    theirs_compute_bias, theirs_forward = cls.compute_bias, cls.forward

    @functools.wraps(theirs_compute_bias)
    def compute_bias(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        ours = self.config._attn_implementation in IMPLEMENTATIONS
        return (relative_bias if ours else theirs_compute_bias)(self, *args, **kwargs)

    @functools.wraps(theirs_forward)
    def forward(
        self: Any,
        hidden_states: Tensor,
        mask: Tensor | None = None,
        key_value_states: Tensor | None = None,
        position_bias: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> Any:
        prefix: Prefix | None = kwargs.get("prefix")
        if position_bias is None and self.config._attn_implementation in IMPLEMENTATIONS:
            if not self.has_relative_attention_bias:
                position_bias = hidden_states.new_empty(0)  # transformers would make zeros (1, H, Lq, Lk)
            elif prefix is not None and not self.is_decoder:
                length, past = hidden_states.shape[1], prefix.length
                position_bias = self.compute_bias(length, past + length, hidden_states.device, past)
        return theirs_forward(self, hidden_states, mask, key_value_states, position_bias, past_key_values, **kwargs)

    cls.compute_bias, cls.forward = compute_bias, forward


for _implementation in IMPLEMENTATIONS:
    AttentionInterface.register(_implementation, attention_forward)
    AttentionMaskInterface.register(_implementation, padding_mask)
for _class in (T5Attention, MT5Attention):
    _extend(_class)

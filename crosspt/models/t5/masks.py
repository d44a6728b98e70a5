"""The masks of a T5's attention, made once a stack, and the queries that they leave without a key."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import bidirectional_mask_function, causal_mask_function

from crosspt.functional.validation import values_are_visible

FOUND = "crosspt_blind_queries"
"""The attribute of a mask that keeps what :func:`blind_queries` finds for the first of the layers that read it."""


def padding_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor = 0,
    mask_function: Any = bidirectional_mask_function,
    attention_mask: Tensor | None = None,
    device: Any = None,
    **kwargs: Any,
) -> Tensor | None:
    """What transformers calls once a stack and kind of attention.

    Args:
        batch_size: B.
        q_length: Lq.
        kv_length: Lk, all keys of a cache included.
        q_offset: keys that lie before the first query.
        mask_function: transformers' causal or bidirectional one.
        attention_mask: (B, L) bool with L <= Lk, True where a key counts.
        device: of the model.
        kwargs: what transformers hands to every implementation.

    Returns:
        (B, Lk) bool, True where a key counts, or None where all do. Several causal queries over a cache with an unused
        end need to know where they stand in it: (B, Lk) int64 then, ``q_offset + 1`` where a key counts, 0 elsewhere.

    Raises:
        ValueError: the mask is of another kind.
    """
    if mask_function not in (causal_mask_function, bidirectional_mask_function):
        raise ValueError(
            "attn_implementation crosspt: masks must be causal or bidirectional, without functions laid over them, "
            f"got {getattr(mask_function, '__qualname__', mask_function)}; use attn_implementation eager or sdpa"
        )
    mask = attention_mask
    if mask is not None and mask.shape[1] != kv_length:
        mask = nn.functional.pad(mask, (0, kv_length - mask.shape[1]))
    if mask_function is causal_mask_function and (isinstance(q_offset, Tensor) or kv_length != q_offset + q_length):
        used = (torch.arange(kv_length, device=device) < q_offset + q_length).expand(batch_size, -1)
        mask = used if mask is None else mask & used
        if q_length > 1:
            mask = mask * (q_offset + 1)
    if mask is None or torch.compiler.is_compiling():  # a compiler finds out by itself what layers have in common
        return mask
    mask = mask.view_as(mask)  # the mask that came may be another stack's too, and may change between two calls
    setattr(mask, FOUND, [])
    return mask


def blind_queries(mask: Tensor, causal: int | None) -> Tensor | None:
    """Which queries see no key: (B, Lq, 1, 1) or (B, 1, 1, 1), True where none is seen; None where each sees one.

    Args:
        mask: what :func:`padding_mask` made, or a copy of it.
        causal: number of queries, of which each sees the keys before it; None where all see all.
    """
    found = None if torch.compiler.is_compiling() else getattr(mask, FOUND, None)
    if found is None:
        return _find_blind(mask, causal)
    if not found:
        found.append(_find_blind(mask, causal))
    return found[0]


def _find_blind(mask: Tensor, causal: int | None) -> Tensor | None:
    if causal is None or causal == 1:
        blind = ~mask.any(dim=1, keepdim=True)
    else:
        past = mask.shape[1] - causal if mask.dtype == torch.bool else mask.amax() - 1
        last = (past + torch.arange(causal, device=mask.device)).clamp(min=0)
        blind = (mask > 0).cumsum(dim=1).index_select(1, last) == 0
    if values_are_visible(blind) and not blind.any():
        return None
    return blind[:, :, None, None]

"""Attention over a task's prefix and a row's own keys in plain PyTorch, through scaled_dot_product_attention."""

import torch
import torch.nn.functional as F
from torch import Tensor


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    prefix_key: Tensor | None,
    prefix_value: Tensor | None,
    task_ids: Tensor | None,
    causal: bool,
    dropout: float,
) -> Tensor:
    """(B, Lq, H, D); the arguments are those of ``crosspt.functional.attention``."""
    if prefix_key is not None and prefix_value is not None and task_ids is not None:
        key = torch.cat([prefix_key[task_ids], key], dim=2)
        value = torch.cat([prefix_value[task_ids], value], dim=2)
    scores = _visible_bias(query, key, bias, mask, causal)
    return F.scaled_dot_product_attention(query, key, value, scores, dropout, scale=1.0).transpose(1, 2)


def _visible_bias(query: Tensor, key: Tensor, bias: Tensor | None, mask: Tensor | None, causal: bool) -> Tensor | None:
    """What is added to the scores, broadcastable to (B, H, Lq, Lk): the bias, and -inf where a key is hidden."""
    queries, keys = query.shape[2], key.shape[2]
    hidden = None
    if mask is not None:
        hidden = F.pad(~mask, (keys - mask.shape[1], 0))[:, None, None, :]
    if causal:
        later = torch.ones(queries, keys, dtype=torch.bool, device=query.device).triu(keys - queries + 1)
        hidden = later if hidden is None else hidden | later
    dense = None
    if bias is not None:
        dense = bias.to(query.dtype).unfold(1, keys, 1).flip(1)[None]
    if hidden is None:
        return dense
    if dense is None:
        dense = query.new_zeros(())
    return dense.masked_fill(hidden, float("-inf"))

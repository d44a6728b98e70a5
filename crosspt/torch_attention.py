"""Attention over a task's prefix and a row's own keys in plain PyTorch."""

from collections import Counter
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from crosspt.validation import values_are_visible


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
    """(B, Lq, H, D); the arguments are those of ``crosspt.functional.attention``.

    On CPU tensors the rows of one task are multiplied with its prefix together, and no prefix is copied.
    """
    if prefix_key is not None and prefix_value is not None and task_ids is not None:
        if values_are_visible(task_ids):
            visible = _visible_bias(query, prefix_key.shape[2] + key.shape[2], bias, mask, causal)
            return _attend_by_task(query, key, value, visible, prefix_key, prefix_value, task_ids.tolist(), dropout)
        key = torch.cat([prefix_key[task_ids], key], dim=2)
        value = torch.cat([prefix_value[task_ids], value], dim=2)
    visible = _visible_bias(query, key.shape[2], bias, mask, causal)
    return F.scaled_dot_product_attention(query, key, value, visible, dropout, scale=1.0).transpose(1, 2)


def _visible_bias(query: Tensor, keys: int, bias: Tensor | None, mask: Tensor | None, causal: bool) -> Tensor | None:
    """What is added to the scores, broadcastable to (B, H, Lq, m + Lk): the bias, and -inf where a key is hidden."""
    queries = query.shape[2]
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


def _attend_by_task(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visible: Tensor | None,
    prefix_key: Tensor,
    prefix_value: Tensor,
    task_ids: list[int],
    dropout: float,
) -> Tensor:
    """One softmax over the scores of the prefix and of the row's own keys; (B, Lq, H, D)."""
    length = prefix_key.shape[2]
    scores = torch.cat([_product_by_task(query, prefix_key.mT, task_ids), query @ key.mT], dim=3)
    if visible is not None:
        scores = scores + visible
    weights = F.dropout(torch.softmax(scores, dim=3), dropout).to(value.dtype)
    prefix = _product_by_task(weights[..., :length], prefix_value, task_ids)
    return (weights[..., length:] @ value + prefix).transpose(1, 2)


def _product_by_task(rows: Tensor, operand: Tensor, task_ids: list[int]) -> Tensor:
    """``rows[b] @ operand[task_ids[b]]``, one product for all rows of a task.

    Args:
        rows: (B, H, Lq, K).
        operand: (T, H, K, N).
        task_ids: B ids.

    Returns:
        (B, H, Lq, N).
    """
    batch, heads, queries, width = rows.shape
    counts = sorted(Counter(task_ids).items())
    order = sorted(range(batch), key=task_ids.__getitem__)
    shuffled = any(a > b for a, b in pairwise(task_ids))
    rows = rows.transpose(0, 1)
    if shuffled:
        rows = rows.index_select(1, torch.tensor(order))
    groups = rows.reshape(heads, batch * queries, width).split([count * queries for _, count in counts], dim=1)
    operands = operand.unbind()
    products = [group @ operands[task] for group, (task, _) in zip(groups, counts, strict=True)]
    product = torch.cat(products, dim=1).view(heads, batch, queries, operand.shape[3])
    if shuffled:
        product = product.index_select(1, torch.tensor(order).argsort())
    return product.transpose(0, 1)

"""Attention over a task's prefix and a row's own keys in plain PyTorch."""

from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from crosspt.functional import validation
from crosspt.functional.torch_composition import gather_prompts


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

    On CPU tensors the rows of one task are multiplied with its prefix together, and no prefix is copied; not where
    causality or the bias may hide all of it, because that softmax has no zeros for a query that sees no key.
    """
    if prefix_key is not None and prefix_value is not None and task_ids is not None:
        length = prefix_key.shape[2]
        if validation.values_are_visible(task_ids) and length and not causal and _is_finite(bias):
            terms = _matrix(query, length + key.shape[2], bias), _seen(query, length + key.shape[2], mask, causal)
            return _attend_by_task(query, key, value, *terms, prefix_key, prefix_value, _Tasks.of(task_ids), dropout)
        key = torch.cat([gather_prompts(prefix_key, task_ids), key], dim=2)
        value = torch.cat([gather_prompts(prefix_value, task_ids), value], dim=2)
    matrix, seen = _matrix(query, key.shape[2], bias), _seen(query, key.shape[2], mask, causal)
    if matrix is None:
        matrix = seen
    elif seen is not None:
        matrix = torch.where(seen, matrix, float("-inf"))
    return F.scaled_dot_product_attention(query, key, value, matrix, dropout, scale=1.0).transpose(1, 2)


def _is_finite(bias: Tensor | None) -> bool:
    return bias is None or bool(bias.isfinite().all())


def _matrix(query: Tensor, keys: int, bias: Tensor | None) -> Tensor | None:
    """The biases (1, H, Lq, m + Lk) in the query's dtype; those of one query are a view of the vector."""
    if bias is None:
        return None
    queries = query.shape[2]
    if queries == 1:
        return bias.to(query.dtype)[None, :, None]
    # The gradient is a sum over the view, in its dtype: in half precision it would stop growing.
    wide = torch.promote_types(query.dtype, torch.float32) if bias.requires_grad else query.dtype
    table = bias.to(wide).T.contiguous()
    heads = table.shape[1]  # with strides of H alone the view is right for any length in a graph; unfold is not
    return table.as_strided((heads, queries, keys), (1, heads, heads)).flip(1)[None].to(query.dtype)


def _seen(query: Tensor, keys: int, mask: Tensor | None, causal: bool) -> Tensor | None:
    """True where a query sees a key, broadcastable to (B, H, Lq, m + Lk), or None where all see all."""
    queries = query.shape[2]
    seen = None
    if mask is not None:
        missing = keys - mask.shape[1]
        seen = (F.pad(mask, (missing, 0), value=True) if missing else mask)[:, None, None, :]
    if causal and queries > 1:
        earlier = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
        seen = earlier if seen is None else seen & earlier
    return seen


class _Tasks(NamedTuple):
    """Which rows are of which task.

    Attributes:
        counts: number of rows by task, in the order of the tasks.
        order: (B,) rows sorted by task, or None where they are.
        back: (B,) the inverse of the order.
    """

    counts: dict[int, int]
    order: Tensor | None
    back: Tensor | None

    @classmethod
    def of(cls, task_ids: Tensor) -> "_Tasks":
        ids = task_ids.tolist()
        counts = dict(sorted(Counter(ids).items()))
        if all(earlier <= later for earlier, later in pairwise(ids)):
            return cls(counts, None, None)
        order = sorted(range(len(ids)), key=ids.__getitem__)
        back = sorted(range(len(ids)), key=order.__getitem__)
        return cls(counts, torch.tensor(order), torch.tensor(back))


def _attend_by_task(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    matrix: Tensor | None,
    seen: Tensor | None,
    prefix_key: Tensor,
    prefix_value: Tensor,
    tasks: _Tasks,
    dropout: float,
) -> Tensor:
    """One softmax over the scores of the prefix and of the row's own keys; (B, Lq, H, D)."""
    length = prefix_key.shape[2]
    scores = torch.cat([_product_by_task(query, prefix_key.mT, tasks), query @ key.mT], dim=3)
    if matrix is not None:
        scores.add_(matrix)
    if seen is not None:
        scores.masked_fill_(~seen, float("-inf"))
    weights = F.dropout(torch.softmax(scores, dim=3), dropout).to(value.dtype)
    prefix = _product_by_task(weights[..., :length], prefix_value, tasks)
    return (weights[..., length:] @ value + prefix).transpose(1, 2)


def _product_by_task(rows: Tensor, operand: Tensor, tasks: _Tasks) -> Tensor:
    """``rows[b] @ operand[task of b]``, without a copy of the operand.

    Args:
        rows: (B, H, Lq, K).
        operand: (T, H, K, N).
        tasks: of the rows.

    Returns:
        (B, H, Lq, N).
    """
    if tasks.order is not None:
        rows = rows.index_select(0, tasks.order)
    counts = list(tasks.counts.values())
    first, last = min(tasks.counts), max(tasks.counts)
    if last - first + 1 == len(counts) and len(set(counts)) == 1:
        # As many rows of each of neighbouring tasks: one batched product.
        product = _multiply(rows.unflatten(0, (-1, counts[0])), operand[first : last + 1]).flatten(0, 1)
    else:
        groups = zip(rows.split(counts), tasks.counts, strict=True)
        product = torch.cat([_multiply(group, operand[task]) for group, task in groups])
    return product if tasks.back is None else product.index_select(0, tasks.back)


def _multiply(rows: Tensor, operand: Tensor) -> Tensor:
    """(..., R, H, Lq, K) times (..., H, K, N) is (..., R, H, Lq, N): the R rows share an operand."""
    queries = rows.shape[-2]
    product = rows.transpose(-4, -3).flatten(-3, -2) @ operand
    return product.unflatten(-2, (-1, queries)).transpose(-4, -3)

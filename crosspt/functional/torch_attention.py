"""Attention over a task's prefix and a row's own keys in plain PyTorch."""

import functools
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from crosspt.functional import validation


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
        if validation.values_are_visible(task_ids):
            terms = _score_terms(query, prefix_key.shape[2] + key.shape[2], bias, mask, causal)
            return _attend_by_task(query, key, value, terms, prefix_key, prefix_value, _Tasks.of(task_ids), dropout)
        key = torch.cat([prefix_key[task_ids], key], dim=2)
        value = torch.cat([prefix_value[task_ids], value], dim=2)
    terms = _score_terms(query, key.shape[2], bias, mask, causal)
    visible = functools.reduce(torch.add, terms) if terms else None
    return F.scaled_dot_product_attention(query, key, value, visible, dropout, scale=1.0).transpose(1, 2)


def _score_terms(query: Tensor, keys: int, bias: Tensor | None, mask: Tensor | None, causal: bool) -> list[Tensor]:
    """What is added to the scores, each broadcastable to (B, H, Lq, m + Lk): the bias, and -inf for hidden keys."""
    queries = query.shape[2]
    terms = []
    if bias is not None:
        # The gradient is a sum over the view, in its dtype: in half precision it would stop growing.
        wide = torch.promote_types(query.dtype, torch.float32) if bias.requires_grad else query.dtype
        table = bias.to(wide).T.contiguous()
        heads = table.shape[1]  # with strides of H alone the view is right for any length in a graph; unfold is not
        matrix = table.as_strided((heads, queries, keys), (1, heads, heads)).flip(1)[None]
        terms.append(matrix.to(query.dtype))
    hidden = None
    if mask is not None:
        hidden = F.pad(~mask, (keys - mask.shape[1], 0))[:, None, None, :]
    if causal:
        later = torch.ones(queries, keys, dtype=torch.bool, device=query.device).triu(keys - queries + 1)
        hidden = later if hidden is None else hidden | later
    if hidden is not None:
        terms.append(query.new_zeros(hidden.shape).masked_fill_(hidden, float("-inf")))
    return terms


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
    terms: list[Tensor],
    prefix_key: Tensor,
    prefix_value: Tensor,
    tasks: _Tasks,
    dropout: float,
) -> Tensor:
    """One softmax over the scores of the prefix and of the row's own keys; (B, Lq, H, D)."""
    length = prefix_key.shape[2]
    scores = torch.cat([_product_by_task(query, prefix_key.mT, tasks), query @ key.mT], dim=3)
    for term in terms:
        scores.add_(term)
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

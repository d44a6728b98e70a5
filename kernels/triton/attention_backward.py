"""Backward of the attention in two launches: the queries' gradient, then those of keys and values.

Two more give that of the bias, where it is asked for.

With P the weights, Z the factors of dropout (1 / (1 - p) or 0), dO the output's gradient and dP = dO V^T:

    delta_i = <dO_i, O_i>
    dS = P * (Z * dP - delta)
    dQ = dS K        dK = dS^T Q        dV = (Z * P)^T dO
    dbias_d = sum of dS_ij over all rows and j - i + Lq - 1 = d

P is recomputed from the scores and each query's maximum and sum. Their joint logarithm alone would lose digits where
scores are large, and T5's are not scaled. No two programs share an output:
those of the prefix go through all rows of their task, in order.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from crosspt.kernels.attention import Attention
from crosspt.kernels.attention_bias import attention_bias
from crosspt.kernels.attention_key import attention_key
from crosspt.kernels.attention_query import attention_query


class AttentionNeeds(NamedTuple):
    """Which gradients are asked for."""

    query: bool
    key: bool
    value: bool
    bias: bool
    prefix_key: bool
    prefix_value: bool


def attention_backward(
    grad: Tensor, out: Tensor, stats: Tensor, x: Attention, needs: AttentionNeeds
) -> tuple[Tensor | None, ...]:
    """Gradients of queries, keys, values, bias, prefix keys and prefix values; None where not asked for.

    Args:
        grad: gradient of the output (B, Lq, H, D), any strides.
        out: the output.
        stats: what the forward launch gave with it.
        x: its arguments.
        needs: what to compute.

    Returns:
        (B, H, L, D) and (T, H, m, D), which lie in memory as (B, L, H, D) and (T, m, H, D), and (H, Lq + m + Lk - 1).
    """

    def like(asked: bool, tensor: Tensor | None) -> Tensor | None:
        if not asked or tensor is None:
            return None
        rows, heads, length, width = tensor.shape
        return tensor.new_empty((rows, length, heads, width))

    def given(gradient: Tensor | None) -> Tensor | None:
        return None if gradient is None else gradient.transpose(1, 2)

    dquery, dkey, dvalue = like(needs.query, x.query), like(needs.key, x.key), like(needs.value, x.value)
    dprefix_key, dprefix_value = like(needs.prefix_key, x.prefix_key), like(needs.prefix_value, x.prefix_value)
    dbias = torch.empty_like(x.bias) if needs.bias and x.bias is not None else None
    batch, heads, queries, _ = x.query.shape
    delta = (
        grad.new_empty((batch, heads, queries), dtype=x.accumulator)
        if dkey is not None or dprefix_key is not None or dbias is not None
        else None
    )
    attention_query(grad, out, stats, x, dquery, delta)
    attention_key(grad, stats, x, delta, dkey, dvalue, dprefix_key, dprefix_value)
    if delta is not None and dbias is not None:
        attention_bias(grad, stats, x, delta, dbias)
    return given(dquery), given(dkey), given(dvalue), dbias, given(dprefix_key), given(dprefix_value)

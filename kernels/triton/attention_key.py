"""Last launch of the attention's backward: the gradients of keys and values; see ``attention_backward``."""

from typing import Any, NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.architecture import tile_class
from crosspt.kernels.attention import Attention
from crosspt.kernels.launch import launch, precision
from crosspt.kernels.mixing import dot
from crosspt.kernels.scores import (
    Head,
    Keys,
    exp_difference,
    kept,
    load_numbers,
    load_rows,
    offset,
    scores,
    store_rows,
)
from crosspt.kernels.tiles import attention_tiles, whole_steps_apart


class Rows(NamedTuple):
    """All rows and heads of a batch: what their keys' gradients are made of."""

    p_query: Any  # (B, H, Lq, D)
    p_grad: Any  # gradient of the output (B, Lq, H, D)
    p_stats: Any  # largest scores and reciprocal sums (B, H, 2, Lq)
    p_delta: Any  # (B, H, Lq), or None
    p_bias: Any  # (H, Lq + n_keys - 1), or None
    p_task_ids: Any  # (B,), or None
    p_seed: Any
    dropout: Any
    B: Any
    H: Any
    Lq: Any
    n_keys: Any
    stride_qb: Any
    stride_qh: Any
    stride_qi: Any
    stride_gb: Any
    stride_gi: Any
    stride_gh: Any
    stride_gd: Any


class Block(NamedTuple):
    """BN keys of one place and their values."""

    b_k: Any  # [BN, BD]
    b_v: Any  # [BN, BD]
    i_h: Any  # their head
    i_j: Any  # number of the first in its place


@triton.jit
def key_step(
    x, keys, block, b_dk, b_dv, i_b, i_i, KEYS: tl.constexpr, VALUES: tl.constexpr,
    CAUSAL: tl.constexpr, WHOLE: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What BM queries from ``i_i`` on add to the gradients, all of which exist if WHOLE; see ``key_gradients``."""
    ACC: tl.constexpr = b_dk.dtype
    BN: tl.constexpr = block.b_k.shape[0]
    BD: tl.constexpr = block.b_k.shape[1]
    EARLY: tl.constexpr = BD <= 64  # dO is loaded beside Q, not behind the scores; of wider heads it would spill
    Lq = x.Lq
    i_h = block.i_h
    i_row = i_b * x.H + i_h
    head = Head(i_row, offset(x.p_bias, i_h * (Lq + x.n_keys - 1)), x.p_seed, x.dropout, Lq, x.n_keys)
    p_query = x.p_query + i_b * x.stride_qb + i_h * x.stride_qh
    p_grad = x.p_grad + i_b * x.stride_gb + i_h * x.stride_gh
    p_stats = x.p_stats + i_row * 2 * Lq
    o_j = block.i_j + tl.arange(0, BN)  # [BN]
    o_i = i_i + tl.arange(0, BM)  # [BM]
    b_q = load_rows(p_query, o_i, Lq, x.stride_qi, 1, D, BD, WHOLE)  # [BM, BD]
    if EARLY:
        b_do = load_rows(p_grad, o_i, Lq, x.stride_gi, x.stride_gd, D, BD, WHOLE)  # [BM, BD]
    b_s = scores(block.b_k, b_q, head, keys, o_i[None, :], o_j[:, None], CAUSAL, ACC, PRECISION, WHOLE)  # [BN, BM]
    if not EARLY:
        b_do = load_rows(p_grad, o_i, Lq, x.stride_gi, x.stride_gd, D, BD, WHOLE)  # [BM, BD]
    b_max = load_numbers(p_stats, o_i, Lq, float("inf"), WHOLE)  # no query, no weight [BM]
    b_inv = load_numbers(p_stats + Lq, o_i, Lq, 0.0, WHOLE)  # [BM]
    b_p = exp_difference(b_s, b_max[None, :]) * b_inv[None, :]  # [BN, BM]
    b_zp = b_p  # [BN, BM]
    if head.p_seed is not None:
        m_kept = tl.trans(kept(head, keys.i_place, o_i, block.i_j, BN))  # [BN, BM]
        b_zp = tl.where(m_kept, b_p, 0.0)
    if VALUES:
        b_dv = dot(b_zp.to(b_do.dtype), b_do, b_dv, PRECISION)
    if KEYS:
        b_delta = load_numbers(x.p_delta + i_row * Lq, o_i, Lq, 0.0, WHOLE)  # [BM]
        b_dp = dot(block.b_v, tl.trans(b_do), tl.zeros_like(b_p), PRECISION)  # [BN, BM]
        if head.p_seed is not None:
            b_dp = tl.where(m_kept, b_dp * tl.full([1, 1], 1.0 / (1.0 - head.dropout), ACC), 0.0)
        b_ds = b_p * (b_dp - b_delta[None, :])  # [BN, BM]
        b_dk = dot(b_ds.to(b_q.dtype), b_q, b_dk, PRECISION)
    return b_dk, b_dv


@triton.jit
def key_gradients(
    x, keys, block, b_dk, b_dv, i_b, i_lo, i_hi, KEYS: tl.constexpr, VALUES: tl.constexpr,
    CAUSAL: tl.constexpr, APART: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """``b_dk + dS^T Q`` and ``b_dv + (Z * P)^T dO`` over the queries ``i_lo ... i_hi`` of one row [BN, BD].

    Args:
        x: all rows.
        keys: the place of the keys.
        block: the keys.
        b_dk: their gradient so far [BN, BD].
        b_dv: gradient of the values so far, to be multiplied by 1 / (1 - p) [BN, BD].
        i_b: the row.
        i_lo: first query.
        i_hi: end of the queries.
        KEYS: whether the keys' gradient is asked for.
        VALUES: whether the values' is.
        CAUSAL: whether later keys are hidden.
        APART: whether steps whose queries all exist are a loop of their own, which asks for none of them.
        D: width of the head.
        BM: queries a step.
        PRECISION: how float32 operands are multiplied.
    """
    if APART:
        i_end = i_lo + tl.maximum(i_hi - i_lo, 0) // BM * BM
        for i_i in range(i_lo, i_end, BM):
            b_dk, b_dv = key_step(x, keys, block, b_dk, b_dv, i_b, i_i, KEYS, VALUES, CAUSAL, True, D, BM, PRECISION)
        if i_end < i_hi:
            b_dk, b_dv = key_step(x, keys, block, b_dk, b_dv, i_b, i_end, KEYS, VALUES, CAUSAL, False, D, BM, PRECISION)
    else:
        for i_i in range(i_lo, i_hi, BM):
            b_dk, b_dv = key_step(x, keys, block, b_dk, b_dv, i_b, i_i, KEYS, VALUES, CAUSAL, False, D, BM, PRECISION)
    return b_dk, b_dv


@triton.jit
def first_query(x, keys, i_j, CAUSAL: tl.constexpr):
    """First query that may see a key of the block that starts at key ``i_j`` of a place."""
    i_lo = 0
    if CAUSAL:
        i_lo = tl.maximum(keys.i_first + i_j - (x.n_keys - x.Lq), 0)
    return i_lo


@triton.jit
def key_tile(
    x, keys, p_dkey, p_dvalue, i_x, i_h, i_j, PREFIX: tl.constexpr, CAUSAL: tl.constexpr, APART: tl.constexpr,
    D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of BN keys and values of head ``i_h`` from ``i_j`` on: of task ``i_x``, PREFIX, or of row ``i_x``."""
    ACC: tl.constexpr = x.p_stats.dtype.element_ty
    KEYS: tl.constexpr = p_dkey is not None
    VALUES: tl.constexpr = p_dvalue is not None
    o_j = i_j + tl.arange(0, BN)  # [BN]
    b_k = load_rows(keys.p_key, o_j, keys.count, keys.stride_kj, 1, D, BD)  # [BN, BD]
    b_v = load_rows(keys.p_value, o_j, keys.count, keys.stride_vj, 1, D, BD)  # [BN, BD]
    block = Block(b_k, b_v, i_h, i_j)
    b_dk = tl.zeros([BN, BD], ACC)  # [BN, BD]
    b_dv = tl.zeros([BN, BD], ACC)  # [BN, BD]
    i_lo = first_query(x, keys, i_j, CAUSAL)
    if PREFIX:
        for i in range(x.B):
            i_b = tl.full([], 0, tl.int64) + i
            i_hi = tl.where(tl.load(x.p_task_ids + i_b) == i_x, x.Lq, 0)
            b_dk, b_dv = key_gradients(
                x, keys, block, b_dk, b_dv, i_b, i_lo, i_hi, KEYS, VALUES, CAUSAL, APART, D, BM, PRECISION
            )
    else:
        b_dk, b_dv = key_gradients(
            x, keys, block, b_dk, b_dv, i_x, i_lo, x.Lq, KEYS, VALUES, CAUSAL, APART, D, BM, PRECISION
        )
    p_first = (i_x * keys.count * x.H + i_h) * D
    if KEYS:
        store_rows(p_dkey + p_first, o_j, keys.count, x.H * D, b_dk, D, BD)
    if VALUES:
        if x.p_seed is not None:
            b_dv *= tl.full([1, 1], 1.0 / (1.0 - x.dropout), ACC)
        store_rows(p_dvalue + p_first, o_j, keys.count, x.H * D, b_dv, D, BD)


@triton.jit(do_not_specialize=["B", "H", "Lq", "Lk", "T", "m"])
def attention_key_kernel(
    p_dkey, p_dvalue, p_dprefix_key, p_dprefix_value, p_grad, p_stats, p_delta, p_query, p_key, p_value, p_bias, p_mask,
    p_prefix_key, p_prefix_value, p_task_ids, p_seed, dropout: tl.float64, B, H, Lq, Lk, T, m,
    stride_qb, stride_qh, stride_qi, stride_kb, stride_kh, stride_kj, stride_vb, stride_vh, stride_vj,
    stride_pt, stride_ph, stride_pj, stride_rt, stride_rh, stride_rj, stride_gb, stride_gi, stride_gh, stride_gd,
    CAUSAL: tl.constexpr, APART: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """First the programs over prefixes, BN keys of one task and head each, then those over the rows' own keys.

    Arguments that are not named here are those of ``attention_kernel`` and ``attention_query_kernel``. Written, unless
    None: ``p_dkey`` and ``p_dvalue`` (B, Lk, H, D), ``p_dprefix_key`` and ``p_dprefix_value`` (T, m, H, D). Read:
    ``p_delta`` (B, H, Lq), or None when no keys need a gradient. ``B`` is the batch. With ``APART`` steps whose queries
    all exist are a loop of their own.
    """
    n_keys = m + Lk
    x = Rows(
        p_query, p_grad, p_stats, p_delta, p_bias, p_task_ids, p_seed, dropout, B, H, Lq, n_keys,
        stride_qb, stride_qh, stride_qi, stride_gb, stride_gi, stride_gh, stride_gd,
    )  # fmt: skip
    n_prefix = 0
    if p_dprefix_key is not None or p_dprefix_value is not None:
        n_prefix = T * H * tl.cdiv(m, BN)
    i_tile = tl.program_id(0)
    if i_tile < n_prefix:
        if p_dprefix_key is not None or p_dprefix_value is not None:
            n_j = tl.cdiv(m, BN)
            i_j = i_tile % n_j * BN
            i_h = (i_tile // n_j % H).to(tl.int64)
            i_t = (i_tile // n_j // H).to(tl.int64)
            p_k = p_prefix_key + i_t * stride_pt + i_h * stride_ph
            p_v = p_prefix_value + i_t * stride_rt + i_h * stride_rh
            prefix = Keys(p_k, p_v, None, stride_pj, stride_rj, 0, 0, m)
            key_tile(
                x, prefix, p_dprefix_key, p_dprefix_value, i_t, i_h, i_j, True, CAUSAL, APART, D, BM, BN, BD, PRECISION
            )
    elif p_dkey is not None or p_dvalue is not None:
        i_tile -= n_prefix
        n_j = tl.cdiv(Lk, BN)
        i_j = i_tile % n_j * BN
        i_row = (i_tile // n_j).to(tl.int64)
        i_b = i_row // H
        i_h = i_row % H
        p_k = p_key + i_b * stride_kb + i_h * stride_kh
        p_v = p_value + i_b * stride_vb + i_h * stride_vh
        own = Keys(p_k, p_v, offset(p_mask, i_b * Lk), stride_kj, stride_vj, 1, m, Lk)
        key_tile(x, own, p_dkey, p_dvalue, i_b, i_h, i_j, False, CAUSAL, APART, D, BM, BN, BD, PRECISION)


def attention_key(
    grad: Tensor,
    stats: Tensor,
    x: Attention,
    delta: Tensor | None,
    dkey: Tensor | None,
    dvalue: Tensor | None,
    dprefix_key: Tensor | None,
    dprefix_value: Tensor | None,
) -> None:
    """Fill the gradients of keys and values (B, Lk, H, D) and of the prefixes' (T, m, H, D), unless they are None.

    Args:
        grad: gradient of the output (B, Lq, H, D), any strides.
        stats: what the forward launch gave with the output.
        x: its arguments.
        delta: (B, H, Lq); None when no keys need a gradient.
        dkey: written; or None.
        dvalue: written; or None.
        dprefix_key: written; or None.
        dprefix_value: written; or None.
    """
    batch, heads, _, width = x.query.shape
    _, _, keys, tasks, length = x.counts
    gpu = tile_class(grad.device)
    everything = not (x.bias is None or x.mask is None or x.prefix_key is None)
    tiles = attention_tiles("attention_key", width, grad.dtype, gpu, x.seed is not None, everything)
    programs = 0
    if dprefix_key is not None or dprefix_value is not None:
        programs += tasks * heads * -(-length // tiles.BN)
    if dkey is not None or dvalue is not None:
        programs += batch * heads * -(-keys // tiles.BN)
    if programs:
        launch(
            attention_key_kernel, (programs,), grad,
            dkey, dvalue, dprefix_key, dprefix_value, grad, stats, delta, *x.operands, batch, *x.counts, *x.strides,
            *grad.stride(), x.causal, whole_steps_apart(tiles.BD, grad.dtype, gpu), width,
            *tiles[:3], precision(grad.dtype), num_warps=tiles.num_warps, num_stages=tiles.num_stages,
        )  # fmt: skip

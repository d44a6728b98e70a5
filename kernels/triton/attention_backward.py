"""Backward of the attention in two launches: the queries' gradient, then those of keys and values.

With P the weights, Z the factors of dropout (1 / (1 - p) or 0), dO the output's gradient and dP = dO V^T:

    delta_i = <dO_i, O_i>
    dS = P * (Z * dP - delta)
    dQ = dS K        dK = dS^T Q        dV = (Z * P)^T dO

P is recomputed from the scores and each query's maximum and sum. Their joint logarithm alone would lose digits where
scores are large, and T5's are not scaled. No two programs share an output:
those of the prefix go through all rows of their task, in order.
"""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.attention import Attention
from crosspt.kernels.launch import launch, precision
from crosspt.kernels.mixing import dot
from crosspt.kernels.scores import kept, load_rows, scores, seen_keys, store_rows
from crosspt.kernels.tiles import attention_key_tiles, attention_query_tiles


@triton.jit
def query_gradient(
    b_q, b_do, b_dq, b_max, b_inv, b_delta, p_key, p_value, p_bias, p_mask, p_seed, dropout, i_row, i_place, o_i,
    i_first, n_seen, count, Lq, n_keys, stride_kj, stride_vj,
    CAUSAL: tl.constexpr, D: tl.constexpr, BN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """``b_dq + dS K`` over the keys of one place [BM, BD]; see ``attend`` for the arguments."""
    ACC: tl.constexpr = b_dq.dtype
    BD: tl.constexpr = b_q.shape[1]
    for i_j in range(0, n_seen, BN):
        o_j = i_j + tl.arange(0, BN)  # [BN]
        b_k = load_rows(p_key, o_j, count, stride_kj, 1, D, BD)  # [BN, BD]
        b_v = load_rows(p_value, o_j, count, stride_vj, 1, D, BD)  # [BN, BD]
        b_s = scores(
            b_q, b_k, p_bias, p_mask, o_i[:, None], o_j[None, :], i_first, count, Lq, n_keys, CAUSAL, ACC, PRECISION
        )  # [BM, BN]
        b_p = tl.exp(b_s - b_max[:, None]) * b_inv[:, None]  # [BM, BN]
        b_dp = dot(b_do, tl.trans(b_v), tl.zeros_like(b_p), PRECISION)  # [BM, BN]
        if p_seed is not None:
            m_kept = kept(p_seed, dropout, i_row, i_place, o_i, i_j, BN)  # [BM, BN]
            b_dp = tl.where(m_kept, b_dp * tl.full([1, 1], 1.0 / (1.0 - dropout), ACC), 0.0)
        b_ds = b_p * (b_dp - b_delta[:, None])  # [BM, BN]
        b_dq = dot(b_ds.to(b_k.dtype), b_k, b_dq, PRECISION)
    return b_dq


@triton.jit(do_not_specialize=["H", "Lq", "Lk", "T", "m"])
def attention_query_kernel(
    p_dquery, p_delta, p_grad, p_out, p_stats, p_query, p_key, p_value, p_bias, p_mask, p_prefix_key, p_prefix_value,
    p_task_ids, p_seed, dropout: tl.float64, H, Lq, Lk, T, m,
    stride_qb, stride_qh, stride_qi, stride_kb, stride_kh, stride_kj, stride_vb, stride_vh, stride_vj,
    stride_pt, stride_ph, stride_pj, stride_rt, stride_rh, stride_rj, stride_gb, stride_gi, stride_gh, stride_gd,
    CAUSAL: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """BM queries of one row and head a program.

    Arguments that are not named here are those of ``attention_kernel``. Written, unless None: ``p_dquery`` dQ
    (B, Lq, H, D) and ``p_delta`` (B, H, Lq). Read: ``p_grad`` dO (B, Lq, H, D) through its four strides ``stride_g*``,
    ``p_out`` O (B, Lq, H, D) and ``p_stats`` (B, H, 2, Lq).
    """
    ACC: tl.constexpr = p_stats.dtype.element_ty
    n_i = tl.cdiv(Lq, BM)
    i_row = (tl.program_id(0) // n_i).to(tl.int64)
    i_i = tl.program_id(0) % n_i * BM
    i_b = i_row // H
    i_h = i_row % H
    o_i = i_i + tl.arange(0, BM)  # [BM]
    n_keys = m + Lk
    b_do = load_rows(p_grad + i_b * stride_gb + i_h * stride_gh, o_i, Lq, stride_gi, stride_gd, D, BD)  # [BM, BD]
    b_o = load_rows(p_out + (i_b * Lq * H + i_h) * D, o_i, Lq, H * D, 1, D, BD)  # [BM, BD]
    b_delta = tl.sum(b_do.to(ACC) * b_o.to(ACC), 1)  # [BM]
    if p_delta is not None:
        tl.store(p_delta + i_row * Lq + o_i, b_delta, mask=o_i < Lq)
    if p_dquery is not None:
        p_head = p_bias
        if p_bias is not None:
            p_head = p_bias + i_h * (Lq + n_keys - 1)
        b_q = load_rows(p_query + i_b * stride_qb + i_h * stride_qh, o_i, Lq, stride_qi, 1, D, BD)  # [BM, BD]
        p_row = p_stats + i_row * 2 * Lq + o_i  # [BM]
        b_max = tl.load(p_row, mask=o_i < Lq, other=0.0)  # [BM]
        b_inv = tl.load(p_row + Lq, mask=o_i < Lq, other=0.0)  # [BM]
        b_dq = tl.zeros([BM, BD], ACC)  # [BM, BD]
        if p_task_ids is not None:
            i_t = tl.load(p_task_ids + i_b)
            valid = (i_t >= 0) & (i_t < T)
            n_seen = tl.where(valid, seen_keys(i_i, 0, m, Lq, n_keys, BM, CAUSAL), 0)
            p_k = p_prefix_key + i_t * stride_pt + i_h * stride_ph
            p_v = p_prefix_value + i_t * stride_rt + i_h * stride_rh
            b_dq = query_gradient(
                b_q, b_do, b_dq, b_max, b_inv, b_delta, p_k, p_v, p_head, None, p_seed, dropout, i_row, 0, o_i, 0,
                n_seen, m, Lq, n_keys, stride_pj, stride_rj, CAUSAL, D, BN, PRECISION,
            )  # fmt: skip
        p_row_mask = p_mask
        if p_mask is not None:
            p_row_mask = p_mask + i_b * Lk
        p_k = p_key + i_b * stride_kb + i_h * stride_kh
        p_v = p_value + i_b * stride_vb + i_h * stride_vh
        n_seen = seen_keys(i_i, m, Lk, Lq, n_keys, BM, CAUSAL)
        b_dq = query_gradient(
            b_q, b_do, b_dq, b_max, b_inv, b_delta, p_k, p_v, p_head, p_row_mask, p_seed, dropout, i_row, 1, o_i, m,
            n_seen, Lk, Lq, n_keys, stride_kj, stride_vj, CAUSAL, D, BN, PRECISION,
        )  # fmt: skip
        store_rows(p_dquery + (i_b * Lq * H + i_h) * D, o_i, Lq, H * D, b_dq, D, BD)


@triton.jit
def key_gradients(
    b_k, b_v, b_dk, b_dv, p_query, p_grad, p_stats, p_delta, p_bias, p_mask, p_seed, dropout, i_row, i_place, i_j,
    i_first, i_lo, i_hi, count, Lq, n_keys, stride_qi, stride_gi, stride_gd,
    KEYS: tl.constexpr, VALUES: tl.constexpr, CAUSAL: tl.constexpr, D: tl.constexpr, BM: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """``b_dk + dS^T Q`` and ``b_dv + (Z * P)^T dO`` over the queries ``i_lo ... i_hi`` of one row and head [BN, BD].

    Args:
        b_k: keys [BN, BD].
        b_v: their values [BN, BD].
        b_dk: gradient of the keys so far [BN, BD].
        b_dv: gradient of the values so far, to be multiplied by 1 / (1 - p) [BN, BD].
        p_query: queries of the row and head.
        p_grad: the output's gradient there.
        p_stats: largest score and reciprocal sum there (2, Lq).
        p_delta: delta there (Lq,), or None without KEYS.
        p_bias: see ``scores``, as are p_mask, i_first, count, Lq, n_keys, CAUSAL and PRECISION.
        p_mask: which keys count, or None.
        p_seed: seed of the dropout, or None.
        dropout: its probability.
        i_row: number of the row and head.
        i_place: number of the place: 0 the prefix, 1 the row's own keys.
        i_j: number of the first key in its place.
        i_first: keys in front of this place.
        i_lo: first query.
        i_hi: end of the queries.
        count: keys of this place.
        Lq: queries.
        n_keys: keys of all places.
        stride_qi: stride between queries.
        stride_gi: stride of the output's gradient between queries.
        stride_gd: and along a row.
        KEYS: whether the keys' gradient is asked for.
        VALUES: whether the values' is.
        CAUSAL: whether later keys are hidden.
        D: width of the head.
        BM: queries a step.
        PRECISION: how float32 operands are multiplied.
    """
    ACC: tl.constexpr = b_dk.dtype
    BN: tl.constexpr = b_k.shape[0]
    BD: tl.constexpr = b_k.shape[1]
    o_j = i_j + tl.arange(0, BN)  # [BN]
    for i_i in range(i_lo, i_hi, BM):
        o_i = i_i + tl.arange(0, BM)  # [BM]
        b_q = load_rows(p_query, o_i, Lq, stride_qi, 1, D, BD)  # [BM, BD]
        b_do = load_rows(p_grad, o_i, Lq, stride_gi, stride_gd, D, BD)  # [BM, BD]
        b_max = tl.load(p_stats + o_i, mask=o_i < Lq, other=0.0)  # [BM]
        b_inv = tl.load(p_stats + Lq + o_i, mask=o_i < Lq, other=0.0)  # [BM]
        b_s = scores(
            b_k, b_q, p_bias, p_mask, o_i[None, :], o_j[:, None], i_first, count, Lq, n_keys, CAUSAL, ACC, PRECISION
        )  # [BN, BM]
        b_p = tl.exp(b_s - b_max[None, :]) * b_inv[None, :]  # [BN, BM]
        b_zp = b_p  # [BN, BM]
        if p_seed is not None:
            m_kept = tl.trans(kept(p_seed, dropout, i_row, i_place, o_i, i_j, BN))  # [BN, BM]
            b_zp = tl.where(m_kept, b_p, 0.0)
        if VALUES:
            b_dv = dot(b_zp.to(b_do.dtype), b_do, b_dv, PRECISION)
        if KEYS:
            b_delta = tl.load(p_delta + o_i, mask=o_i < Lq, other=0.0)  # [BM]
            b_dp = dot(b_v, tl.trans(b_do), tl.zeros_like(b_p), PRECISION)  # [BN, BM]
            if p_seed is not None:
                b_dp = tl.where(m_kept, b_dp * tl.full([1, 1], 1.0 / (1.0 - dropout), ACC), 0.0)
            b_ds = b_p * (b_dp - b_delta[None, :])  # [BN, BM]
            b_dk = dot(b_ds.to(b_q.dtype), b_q, b_dk, PRECISION)
    return b_dk, b_dv


@triton.jit
def first_query(i_j, i_first, Lq, n_keys, CAUSAL: tl.constexpr):
    """First query that may see a key of the block that starts at key ``i_j`` of a place."""
    i_lo = 0
    if CAUSAL:
        i_lo = tl.maximum(i_first + i_j - (n_keys - Lq), 0)
    return i_lo


@triton.jit(do_not_specialize=["B", "H", "Lq", "Lk", "T", "m"])
def attention_key_kernel(
    p_dkey, p_dvalue, p_dprefix_key, p_dprefix_value, p_grad, p_stats, p_delta, p_query, p_key, p_value, p_bias, p_mask,
    p_prefix_key, p_prefix_value, p_task_ids, p_seed, dropout: tl.float64, B, H, Lq, Lk, T, m,
    stride_qb, stride_qh, stride_qi, stride_kb, stride_kh, stride_kj, stride_vb, stride_vh, stride_vj,
    stride_pt, stride_ph, stride_pj, stride_rt, stride_rh, stride_rj, stride_gb, stride_gi, stride_gh, stride_gd,
    CAUSAL: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """First the programs over prefixes, BN keys of one task and head each, then those over the rows' own keys.

    Arguments that are not named here are those of ``attention_kernel`` and ``attention_query_kernel``. Written, unless
    None: ``p_dkey`` and ``p_dvalue`` (B, Lk, H, D), ``p_dprefix_key`` and ``p_dprefix_value`` (T, m, H, D). Read:
    ``p_delta`` (B, H, Lq), or None when no keys need a gradient. ``B`` is the batch.
    """
    ACC: tl.constexpr = p_stats.dtype.element_ty
    i_tile = tl.program_id(0)
    n_keys = m + Lk
    n_prefix = 0
    if p_dprefix_key is not None or p_dprefix_value is not None:
        n_prefix = T * H * tl.cdiv(m, BN)
    b_dk = tl.zeros([BN, BD], ACC)  # [BN, BD]
    b_dv = tl.zeros([BN, BD], ACC)  # [BN, BD]
    if i_tile < n_prefix:
        if p_dprefix_key is not None or p_dprefix_value is not None:
            n_j = tl.cdiv(m, BN)
            i_j = i_tile % n_j * BN
            i_h = (i_tile // n_j % H).to(tl.int64)
            i_t = (i_tile // n_j // H).to(tl.int64)
            o_j = i_j + tl.arange(0, BN)  # [BN]
            p_head = p_bias
            if p_bias is not None:
                p_head = p_bias + i_h * (Lq + n_keys - 1)
            b_k = load_rows(p_prefix_key + i_t * stride_pt + i_h * stride_ph, o_j, m, stride_pj, 1, D, BD)  # [BN, BD]
            b_v = load_rows(p_prefix_value + i_t * stride_rt + i_h * stride_rh, o_j, m, stride_rj, 1, D, BD)  # [BN, BD]
            i_lo = first_query(i_j, 0, Lq, n_keys, CAUSAL)
            for i in range(B):
                i_b = tl.full([], 0, tl.int64) + i
                i_row = i_b * H + i_h
                i_hi = tl.where(tl.load(p_task_ids + i_b) == i_t, Lq, 0)
                p_row_delta = p_delta
                if p_delta is not None:
                    p_row_delta = p_delta + i_row * Lq
                b_dk, b_dv = key_gradients(
                    b_k, b_v, b_dk, b_dv, p_query + i_b * stride_qb + i_h * stride_qh,
                    p_grad + i_b * stride_gb + i_h * stride_gh, p_stats + i_row * 2 * Lq, p_row_delta,
                    p_head, None, p_seed, dropout, i_row, 0, i_j, 0, i_lo, i_hi, m, Lq, n_keys,
                    stride_qi, stride_gi, stride_gd,
                    p_dprefix_key is not None, p_dprefix_value is not None, CAUSAL, D, BM, PRECISION,
                )  # fmt: skip
            p_first = (i_t * m * H + i_h) * D
            if p_dprefix_key is not None:
                store_rows(p_dprefix_key + p_first, o_j, m, H * D, b_dk, D, BD)
            if p_dprefix_value is not None:
                if p_seed is not None:
                    b_dv *= tl.full([1, 1], 1.0 / (1.0 - dropout), ACC)
                store_rows(p_dprefix_value + p_first, o_j, m, H * D, b_dv, D, BD)
    elif p_dkey is not None or p_dvalue is not None:
        i_tile -= n_prefix
        n_j = tl.cdiv(Lk, BN)
        i_j = i_tile % n_j * BN
        i_row = (i_tile // n_j).to(tl.int64)
        i_b = i_row // H
        i_h = i_row % H
        o_j = i_j + tl.arange(0, BN)  # [BN]
        p_head = p_bias
        if p_bias is not None:
            p_head = p_bias + i_h * (Lq + n_keys - 1)
        p_row_mask = p_mask
        if p_mask is not None:
            p_row_mask = p_mask + i_b * Lk
        p_row_delta = p_delta
        if p_delta is not None:
            p_row_delta = p_delta + i_row * Lq
        b_k = load_rows(p_key + i_b * stride_kb + i_h * stride_kh, o_j, Lk, stride_kj, 1, D, BD)  # [BN, BD]
        b_v = load_rows(p_value + i_b * stride_vb + i_h * stride_vh, o_j, Lk, stride_vj, 1, D, BD)  # [BN, BD]
        b_dk, b_dv = key_gradients(
            b_k, b_v, b_dk, b_dv, p_query + i_b * stride_qb + i_h * stride_qh,
            p_grad + i_b * stride_gb + i_h * stride_gh, p_stats + i_row * 2 * Lq, p_row_delta,
            p_head, p_row_mask, p_seed, dropout, i_row, 1, i_j, m, first_query(i_j, m, Lq, n_keys, CAUSAL), Lq,
            Lk, Lq, n_keys, stride_qi, stride_gi, stride_gd,
            p_dkey is not None, p_dvalue is not None, CAUSAL, D, BM, PRECISION,
        )  # fmt: skip
        p_first = (i_b * Lk * H + i_h) * D
        if p_dkey is not None:
            store_rows(p_dkey + p_first, o_j, Lk, H * D, b_dk, D, BD)
        if p_dvalue is not None:
            if p_seed is not None:
                b_dv *= tl.full([1, 1], 1.0 / (1.0 - dropout), ACC)
            store_rows(p_dvalue + p_first, o_j, Lk, H * D, b_dv, D, BD)


class AttentionNeeds(NamedTuple):
    """Which gradients are asked for."""

    query: bool
    key: bool
    value: bool
    prefix_key: bool
    prefix_value: bool


def attention_backward(
    grad: Tensor, out: Tensor, stats: Tensor, x: Attention, needs: AttentionNeeds
) -> tuple[Tensor | None, ...]:
    """Gradients of queries, keys, values, prefix keys and prefix values; None where not asked for.

    Args:
        grad: gradient of the output (B, Lq, H, D), any strides.
        out: the output.
        stats: what the forward launch gave with it.
        x: its arguments.
        needs: what to compute.

    Returns:
        (B, H, L, D) and (T, H, m, D), which lie in memory as (B, L, H, D) and (T, m, H, D).
    """

    def like(asked: bool, tensor: Tensor | None) -> Tensor | None:
        if not asked or tensor is None:
            return None
        rows, heads, length, width = tensor.shape
        return tensor.new_empty((rows, length, heads, width))

    tensors = (x.query, x.key, x.value, x.prefix_key, x.prefix_value)
    dquery, dkey, dvalue, dprefix_key, dprefix_value = map(like, needs, tensors)
    batch, heads, queries, width = x.query.shape
    delta = (
        grad.new_empty((batch, heads, queries), dtype=x.accumulator)
        if dkey is not None or dprefix_key is not None
        else None
    )
    inputs = (x.query, x.key, x.value, x.bias, x.mask, x.prefix_key, x.prefix_value, x.task_ids, x.seed, x.dropout)

    tiles = attention_query_tiles(width, grad.dtype)
    programs = -(-queries // tiles.BM) * batch * heads
    if programs and (dquery is not None or delta is not None):
        launch(
            attention_query_kernel, (programs,), grad,
            dquery, delta, grad, out, stats, *inputs, *x.counts, *x.strides, *grad.stride(),
            x.causal, width, *tiles[:3], precision(grad.dtype),
            num_warps=tiles.num_warps, num_stages=tiles.num_stages,
        )  # fmt: skip

    tiles = attention_key_tiles(width, grad.dtype)
    _, _, keys, tasks, length = x.counts
    programs = 0
    if dprefix_key is not None or dprefix_value is not None:
        programs += tasks * heads * -(-length // tiles.BN)
    if dkey is not None or dvalue is not None:
        programs += batch * heads * -(-keys // tiles.BN)
    if programs:
        launch(
            attention_key_kernel, (programs,), grad,
            dkey, dvalue, dprefix_key, dprefix_value, grad, stats, delta, *inputs, batch, *x.counts, *x.strides,
            *grad.stride(), x.causal, width, *tiles[:3], precision(grad.dtype),
            num_warps=tiles.num_warps, num_stages=tiles.num_stages,
        )  # fmt: skip
    return tuple(
        None if gradient is None else gradient.transpose(1, 2)
        for gradient in (dquery, dkey, dvalue, dprefix_key, dprefix_value)
    )

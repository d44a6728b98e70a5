"""First launch of the attention's backward: the gradient of the queries, and delta; see ``attention_backward``."""

from typing import Any, NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.architecture import tile_class
from crosspt.kernels.attention import Attention
from crosspt.kernels.launch import launch, precision
from crosspt.kernels.mixing import dot
from crosspt.kernels.scores import Head, Keys, exp_difference, kept, load_rows, offset, scores, seen_keys, store_rows
from crosspt.kernels.tiles import attention_tiles


class Queries(NamedTuple):
    """A block of queries of one row and head, and what their scores' gradients are made of."""

    b_q: Any  # [BM, BD]
    b_do: Any  # gradient of their outputs [BM, BD]
    b_max: Any  # largest score [BM]
    b_inv: Any  # reciprocal sum of exponentials [BM]
    b_delta: Any  # [BM]
    o_i: Any  # their numbers [BM]


@triton.jit
def score_gradient(x, b_k, b_v, head, keys, i_j, CAUSAL: tl.constexpr, PRECISION: tl.constexpr):
    """The gradient dS of the scores of a block of queries and BN keys of a place, in the type of sums [BM, BN].

    Args:
        x: the queries.
        b_k: the keys [BN, BD].
        b_v: their values [BN, BD].
        head: the row and head.
        keys: the place of the keys.
        i_j: number of the first key in its place.
        CAUSAL: whether later keys are hidden.
        PRECISION: how float32 operands are multiplied.
    """
    ACC: tl.constexpr = x.b_delta.dtype
    BN: tl.constexpr = b_k.shape[0]
    o_j = i_j + tl.arange(0, BN)  # [BN]
    b_s = scores(x.b_q, b_k, head, keys, x.o_i[:, None], o_j[None, :], CAUSAL, ACC, PRECISION)  # [BM, BN]
    b_p = exp_difference(b_s, x.b_max[:, None]) * x.b_inv[:, None]  # [BM, BN]
    b_dp = dot(x.b_do, tl.trans(b_v), tl.zeros_like(b_p), PRECISION)  # [BM, BN]
    if head.p_seed is not None:
        m_kept = kept(head, keys.i_place, x.o_i, i_j, BN)  # [BM, BN]
        b_dp = tl.where(m_kept, b_dp * tl.full([1, 1], 1.0 / (1.0 - head.dropout), ACC), 0.0)
    return b_p * (b_dp - x.b_delta[:, None])


@triton.jit
def query_gradient(
    x, b_dq, head, keys, n_seen, CAUSAL: tl.constexpr, D: tl.constexpr, BN: tl.constexpr, PRECISION: tl.constexpr
):
    """``b_dq + dS K`` of the queries ``x`` over the first ``n_seen`` keys of one place [BM, BD]."""
    BD: tl.constexpr = x.b_q.shape[1]
    for i_j in range(0, n_seen, BN):
        o_j = i_j + tl.arange(0, BN)  # [BN]
        b_k = load_rows(keys.p_key, o_j, keys.count, keys.stride_kj, 1, D, BD)  # [BN, BD]
        b_v = load_rows(keys.p_value, o_j, keys.count, keys.stride_vj, 1, D, BD)  # [BN, BD]
        b_ds = score_gradient(x, b_k, b_v, head, keys, i_j, CAUSAL, PRECISION)  # [BM, BN]
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
        head = Head(i_row, offset(p_bias, i_h * (Lq + n_keys - 1)), p_seed, dropout, Lq, n_keys)
        b_q = load_rows(p_query + i_b * stride_qb + i_h * stride_qh, o_i, Lq, stride_qi, 1, D, BD)  # [BM, BD]
        p_row = p_stats + i_row * 2 * Lq + o_i  # [BM]
        b_max = tl.load(p_row, mask=o_i < Lq, other=float("inf"))  # [BM]
        b_inv = tl.load(p_row + Lq, mask=o_i < Lq, other=0.0)  # [BM]
        x = Queries(b_q, b_do, b_max, b_inv, b_delta, o_i)
        b_dq = tl.zeros([BM, BD], ACC)  # [BM, BD]
        if p_task_ids is not None:
            i_t = tl.load(p_task_ids + i_b)
            valid = (i_t >= 0) & (i_t < T)
            p_k = p_prefix_key + i_t * stride_pt + i_h * stride_ph
            p_v = p_prefix_value + i_t * stride_rt + i_h * stride_rh
            prefix = Keys(p_k, p_v, None, stride_pj, stride_rj, 0, 0, m)
            n_seen = tl.where(valid, seen_keys(head, prefix, i_i, BM, CAUSAL), 0)
            b_dq = query_gradient(x, b_dq, head, prefix, n_seen, CAUSAL, D, BN, PRECISION)
        p_k = p_key + i_b * stride_kb + i_h * stride_kh
        p_v = p_value + i_b * stride_vb + i_h * stride_vh
        own = Keys(p_k, p_v, offset(p_mask, i_b * Lk), stride_kj, stride_vj, 1, m, Lk)
        n_seen = seen_keys(head, own, i_i, BM, CAUSAL)
        b_dq = query_gradient(x, b_dq, head, own, n_seen, CAUSAL, D, BN, PRECISION)
        store_rows(p_dquery + (i_b * Lq * H + i_h) * D, o_i, Lq, H * D, b_dq, D, BD)


def attention_query(
    grad: Tensor, out: Tensor, stats: Tensor, x: Attention, dquery: Tensor | None, delta: Tensor | None
) -> None:
    """Fill the gradient of the queries (B, Lq, H, D) and delta (B, H, Lq), unless they are None.

    Args:
        grad: gradient of the output (B, Lq, H, D), any strides.
        out: the output.
        stats: what the forward launch gave with it.
        x: its arguments.
        dquery: written; or None.
        delta: written; or None.
    """
    batch, heads, queries, width = x.query.shape
    tiles = attention_tiles("attention_query", width, grad.dtype, tile_class(grad.device), x.seed is not None)
    programs = -(-queries // tiles.BM) * batch * heads
    if programs and (dquery is not None or delta is not None):
        launch(
            attention_query_kernel, (programs,), grad,
            dquery, delta, grad, out, stats, *x.operands, *x.counts, *x.strides, *grad.stride(),
            x.causal, width, *tiles[:3], precision(grad.dtype),
            num_warps=tiles.num_warps, num_stages=tiles.num_stages,
        )  # fmt: skip

"""The launches behind the gradient of the attention's bias, one number a head and distance; see ``attention_backward``.

The scores of a place's keys are cut into blocks of BM queries and BN keys, of which BM is a multiple. Blocks whose keys
lie equally far from their queries are a diagonal of blocks. A program of the first launch adds up dS over a split of a
diagonal, for one head. Neighbouring diagonals share distances, and so do the splits of one and the two places: a
program of the second launch takes what all of them hold of its distances, in order.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.architecture import tile_class
from crosspt.kernels.attention import Attention
from crosspt.kernels.attention_key import Rows
from crosspt.kernels.attention_query import Queries, score_gradient
from crosspt.kernels.launch import launch, precision
from crosspt.kernels.scores import Head, Keys, load_rows, offset
from crosspt.kernels.tiles import attention_tiles

PROGRAMS = 512
"""Programs of the first launch that diagonals are split for; part of the order of sums, so the same on every device."""
DISTANCES = 32
"""Distances of a program of the second launch."""


class Place(NamedTuple):
    """All keys and values of one place: X tasks' prefixes, or the rows' own."""

    p_key: Any  # (X, H, count, D)
    p_value: Any  # (X, H, count, D)
    p_mask: Any  # (B, count), or None
    p_task_ids: Any  # which of the X a row sees (B,); None: its own
    X: Any
    stride_kx: Any
    stride_kh: Any
    stride_kj: Any
    stride_vx: Any
    stride_vh: Any
    stride_vj: Any
    i_place: Any  # 0 the prefix, 1 the row's own
    i_first: Any  # keys in front of this place
    count: Any


@triton.jit
def count_diagonals(Lq, count, BM: tl.constexpr, BN: tl.constexpr):
    """Diagonals of blocks of Lq queries and a place's keys; none without keys."""
    return tl.where(count > 0, (tl.cdiv(Lq, BM) - 1) * (BM // BN) + tl.cdiv(count, BN), 0)


@triton.jit
def diagonal_gradient(
    b_sum, x, place, i_h, i_diagonal, i_split, n_splits,
    CAUSAL: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """``b_sum`` and dS of head ``i_h`` in every ``n_splits``-th block of a diagonal of every row [BM, BN].

    Args:
        b_sum: the sum so far [BM, BN].
        x: all rows.
        place: the place of the keys.
        i_h: the head.
        i_diagonal: number of the diagonal, from that of the last queries and the first keys on.
        i_split: which of the blocks.
        n_splits: how many programs share the diagonal.
        CAUSAL: whether later keys are hidden.
        D: width of the head.
        BD: columns of a tile.
        PRECISION: how float32 operands are multiplied.
    """
    BM: tl.constexpr = b_sum.shape[0]
    BN: tl.constexpr = b_sum.shape[1]
    Lq = x.Lq
    i_shift = i_diagonal - (tl.cdiv(Lq, BM) - 1) * (BM // BN)  # from a block's queries to its keys, in blocks of keys
    i_lo = tl.cdiv(tl.maximum(-i_shift, 0), BM // BN)
    i_hi = tl.minimum(tl.cdiv(Lq, BM), tl.cdiv(tl.cdiv(place.count, BN) - i_shift, BM // BN))
    n_blocks = i_hi - i_lo
    if CAUSAL:
        n_blocks = tl.where(place.i_first + i_shift * BN - BM < x.n_keys - Lq, n_blocks, 0)
    for i in range(i_split, x.B * n_blocks, n_splits):
        i_b = tl.full([], 0, tl.int64) + i // n_blocks
        i_i = (i_lo + i % n_blocks) * BM
        i_j = i_i + i_shift * BN
        i_row = i_b * x.H + i_h
        o_i = i_i + tl.arange(0, BM)  # [BM]
        o_j = i_j + tl.arange(0, BN)  # [BN]
        i_x = i_b
        count = place.count
        if place.p_task_ids is not None:
            i_x = tl.load(place.p_task_ids + i_b)
            count = tl.where((i_x >= 0) & (i_x < place.X), count, 0)
        p_k = place.p_key + i_x * place.stride_kx + i_h * place.stride_kh
        p_v = place.p_value + i_x * place.stride_vx + i_h * place.stride_vh
        p_m = offset(place.p_mask, i_b * count)
        keys = Keys(p_k, p_v, p_m, place.stride_kj, place.stride_vj, place.i_place, place.i_first, count)
        head = Head(i_row, offset(x.p_bias, i_h * (Lq + x.n_keys - 1)), x.p_seed, x.dropout, Lq, x.n_keys)
        b_q = load_rows(x.p_query + i_b * x.stride_qb + i_h * x.stride_qh, o_i, Lq, x.stride_qi, 1, D, BD)  # [BM, BD]
        p_g = x.p_grad + i_b * x.stride_gb + i_h * x.stride_gh
        b_do = load_rows(p_g, o_i, Lq, x.stride_gi, x.stride_gd, D, BD)  # [BM, BD]
        p_row = x.p_stats + i_row * 2 * Lq + o_i  # [BM]
        b_max = tl.load(p_row, mask=o_i < Lq, other=float("inf"))  # no query, no weight [BM]
        b_inv = tl.load(p_row + Lq, mask=o_i < Lq, other=0.0)  # [BM]
        b_delta = tl.load(x.p_delta + i_row * Lq + o_i, mask=o_i < Lq, other=0.0)  # [BM]
        queries = Queries(b_q, b_do, b_max, b_inv, b_delta, o_i)
        b_k = load_rows(keys.p_key, o_j, keys.count, keys.stride_kj, 1, D, BD)  # [BN, BD]
        b_v = load_rows(keys.p_value, o_j, keys.count, keys.stride_vj, 1, D, BD)  # [BN, BD]
        b_sum += score_gradient(queries, b_k, b_v, head, keys, i_j, CAUSAL, PRECISION)
    return b_sum


@triton.jit(do_not_specialize=["B", "H", "Lq", "Lk", "T", "m", "n_splits"])
def attention_bias_kernel(
    p_parts, p_grad, p_stats, p_delta, p_query, p_key, p_value, p_bias, p_mask, p_prefix_key, p_prefix_value,
    p_task_ids, p_seed, dropout: tl.float64, B, H, Lq, Lk, T, m,
    stride_qb, stride_qh, stride_qi, stride_kb, stride_kh, stride_kj, stride_vb, stride_vh, stride_vj,
    stride_pt, stride_ph, stride_pj, stride_rt, stride_rh, stride_rj, stride_gb, stride_gi, stride_gh, stride_gd,
    n_splits, CAUSAL: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """One split of one diagonal of one head a program: the prefix's diagonals first, then those of the rows' own keys.

    Arguments that are not named here are those of ``attention_key_kernel``. Written: ``p_parts``
    (H, diagonals, n_splits, BM, BN), each program's sum.
    """
    x = Rows(
        p_query, p_grad, p_stats, p_delta, p_bias, p_task_ids, p_seed, dropout, B, H, Lq, m + Lk,
        stride_qb, stride_qh, stride_qi, stride_gb, stride_gi, stride_gh, stride_gd,
    )  # fmt: skip
    n_prefix = count_diagonals(Lq, m, BM, BN)
    n_diagonals = n_prefix + count_diagonals(Lq, Lk, BM, BN)
    i_tile = tl.program_id(0)
    i_split = i_tile % n_splits
    i_diagonal = i_tile // n_splits % n_diagonals
    i_h = (i_tile // n_splits // n_diagonals).to(tl.int64)
    b_sum = tl.zeros([BM, BN], p_parts.dtype.element_ty)  # [BM, BN]
    if i_diagonal < n_prefix:
        if p_task_ids is not None:
            prefix = Place(
                p_prefix_key, p_prefix_value, None, p_task_ids, T,
                stride_pt, stride_ph, stride_pj, stride_rt, stride_rh, stride_rj, 0, 0, m,
            )  # fmt: skip
            b_sum = diagonal_gradient(b_sum, x, prefix, i_h, i_diagonal, i_split, n_splits, CAUSAL, D, BD, PRECISION)
    else:
        own = Place(
            p_key, p_value, p_mask, None, B,
            stride_kb, stride_kh, stride_kj, stride_vb, stride_vh, stride_vj, 1, m, Lk,
        )  # fmt: skip
        b_sum = diagonal_gradient(
            b_sum, x, own, i_h, i_diagonal - n_prefix, i_split, n_splits, CAUSAL, D, BD, PRECISION
        )
    o_r = tl.arange(0, BM)[:, None] * BN + tl.arange(0, BN)[None, :]  # [BM, BN]
    tl.store(p_parts + i_tile.to(tl.int64) * BM * BN + o_r, b_sum)


@triton.jit
def add_parts(b_sum, p_parts, o_d, n_diagonals, n_splits, BN: tl.constexpr):
    """``b_sum`` and what one place holds at distances ``o_d``, each row of a block on its own [BM, BX].

    Args:
        b_sum: the sum so far [BM, BX].
        p_parts: the place's sums (n_diagonals, n_splits, BM, BN).
        o_d: distances from the first of the place on; those outside of it have none [BX].
        n_diagonals: of the place.
        n_splits: programs of a diagonal.
        BN: keys of a block.
    """
    BM: tl.constexpr = b_sum.shape[0]
    o_r = tl.arange(0, BM)  # [BM]
    for i_back in tl.static_range(BM // BN + 1):  # every diagonal that holds a part of the distance, from the last on
        o_n = o_d // BN - i_back  # [BX]
        o_c = (o_d % BN + (i_back * BN - BM + 1))[None, :] + o_r[:, None]  # [BM, BX]
        m_x = ((o_d >= 0) & (o_n >= 0) & (o_n < n_diagonals))[None, :] & (o_c >= 0) & (o_c < BN)  # [BM, BX]
        p_x = p_parts + (o_n.to(tl.int64) * n_splits * BM * BN)[None, :] + o_r[:, None] * BN + o_c  # [BM, BX]
        for i_split in range(n_splits):
            b_sum += tl.load(p_x + i_split * BM * BN, mask=m_x, other=0.0)
    return b_sum


@triton.jit(do_not_specialize=["Lq", "Lk", "m", "n_splits"])
def attention_bias_sum_kernel(
    p_dbias, p_parts, Lq, Lk, m, n_splits, BM: tl.constexpr, BN: tl.constexpr, BX: tl.constexpr
):
    """BX distances of one head a program.

    Args:
        p_dbias: (H, Lq + m + Lk - 1), written.
        p_parts: what ``attention_bias_kernel`` wrote.
        Lq: queries.
        Lk: a row's own keys.
        m: keys of a prefix; 0 without one.
        n_splits: programs of a diagonal.
        BM: queries of a block.
        BN: keys of a block.
        BX: distances of a program.
    """
    n_distances = Lq + m + Lk - 1
    n_x = tl.cdiv(n_distances, BX)
    i_h = (tl.program_id(0) // n_x).to(tl.int64)
    o_d = tl.program_id(0) % n_x * BX + tl.arange(0, BX)  # [BX]
    n_prefix, n_own = count_diagonals(Lq, m, BM, BN), count_diagonals(Lq, Lk, BM, BN)
    p_head = p_parts + i_h * (n_prefix + n_own) * n_splits * BM * BN
    o_first = o_d + (tl.cdiv(Lq, BM) * BM - Lq)  # counted from the first distance of the prefix's first diagonal [BX]
    b_sum = tl.zeros([BM, BX], p_parts.dtype.element_ty)  # [BM, BX]
    b_sum = add_parts(b_sum, p_head, o_first, n_prefix, n_splits, BN)
    b_sum = add_parts(b_sum, p_head + n_prefix * n_splits * BM * BN, o_first - m, n_own, n_splits, BN)
    p_d = p_dbias + i_h * n_distances + o_d  # [BX]
    tl.store(p_d, tl.sum(b_sum, 0).to(p_dbias.dtype.element_ty), mask=o_d < n_distances)


def attention_bias(grad: Tensor, stats: Tensor, x: Attention, delta: Tensor, dbias: Tensor) -> None:
    """Fill the gradient of the bias (H, Lq + m + Lk - 1).

    Args:
        grad: gradient of the output (B, Lq, H, D), any strides.
        stats: what the forward launch gave with the output.
        x: its arguments.
        delta: (B, H, Lq).
        dbias: written.
    """
    batch, heads, queries, width = x.query.shape
    _, _, keys, _, length = x.counts
    if not (batch and queries):
        dbias.zero_()
        return
    tiles = attention_tiles("attention_bias", width, grad.dtype, tile_class(grad.device), x.seed is not None)
    blocks = -(-queries // tiles.BM)
    diagonals = sum((blocks - 1) * (tiles.BM // tiles.BN) - (-n // tiles.BN) for n in (length, keys) if n)
    longest = batch * min(blocks, -(-max(length, keys) // tiles.BM))
    splits = max(min(longest, -(-PROGRAMS // max(heads * diagonals, 1))), 1)
    parts = delta.new_empty((heads, diagonals, splits, *tiles[:2]))
    if diagonals:
        launch(
            attention_bias_kernel, (heads * diagonals * splits,), grad,
            parts, grad, stats, delta, *x.operands, batch, *x.counts, *x.strides, *grad.stride(), splits,
            x.causal, width, *tiles[:3], precision(grad.dtype),
            num_warps=tiles.num_warps, num_stages=tiles.num_stages,
        )  # fmt: skip
    distances = dbias.shape[1]
    if distances:
        launch(
            attention_bias_sum_kernel, (heads * -(-distances // DISTANCES),), grad,
            dbias, parts, queries, keys, length, splits, *tiles[:2], DISTANCES,
        )  # fmt: skip

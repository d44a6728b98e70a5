"""First products of the backward of a composition that is mixed once: dMixed = dP W, and sums towards dW and db."""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.architecture import tile_class
from crosspt.kernels.compose_mixture import Mixed
from crosspt.kernels.launch import Composition, launch
from crosspt.kernels.mixed_tiles import WANTED, encode_tiles
from crosspt.kernels.mixing import dot


class Rows(NamedTuple):
    """The gradient of the groups' prompts, G groups of m rows one after the other."""

    p_grad: Any  # (G, m or more, d)
    p_task_ids: Any  # (G,), None when the groups are the tasks
    T: Any
    n_rows: Any  # G * m
    m: Any
    d: Any
    stride_g: Any
    stride_i: Any
    stride_d: Any


@triton.jit
def rows_with_task(g, o_r):
    """Which of the rows ``o_r`` exist and have a task."""
    m_r = o_r < g.n_rows
    if g.p_task_ids is not None:
        o_t = tl.load(g.p_task_ids + o_r // g.m, mask=m_r, other=-1)
        m_r = (o_t >= 0) & (o_t < g.T)
    return m_r


@triton.jit
def load_rows(g, o_r, m_r, o_c):
    """Rows ``o_r`` of the gradient at the columns ``o_c``, 0 where there is none: [BR, BC]."""
    p_r = g.p_grad + (o_r // g.m).to(tl.int64) * g.stride_g + (o_r % g.m).to(tl.int64) * g.stride_i  # [BR]
    p_g = p_r[:, None] + o_c.to(tl.int64)[None, :] * g.stride_d  # [BR, BC]
    return tl.load(p_g, mask=m_r[:, None] & (o_c < g.d)[None, :], other=0.0)


@triton.jit
def differentiate_mixture(
    g, p_dmixed, p_weight, i_tile, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, ACC: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Tile ``i_tile`` of dMixed = dP W, BM rows x BN columns."""
    n_n = tl.cdiv(g.d, BN)
    o_r = i_tile // n_n * BM + tl.arange(0, BM)  # [BM]
    o_n = (i_tile % n_n * BN + tl.arange(0, BN)).to(tl.int64)  # [BN]
    m_r = rows_with_task(g, o_r)  # [BM]
    b_d = tl.zeros([BM, BN], ACC)  # [BM, BN]
    for i_k in range(0, g.d, BK):
        o_k = i_k + tl.arange(0, BK)  # [BK]
        b_dp = load_rows(g, o_r, m_r, o_k)  # [BM, BK]
        m_w = (o_k < g.d)[:, None] & (o_n < g.d)[None, :]  # [BK, BN]
        b_w = tl.load(p_weight + o_k.to(tl.int64)[:, None] * g.d + o_n[None, :], mask=m_w, other=0.0)  # [BK, BN]
        b_d = dot(b_dp.to(b_w.dtype), b_w, b_d, PRECISION)  # [BM, BN]
    p_d = p_dmixed + o_r.to(tl.int64)[:, None] * g.d + o_n[None, :]  # [BM, BN]
    tl.store(p_d, b_d.to(p_dmixed.dtype.element_ty), mask=(o_r < g.n_rows)[:, None] & (o_n < g.d)[None, :])


@triton.jit
def split_rows(g, i_split, n_splits, BK: tl.constexpr):
    """First row of a split, and the row behind its last; whole steps of BK rows."""
    n_steps = tl.cdiv(tl.cdiv(g.n_rows, BK), n_splits)
    i_lo = i_split * n_steps * BK
    return i_lo, tl.minimum(i_lo + n_steps * BK, g.n_rows)


@triton.jit
def sum_weight(
    g, p_dweights, p_mixed, i_tile, n_splits, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, ACC: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Tile ``i_tile`` of the splits' sums dP^T Mixed, BM rows x BN columns."""
    n_n = tl.cdiv(g.d, BN)
    n_tiles = tl.cdiv(g.d, BM) * n_n
    i_split = i_tile // n_tiles
    o_o = (i_tile % n_tiles // n_n * BM + tl.arange(0, BM)).to(tl.int64)  # [BM]
    o_n = (i_tile % n_n * BN + tl.arange(0, BN)).to(tl.int64)  # [BN]
    i_lo, i_hi = split_rows(g, i_split, n_splits, BK)
    b_dw = tl.zeros([BM, BN], ACC)  # [BM, BN]
    for i_r in range(i_lo, i_hi, BK):
        o_r = i_r + tl.arange(0, BK)  # [BK]
        m_r = rows_with_task(g, o_r)  # [BK]
        b_dp = load_rows(g, o_r, m_r, o_o)  # [BK, BM]
        m_x = m_r[:, None] & (o_n < g.d)[None, :]  # [BK, BN]
        b_x = tl.load(p_mixed + o_r.to(tl.int64)[:, None] * g.d + o_n[None, :], mask=m_x, other=0.0)  # [BK, BN]
        b_dw = dot(tl.trans(b_dp.to(b_x.dtype)), b_x, b_dw, PRECISION)  # [BM, BN]
    p_w = p_dweights + (i_split.to(tl.int64) * g.d + o_o)[:, None] * g.d + o_n[None, :]  # [BM, BN]
    tl.store(p_w, b_dw, mask=(o_o < g.d)[:, None] & (o_n < g.d)[None, :])


@triton.jit
def sum_bias(g, p_dbiases, p_terms, i_tile, n_splits, BN: tl.constexpr, BK: tl.constexpr, ACC: tl.constexpr):
    """Tile ``i_tile`` of the splits' sums over rows of ``r_g dP_gi``, BN columns."""
    n_n = tl.cdiv(g.d, BN)
    i_split = i_tile // n_n
    o_n = i_tile % n_n * BN + tl.arange(0, BN)  # [BN]
    i_lo, i_hi = split_rows(g, i_split, n_splits, BK)
    b_db = tl.zeros([BN], ACC)  # [BN]
    for i_r in range(i_lo, i_hi, BK):
        o_r = i_r + tl.arange(0, BK)  # [BK]
        m_r = rows_with_task(g, o_r)  # [BK]
        b_raw = tl.load(p_terms + 2 * (g.n_rows // g.m) + o_r // g.m, mask=m_r, other=0.0)  # [BK]
        b_db += tl.sum(load_rows(g, o_r, m_r, o_n).to(ACC) * b_raw[:, None], 0)
    tl.store(p_dbiases + i_split.to(tl.int64) * g.d + o_n, b_db, mask=o_n < g.d)


@triton.jit(do_not_specialize=["B", "T", "m", "n_splits"])
def compose_encode_backward_kernel(
    p_dmixed, p_dweights, p_dbiases, p_grad, p_mixed, p_terms, p_weight, p_task_ids,
    B, T, m, d, n_splits, stride_g, stride_i, stride_d,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """First the programs over tiles of dMixed, then those over the splits' sums towards dW, then towards db.

    A result that is not asked for is None and costs nothing. G = B groups.

    Args:
        p_dmixed: dMixed (G, m, d) in the operands' type, written; or None.
        p_dweights: (splits, d, d) in the accumulator's type, written: what rows of a split add to dW; or None.
        p_dbiases: (splits, d) in the accumulator's type, written: what they add to db; or None.
        p_grad: gradient of the groups' prompts (G, m or more, d), strided.
        p_mixed: sum over the raw prompts (G, m, d) in the operands' type; or None without ``p_dweights``.
        p_terms: (3, G), the last row the raw weights; or None without ``p_dbiases``.
        p_weight: W (d, d) in the operands' type; or None without ``p_dmixed``.
        p_task_ids: (B,), or None when the groups are the tasks.
        B: number of groups: batch rows, or tasks.
        T: number of tasks.
        m: prompt length.
        d: width.
        n_splits: over how many sums the rows are split.
        stride_g: stride of the gradient between groups.
        stride_i: stride of the gradient between positions.
        stride_d: stride of the gradient along a row.
        BM: rows of a tile.
        BN: columns of a tile.
        BK: columns of the inner product, or rows that are summed, a step.
        ACC: the accumulator's type.
        PRECISION: "ieee" or "tf32", how float32 operands are multiplied.
    """
    n_rows = B * m
    g = Rows(p_grad, p_task_ids, T, n_rows, m, d, stride_g, stride_i, stride_d)
    n_mixed = 0
    if p_dmixed is not None:
        n_mixed = tl.cdiv(n_rows, BM) * tl.cdiv(d, BN)
    n_weight = 0
    if p_dweights is not None:
        n_weight = n_splits * tl.cdiv(d, BM) * tl.cdiv(d, BN)
    i_tile = tl.program_id(0)
    if i_tile < n_mixed:
        if p_dmixed is not None:
            differentiate_mixture(g, p_dmixed, p_weight, i_tile, BM, BN, BK, ACC, PRECISION)
    elif i_tile < n_mixed + n_weight:
        if p_dweights is not None:
            sum_weight(g, p_dweights, p_mixed, i_tile - n_mixed, n_splits, BM, BN, BK, ACC, PRECISION)
    elif p_dbiases is not None:
        sum_bias(g, p_dbiases, p_terms, i_tile - n_mixed - n_weight, n_splits, BN, BK, ACC)


class EncoderGradients(NamedTuple):
    """What the products give; None for what was not asked for."""

    dmixed: Tensor | None  # dMixed (G, m, d) in the operands' dtype
    dweights: Tensor | None  # (splits, d, d) in the accumulator's dtype, to be added up to dW
    dbiases: Tensor | None  # (splits, d) in the accumulator's dtype, to be added up to db


LEAST_STEPS = 4
"""Steps that a split's sum goes over at least, where there are as many."""


def compose_encode_backward(
    grad: Tensor,
    mixture: Composition,
    found: Mixed,
    task_ids: Tensor | None,
    *,
    dmixed: bool,
    dweight: bool,
    dbias: bool,
) -> EncoderGradients:
    """The products of the backward with and for the encoder.

    Args:
        grad: gradient of the groups' prompts (G, m or more, d), any strides.
        mixture: the composition's arguments.
        found: what was mixed: the encoder for ``dmixed``, the mixture for ``dweight``, the terms for ``dbias``.
        task_ids: (G,) the groups' tasks, or None when the groups are the tasks.
        dmixed: whether dMixed is asked for.
        dweight: whether what adds up to dW is.
        dbias: whether what adds up to db is.
    """
    x = mixture
    tiles = encode_tiles("compose_encode_backward", x.width, tile_class(grad.device))
    groups, rows = grad.shape[0], grad.shape[0] * x.length
    columns = -(-x.width // tiles.BN)
    weight_tiles = -(-x.width // tiles.BM) * columns
    splits = min(-(-WANTED // weight_tiles), -(-rows // (LEAST_STEPS * tiles.BK)))
    double = x.operand is torch.float64
    accumulator = torch.float64 if double else torch.float32
    gradients = EncoderGradients(
        grad.new_empty((groups, x.length, x.width), dtype=x.operand) if dmixed else None,
        grad.new_empty((splits, x.width, x.width), dtype=accumulator) if dweight else None,
        grad.new_empty((splits, x.width), dtype=accumulator) if dbias else None,
    )
    programs = -(-rows // tiles.BM) * columns * dmixed + splits * weight_tiles * dweight + splits * columns * dbias
    if programs:
        launch(
            compose_encode_backward_kernel, (programs,), grad,
            *gradients, grad, found.mixed if dweight else None, found.terms if dbias else None,
            found.weight if dmixed else None, task_ids,
            x.tasks() if task_ids is None else groups, x.tasks(), x.length, x.width, splits, *grad.stride(),
            *tiles[:3], tl.float64 if double else tl.float32, x.precision,
            num_warps=tiles.num_warps, num_stages=tiles.num_stages,
        )  # fmt: skip
    return gradients

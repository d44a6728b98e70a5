"""Backward of the composition in two launches, from dP or, with fewer batch rows than tasks, from dX itself.

The first launch holds the matrix products: dMixed = dP W beside the partial inner products of dalpha, and
dW = dP^T Mixed beside db. The second spreads dMixed over sources and private prompts and finishes the logits. Sums over
programs go through partial buffers that are added in a fixed order.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.launch import Composition, launch
from crosspt.kernels.mixing import (
    dot,
    group_tasks,
    mix,
    patch,
    private_weights,
    raw_weights,
    softmax_terms,
    source_weights,
)
from crosspt.kernels.tiles import product_tiles, spread_tiles


@triton.jit
def load_gradient(p_grad, o_g, m_g, o_i, o_c, m_c, stride_g, stride_i, stride_d):
    """A patch of the prompts' gradient, 0 where there is none: [BG, BI * BC]."""
    o_ic = o_i * stride_i + o_c * stride_d  # [BI * BC]
    p_g = p_grad + o_g[:, None] * stride_g + o_ic[None, :]  # [BG, BI * BC]
    return tl.load(p_g, mask=m_g[:, None] & m_c[None, :], other=0.0)


@triton.jit
def source_dots(
    b_g, p_sources, o_i, o_c, m_c, i_j, n, m, d, OPERAND: tl.constexpr, BJ: tl.constexpr, PRECISION: tl.constexpr
):
    """``<g, E_j>`` on one patch for the sources from ``i_j`` on: [BG, BJ]."""
    o_j = (i_j + tl.arange(0, BJ)).to(tl.int64)  # [BJ]
    p_e = p_sources + o_j[:, None] * m * d + (o_i * d + o_c)[None, :]  # [BJ, BI * BC]
    b_e = tl.load(p_e, mask=(o_j < n)[:, None] & m_c[None, :], other=0.0)  # [BJ, BI * BC]
    b_dots = tl.zeros([b_g.shape[0], BJ], b_g.dtype)  # [BG, BJ]
    return dot(b_g.to(OPERAND), tl.trans(b_e.to(OPERAND)), b_dots, PRECISION)


@triton.jit(do_not_specialize=["B", "T", "n", "m"])
def compose_products_kernel(
    p_dmixed, p_dots, p_dweight, p_dbias, p_grad, p_task_ids, p_logits, p_mask, p_sources, p_privates, p_weight, p_bias,
    inv_tau: tl.float64, B, T, n, m, d, stride_g, stride_i, stride_d,
    RAW_SOURCES: tl.constexpr, RAW_PRIVATES: tl.constexpr,
    BG: tl.constexpr, BI: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BJ: tl.constexpr,
    BH: tl.constexpr, BQ: tl.constexpr, BO: tl.constexpr, BP: tl.constexpr,
    ONE_BLOCK: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """First the programs over tiles of dMixed (BG groups x BI positions x BN columns), then those over tiles of dW.

    A result that is not asked for is None and costs nothing. G = min(B, T) groups.

    Args:
        p_dmixed: dMixed (G, m, d) in the accumulator's type, written; or None.
        p_dots: (patches, G, N) in the accumulator's type, written: each patch's share of ``dalpha``; or None.
        p_dweight: dW (d, d), written; or None.
        p_dbias: db (d,), written; or None.
        p_grad: gradient of the groups' prompts (G, m, d), strided.
        p_task_ids: (B,), or None when the groups are the tasks.
        p_logits: A (T, N), N = n, plus 1 with private prompts.
        p_mask: (T, N) bool, or None.
        p_sources: (n, m, d), or None.
        p_privates: (T, m, d), or None.
        p_weight: W (d, d), or None when nothing is raw.
        p_bias: b (d,), or None.
        inv_tau: 1 / tau.
        B: batch; T when the groups are the tasks.
        T: number of tasks.
        n: number of sources.
        m: prompt length.
        d: width.
        stride_g: stride of the gradient between groups.
        stride_i: stride of the gradient between positions.
        stride_d: stride of the gradient along a row.
        RAW_SOURCES: whether the sources go through the encoder.
        RAW_PRIVATES: whether the private prompts do.
        BG: groups of a tile.
        BI: positions of a tile.
        BN: columns of a tile of dMixed.
        BK: columns of its inner product, a step.
        BJ: sources in one product.
        BH: groups of a step of dW.
        BQ: positions of a step of dW; BH * BQ rows are summed at a time.
        BO: rows of a tile of dW.
        BP: columns of a tile of dW.
        ONE_BLOCK: whether n <= BJ.
        OPERAND: type of the operands of matrix products.
        PRECISION: "ieee" or "tf32", how float32 operands are multiplied.
    """
    ACC: tl.constexpr = tl.float64 if tl.float64 == OPERAND else tl.float32
    RAW: tl.constexpr = RAW_SOURCES or RAW_PRIVATES
    N = n + (1 if p_privates is not None else 0)
    G = tl.minimum(B, T)
    n_g = tl.cdiv(G, BG)
    n_i = tl.cdiv(m, BI)
    n_n = tl.cdiv(d, BN)
    n_tiles = 0
    if p_dmixed is not None or p_dots is not None:
        n_tiles = n_g * n_i * n_n
    i_tile = tl.program_id(0)
    if i_tile < n_tiles:
        i_patch = i_tile % (n_i * n_n)
        i_n = (i_patch % n_n) * BN
        i_i = (i_patch // n_n) * BI
        o_g, o_t, m_g = group_tasks(p_task_ids, i_tile // (n_i * n_n) * BG, B, T, BG)  # [BG]
        o_i, o_c, m_c = patch(i_i, i_n, m, d, BI, BN)  # [BI * BN]
        b_dmixed = tl.zeros([BG, BI * BN], ACC)  # [BG, BI * BN]
        if RAW:
            b_rows = tl.zeros([BG * BI, BN], ACC)  # [BG * BI, BN]
            o_n = (i_n + tl.arange(0, BN)).to(tl.int64)  # [BN]
            for i_o in range(0, d, BK):
                o_ii, o_o, m_o = patch(i_i, i_o, m, d, BI, BK)  # [BI * BK]
                b_dp = load_gradient(p_grad, o_g, m_g, o_ii, o_o, m_o, stride_g, stride_i, stride_d)  # [BG, BI * BK]
                o_k = (i_o + tl.arange(0, BK)).to(tl.int64)  # [BK]
                m_w = (o_k < d)[:, None] & (o_n < d)[None, :]  # [BK, BN]
                b_w = tl.load(p_weight + o_k[:, None] * d + o_n[None, :], mask=m_w, other=0.0)  # [BK, BN]
                b_x = tl.reshape(b_dp.to(OPERAND), [BG * BI, BK])  # [BG * BI, BK]
                b_rows = dot(b_x, b_w.to(OPERAND), b_rows, PRECISION)  # [BG * BI, BN]
            b_dmixed = tl.reshape(b_rows, [BG, BI * BN])  # [BG, BI * BN]
            if p_dmixed is not None:
                p_d = p_dmixed + o_g[:, None] * m * d + (o_i * d + o_c)[None, :]  # [BG, BI * BN]
                tl.store(p_d, b_dmixed, mask=(o_g < G)[:, None] & m_c[None, :])
        if p_dots is not None:
            b_dp = load_gradient(p_grad, o_g, m_g, o_i, o_c, m_c, stride_g, stride_i, stride_d).to(ACC)  # [BG, BI * BN]
            b_bias = tl.zeros([BG], ACC)  # [BG]
            if RAW and p_bias is not None:
                b_b = tl.load(p_bias + o_c, mask=m_c, other=0.0).to(ACC)  # [BI * BN]
                b_bias = tl.sum(b_dp * b_b[None, :], 1)  # [BG]
            p_row = p_dots + (i_patch.to(tl.int64) * G + o_g) * N  # [BG]
            if p_sources is not None:
                b_from = b_dmixed if RAW_SOURCES else b_dp  # [BG, BI * BN]
                for i_j in range(0, n, BJ):
                    b_dots = source_dots(
                        b_from, p_sources, o_i, o_c, m_c, i_j, n, m, d, OPERAND, BJ, PRECISION
                    )  # [BG, BJ]
                    if RAW_SOURCES:
                        b_dots += b_bias[:, None]
                    o_j = i_j + tl.arange(0, BJ)  # [BJ]
                    tl.store(p_row[:, None] + o_j[None, :], b_dots, mask=(o_g < G)[:, None] & (o_j < n)[None, :])
            if p_privates is not None:
                b_from = b_dmixed if RAW_PRIVATES else b_dp  # [BG, BI * BN]
                p_u = p_privates + o_t[:, None] * m * d + (o_i * d + o_c)[None, :]  # [BG, BI * BN]
                b_u = tl.load(p_u, mask=m_g[:, None] & m_c[None, :], other=0.0)  # [BG, BI * BN]
                b_dot = tl.sum(b_from * b_u.to(ACC), 1)  # [BG]
                if RAW_PRIVATES:
                    b_dot += b_bias
                tl.store(p_row + n, b_dot, mask=o_g < G)
    elif p_dweight is not None or p_dbias is not None:
        i_tile -= n_tiles
        n_p = 1
        if p_dweight is not None:
            n_p = tl.cdiv(d, BP)
        i_o = (i_tile // n_p) * BO
        i_p = (i_tile % n_p) * BP
        b_dw = tl.zeros([BO, BP], ACC)  # [BO, BP]
        b_db = tl.zeros([BO], ACC)  # [BO]
        for i_g in range(0, G, BH):
            o_g, o_t, m_g = group_tasks(p_task_ids, i_g, B, T, BH)  # [BH]
            b_max, b_inv = softmax_terms(p_logits, p_mask, o_t, m_g, N, inv_tau, BH, BJ, ACC)  # [BH]
            b_alpha = source_weights(p_logits, p_mask, o_t, m_g, b_max, b_inv, 0, n, N, inv_tau, BJ)  # [BH, BJ]
            b_private = tl.zeros([BH], ACC)  # [BH]
            if RAW_PRIVATES:
                b_private = private_weights(p_logits, p_mask, o_t, m_g, b_max, b_inv, N, inv_tau)  # [BH]
            b_raw = raw_weights(
                p_logits, p_mask, o_t, m_g, b_max, b_inv, b_private, n, N, inv_tau, RAW_SOURCES, RAW_PRIVATES, BJ
            )  # [BH]
            for i_i in range(0, m, BQ):
                o_i, o_o, m_o = patch(i_i, i_o, m, d, BQ, BO)  # [BQ * BO]
                b_dp = load_gradient(p_grad, o_g, m_g, o_i, o_o, m_o, stride_g, stride_i, stride_d)  # [BH, BQ * BO]
                if p_dbias is not None:
                    b_db += tl.sum(tl.reshape(b_dp.to(ACC) * b_raw[:, None], [BH * BQ, BO]), 0)
                if p_dweight is not None:
                    o_ii, o_c, m_c = patch(i_i, i_p, m, d, BQ, BP)  # [BQ * BP]
                    b_mix = mix(
                        p_logits, p_mask, p_sources, p_privates, o_t, m_g, b_max, b_inv, b_alpha, b_private,
                        o_ii, o_c, m_c, n, N, m, d, inv_tau,
                        RAW_SOURCES, RAW_PRIVATES, BH, BQ * BP, BJ, ONE_BLOCK, OPERAND, PRECISION,
                    )  # fmt: skip # [BH, BQ * BP]
                    b_x = tl.trans(tl.reshape(b_dp.to(OPERAND), [BH * BQ, BO]))  # [BO, BH * BQ]
                    b_y = tl.reshape(b_mix.to(OPERAND), [BH * BQ, BP])  # [BH * BQ, BP]
                    b_dw = dot(b_x, b_y, b_dw, PRECISION)  # [BO, BP]
        o_o = (i_o + tl.arange(0, BO)).to(tl.int64)  # [BO]
        o_p = i_p + tl.arange(0, BP)  # [BP]
        if p_dweight is not None:
            p_w = p_dweight + o_o[:, None] * d + o_p[None, :]  # [BO, BP]
            tl.store(p_w, b_dw.to(p_dweight.dtype.element_ty), mask=(o_o < d)[:, None] & (o_p < d)[None, :])
        if p_dbias is not None:
            tl.store(p_dbias + o_o, b_db.to(p_dbias.dtype.element_ty), mask=(o_o < d) & (i_p == 0))


@triton.jit
def spread_patch(
    p_out, p_from, p_task_ids, p_logits, p_mask, i_tile, inv_tau, B, T, n, N, m, d, stride_g, stride_i, stride_d,
    OF_TASKS: tl.constexpr, BG: tl.constexpr, BI: tl.constexpr, BN: tl.constexpr, BJ: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """``dE_j = sum_g alpha_gj D_g`` on one patch of BJ sources, or, OF_TASKS, of the private prompts of BJ tasks.

    ``D`` (G, m, d) is dMixed for raw prompts and dP for encoded ones.
    """
    ACC: tl.constexpr = tl.float64 if tl.float64 == OPERAND else tl.float32
    G = tl.minimum(B, T)
    n_n = tl.cdiv(d, BN)
    n_i = tl.cdiv(m, BI)
    i_j = i_tile // (n_i * n_n) * BJ
    o_j = (i_j + tl.arange(0, BJ)).to(tl.int64)  # [BJ]
    o_i, o_c, m_c = patch(i_tile // n_n % n_i * BI, i_tile % n_n * BN, m, d, BI, BN)  # [BI * BN]
    i_lo = 0
    i_hi = G
    count = n
    if OF_TASKS:
        count = T
        if B >= T:
            # Groups are tasks: only a task's own group carries its private prompt.
            i_lo = i_j
            i_hi = tl.minimum(i_j + BJ, T)
    b_out = tl.zeros([BJ, BI * BN], ACC)  # [BJ, BI * BN]
    for i_g in range(i_lo, i_hi, BG):
        o_g, o_t, m_g = group_tasks(p_task_ids, i_g, B, T, BG)  # [BG]
        b_max, b_inv = softmax_terms(p_logits, p_mask, o_t, m_g, N, inv_tau, BG, BJ, ACC)  # [BG]
        if OF_TASKS:
            b_private = private_weights(p_logits, p_mask, o_t, m_g, b_max, b_inv, N, inv_tau)  # [BG]
            b_alpha = tl.where(o_t[:, None] == o_j[None, :], b_private[:, None], 0.0)  # [BG, BJ]
        else:
            b_alpha = source_weights(p_logits, p_mask, o_t, m_g, b_max, b_inv, i_j, n, N, inv_tau, BJ)  # [BG, BJ]
        b_from = load_gradient(p_from, o_g, m_g, o_i, o_c, m_c, stride_g, stride_i, stride_d)  # [BG, BI * BN]
        b_out = dot(tl.trans(b_alpha.to(OPERAND)), b_from.to(OPERAND), b_out, PRECISION)  # [BJ, BI * BN]
    p_e = p_out + o_j[:, None] * m * d + (o_i * d + o_c)[None, :]  # [BJ, BI * BN]
    tl.store(p_e, b_out.to(p_out.dtype.element_ty), mask=(o_j < count)[:, None] & m_c[None, :])


@triton.jit
def task_dots(p_dots, p_task_ids, i_t, i_j, B, T, N, n_patches, BX: tl.constexpr, BJ: tl.constexpr):
    """``dalpha_tj`` for the candidates from ``i_j`` on: the shares of all patches and groups of task ``i_t``, [BJ]."""
    G = tl.minimum(B, T)
    o_j = i_j + tl.arange(0, BJ)  # [BJ]
    b_dots = tl.zeros([BJ], p_dots.dtype.element_ty)  # [BJ]
    # Groups are batch rows when there are fewer of them than tasks, and any of them may be the task's.
    for i_g in range(tl.where(B < T, 0, i_t), tl.where(B < T, G, i_t + 1)):
        m_own = i_g >= 0
        if p_task_ids is not None:
            m_own = (B >= T) | (tl.load(p_task_ids + i_g, mask=i_g < B, other=-1) == i_t)
        for i_x in range(0, n_patches, BX):
            o_x = (i_x + tl.arange(0, BX)).to(tl.int64)  # [BX]
            p_x = p_dots + ((o_x * G + i_g) * N)[:, None] + o_j[None, :]  # [BX, BJ]
            m_x = (o_x < n_patches)[:, None] & (o_j < N)[None, :] & m_own  # [BX, BJ]
            b_dots += tl.sum(tl.load(p_x, mask=m_x, other=0.0), 0)
    return b_dots


@triton.jit(do_not_specialize=["B", "T", "n", "m", "n_patches"])
def compose_spread_kernel(
    p_dsources, p_dprivates, p_dlogits, p_dots, p_from_sources, p_from_privates, p_task_ids, p_logits, p_mask,
    inv_tau: tl.float64, B, T, n, m, d, n_patches,
    stride_sg, stride_si, stride_sd, stride_pg, stride_pi, stride_pd,
    PRIVATE: tl.constexpr, BG: tl.constexpr, BI: tl.constexpr, BN: tl.constexpr, BJ: tl.constexpr, BX: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """First the programs over dS, then those over dU, then one a task for dA.

    A result that is not asked for is None and costs nothing. G = min(B, T) groups.

    Args:
        p_dsources: dS (n, m, d), written; or None.
        p_dprivates: dU (T, m, d), written; or None.
        p_dlogits: dA (T, N), written; or None.
        p_dots: (patches, G, N), the shares of dalpha; or None.
        p_from_sources: what dS is made of (G, m, d), strided: dMixed for raw sources, else the prompts' gradient.
        p_from_privates: the same for dU.
        p_task_ids: (B,), or None when the groups are the tasks.
        p_logits: A (T, N), N = n, plus 1 with private prompts.
        p_mask: (T, N) bool, or None.
        inv_tau: 1 / tau.
        B: batch; T when the groups are the tasks.
        T: number of tasks.
        n: number of sources.
        m: prompt length.
        d: width.
        n_patches: number of patches.
        stride_sg: stride of p_from_sources between groups.
        stride_si: stride of p_from_sources between positions.
        stride_sd: stride of p_from_sources along a row.
        stride_pg: stride of p_from_privates between groups.
        stride_pi: stride of p_from_privates between positions.
        stride_pd: stride of p_from_privates along a row.
        PRIVATE: whether there are private prompts.
        BG: groups of a step.
        BI: positions of a patch.
        BN: columns of a patch.
        BJ: sources or tasks of a program.
        BX: patches added at a time.
        OPERAND: type of the operands of matrix products.
        PRECISION: "ieee" or "tf32", how float32 operands are multiplied.
    """
    N = n + (1 if PRIVATE else 0)
    n_plane = tl.cdiv(m, BI) * tl.cdiv(d, BN)
    n_sources = 0
    if p_dsources is not None:
        n_sources = tl.cdiv(n, BJ) * n_plane
    n_privates = 0
    if p_dprivates is not None:
        n_privates = tl.cdiv(T, BJ) * n_plane
    i_tile = tl.program_id(0)
    if i_tile < n_sources:
        if p_dsources is not None:
            spread_patch(
                p_dsources, p_from_sources, p_task_ids, p_logits, p_mask, i_tile, inv_tau, B, T, n, N, m, d,
                stride_sg, stride_si, stride_sd, False, BG, BI, BN, BJ, OPERAND, PRECISION,
            )  # fmt: skip
    elif i_tile < n_sources + n_privates:
        if p_dprivates is not None:
            spread_patch(
                p_dprivates, p_from_privates, p_task_ids, p_logits, p_mask, i_tile - n_sources, inv_tau,
                B, T, n, N, m, d, stride_pg, stride_pi, stride_pd, True, BG, BI, BN, BJ, OPERAND, PRECISION,
            )  # fmt: skip
    elif p_dlogits is not None:
        ACC: tl.constexpr = p_dots.dtype.element_ty
        i_t = (i_tile - n_sources - n_privates).to(tl.int64)
        o_t = i_t + tl.zeros([1], tl.int64)  # [1]
        m_t = o_t >= 0  # [1]
        b_max, b_inv = softmax_terms(p_logits, p_mask, o_t, m_t, N, inv_tau, 1, BJ, ACC)  # [1]
        b_mean = tl.zeros([1], ACC)  # [1]
        for i_j in range(0, N, BJ):
            b_dalpha = task_dots(p_dots, p_task_ids, i_t, i_j, B, T, N, n_patches, BX, BJ)[None, :]  # [1, BJ]
            b_alpha = source_weights(p_logits, p_mask, o_t, m_t, b_max, b_inv, i_j, N, N, inv_tau, BJ)  # [1, BJ]
            b_mean += tl.sum(b_alpha * b_dalpha, 1)
        for i_j in range(0, N, BJ):
            b_dalpha = task_dots(p_dots, p_task_ids, i_t, i_j, B, T, N, n_patches, BX, BJ)[None, :]  # [1, BJ]
            b_alpha = source_weights(p_logits, p_mask, o_t, m_t, b_max, b_inv, i_j, N, N, inv_tau, BJ)  # [1, BJ]
            b_da = b_alpha * (b_dalpha - b_mean[:, None]) * tl.full([1, 1], inv_tau, ACC)  # [1, BJ]
            o_j = i_j + tl.arange(0, BJ)[None, :]  # [1, BJ]
            tl.store(p_dlogits + i_t * N + o_j, b_da.to(p_dlogits.dtype.element_ty), mask=o_j < N)


class Needs(NamedTuple):
    """Which gradients are asked for."""

    logits: bool
    sources: bool
    privates: bool
    weight: bool
    bias: bool


class Gradients(NamedTuple):
    """The gradients; None where not asked for or where there is no such argument."""

    logits: Tensor | None
    sources: Tensor | None
    privates: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


def compose_prompts_backward(
    grad: Tensor, mixture: Composition, needs: Needs, task_ids: Tensor | None = None
) -> Gradients:
    """Gradients of a composition.

    Args:
        grad: gradient of the groups' prompts (G, m or more, d), any strides; only the first m positions are read.
        mixture: the composition's arguments.
        needs: what to compute.
        task_ids: (G,) the groups' tasks when they are batch rows, None when the groups are the tasks.
    """
    x = mixture
    tiles = product_tiles(x.length, x.width, x.count, x.operand)
    groups = grad.shape[0]
    accumulator = torch.float64 if x.operand is torch.float64 else torch.float32

    def like(asked: bool, tensor: Tensor | None) -> Tensor | None:
        return torch.empty_like(tensor) if asked and tensor is not None else None

    dlogits = like(needs.logits, x.logits)
    dsources = like(needs.sources, x.sources)
    dprivates = like(needs.privates, x.privates)
    dweight = like(needs.weight, x.weight)
    dbias = like(needs.bias, x.bias)

    patches = -(-x.length // tiles.BI) * -(-x.width // tiles.BN)
    mixes = (dsources is not None and x.raw_sources) or (dprivates is not None and x.raw_privates)
    dmixed = dots = None
    if mixes:
        dmixed = grad.new_empty((groups, x.length, x.width), dtype=accumulator)
    if dlogits is not None:
        dots = grad.new_empty((patches, groups, x.logits.shape[1]), dtype=accumulator)

    products = 0
    if dmixed is not None or dots is not None:
        products += -(-groups // tiles.BG) * patches
    if dweight is not None or dbias is not None:
        products += -(-x.width // tiles.BO) * (-(-x.width // tiles.BP) if dweight is not None else 1)
    batch = x.tasks if task_ids is None else groups
    if products:
        launch(
            compose_products_kernel, (products,), grad,
            dmixed, dots, dweight, dbias, grad, task_ids, x.logits, x.mask, x.sources, x.privates, x.weight, x.bias,
            x.inv_tau, batch, x.tasks, x.count, x.length, x.width, *grad.stride(),
            x.raw_sources, x.raw_privates, *tiles[:9], x.count <= tiles.BJ, x.operand_type, x.precision,
            num_warps=tiles.num_warps, num_stages=tiles.num_stages,
        )  # fmt: skip

    wide = spread_tiles(x.length, x.width, x.operand)
    plane = -(-x.length // wide.BI) * -(-x.width // wide.BN)
    spread = 0
    if dsources is not None:
        spread += -(-x.count // wide.BJ) * plane
    if dprivates is not None:
        spread += -(-x.tasks // wide.BJ) * plane
    if dlogits is not None:
        spread += x.tasks
    if spread:
        from_sources = dmixed if x.raw_sources and dmixed is not None else grad
        from_privates = dmixed if x.raw_privates and dmixed is not None else grad
        launch(
            compose_spread_kernel, (spread,), grad,
            dsources, dprivates, dlogits, dots, from_sources, from_privates, task_ids, x.logits, x.mask,
            x.inv_tau, batch, x.tasks, x.count, x.length, x.width, patches,
            *from_sources.stride(), *from_privates.stride(),
            x.privates is not None, *wide[:5], x.operand_type, x.precision, num_warps=wide.num_warps,
        )  # fmt: skip
    return Gradients(dlogits, dsources, dprivates, dweight, dbias)

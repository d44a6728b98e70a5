"""First launch of a composition's backward: dMixed = dP W and the shares of dalpha, then dW = dP^T Mixed and db."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.architecture import tile_class
from crosspt.kernels.launch import Composition, launch
from crosspt.kernels.mixing import (
    Gradient,
    Operands,
    candidate_weights,
    dot,
    group_count,
    group_tasks,
    load_gradient,
    load_own,
    mix,
    patch,
    private_weights,
    raw_weights,
    softmax_terms,
)
from crosspt.kernels.tiles import product_tiles


@triton.jit
def mixed_gradient(
    x, g, o_g, m_g, i_i, i_n, BI: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """``dMixed = dP W`` on the patch from position ``i_i`` and column ``i_n`` on: [BG, BI * BN]."""
    ACC: tl.constexpr = tl.float64 if tl.float64 == OPERAND else tl.float32
    BG: tl.constexpr = o_g.shape[0]
    b_rows = tl.zeros([BG * BI, BN], ACC)  # [BG * BI, BN]
    o_n = (i_n + tl.arange(0, BN)).to(tl.int64)  # [BN]
    for i_o in range(0, x.d, BK):
        b_dp = load_gradient(g, o_g, m_g, patch(x, i_i, i_o, BI, BK))  # [BG, BI * BK]
        o_k = (i_o + tl.arange(0, BK)).to(tl.int64)  # [BK]
        m_w = (o_k < x.d)[:, None] & (o_n < x.d)[None, :]  # [BK, BN]
        b_w = tl.load(x.p_weight + o_k[:, None] * x.d + o_n[None, :], mask=m_w, other=0.0)  # [BK, BN]
        b_x = tl.reshape(b_dp.to(OPERAND), [BG * BI, BK])  # [BG * BI, BK]
        b_rows = dot(b_x, b_w.to(OPERAND), b_rows, PRECISION)  # [BG * BI, BN]
    return tl.reshape(b_rows, [BG, BI * BN])


@triton.jit
def source_dots(x, b_g, at, i_j, OPERAND: tl.constexpr, BJ: tl.constexpr, PRECISION: tl.constexpr):
    """``<g, E_j>`` on one patch for the sources from ``i_j`` on: [BG, BJ]."""
    o_j = (i_j + tl.arange(0, BJ)).to(tl.int64)  # [BJ]
    p_e = x.p_sources + o_j[:, None] * x.m * x.d + (at.o_i * x.d + at.o_c)[None, :]  # [BJ, BI * BC]
    b_e = tl.load(p_e, mask=(o_j < x.n)[:, None] & at.m_c[None, :], other=0.0)  # [BJ, BI * BC]
    b_dots = tl.zeros([b_g.shape[0], BJ], b_g.dtype)  # [BG, BJ]
    return dot(b_g.to(OPERAND), tl.trans(b_e.to(OPERAND)), b_dots, PRECISION)


@triton.jit
def differentiate_mixed(
    x, g, p_dmixed, p_dots, i_tile, RAW_SOURCES: tl.constexpr, RAW_PRIVATES: tl.constexpr,
    BG: tl.constexpr, BI: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BJ: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Tile ``i_tile`` of dMixed, BG groups x BI positions x BN columns, and its share of ``dalpha``."""
    ACC: tl.constexpr = tl.float64 if tl.float64 == OPERAND else tl.float32
    RAW: tl.constexpr = RAW_SOURCES or RAW_PRIVATES
    G = group_count(x.B, x.T, x.p_row_alpha)
    n_n = tl.cdiv(x.d, BN)
    n_i = tl.cdiv(x.m, BI)
    i_patch = i_tile % (n_i * n_n)
    i_n = (i_patch % n_n) * BN
    i_i = (i_patch // n_n) * BI
    o_g, o_t, m_g = group_tasks(x, i_tile // (n_i * n_n) * BG, BG)  # [BG]
    at = patch(x, i_i, i_n, BI, BN)
    b_dmixed = tl.zeros([BG, BI * BN], ACC)  # [BG, BI * BN]
    if RAW:
        b_dmixed = mixed_gradient(x, g, o_g, m_g, i_i, i_n, BI, BN, BK, OPERAND, PRECISION)  # [BG, BI * BN]
        if p_dmixed is not None:
            p_d = p_dmixed + o_g[:, None] * x.m * x.d + (at.o_i * x.d + at.o_c)[None, :]  # [BG, BI * BN]
            tl.store(p_d, b_dmixed, mask=(o_g < G)[:, None] & at.m_c[None, :])
    if p_dots is not None:
        b_dp = load_gradient(g, o_g, m_g, at).to(ACC)  # [BG, BI * BN]
        b_bias = tl.zeros([BG], ACC)  # [BG]
        if RAW and x.p_bias is not None:
            b_b = tl.load(x.p_bias + at.o_c, mask=at.m_c, other=0.0).to(ACC)  # [BI * BN]
            b_bias = tl.sum(b_dp * b_b[None, :], 1)  # [BG]
        p_row = p_dots + (i_patch.to(tl.int64) * G + o_g) * x.N  # [BG]
        if x.p_sources is not None:
            b_from = b_dmixed if RAW_SOURCES else b_dp  # [BG, BI * BN]
            for i_j in range(0, x.n, BJ):
                b_dots = source_dots(x, b_from, at, i_j, OPERAND, BJ, PRECISION)  # [BG, BJ]
                if RAW_SOURCES:
                    b_dots += b_bias[:, None]
                o_j = i_j + tl.arange(0, BJ)  # [BJ]
                tl.store(p_row[:, None] + o_j[None, :], b_dots, mask=(o_g < G)[:, None] & (o_j < x.n)[None, :])
        if x.p_privates is not None:
            b_from = b_dmixed if RAW_PRIVATES else b_dp  # [BG, BI * BN]
            p_u = x.p_privates + o_t[:, None] * x.m * x.d + (at.o_i * x.d + at.o_c)[None, :]  # [BG, BI * BN]
            b_u = tl.load(p_u, mask=m_g[:, None] & at.m_c[None, :], other=0.0)  # [BG, BI * BN]
            b_dot = tl.sum(b_from * b_u.to(ACC), 1)  # [BG]
            if RAW_PRIVATES:
                b_dot += b_bias
            tl.store(p_row + x.n, b_dot, mask=o_g < G)


@triton.jit
def differentiate_encoder(
    x, g, p_dweight, p_dbias, i_tile, RAW_SOURCES: tl.constexpr, RAW_PRIVATES: tl.constexpr,
    BH: tl.constexpr, BQ: tl.constexpr, BO: tl.constexpr, BP: tl.constexpr, BJ: tl.constexpr,
    ONE_BLOCK: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Tile ``i_tile`` of dW, BO rows x BP columns, and of db, from the sum over all groups and positions."""
    ACC: tl.constexpr = tl.float64 if tl.float64 == OPERAND else tl.float32
    G = group_count(x.B, x.T, x.p_row_alpha)
    n_p = 1
    if p_dweight is not None:
        n_p = tl.cdiv(x.d, BP)
    i_o = (i_tile // n_p) * BO
    i_p = (i_tile % n_p) * BP
    b_dw = tl.zeros([BO, BP], ACC)  # [BO, BP]
    b_db = tl.zeros([BO], ACC)  # [BO]
    for i_g in range(0, G, BH):
        o_g, o_t, m_g = group_tasks(x, i_g, BH)  # [BH]
        s = softmax_terms(x, o_g, o_t, m_g, BJ, ACC)
        b_alpha = candidate_weights(x, s, 0, x.n, BJ)  # [BH, BJ]
        b_private = tl.zeros([BH], ACC)  # [BH]
        if RAW_PRIVATES:
            b_private = private_weights(x, s)  # [BH]
        b_raw = raw_weights(x, s, b_private, RAW_SOURCES, RAW_PRIVATES, BJ)  # [BH]
        for i_i in range(0, x.m, BQ):
            b_dp = load_gradient(g, o_g, m_g, patch(x, i_i, i_o, BQ, BO))  # [BH, BQ * BO]
            if p_dbias is not None:
                b_db += tl.sum(tl.reshape(b_dp.to(ACC) * b_raw[:, None], [BH * BQ, BO]), 0)
            if p_dweight is not None:
                at = patch(x, i_i, i_p, BQ, BP)
                b_u = load_own(x, x.p_privates, s, at) if RAW_PRIVATES else None  # [BH, BQ * BP]
                b_mix = mix(
                    x, s, b_alpha, b_private, b_u, at,
                    RAW_SOURCES, RAW_PRIVATES, ONE_BLOCK, OPERAND, PRECISION,
                )  # fmt: skip # [BH, BQ * BP]
                b_x = tl.trans(tl.reshape(b_dp.to(OPERAND), [BH * BQ, BO]))  # [BO, BH * BQ]
                b_y = tl.reshape(b_mix.to(OPERAND), [BH * BQ, BP])  # [BH * BQ, BP]
                b_dw = dot(b_x, b_y, b_dw, PRECISION)  # [BO, BP]
    o_o = (i_o + tl.arange(0, BO)).to(tl.int64)  # [BO]
    o_p = i_p + tl.arange(0, BP)  # [BP]
    if p_dweight is not None:
        p_w = p_dweight + o_o[:, None] * x.d + o_p[None, :]  # [BO, BP]
        tl.store(p_w, b_dw.to(p_dweight.dtype.element_ty), mask=(o_o < x.d)[:, None] & (o_p < x.d)[None, :])
    if p_dbias is not None:
        tl.store(p_dbias + o_o, b_db.to(p_dbias.dtype.element_ty), mask=o_o < tl.where(i_p == 0, x.d, 0))


@triton.jit(do_not_specialize=["B", "T", "n", "m"])
def compose_products_kernel(
    p_dmixed, p_dots, p_dweight, p_dbias, p_grad, p_logits, p_alpha, p_row_alpha, p_sources, p_privates, p_weight,
    p_bias, p_mask, p_task_ids,
    inv_tau: tl.float64, B, T, n, m, d, stride_g, stride_i, stride_d,
    RAW_SOURCES: tl.constexpr, RAW_PRIVATES: tl.constexpr,
    BG: tl.constexpr, BI: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BJ: tl.constexpr,
    BH: tl.constexpr, BQ: tl.constexpr, BO: tl.constexpr, BP: tl.constexpr,
    ONE_BLOCK: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """First the programs over tiles of dMixed (BG groups x BI positions x BN columns), then those over tiles of dW.

    A result that is not asked for is None and costs nothing. G = min(B, T) groups, B with weights of the rows.

    Args:
        p_dmixed: dMixed (G, m, d) in the accumulator's type, written; or None.
        p_dots: (patches, G, N) in the accumulator's type, written: each patch's share of ``dalpha``; or None.
        p_dweight: dW (d, d), written; or None.
        p_dbias: db (d,), written; or None.
        p_grad: gradient of the groups' prompts (G, m, d), strided.
        p_logits: A (T, N), N = n, plus 1 with private prompts; or None with weights that are given.
        p_alpha: these of the tasks (T, N), or None.
        p_row_alpha: these of the batch rows (B, N), each a group then, or None.
        p_sources: (n, m, d), or None.
        p_privates: (T, m, d), or None.
        p_weight: W (d, d), or None when nothing is raw.
        p_bias: b (d,), or None.
        p_mask: (T, N) bool, or None.
        p_task_ids: (B,), or None when the groups are the tasks.
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
    N = n + (1 if p_privates is not None else 0)
    x = Operands(
        p_logits, p_alpha, p_row_alpha, p_sources, p_privates, p_weight, p_bias, None, p_mask, p_task_ids,
        inv_tau, B, T, n, N, m, d,
    )  # fmt: skip
    g = Gradient(p_grad, stride_g, stride_i, stride_d)
    n_tiles = 0
    if p_dmixed is not None or p_dots is not None:
        n_tiles = tl.cdiv(group_count(B, T, p_row_alpha), BG) * tl.cdiv(m, BI) * tl.cdiv(d, BN)
    i_tile = tl.program_id(0)
    if i_tile < n_tiles:
        differentiate_mixed(
            x, g, p_dmixed, p_dots, i_tile, RAW_SOURCES, RAW_PRIVATES, BG, BI, BN, BK, BJ, OPERAND, PRECISION
        )
    elif p_dweight is not None or p_dbias is not None:
        differentiate_encoder(
            x, g, p_dweight, p_dbias, i_tile - n_tiles, RAW_SOURCES, RAW_PRIVATES,
            BH, BQ, BO, BP, BJ, ONE_BLOCK, OPERAND, PRECISION,
        )  # fmt: skip


def compose_products(
    grad: Tensor,
    mixture: Composition,
    task_ids: Tensor | None,
    dweight: Tensor | None,
    dbias: Tensor | None,
    *,
    mixed: bool,
    dots: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Fill dW and db, and give dMixed (G, m, d) and the shares of dalpha (patches, G, N), None where not asked for.

    Args:
        grad: gradient of the groups' prompts (G, m or more, d), any strides.
        mixture: the composition's arguments.
        task_ids: (G,) the groups' tasks, or None when the groups are the tasks.
        dweight: dW (d, d), written; or None.
        dbias: db (d,), written; or None.
        mixed: whether dMixed is asked for.
        dots: whether the shares of dalpha are.
    """
    x = mixture
    tiles = product_tiles(x.length, x.width, x.num_sources, x.operand, tile_class(grad.device))
    groups = grad.shape[0]
    patches = -(-x.length // tiles.BI) * -(-x.width // tiles.BN)
    accumulator = torch.float64 if x.operand is torch.float64 else torch.float32
    dmixed = grad.new_empty((groups, x.length, x.width), dtype=accumulator) if mixed else None
    shares = grad.new_empty((patches, groups, x.weights().shape[1]), dtype=accumulator) if dots else None
    programs = 0
    if mixed or dots:
        programs += -(-groups // tiles.BG) * patches
    if dweight is not None or dbias is not None:
        programs += -(-x.width // tiles.BO) * (-(-x.width // tiles.BP) if dweight is not None else 1)
    if programs:
        launch(
            compose_products_kernel, (programs,), grad,
            dmixed, shares, dweight, dbias, grad,
            x.logits, x.alpha, x.row_alpha, x.sources, x.privates, x.weight, x.bias, x.mask, task_ids, x.inv_tau,
            x.tasks() if task_ids is None else groups, x.tasks(), x.num_sources, x.length, x.width, *grad.stride(),
            x.raw_sources(), x.raw_privates(), *tiles[:9], x.num_sources <= tiles.BJ, x.operand_type, x.precision,
            num_warps=tiles.num_warps, num_stages=tiles.num_stages,
        )  # fmt: skip
    return dmixed, shares

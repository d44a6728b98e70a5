"""Last launch of a composition's backward: dMixed or dP spread over sources and private prompts, and dA."""

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
    load_terms,
    patch,
    private_weights,
    softmax_terms,
)
from crosspt.kernels.tiles import spread_tiles


@triton.jit
def spread_patch(
    x, g, p_out, p_terms, i_tile, OF_TASKS: tl.constexpr, UNIT: tl.constexpr,
    BG: tl.constexpr, BI: tl.constexpr, BN: tl.constexpr, BJ: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """``dE_j = sum_g alpha_gj D_g`` on one patch of BJ sources, or, OF_TASKS, of the prompts of BJ tasks.

    Those are the private prompts, or, UNIT, the added ones, whose weight is 1. ``D`` (G, m, d), given as ``g``, is
    dMixed for raw prompts and dP for others. The terms (3, G) of the softmax are computed where there are none.
    """
    ACC: tl.constexpr = tl.float64 if tl.float64 == OPERAND else tl.float32
    n_n = tl.cdiv(x.d, BN)
    count = x.n
    if OF_TASKS:
        count = x.T
    n_j = tl.cdiv(count, BJ)  # innermost, so that all of them find D in the cache
    i_j = i_tile % n_j * BJ
    o_j = (i_j + tl.arange(0, BJ)).to(tl.int64)  # [BJ]
    at = patch(x, i_tile // n_j // n_n * BI, i_tile // n_j % n_n * BN, BI, BN)
    i_lo = 0
    i_hi = group_count(x.B, x.T, x.p_row_alpha)
    if OF_TASKS and x.p_row_alpha is None and x.B >= x.T:
        # Groups are tasks: only a task's own group carries its private prompt.
        i_lo = i_j
        i_hi = tl.minimum(i_j + BJ, x.T)
    b_out = tl.zeros([BJ, BI * BN], ACC)  # [BJ, BI * BN]
    for i_g in range(i_lo, i_hi, BG):
        o_g, o_t, m_g = group_tasks(x, i_g, BG)  # [BG]
        if UNIT:
            b_alpha = tl.where(o_t[:, None] == o_j[None, :], 1.0, 0.0)  # [BG, BJ]
        else:
            s = softmax_terms(x, o_g, o_t, m_g, BJ, ACC) if p_terms is None else load_terms(x, p_terms, o_g, o_t, m_g)
            if OF_TASKS:
                b_private = private_weights(x, s)  # [BG]
                b_alpha = tl.where(o_t[:, None] == o_j[None, :], b_private[:, None], 0.0)  # [BG, BJ]
            else:
                b_alpha = candidate_weights(x, s, i_j, x.n, BJ)  # [BG, BJ]
        b_from = load_gradient(g, o_g, m_g, at)  # [BG, BI * BN]
        b_out = dot(tl.trans(b_alpha.to(OPERAND)), b_from.to(OPERAND), b_out, PRECISION)  # [BJ, BI * BN]
    p_e = p_out + o_j[:, None] * x.m * x.d + (at.o_i * x.d + at.o_c)[None, :]  # [BJ, BI * BN]
    tl.store(p_e, b_out.to(p_out.dtype.element_ty), mask=(o_j < count)[:, None] & at.m_c[None, :])


@triton.jit
def task_dots(x, p_dots, i_t, i_j, n_patches, BX: tl.constexpr, BJ: tl.constexpr):
    """``dalpha_tj`` for the candidates from ``i_j`` on: the shares of all patches and groups of task ``i_t``, [BJ].

    Where rows have weights of their own ``i_t`` is a row, which is its own only group.
    """
    G = group_count(x.B, x.T, x.p_row_alpha)
    o_j = i_j + tl.arange(0, BJ)  # [BJ]
    b_dots = tl.zeros([BJ], p_dots.dtype.element_ty)  # [BJ]
    # Groups are batch rows when there are fewer of them than tasks, and any of them may be the task's.
    search = x.p_row_alpha is None and x.B < x.T
    for i_g in range(tl.where(search, 0, i_t), tl.where(search, G, i_t + 1)):
        n_own = n_patches
        if x.p_task_ids is not None and x.p_row_alpha is None:
            own = (x.B >= x.T) | (tl.load(x.p_task_ids + i_g, mask=i_g < x.B, other=-1) == i_t)
            n_own = tl.where(own, n_patches, 0)
        for i_x in range(0, n_patches, BX):
            o_x = (i_x + tl.arange(0, BX)).to(tl.int64)  # [BX]
            p_x = p_dots + ((o_x * G + i_g) * x.N)[:, None] + o_j[None, :]  # [BX, BJ]
            m_x = (o_x < n_own)[:, None] & (o_j < x.N)[None, :]  # [BX, BJ]
            b_dots += tl.sum(tl.load(p_x, mask=m_x, other=0.0), 0)
    return b_dots


@triton.jit
def differentiate_logits(x, p_dlogits, p_dots, i_t, n_patches, BX: tl.constexpr, BJ: tl.constexpr):
    """``dA_t = alpha_t * (dalpha_t - sum_j alpha_tj dalpha_tj) / tau`` of task ``i_t``, or ``dalpha_t`` without A."""
    ACC: tl.constexpr = p_dots.dtype.element_ty
    o_t = i_t + tl.zeros([1], tl.int64)  # [1]
    s = softmax_terms(x, o_t, o_t, o_t >= 0, BJ, ACC)
    b_mean = tl.zeros([1], ACC)  # [1]
    if x.p_logits is not None:
        for i_j in range(0, x.N, BJ):
            b_dalpha = task_dots(x, p_dots, i_t, i_j, n_patches, BX, BJ)[None, :]  # [1, BJ]
            b_alpha = candidate_weights(x, s, i_j, x.N, BJ)  # [1, BJ]
            b_mean += tl.sum(b_alpha * b_dalpha, 1)
    for i_j in range(0, x.N, BJ):
        b_dalpha = task_dots(x, p_dots, i_t, i_j, n_patches, BX, BJ)[None, :]  # [1, BJ]
        if x.p_logits is None:
            b_da = b_dalpha  # [1, BJ]
        else:
            b_alpha = candidate_weights(x, s, i_j, x.N, BJ)  # [1, BJ]
            b_da = b_alpha * (b_dalpha - b_mean[:, None]) * tl.full([1, 1], x.inv_tau, ACC)  # [1, BJ]
        o_j = i_j + tl.arange(0, BJ)[None, :]  # [1, BJ]
        tl.store(p_dlogits + i_t * x.N + o_j, b_da.to(p_dlogits.dtype.element_ty), mask=o_j < x.N)


@triton.jit(do_not_specialize=["B", "T", "n", "m", "n_patches"])
def compose_spread_kernel(
    p_dsources, p_dprivates, p_dadded, p_dlogits, p_dots, p_from_sources, p_from_privates, p_grad,
    p_logits, p_alpha, p_row_alpha, p_mask, p_task_ids, inv_tau: tl.float64, B, T, n, m, d, n_patches,
    stride_sg, stride_si, stride_sd, stride_pg, stride_pi, stride_pd, stride_g, stride_i, stride_d,
    PRIVATE: tl.constexpr,
    BG: tl.constexpr, BI: tl.constexpr, BN: tl.constexpr, BJ: tl.constexpr, BX: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """First the programs over dS, then those over dU, those over the added prompts' gradient, then one a task for dA.

    Where rows have weights of their own one a row.

    A result that is not asked for is None and costs nothing. G = min(B, T) groups, B with weights of the rows.

    Args:
        p_dsources: dS (n, m, d), written; or None.
        p_dprivates: dU (T, m, d), written; or None.
        p_dadded: gradient of the added prompts (T, m, d), written; or None.
        p_dlogits: dA (T, N), or the gradient of weights that are given, written; or None.
        p_dots: (patches, G, N), the shares of dalpha; or None.
        p_from_sources: what dS is made of (G, m, d), strided: dMixed for raw sources, else the prompts' gradient.
        p_from_privates: the same for dU.
        p_grad: the prompts' gradient; or None without ``p_dadded``.
        p_logits: A (T, N), N = n, plus 1 with private prompts; or None with weights that are given.
        p_alpha: these of the tasks (T, N), or None.
        p_row_alpha: these of the batch rows (B, N), each a group then, or None.
        p_mask: (T, N) bool, or None.
        p_task_ids: (B,), or None when the groups are the tasks.
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
        stride_g: stride of p_grad between groups; None without it.
        stride_i: stride of p_grad between positions; None without it.
        stride_d: stride of p_grad along a row; None without it.
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
    x = Operands(
        p_logits, p_alpha, p_row_alpha, None, None, None, None, None, p_mask, p_task_ids, inv_tau, B, T, n, N, m, d
    )
    n_plane = tl.cdiv(m, BI) * tl.cdiv(d, BN)
    n_sources = 0
    if p_dsources is not None:
        n_sources = tl.cdiv(n, BJ) * n_plane
    n_privates = 0
    if p_dprivates is not None:
        n_privates = tl.cdiv(T, BJ) * n_plane
    n_added = 0
    if p_dadded is not None:
        n_added = tl.cdiv(T, BJ) * n_plane
    i_tile = tl.program_id(0)
    if i_tile < n_sources:
        if p_dsources is not None:
            from_sources = Gradient(p_from_sources, stride_sg, stride_si, stride_sd)
            spread_patch(x, from_sources, p_dsources, None, i_tile, False, False, BG, BI, BN, BJ, OPERAND, PRECISION)
    elif i_tile < n_sources + n_privates:
        if p_dprivates is not None:
            from_privates = Gradient(p_from_privates, stride_pg, stride_pi, stride_pd)
            i_private = i_tile - n_sources
            spread_patch(
                x, from_privates, p_dprivates, None, i_private, True, False, BG, BI, BN, BJ, OPERAND, PRECISION
            )
    elif i_tile < n_sources + n_privates + n_added:
        if p_dadded is not None:
            dp = Gradient(p_grad, stride_g, stride_i, stride_d)
            i_added = i_tile - n_sources - n_privates
            spread_patch(x, dp, p_dadded, None, i_added, True, True, BG, BI, BN, BJ, OPERAND, PRECISION)
    elif p_dlogits is not None:
        i_t = (i_tile - n_sources - n_privates - n_added).to(tl.int64)
        differentiate_logits(x, p_dlogits, p_dots, i_t, n_patches, BX, BJ)


def compose_spread(
    grad: Tensor,
    mixture: Composition,
    task_ids: Tensor | None,
    dlogits: Tensor | None,
    dsources: Tensor | None,
    dprivates: Tensor | None,
    dadded: Tensor | None,
    dmixed: Tensor | None,
    dots: Tensor | None,
) -> None:
    """Fill dA (T, N), dS (n, m, d), dU (T, m, d) and the added prompts' gradient (T, m, d), unless they are None.

    Args:
        grad: gradient of the groups' prompts (G, m or more, d), any strides.
        mixture: the composition's arguments.
        task_ids: (G,) the groups' tasks, or None when the groups are the tasks.
        dlogits: written, or, where weights are given, their gradient is; or None.
        dsources: written; or None.
        dprivates: written; or None.
        dadded: written; or None.
        dmixed: (G, m, d); None when no raw prompt needs a gradient.
        dots: shares of dalpha (patches, G, N); None without ``dlogits``.
    """
    x = mixture
    tiles = spread_tiles(x.length, x.width, x.operand, tile_class(grad.device), x.by_row)
    plane = -(-x.length // tiles.BI) * -(-x.width // tiles.BN)
    programs = 0
    if dsources is not None:
        programs += -(-x.num_sources // tiles.BJ) * plane
    if dprivates is not None:
        programs += -(-x.tasks() // tiles.BJ) * plane
    if dadded is not None:
        programs += -(-x.tasks() // tiles.BJ) * plane
    if dlogits is not None:
        programs += dlogits.shape[0]
    if programs:
        from_sources = dmixed if x.raw_sources() and dmixed is not None else grad
        from_privates = dmixed if x.raw_privates() and dmixed is not None else grad
        launch(
            compose_spread_kernel, (programs,), grad,
            dsources, dprivates, dadded, dlogits, dots, from_sources, from_privates, None if dadded is None else grad,
            x.logits, x.alpha, x.row_alpha, x.mask, task_ids, x.inv_tau,
            x.tasks() if task_ids is None else grad.shape[0], x.tasks(), x.num_sources, x.length, x.width,
            0 if dots is None else dots.shape[0], *from_sources.stride(), *from_privates.stride(),
            *((None,) * 3 if dadded is None else grad.stride()),
            x.privates is not None, *tiles[:5], x.operand_type, x.precision, num_warps=tiles.num_warps,
        )  # fmt: skip

"""Fourth launch of the backward of a composition that is mixed once: dS and dU, and shares of dalpha."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.compose_spread import spread_patch
from crosspt.kernels.launch import Composition, launch
from crosspt.kernels.mixed_tiles import WANTED, share_tiles
from crosspt.kernels.mixing import Gradient, Operands, dot, group_count, group_tasks, load_gradient, patch


@triton.jit
def split_patches(x, i_split, n_splits, BN: tl.constexpr):
    """First patch of a split, and the one behind its last; a patch is BN columns of one position."""
    n_patches = x.m * tl.cdiv(x.d, BN)
    n_steps = tl.cdiv(n_patches, n_splits)
    return i_split * n_steps, tl.minimum(i_split * n_steps + n_steps, n_patches)


@triton.jit
def share_of_sources(
    x, g, dp, p_dots, i_tile, n_splits, BIAS: tl.constexpr, BG: tl.constexpr, BN: tl.constexpr, BJ: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """What the patches of a split add to ``<D_g, E_j>``, for BG groups and BJ sources, with BIAS also to ``<dP_g, b>``.

    A constant added to all of dalpha leaves dA as it is. So the bias, of which raw prompts alone have a part, counts
    here only where weights are given, whose gradient is dalpha itself.
    """
    ACC: tl.constexpr = p_dots.dtype.element_ty
    G = group_count(x.B, x.T, x.p_row_alpha)
    n_g = tl.cdiv(G, BG)  # innermost, so that all groups find the sources in the cache
    n_j = tl.cdiv(x.n, BJ)
    n_n = tl.cdiv(x.d, BN)
    i_split = i_tile // n_g // n_j
    o_j = (i_tile // n_g % n_j * BJ + tl.arange(0, BJ)).to(tl.int64)  # [BJ]
    o_g, _, m_g = group_tasks(x, i_tile % n_g * BG, BG)  # [BG]
    i_lo, i_hi = split_patches(x, i_split, n_splits, BN)
    b_dots = tl.zeros([BG, BJ], ACC)  # [BG, BJ]
    if BIAS:
        b_bias = tl.zeros([BG], ACC)  # [BG]
    for i_patch in range(i_lo, i_hi):
        at = patch(x, i_patch // n_n, i_patch % n_n * BN, 1, BN)
        b_d = load_gradient(g, o_g, m_g, at)  # [BG, BN]
        p_e = x.p_sources + o_j[:, None] * x.m * x.d + (at.o_i * x.d + at.o_c)[None, :]  # [BJ, BN]
        b_e = tl.load(p_e, mask=(o_j < x.n)[:, None] & at.m_c[None, :], other=0.0)  # [BJ, BN]
        b_dots = dot(b_d.to(OPERAND), tl.trans(b_e.to(OPERAND)), b_dots, PRECISION)  # [BG, BJ]
        if BIAS:
            b_b = tl.load(x.p_bias + at.o_c, mask=at.m_c, other=0.0).to(ACC)  # [BN]
            b_bias += tl.sum(load_gradient(dp, o_g, m_g, at).to(ACC) * b_b[None, :], 1)
    if BIAS:
        b_dots += b_bias[:, None]
    p_share = p_dots + (i_split.to(tl.int64) * G + o_g)[:, None] * x.N + o_j[None, :]  # [BG, BJ]
    tl.store(p_share, b_dots, mask=(o_g < G)[:, None] & (o_j < x.n)[None, :])


@triton.jit
def share_of_privates(x, g, dp, p_dots, i_tile, n_splits, BIAS: tl.constexpr, BG: tl.constexpr, BN: tl.constexpr):
    """What the patches of a split add to ``<D_g, U_g>``, for BG groups, and ``BIAS`` times to ``<dP_g, b>``.

    A constant added to all of dalpha leaves dA as it is. So the bias, of which raw prompts alone have a part, counts
    once where the private prompts alone are raw, once less where the sources alone are, and else not at all. Where
    weights are given it counts once for raw private prompts.
    """
    ACC: tl.constexpr = p_dots.dtype.element_ty
    n_n = tl.cdiv(x.d, BN)
    i_split = i_tile % n_splits
    o_g, o_t, m_g = group_tasks(x, i_tile // n_splits * BG, BG)  # [BG]
    i_lo, i_hi = split_patches(x, i_split, n_splits, BN)
    b_dot = tl.zeros([BG], ACC)  # [BG]
    for i_patch in range(i_lo, i_hi):
        at = patch(x, i_patch // n_n, i_patch % n_n * BN, 1, BN)
        p_u = x.p_privates + o_t[:, None] * x.m * x.d + (at.o_i * x.d + at.o_c)[None, :]  # [BG, BN]
        b_u = tl.load(p_u, mask=m_g[:, None] & at.m_c[None, :], other=0.0).to(ACC)  # [BG, BN]
        b_dot += tl.sum(load_gradient(g, o_g, m_g, at).to(ACC) * b_u, 1)
        if BIAS != 0:
            b_b = tl.load(x.p_bias + at.o_c, mask=at.m_c, other=0.0).to(ACC)  # [BN]
            b_dot += BIAS * tl.sum(load_gradient(dp, o_g, m_g, at).to(ACC) * b_b[None, :], 1)
    G = group_count(x.B, x.T, x.p_row_alpha)
    tl.store(p_dots + (i_split.to(tl.int64) * G + o_g) * x.N + x.n, b_dot, mask=o_g < G)


@triton.jit(do_not_specialize=["B", "T", "n", "m", "n_splits"])
def compose_shares_kernel(
    p_dsources, p_dprivates, p_dadded, p_dots, p_grad, p_dmixed, p_terms, p_logits, p_alpha, p_row_alpha, p_sources,
    p_privates, p_bias, p_mask, p_task_ids, inv_tau: tl.float64, B, T, n, m, d, n_splits, stride_g, stride_i, stride_d,
    PRIVATE: tl.constexpr, RAW_SOURCES: tl.constexpr, RAW_PRIVATES: tl.constexpr,
    BG: tl.constexpr, BN: tl.constexpr, BJ: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """First the programs over dS, dU and the added prompts' gradient, then those over shares of dalpha.

    Of these the sources' come first, then the private prompts'.

    A result that is not asked for is None and costs nothing. G = min(B, T) groups, B with weights of the rows.

    Args:
        p_dsources: dS (n, m, d), written; or None.
        p_dprivates: dU (T, m, d), written; or None.
        p_dadded: gradient of the added prompts (T, m, d), written; or None.
        p_dots: (splits, G, N) in the accumulator's type, written: what patches of a split add to dalpha; or None.
        p_grad: gradient of the groups' prompts dP (G, m or more, d), strided.
        p_dmixed: dMixed (G, m, d), or None when nothing is raw.
        p_terms: (3, G), largest scores and reciprocal sums; or None without ``p_dsources`` and ``p_dprivates``, or
            where weights are given.
        p_logits: A (T, N), N = n, plus 1 with private prompts; or None with weights that are given.
        p_alpha: these of the tasks (T, N), or None.
        p_row_alpha: these of the batch rows (B, N), each a group then, or None.
        p_sources: (n, m, d); or None without ``p_dots`` or sources.
        p_privates: (T, m, d); or None without ``p_dots`` or private prompts.
        p_bias: b (d,); or None without ``p_dots``, or where it has no part in the result.
        p_mask: (T, N) bool, or None.
        p_task_ids: (B,), or None when the groups are the tasks.
        inv_tau: 1 / tau.
        B: batch; T when the groups are the tasks.
        T: number of tasks.
        n: number of sources.
        m: prompt length.
        d: width.
        n_splits: over how many sums the patches are split.
        stride_g: stride of the gradient between groups.
        stride_i: stride of the gradient between positions.
        stride_d: stride of the gradient along a row.
        PRIVATE: whether there are private prompts.
        RAW_SOURCES: whether the sources go through the encoder.
        RAW_PRIVATES: whether the private prompts do.
        BG: groups of a step or tile.
        BN: columns of a patch.
        BJ: sources or tasks of a tile.
        OPERAND: type of the operands of matrix products.
        PRECISION: "ieee" or "tf32", how float32 operands are multiplied.
    """
    N = n + (1 if PRIVATE else 0)
    x = Operands(
        p_logits, p_alpha, p_row_alpha, p_sources, p_privates, None, p_bias, None, p_mask, p_task_ids,
        inv_tau, B, T, n, N, m, d,
    )  # fmt: skip
    dp = Gradient(p_grad, stride_g, stride_i, stride_d)
    dmixed = Gradient(p_dmixed, m * d, d, 1)
    n_plane = m * tl.cdiv(d, BN)
    n_g = tl.cdiv(group_count(B, T, p_row_alpha), BG)
    n_sources = 0
    if p_dsources is not None:
        n_sources = tl.cdiv(n, BJ) * n_plane
    n_privates = 0
    if p_dprivates is not None:
        n_privates = tl.cdiv(T, BJ) * n_plane
    n_prompts = n_sources + n_privates
    if p_dadded is not None:
        n_prompts += tl.cdiv(T, BJ) * n_plane
    n_dots = 0
    if p_dots is not None and p_sources is not None:
        n_dots = n_g * n_splits * tl.cdiv(n, BJ)
    from_sources = dmixed if RAW_SOURCES else dp
    from_privates = dmixed if RAW_PRIVATES else dp
    i_tile = tl.program_id(0)
    if i_tile < n_sources:
        if p_dsources is not None:
            spread_patch(x, from_sources, p_dsources, p_terms, i_tile, False, False, BG, 1, BN, BJ, OPERAND, PRECISION)
    elif i_tile < n_sources + n_privates:
        if p_dprivates is not None:
            i_private = i_tile - n_sources
            spread_patch(
                x, from_privates, p_dprivates, p_terms, i_private, True, False, BG, 1, BN, BJ, OPERAND, PRECISION
            )
    elif i_tile < n_prompts:
        if p_dadded is not None:
            i_added = i_tile - n_sources - n_privates
            spread_patch(x, dp, p_dadded, None, i_added, True, True, BG, 1, BN, BJ, OPERAND, PRECISION)
    elif i_tile < n_prompts + n_dots:
        if p_dots is not None and p_sources is not None:
            OF_SOURCES: tl.constexpr = p_logits is None and RAW_SOURCES and p_bias is not None
            i_share = i_tile - n_prompts
            share_of_sources(x, from_sources, dp, p_dots, i_share, n_splits, OF_SOURCES, BG, BN, BJ, OPERAND, PRECISION)
    elif p_dots is not None and p_privates is not None:
        BIAS: tl.constexpr = 0 if p_bias is None else (1 if RAW_PRIVATES else (0 if p_logits is None else -1))
        i_last = i_tile - n_prompts - n_dots
        share_of_privates(x, from_privates, dp, p_dots, i_last, n_splits, BIAS, BG, BN)


def compose_shares(
    grad: Tensor,
    mixture: Composition,
    task_ids: Tensor | None,
    dmixed: Tensor | None,
    terms: Tensor | None,
    dsources: Tensor | None,
    dprivates: Tensor | None,
    dadded: Tensor | None,
    *,
    dots: bool,
) -> Tensor | None:
    """Fill dS (n, m, d), dU and the added prompts' gradient (T, m, d), unless None; give shares of dalpha (., G, N).

    Args:
        grad: gradient of the groups' prompts (G, m or more, d), any strides.
        mixture: the composition's arguments.
        task_ids: (G,) the groups' tasks, or None when the groups are the tasks.
        dmixed: (G, m, d); None when no raw prompt needs a gradient.
        terms: (3, G); None without ``dsources`` and ``dprivates``, or where weights are given.
        dsources: written; or None.
        dprivates: written; or None.
        dadded: written; or None.
        dots: whether the shares of dalpha are asked for; None without.
    """
    x = mixture
    tiles = share_tiles(x.width, x.num_sources)
    groups, patches = grad.shape[0], x.length * -(-x.width // tiles.BN)
    blocks, group_blocks = -(-x.num_sources // tiles.BJ), -(-groups // tiles.BG)
    splits = min(-(-WANTED // max(blocks, 1)), patches)
    programs = 0
    if dsources is not None:
        programs += blocks * patches
    if dprivates is not None:
        programs += -(-x.tasks() // tiles.BJ) * patches
    if dadded is not None:
        programs += -(-x.tasks() // tiles.BJ) * patches
    shares = None
    if dots:
        accumulator = torch.float64 if x.operand is torch.float64 else torch.float32
        shares = grad.new_empty((splits, groups, x.weights().shape[1]), dtype=accumulator)
        programs += group_blocks * splits * (blocks + (x.privates is not None))
    if programs:
        half_raw = x.sources is not None and x.privates is not None and x.raw_sources() != x.raw_privates()
        biased = dots and (half_raw or x.given)
        launch(
            compose_shares_kernel, (programs,), grad,
            dsources, dprivates, dadded, shares, grad, dmixed, terms, x.logits, x.alpha, x.row_alpha,
            x.sources if dots else None, x.privates if dots else None, x.bias if biased else None,
            x.mask, task_ids, x.inv_tau, x.tasks() if task_ids is None else groups, x.tasks(), x.num_sources,
            x.length, x.width, splits, *grad.stride(), x.privates is not None, x.raw_sources(), x.raw_privates(),
            *tiles[:3], x.operand_type, x.precision, num_warps=tiles.num_warps, num_stages=tiles.num_stages,
        )  # fmt: skip
    return shares

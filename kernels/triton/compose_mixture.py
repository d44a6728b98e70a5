"""A composition mixed once, into memory: with many sources or long prompts its other launches start from there."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.architecture import tile_class
from crosspt.kernels.launch import Composition, launch
from crosspt.kernels.mixed_tiles import mixture_tiles
from crosspt.kernels.mixing import (
    Operands,
    candidate_weights,
    group_count,
    group_tasks,
    load_own,
    mix,
    patch,
    private_weights,
    raw_weights,
    softmax_terms,
)


@triton.jit
def mix_patch(
    x, p_mixed, p_rest, p_terms, i_g, i_patch, RAW_SOURCES: tl.constexpr, RAW_PRIVATES: tl.constexpr,
    BG: tl.constexpr, BN: tl.constexpr, BJ: tl.constexpr, ONE_BLOCK: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """BG groups on BN columns of one position, the first patch also their softmax; see the kernel."""
    ACC: tl.constexpr = tl.float64 if tl.float64 == OPERAND else tl.float32
    G = group_count(x.B, x.T, x.p_row_alpha)
    o_g, o_t, m_t = group_tasks(x, i_g, BG)  # [BG]
    s = softmax_terms(x, o_g, o_t, m_t, BJ, ACC)
    b_private = tl.zeros([BG], ACC)  # [BG]
    if x.p_privates is not None:
        b_private = private_weights(x, s)  # [BG]
    n_n = tl.cdiv(x.d, BN)
    at = patch(x, i_patch // n_n, i_patch % n_n * BN, 1, BN)
    p_at = o_g[:, None] * x.m * x.d + (at.o_i * x.d + at.o_c)[None, :]  # [BG, BN]
    m_at = (o_g < G)[:, None] & at.m_c[None, :]  # [BG, BN]
    if p_mixed is not None or p_rest is not None:
        b_alpha = candidate_weights(x, s, 0, x.n, BJ)  # [BG, BJ]
        if p_mixed is not None:
            b_u = load_own(x, x.p_privates, s, at) if RAW_PRIVATES else None  # [BG, BN]
            b_mixed = mix(
                x, s, b_alpha, b_private, b_u, at, RAW_SOURCES, RAW_PRIVATES, ONE_BLOCK, OPERAND, PRECISION
            )  # [BG, BN]
            tl.store(p_mixed + p_at, b_mixed.to(OPERAND), mask=m_at)
        if p_rest is not None:
            ENCODED_SOURCES: tl.constexpr = x.p_sources is not None and not RAW_SOURCES
            ENCODED_PRIVATES: tl.constexpr = x.p_privates is not None and not RAW_PRIVATES
            b_v = load_own(x, x.p_privates, s, at) if ENCODED_PRIVATES else None  # [BG, BN]
            b_rest = mix(
                x, s, b_alpha, b_private, b_v, at, ENCODED_SOURCES, ENCODED_PRIVATES, ONE_BLOCK, OPERAND, PRECISION
            )  # [BG, BN]
            tl.store(p_rest + p_at, b_rest, mask=m_at)
    if p_terms is not None and i_patch == 0:
        b_raw = raw_weights(x, s, b_private, RAW_SOURCES, RAW_PRIVATES, BJ)  # [BG]
        tl.store(p_terms + o_g, s.b_max, mask=o_g < G)
        tl.store(p_terms + G + o_g, s.b_inv, mask=o_g < G)
        tl.store(p_terms + 2 * G + o_g, b_raw, mask=o_g < G)


@triton.jit(do_not_specialize=["B", "T", "n", "m"])
def compose_mixture_kernel(
    p_mixed, p_rest, p_terms, p_rounded, p_logits, p_alpha, p_row_alpha, p_sources, p_privates, p_weight, p_mask,
    p_task_ids, inv_tau: tl.float64, B, T, n, m, d, RAW_SOURCES: tl.constexpr, RAW_PRIVATES: tl.constexpr,
    BG: tl.constexpr, BN: tl.constexpr, BJ: tl.constexpr,
    ONE_BLOCK: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """First the programs that mix, BG groups x BN columns of a position each, then those that round the encoder.

    A result that is not asked for is None and costs nothing. G = min(B, T) groups, B with weights of the rows.

    Args:
        p_mixed: sum over the raw prompts (G, m, d), in the operands' type, written; or None.
        p_rest: sum over the encoded prompts (G, m, d), in the accumulator's type, written; or None.
        p_terms: (3, G) in the accumulator's type, written: largest score, reciprocal sum, raw weight; or None.
        p_rounded: W (d, d) in the operands' type, written; or None.
        p_logits: A (T, N), N = n, plus 1 with private prompts; or None with weights that are given.
        p_alpha: these of the tasks (T, N), or None.
        p_row_alpha: these of the batch rows (B, N), each a group then, or None.
        p_sources: (n, m, d), or None.
        p_privates: (T, m, d), or None.
        p_weight: W (d, d), or None without ``p_rounded``.
        p_mask: (T, N) bool, or None.
        p_task_ids: (B,), or None when the groups are the tasks.
        inv_tau: 1 / tau.
        B: batch; T when the groups are the tasks.
        T: number of tasks.
        n: number of sources.
        m: prompt length.
        d: width.
        RAW_SOURCES: whether the sources go through the encoder.
        RAW_PRIVATES: whether the private prompts do.
        BG: groups of a tile.
        BN: columns of a tile.
        BJ: sources mixed in one product.
        ONE_BLOCK: whether n <= BJ.
        OPERAND: type of the operands of matrix products.
        PRECISION: "ieee" or "tf32", how float32 operands are multiplied.
    """
    N = n + (1 if p_privates is not None else 0)
    x = Operands(
        p_logits, p_alpha, p_row_alpha, p_sources, p_privates, None, None, None, p_mask, p_task_ids,
        inv_tau, B, T, n, N, m, d,
    )  # fmt: skip
    # Groups are innermost, so that all of them find the sources in the cache.
    n_groups = tl.cdiv(group_count(B, T, p_row_alpha), BG)
    n_patches = 0
    if p_mixed is not None or p_rest is not None:
        n_patches = m * tl.cdiv(d, BN)
    elif p_terms is not None:
        n_patches = 1
    i_tile = tl.program_id(0)
    if i_tile < n_groups * n_patches:
        mix_patch(
            x, p_mixed, p_rest, p_terms, i_tile % n_groups * BG, i_tile // n_groups, RAW_SOURCES, RAW_PRIVATES,
            BG, BN, BJ, ONE_BLOCK, OPERAND, PRECISION,
        )  # fmt: skip
    elif p_rounded is not None:
        i_w = i_tile - n_groups * n_patches
        o_r = (i_w // tl.cdiv(d, BN) * BG + tl.arange(0, BG)).to(tl.int64)[:, None]  # [BG, 1]
        o_c = (i_w % tl.cdiv(d, BN) * BN + tl.arange(0, BN))[None, :]  # [1, BN]
        m_w = (o_r < d) & (o_c < d)  # [BG, BN]
        b_w = tl.load(p_weight + o_r * d + o_c, mask=m_w, other=0.0)  # [BG, BN]
        tl.store(p_rounded + o_r * d + o_c, b_w.to(OPERAND), mask=m_w)


class Mixed(NamedTuple):
    """What a composition's other launches start from; None for what was not asked for or there is not."""

    mixed: Tensor | None  # sum over the raw prompts (G, m, d), in the operands' dtype
    rest: Tensor | None  # sum over the encoded prompts (G, m, d), in the accumulator's dtype
    terms: Tensor | None  # (3, G) in the accumulator's dtype: largest score, reciprocal sum, raw weight of a group
    weight: Tensor | None  # W (d, d) in the operands' dtype


def compose_mixture(
    mixture: Composition,
    groups: int,
    task_ids: Tensor | None,
    *,
    mixed: bool,
    rest: bool,
    terms: bool,
    weight: bool,
) -> Mixed:
    """Mix once. What is not asked for is not computed, and without anything to compute there is no launch.

    Args:
        mixture: the composition's arguments.
        groups: G.
        task_ids: (B,), or None when the groups are the tasks.
        mixed: whether the sum over the raw prompts is asked for.
        rest: whether the sum over the encoded prompts is.
        terms: whether the terms of the groups' softmax are.
        weight: whether the encoder is, in the operands' dtype.
    """
    x = mixture
    tiles = mixture_tiles(x.width, x.num_sources, x.weights().dtype, tile_class(x.weights().device), x.by_row)
    accumulator = torch.float64 if x.operand is torch.float64 else torch.float32
    columns = -(-x.width // tiles.BN)

    def scratch(asked: bool, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
        return x.weights().new_empty(shape, dtype=dtype) if asked else None

    prompts = (groups, x.length, x.width)
    found = Mixed(
        scratch(mixed, prompts, x.operand),
        scratch(rest, prompts, accumulator),
        scratch(terms, (3, groups), accumulator),
        scratch(weight and x.weights().dtype != x.operand, (x.width, x.width), x.operand),
    )
    programs = 0
    if mixed or rest or terms:
        programs += -(-groups // tiles.BG) * (x.length * columns if mixed or rest else 1)
    if found.weight is not None:
        programs += -(-x.width // tiles.BG) * columns
    if programs:
        launch(
            compose_mixture_kernel, (programs,), x.weights(),
            *found, x.logits, x.alpha, x.row_alpha, x.sources, x.privates,
            None if found.weight is None else x.weight, x.mask, task_ids, x.inv_tau,
            x.tasks() if task_ids is None else task_ids.shape[0], x.tasks(), x.num_sources, x.length, x.width,
            x.raw_sources(), x.raw_privates(), *tiles[:3], x.num_sources <= tiles.BJ, x.operand_type, x.precision,
            num_warps=tiles.num_warps, num_stages=tiles.num_stages,
        )  # fmt: skip
    return found if found.weight is not None or not weight else found._replace(weight=x.weight)

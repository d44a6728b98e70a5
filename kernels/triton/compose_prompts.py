"""compose_prompts: the prompt of every task in one launch. The composed tile is shared with prompted_embedding."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.architecture import tile_class
from crosspt.kernels.compose_encode import compose_encode
from crosspt.kernels.launch import Composition, launch
from crosspt.kernels.mixing import (
    Operands,
    candidate_weights,
    dot,
    group_tasks,
    load_own,
    mix,
    patch,
    private_weights,
    raw_weights,
    softmax_terms,
)
from crosspt.kernels.tiles import compose_tiles, mixed_once


@triton.jit
def compose_tile(
    x, i_tile, RAW_SOURCES: tl.constexpr, RAW_PRIVATES: tl.constexpr,
    BG: tl.constexpr, BI: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BJ: tl.constexpr,
    ONE_BLOCK: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Compose tile ``i_tile``: BG groups x BI positions x BN columns, see :func:`compose_prompts_kernel`.

    Returns:
        its groups o_g [BG], whether they have a task m_t [BG], the patch [BI * BN], and the prompts [BG, BI * BN] in
        the accumulator's type.
    """
    ACC: tl.constexpr = tl.float64 if tl.float64 == OPERAND else tl.float32
    RAW: tl.constexpr = RAW_SOURCES or RAW_PRIVATES
    n_n = tl.cdiv(x.d, BN)
    n_i = tl.cdiv(x.m, BI)
    i_n = (i_tile % n_n) * BN
    i_i = (i_tile // n_n % n_i) * BI
    i_g = (i_tile // n_n // n_i) * BG

    o_g, o_t, m_t = group_tasks(x, i_g, BG)  # [BG]
    s = softmax_terms(x, o_g, o_t, m_t, BJ, ACC)
    b_alpha = candidate_weights(x, s, 0, x.n, BJ)  # [BG, BJ]
    b_private = tl.zeros([BG], ACC)  # [BG]
    if x.p_privates is not None:
        b_private = private_weights(x, s)  # [BG]

    b_out = tl.zeros([BG, BI * BN], ACC)  # [BG, BI * BN]
    if RAW:
        b_rows = tl.zeros([BG * BI, BN], ACC)  # [BG * BI, BN]
        o_n = (i_n + tl.arange(0, BN)).to(tl.int64)  # [BN]
        b_next = load_own(x, x.p_privates, s, patch(x, i_i, 0, BI, BK)) if RAW_PRIVATES else None  # [BG, BI * BK]
        for i_k in range(0, x.d, BK):
            b_u = b_next  # [BG, BI * BK]
            if RAW_PRIVATES:
                b_next = load_own(x, x.p_privates, s, patch(x, i_i, i_k + BK, BI, BK))  # [BG, BI * BK]
            b_mix = mix(
                x, s, b_alpha, b_private, b_u, patch(x, i_i, i_k, BI, BK),
                RAW_SOURCES, RAW_PRIVATES, ONE_BLOCK, OPERAND, PRECISION,
            )  # fmt: skip # [BG, BI * BK]
            o_k = i_k + tl.arange(0, BK)  # [BK]
            m_w = (o_n < x.d)[:, None] & (o_k < x.d)[None, :]  # [BN, BK]
            b_w = tl.load(x.p_weight + o_n[:, None] * x.d + o_k[None, :], mask=m_w, other=0.0)  # [BN, BK]
            b_x = tl.reshape(b_mix.to(OPERAND), [BG * BI, BK])  # [BG * BI, BK]
            b_rows = dot(b_x, tl.trans(b_w.to(OPERAND)), b_rows, PRECISION)  # [BG * BI, BN]
        b_out = tl.reshape(b_rows, [BG, BI * BN])  # [BG, BI * BN]

    at = patch(x, i_i, i_n, BI, BN)
    if RAW and x.p_bias is not None:
        b_raw = raw_weights(x, s, b_private, RAW_SOURCES, RAW_PRIVATES, BJ)  # [BG]
        b_bias = tl.load(x.p_bias + at.o_c, mask=at.m_c, other=0.0).to(ACC)  # [BI * BN]
        b_out += b_raw[:, None] * b_bias[None, :]
    ENCODED_SOURCES: tl.constexpr = x.p_sources is not None and not RAW_SOURCES
    ENCODED_PRIVATES: tl.constexpr = x.p_privates is not None and not RAW_PRIVATES
    if ENCODED_SOURCES or ENCODED_PRIVATES:
        b_u = load_own(x, x.p_privates, s, at) if ENCODED_PRIVATES else None  # [BG, BI * BN]
        b_out += mix(
            x, s, b_alpha, b_private, b_u, at, ENCODED_SOURCES, ENCODED_PRIVATES, ONE_BLOCK, OPERAND, PRECISION
        )  # [BG, BI * BN]
    if x.p_added is not None:
        b_out += load_own(x, x.p_added, s, at).to(ACC)
    return o_g, m_t, at, b_out


@triton.jit(do_not_specialize=["T", "n", "m"])
def compose_prompts_kernel(
    p_out, p_logits, p_alpha, p_sources, p_privates, p_weight, p_bias, p_added, p_mask,
    inv_tau: tl.float64, T, n, m, d,
    RAW_SOURCES: tl.constexpr, RAW_PRIVATES: tl.constexpr,
    BG: tl.constexpr, BI: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BJ: tl.constexpr,
    ONE_BLOCK: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One tile of P a program.

    Args:
        p_out: P (T, m, d), written.
        p_logits: A (T, N), N = n, plus 1 with private prompts; or None with weights that are given.
        p_alpha: these of the tasks (T, N), or None.
        p_sources: (n, m, d), or None.
        p_privates: (T, m, d), or None.
        p_weight: W (d, d), or None when nothing is raw.
        p_bias: b (d,), or None.
        p_added: (T, m, d), or None.
        p_mask: (T, N) bool, or None.
        inv_tau: 1 / tau.
        T: number of tasks.
        n: number of sources.
        m: prompt length.
        d: width.
        RAW_SOURCES: whether the sources go through the encoder.
        RAW_PRIVATES: whether the private prompts do.
        BG: tasks of a tile.
        BI: positions of a tile.
        BN: columns of a tile.
        BK: columns of the inner product, a step.
        BJ: sources mixed in one product.
        ONE_BLOCK: whether n <= BJ.
        OPERAND: type of the operands of matrix products.
        PRECISION: "ieee" or "tf32", how float32 operands are multiplied.
    """
    N = n + (1 if p_privates is not None else 0)
    x = Operands(
        p_logits, p_alpha, None, p_sources, p_privates, p_weight, p_bias, p_added, p_mask, None,
        inv_tau, 0, T, n, N, m, d,
    )  # fmt: skip
    o_g, m_t, at, b_out = compose_tile(
        x, tl.program_id(0), RAW_SOURCES, RAW_PRIVATES, BG, BI, BN, BK, BJ, ONE_BLOCK, OPERAND, PRECISION
    )
    p_p = p_out + o_g[:, None] * m * d + (at.o_i * d + at.o_c)[None, :]  # [BG, BI * BN]
    tl.store(p_p, b_out.to(p_out.dtype.element_ty), mask=m_t[:, None] & at.m_c[None, :])


def compose_prompts(mixture: Composition) -> Tensor:
    """P (T, m, d) in the dtype of the mixture's tensors."""
    x = mixture
    out = torch.empty((x.tasks(), x.length, x.width), dtype=x.weights().dtype, device=x.weights().device)
    if mixed_once(x.length, x.num_sources, x.operand):
        compose_encode(out, x, None, None, None)
        return out
    tiles = compose_tiles(x.length, x.width, x.num_sources, x.operand, tile_class(out.device))
    grid = (x.programs(x.tasks(), tiles),)
    launch(
        compose_prompts_kernel, grid, out,
        out, x.logits, x.alpha, x.sources, x.privates, x.weight, x.bias, x.added, x.mask, x.inv_tau,
        x.tasks(), x.num_sources, x.length, x.width, x.raw_sources(), x.raw_privates(),
        *tiles[:5], x.num_sources <= tiles.BJ, x.operand_type, x.precision,
        num_warps=tiles.num_warps, num_stages=tiles.num_stages,
    )  # fmt: skip
    return out

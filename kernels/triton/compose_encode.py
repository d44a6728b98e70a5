"""Second launch of a composition that is mixed once: its encoder, as one product over the rows of all prompts."""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.architecture import tile_class
from crosspt.kernels.compose_mixture import compose_mixture
from crosspt.kernels.launch import Composition, launch
from crosspt.kernels.mixed_tiles import encode_tiles
from crosspt.kernels.mixing import dot
from crosspt.kernels.prepend_prompts import AT_ONCE, copy_tokens, fill_bad_rows, first_bit, rows_of_tasks
from crosspt.kernels.tiles import copy_tiles


class Encoding(NamedTuple):
    """A mixture and its encoder on the device; None for what there is not."""

    p_mixed: Any  # (G, m, d)
    p_rest: Any  # (G, m, d)
    p_terms: Any  # (3, G)
    p_weight: Any  # W (d, d) in the type of ``p_mixed``
    p_bias: Any  # b (d,)
    p_added: Any  # (T, m, d)
    p_task_ids: Any  # (B,), None when the groups are the tasks
    B: Any
    T: Any
    m: Any
    d: Any


@triton.jit
def encode_rows(
    x, o_r, o_n, BK: tl.constexpr, ROWS: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Prompts' rows ``o_r`` of G * m, at the columns ``o_n``: [BM, BN]."""
    G = x.B if ROWS else tl.minimum(x.B, x.T)
    m_r = o_r < G * x.m  # [BM]
    b_out = tl.zeros([o_r.shape[0], o_n.shape[0]], ACC)  # [BM, BN]
    if x.p_mixed is not None:
        for i_k in range(0, x.d, BK):
            o_k = i_k + tl.arange(0, BK)  # [BK]
            m_x = m_r[:, None] & (o_k < x.d)[None, :]  # [BM, BK]
            b_x = tl.load(x.p_mixed + o_r.to(tl.int64)[:, None] * x.d + o_k[None, :], mask=m_x, other=0.0)  # [BM, BK]
            m_w = (o_n < x.d)[:, None] & (o_k < x.d)[None, :]  # [BN, BK]
            b_w = tl.load(x.p_weight + o_n.to(tl.int64)[:, None] * x.d + o_k[None, :], mask=m_w, other=0.0)  # [BN, BK]
            b_out = dot(b_x, tl.trans(b_w), b_out, PRECISION)  # [BM, BN]
    if x.p_bias is not None:
        b_raw = tl.load(x.p_terms + 2 * G + o_r // x.m, mask=m_r, other=0.0)  # [BM]
        b_bias = tl.load(x.p_bias + o_n, mask=o_n < x.d, other=0.0).to(ACC)  # [BN]
        b_out += b_raw[:, None] * b_bias[None, :]
    if x.p_rest is not None:
        p_rest = x.p_rest + o_r.to(tl.int64)[:, None] * x.d + o_n[None, :]  # [BM, BN]
        b_out += tl.load(p_rest, mask=m_r[:, None] & (o_n < x.d)[None, :], other=0.0)  # [BM, BN]
    if x.p_added is not None:
        o_t = (o_r // x.m).to(tl.int64)  # [BM]
        m_a = m_r  # [BM]
        if x.p_task_ids is not None:
            of_rows = ROWS or x.B < x.T
            m_row = o_r < tl.where(of_rows, G * x.m, 0)  # [BM]
            o_t = tl.where(of_rows, tl.load(x.p_task_ids + o_r // x.m, mask=m_row, other=-1), o_t)  # [BM]
            m_a = m_r & (o_t >= 0) & (o_t < x.T)  # [BM]
        p_a = x.p_added + ((o_t * x.m + o_r % x.m) * x.d)[:, None] + o_n[None, :]  # [BM, BN]
        b_out += tl.load(p_a, mask=m_a[:, None] & (o_n < x.d)[None, :], other=0.0).to(ACC)  # [BM, BN]
    return b_out


@triton.jit
def store_rows(x, p_out, L, o_r, o_n, b_out, ROWS: tl.constexpr):
    """Write rows of the groups' prompts to every batch row of theirs; without task ids to P (T, m, d)."""
    G = x.B if ROWS else tl.minimum(x.B, x.T)
    m_c = (o_n < x.d)[None, :]  # [1, BN]
    m_r = (o_r < G * x.m)[:, None]  # [BM, 1]
    if x.p_task_ids is None:
        p_p = p_out + o_r.to(tl.int64)[:, None] * x.d + o_n[None, :]  # [BM, BN]
        tl.store(p_p, b_out.to(p_out.dtype.element_ty), mask=m_r & m_c)
    else:
        o_g = (o_r // x.m)[:, None]  # [BM, 1]
        o_in = (o_r % x.m).to(tl.int64)[:, None] * x.d + o_n[None, :]  # [BM, BN]
        stride_b = (x.m + L).to(tl.int64) * x.d
        if ROWS or x.B < x.T:
            o_t = tl.load(x.p_task_ids + o_g, mask=m_r, other=0)  # [BM, 1]
            m_t = (o_t >= 0) & (o_t < x.T)  # [BM, 1]
            tl.device_assert(m_t, "crosspt: task_ids must lie in [0, T)")
            b_x = tl.where(m_t, b_out, float("nan")).to(p_out.dtype.element_ty)  # [BM, BN]
            tl.store(p_out + o_g.to(tl.int64) * stride_b + o_in, b_x, mask=m_r & m_c)
        else:
            b_p = b_out.to(p_out.dtype.element_ty)  # [BM, BN]
            i_lo = tl.min(o_g)
            i_hi = tl.max(o_g)
            for i_b in range(0, x.B, AT_ONCE):
                bits = rows_of_tasks(x.p_task_ids, i_b, x.B, i_lo, i_hi)
                while bits != 0:
                    i_row = i_b + first_bit(bits)
                    m_own = m_r & (o_g == tl.load(x.p_task_ids + i_row)) & m_c  # [BM, BN]
                    tl.store(p_out + i_row * stride_b + o_in, b_p, mask=m_own)
                    bits &= bits - 1
            if i_lo == 0:
                m_first = (o_r < x.m)[:, None] & m_c  # [BM, BN]
                fill_bad_rows(p_out, x.p_task_ids, x.B, x.T, stride_b, o_in, m_first)


@triton.jit(do_not_specialize=["B", "L", "T", "m", "V"])
def compose_encode_kernel(
    p_out, p_mixed, p_rest, p_terms, p_weight, p_bias, p_added, p_task_ids, p_input_ids, p_table,
    B, L, T, m, d, V, stride_v, stride_d, ROWS: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
    BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """First the programs over BM rows x BN columns of the groups' prompts, then those that copy tokens.

    Args:
        p_out: X (B, m + L, d), or, without task ids, P (T, m, d), written.
        p_mixed: sum over the raw prompts (G, m, d), G = min(B, T); or None when nothing is raw.
        p_rest: sum over the encoded prompts (G, m, d); or None when all are raw.
        p_terms: (3, G), the last row the raw weights; or None without a bias.
        p_weight: W (d, d) in the type of ``p_mixed``, or None without it.
        p_bias: b (d,), or None.
        p_added: (T, m, d), or None.
        p_task_ids: (B,), or None when the groups are the tasks and no tokens follow.
        p_input_ids: (B, L), or None without task ids.
        p_table: (V, d), strided; or None without task ids.
        B: batch; T when the groups are the tasks.
        L: input length.
        T: number of tasks.
        m: prompt length.
        d: width.
        V: vocabulary.
        stride_v: stride of the table between tokens.
        stride_d: stride of the table along a row.
        ROWS: whether each batch row has weights of its own, and is a group: G = B.
        BM: rows of a tile.
        BN: columns of a tile.
        BK: columns of the inner product, a step.
        ACC: the accumulator's type.
        PRECISION: "ieee" or "tf32", how float32 operands are multiplied.
        BR: token rows of a copy program.
        BC: columns a step of a copy program.
    """
    x = Encoding(p_mixed, p_rest, p_terms, p_weight, p_bias, p_added, p_task_ids, B, T, m, d)
    n_n = tl.cdiv(d, BN)
    n_compose = tl.cdiv((B if ROWS else tl.minimum(B, T)) * m, BM) * n_n
    i_tile = tl.program_id(0)
    if i_tile < n_compose:
        o_r = i_tile // n_n * BM + tl.arange(0, BM)  # [BM]
        o_n = i_tile % n_n * BN + tl.arange(0, BN)  # [BN]
        store_rows(x, p_out, L, o_r, o_n, encode_rows(x, o_r, o_n, BK, ROWS, ACC, PRECISION), ROWS)
    elif p_table is not None:
        copy_tokens(p_out, p_input_ids, p_table, i_tile - n_compose, B, L, m, d, V, stride_v, stride_d, BR, BC)


def compose_encode(
    out: Tensor, mixture: Composition, task_ids: Tensor | None, input_ids: Tensor | None, table: Tensor | None
) -> None:
    """Fill X (B, m + L, d), or, without ids and table, P (T, m, d): two launches.

    Args:
        out: contiguous, written.
        mixture: the composition's arguments.
        task_ids: (B,), contiguous, B at least 1; or None.
        input_ids: (B, L); or None.
        table: (V, d); or None.
    """
    x = mixture
    batch, tokens = (x.tasks(), 0) if input_ids is None else input_ids.shape
    groups = x.groups(batch)
    raw = x.raw_sources() or x.raw_privates()
    encoded = (x.sources is not None and not x.raw_sources()) or (x.privates is not None and not x.raw_privates())
    found = compose_mixture(
        x, groups, task_ids, mixed=raw, rest=encoded, terms=x.bias is not None, weight=x.weight is not None
    )
    tiles = encode_tiles("compose_encode", x.width, tile_class(out.device))
    copy = copy_tiles(x.width, out.dtype)
    programs = -(-groups * x.length // tiles.BM) * -(-x.width // tiles.BN) + -(-batch * tokens // copy.BR)
    vocabulary = (0, 0, 0) if table is None else (*table.shape[:1], *table.stride())
    accumulator = tl.float64 if x.operand is torch.float64 else tl.float32
    launch(
        compose_encode_kernel, (programs,), out,
        out, *found, x.bias, x.added, task_ids, None if input_ids is None else input_ids.contiguous(), table,
        batch, tokens, x.tasks(), x.length, x.width, *vocabulary,
        x.by_row, *tiles[:3], accumulator, x.precision, copy.BR, copy.BC,
        num_warps=tiles.num_warps, num_stages=tiles.num_stages,
    )  # fmt: skip

"""prepend_prompts: prompts and token embeddings moved to their places in one launch; one launch back.

The row programs are shared with prompted_embedding, and so is the sum over the rows of a task.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.launch import launch
from crosspt.kernels.tiles import copy_tiles, row_sum_tiles


class Offsets(NamedTuple):
    """What is added to token rows, by the task of the batch row and the position in it."""

    p_offsets: Any  # O (T, n_offsets, d)
    p_task_ids: Any  # (B,)
    T: Any  # tasks
    n_offsets: Any  # positions L' that have one, L or more


@triton.jit
def copy_rows(
    p_out, p_in, o_out, o_in, m_row, m_valid, d, stride_d, BC: tl.constexpr, p_more=None, o_more=None,
    b_factors=None,
):  # fmt: skip
    """Copy rows of d elements; a row whose id was out of range is filled with NaN.

    Args:
        p_out: contiguous output.
        p_in: where the rows come from.
        o_out: element at which each row starts in the output [BR].
        o_in: element at which each row starts in the input [BR].
        m_row: which rows exist [BR].
        m_valid: which rows have a source [BR].
        d: width.
        stride_d: stride of the input along a row.
        BC: columns a step.
        p_more: rows that are added to them, or that multiply them where they have factors, or None.
        o_more: element at which each of those starts [BR].
        b_factors: a factor of each row [BR], or None.
    """
    for i_c in range(0, d, BC):
        o_c = (i_c + tl.arange(0, BC)).to(tl.int64)  # [BC]
        m_c = o_c < d  # [BC]
        m_in = (m_row & m_valid)[:, None] & m_c[None, :]  # [BR, BC]
        b_x = tl.load(p_in + o_in[:, None] + o_c[None, :] * stride_d, mask=m_in, other=float("nan"))  # [BR, BC]
        if p_more is not None:
            b_more = tl.load(p_more + o_more[:, None] + o_c[None, :], mask=m_in, other=0.0)  # [BR, BC]
            WIDE: tl.constexpr = b_x.dtype == tl.float64 or b_more.dtype == tl.float64
            ACC: tl.constexpr = tl.float64 if WIDE else tl.float32
            # Factors of float64 widen the others.
            b_x = b_x.to(ACC) + b_more.to(ACC) if b_factors is None else b_x.to(ACC) * b_factors[:, None] * b_more
        tl.store(
            p_out + o_out[:, None] + o_c[None, :], b_x.to(p_out.dtype.element_ty), mask=m_row[:, None] & m_c[None, :]
        )


@triton.jit
def copy_tokens(
    p_out, p_input_ids, p_table, i_tile, B, L, m, d, V, stride_v, stride_d, BR: tl.constexpr, BC: tl.constexpr,
    offsets=None,
):  # fmt: skip
    """Token rows ``i_tile * BR ...`` of B * L: ``X[b, m + l] = table[input_ids[b, l]] (+ O[task_ids[b], l])``."""
    o_r = i_tile.to(tl.int64) * BR + tl.arange(0, BR)  # [BR]
    m_r = o_r < B.to(tl.int64) * L  # [BR]
    o_v = tl.load(p_input_ids + o_r, mask=m_r, other=0)  # [BR]
    m_v = (o_v >= 0) & (o_v < V)  # [BR]
    tl.device_assert(m_v, "crosspt: input_ids must lie in [0, V)")
    o_b = o_r // L  # [BR]
    o_out = (o_b * (m + L) + m + o_r % L) * d  # [BR]
    if offsets is None:
        copy_rows(p_out, p_table, o_out, o_v * stride_v, m_r, m_v, d, stride_d, BC)
    else:
        o_t = tl.load(offsets.p_task_ids + o_b, mask=m_r, other=0)  # [BR]
        m_t = (o_t >= 0) & (o_t < offsets.T)  # [BR]
        tl.device_assert(m_t, "crosspt: task_ids must lie in [0, T)")
        o_o = (o_t * offsets.n_offsets + o_r % L) * d  # [BR]
        copy_rows(p_out, p_table, o_out, o_v * stride_v, m_r, m_v & m_t, d, stride_d, BC, offsets.p_offsets, o_o)


AT_ONCE = tl.constexpr(16)
"""Batch rows whose task ids are looked at together."""


@triton.jit
def rows_of_tasks(p_task_ids, i_b, B, i_lo, i_hi):
    """Which of the AT_ONCE batch rows from ``i_b`` on have a task id in [i_lo, i_hi]: a bit each."""
    o_b = tl.arange(0, AT_ONCE)  # [AT_ONCE]
    o_t = tl.load(p_task_ids + i_b + o_b, mask=i_b + o_b < B, other=0)  # [AT_ONCE]
    m_b = (o_t >= i_lo) & (o_t <= i_hi) & (i_b + o_b < B)  # [AT_ONCE]
    return tl.sum(tl.where(m_b, 1 << o_b, 0), 0)


@triton.jit
def first_bit(bits):
    """Number of the lowest bit that is set: the exponent of that power of two as a float."""
    return ((bits & -bits).to(tl.float32).to(tl.int32, bitcast=True) >> 23) - 127


@triton.jit
def fill_bad_rows(p_out, p_task_ids, B, T, stride_b, o_in, m_in):
    """Fill elements ``o_in`` of every batch row whose task id is out of range with NaN: never a silent result."""
    b_nan = tl.full(o_in.shape, float("nan"), tl.float32).to(p_out.dtype.element_ty)
    for i_b in range(0, B, AT_ONCE):
        n_there = tl.minimum(B - i_b, AT_ONCE)
        bits = rows_of_tasks(p_task_ids, i_b, B, 0, T - 1) ^ ((1 << n_there) - 1)
        tl.device_assert(bits == 0, "crosspt: task_ids must lie in [0, T)")
        while bits != 0:
            tl.store(p_out + (i_b + first_bit(bits)) * stride_b + o_in, b_nan, mask=m_in)
            bits &= bits - 1


@triton.jit(do_not_specialize=["B", "L", "T", "m", "V", "n_offsets"])
def prepend_prompts_kernel(
    p_out, p_prompts, p_task_ids, p_input_ids, p_table, p_offsets, p_positions, p_columns,
    B, L, T, m, d, V, stride_v, stride_d, n_offsets, BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """BR rows of the output a program: first the B * m prompt rows, then the B * L token rows.

    Args:
        p_out: X (B, m + L, d), written.
        p_prompts: P (T, m, d), or (1, m, d) with a gain, ``P_t = P * (u_t v_t^T)``.
        p_task_ids: (B,).
        p_input_ids: (B, L).
        p_table: (V, d), strided.
        p_offsets: O (T, n_offsets, d), or None.
        p_positions: u (T, m) of the gain, or None.
        p_columns: v (T, d) of the gain, or None.
        B: batch.
        L: input length.
        T: tasks.
        m: prompt length.
        d: width.
        V: vocabulary.
        stride_v: stride of the table between tokens.
        stride_d: stride of the table along a row.
        n_offsets: L', or None.
        BR: rows of a program.
        BC: columns a step.
    """
    i_tile = tl.program_id(0)
    n_rows = B.to(tl.int64) * m
    n_prompt = tl.cdiv(n_rows, BR)
    if i_tile < n_prompt:
        o_r = i_tile.to(tl.int64) * BR + tl.arange(0, BR)  # [BR]
        m_r = o_r < n_rows  # [BR]
        o_b = o_r // m  # [BR]
        o_t = tl.load(p_task_ids + o_b, mask=m_r, other=0)  # [BR]
        m_t = (o_t >= 0) & (o_t < T)  # [BR]
        tl.device_assert(m_t, "crosspt: task_ids must lie in [0, T)")
        o_out = (o_b * (m + L) + o_r % m) * d  # [BR]
        if p_positions is None:
            copy_rows(p_out, p_prompts, o_out, (o_t * m + o_r % m) * d, m_r, m_t, d, 1, BC)
        else:
            b_u = tl.load(p_positions + o_t * m + o_r % m, mask=m_r & m_t, other=0.0)  # [BR]
            copy_rows(p_out, p_prompts, o_out, o_r % m * d, m_r, m_t, d, 1, BC, p_columns, o_t * d, b_u)
    else:
        copy_tokens(
            p_out, p_input_ids, p_table, i_tile - n_prompt, B, L, m, d, V, stride_v, stride_d, BR, BC,
            None if p_offsets is None else Offsets(p_offsets, p_task_ids, T, n_offsets),
        )  # fmt: skip


def prepend_prompts(
    prompts: Tensor,
    task_ids: Tensor,
    input_ids: Tensor,
    table: Tensor,
    offsets: Tensor | None = None,
    positions: Tensor | None = None,
    columns: Tensor | None = None,
) -> Tensor:
    """X (B, m + L, d) in the table's dtype."""
    (batch, tokens), (tasks, length, width) = input_ids.shape, prompts.shape
    if positions is not None:
        tasks = positions.shape[0]
    out = torch.empty((batch, length + tokens, width), dtype=table.dtype, device=table.device)
    tiles = copy_tiles(width, table.dtype, offsets is not None or positions is not None)
    grid = (-(-batch * length // tiles.BR) + -(-batch * tokens // tiles.BR),)
    if grid[0]:
        launch(
            prepend_prompts_kernel, grid, out,
            out, prompts.contiguous(), task_ids.contiguous(), input_ids.contiguous(), table,
            *(None if more is None else more.contiguous() for more in (offsets, positions, columns)),
            batch, tokens, tasks, length, width, *table.shape[:1], *table.stride(),
            None if offsets is None else offsets.shape[1], tiles.BR, tiles.BC, num_warps=tiles.num_warps,
        )  # fmt: skip
    return out


@triton.jit
def sum_rows_of_task(
    p_grad, p_task_ids, i_t, o_i, o_c, m_ic, B, stride_b, stride_i, stride_d, ACC: tl.constexpr
):  # fmt: skip
    """Sum of the batch rows of task ``i_t`` at positions ``o_i`` [BI, 1] and columns ``o_c`` [1, BC], in order."""
    b_sum = tl.zeros(m_ic.shape, ACC)  # [BI, BC]
    for i_b in range(0, B, AT_ONCE):
        bits = rows_of_tasks(p_task_ids, i_b, B, i_t, i_t)
        while bits != 0:
            p_g = p_grad + (i_b + first_bit(bits)).to(tl.int64) * stride_b + o_i * stride_i + o_c * stride_d  # [BI, BC]
            b_sum += tl.load(p_g, mask=m_ic, other=0.0).to(ACC)  # [BI, BC]
            bits &= bits - 1
    return b_sum


@triton.jit
def store_sum(p_out, b_sum, i_t, n, d, o_i, o_c):
    """Write sums to positions ``o_i`` [BI, 1] and columns ``o_c`` [1, BC] of task ``i_t`` in (T, n, d)."""
    tl.store(p_out + (i_t * n + o_i) * d + o_c, b_sum.to(p_out.dtype.element_ty), mask=(o_i < n) & (o_c < d))


@triton.jit(do_not_specialize=["B", "L", "m", "n_offsets"])
def sum_task_rows_kernel(
    p_out, p_offsets, p_grad, p_task_ids, B, L, m, n_offsets, d, stride_b, stride_i, stride_d,
    BI: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """``[dP_t ; dO_t] = sum of dX_b over the rows b of task t``: BI positions of a task and BC columns a program.

    Args:
        p_out: dP (T, m, d), written; or None, and m is 0.
        p_offsets: dO (T, n_offsets, d), written, zeros from position L on; or None, and only m rows of dX are read.
        p_grad: dX (B, m + L, d), strided.
        p_task_ids: (B,).
        B: batch.
        L: input length, or None without offsets.
        m: prompt length.
        n_offsets: L', or None.
        d: width.
        stride_b: stride of dX between batch rows.
        stride_i: stride of dX between positions.
        stride_d: stride of dX along a row.
        BI: positions of a program.
        BC: columns of a program.
    """
    FIRST: tl.constexpr = p_offsets.dtype.element_ty if p_out is None else p_out.dtype.element_ty
    LAST: tl.constexpr = FIRST if p_offsets is None else p_offsets.dtype.element_ty
    ACC: tl.constexpr = tl.float64 if tl.float64 == FIRST or tl.float64 == LAST else tl.float32
    n_prompt = tl.cdiv(m, BI)
    n_i = n_prompt if p_offsets is None else n_prompt + tl.cdiv(n_offsets, BI)
    i_t = (tl.program_id(0) // n_i).to(tl.int64)
    i_tile = tl.program_id(0) % n_i
    i_i = i_tile * BI
    n_read = m
    if p_offsets is not None:  # a tile is the prompts' or the offsets', never both
        i_i = tl.where(i_tile < n_prompt, i_i, m + (i_tile - n_prompt) * BI)
        n_read = tl.where(i_tile < n_prompt, m, m + L)
    o_i = (i_i + tl.arange(0, BI)).to(tl.int64)[:, None]  # [BI, 1]
    o_c = (tl.program_id(1) * BC + tl.arange(0, BC)).to(tl.int64)[None, :]  # [1, BC]
    m_ic = (o_i < n_read) & (o_c < d)  # [BI, BC]
    b_sum = sum_rows_of_task(p_grad, p_task_ids, i_t, o_i, o_c, m_ic, B, stride_b, stride_i, stride_d, ACC)  # [BI, BC]
    if p_offsets is None:
        store_sum(p_out, b_sum, i_t, m, d, o_i, o_c)
    elif i_tile >= n_prompt:
        store_sum(p_offsets, b_sum, i_t, n_offsets, d, o_i - m, o_c)
    elif p_out is not None:
        store_sum(p_out, b_sum, i_t, m, d, o_i, o_c)


def sum_task_rows(
    grad: Tensor,
    task_ids: Tensor,
    tasks: int,
    length: int,
    dtype: torch.dtype | None,
    n_offsets: int = 0,
    offsets_dtype: torch.dtype | None = None,
) -> list[Tensor]:
    """Gradients from the output's (B, length + L, d): of the prompts and of the offsets, those that have a dtype.

    Args:
        grad: dX, any strides.
        task_ids: (B,).
        tasks: T.
        length: m.
        dtype: of the prompts' (T, m, d), or None.
        n_offsets: L'.
        offsets_dtype: of the offsets' (T, L', d), or None.
    """
    batch, rows, width = grad.shape
    dprompts = None if dtype is None else grad.new_empty((tasks, length, width), dtype=dtype)
    doffsets = None if offsets_dtype is None else grad.new_empty((tasks, n_offsets, width), dtype=offsets_dtype)
    found = [gradient for gradient in (dprompts, doffsets) if gradient is not None]
    if dprompts is None:
        grad, rows, length = grad[:, length:], rows - length, 0
    shifted = doffsets is not None
    tiles = row_sum_tiles(2 if shifted else length, width, grad.dtype)  # L' chooses none, as L does not
    positions = -(-length // tiles.BI) + (-(-n_offsets // tiles.BI) if shifted else 0)
    launch(
        sum_task_rows_kernel, (tasks * positions, -(-width // tiles.BC)), found[0],
        dprompts, doffsets, grad, task_ids.contiguous(),
        batch, rows - length if shifted else None, length, n_offsets if shifted else None, width, *grad.stride(),
        tiles.BI, tiles.BC, num_warps=tiles.num_warps,
    )  # fmt: skip
    return found

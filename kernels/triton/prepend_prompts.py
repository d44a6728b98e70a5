"""prepend_prompts: prompts and token embeddings moved to their places in one launch; one launch back.

The row programs are shared with prompted_embedding, and so is the sum over the rows of a task.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.launch import launch
from crosspt.kernels.tiles import copy_tiles, row_sum_tiles


@triton.jit
def copy_rows(
    p_out, p_in, o_out, o_in, m_row, m_valid, d, stride_d, BC: tl.constexpr,
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
    """
    for i_c in range(0, d, BC):
        o_c = (i_c + tl.arange(0, BC)).to(tl.int64)  # [BC]
        m_c = o_c < d  # [BC]
        m_in = (m_row & m_valid)[:, None] & m_c[None, :]  # [BR, BC]
        b_x = tl.load(p_in + o_in[:, None] + o_c[None, :] * stride_d, mask=m_in, other=float("nan"))  # [BR, BC]
        tl.store(
            p_out + o_out[:, None] + o_c[None, :], b_x.to(p_out.dtype.element_ty), mask=m_row[:, None] & m_c[None, :]
        )


@triton.jit
def copy_tokens(
    p_out, p_input_ids, p_table, i_tile, B, L, m, d, V, stride_v, stride_d, BR: tl.constexpr, BC: tl.constexpr
):
    """Token rows ``i_tile * BR ...`` of B * L: ``X[b, m + l] = table[input_ids[b, l]]``."""
    o_r = i_tile.to(tl.int64) * BR + tl.arange(0, BR)  # [BR]
    m_r = o_r < B.to(tl.int64) * L  # [BR]
    o_v = tl.load(p_input_ids + o_r, mask=m_r, other=0)  # [BR]
    m_v = (o_v >= 0) & (o_v < V)  # [BR]
    tl.device_assert(m_v, "crosspt: input_ids must lie in [0, V)")
    o_b = o_r // L  # [BR]
    o_out = (o_b * (m + L) + m + o_r % L) * d  # [BR]
    copy_rows(p_out, p_table, o_out, o_v * stride_v, m_r, m_v, d, stride_d, BC)


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


@triton.jit(do_not_specialize=["B", "L", "T", "m", "V"])
def prepend_prompts_kernel(
    p_out, p_prompts, p_task_ids, p_input_ids, p_table, B, L, T, m, d, V, stride_v, stride_d,
    BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """BR rows of the output a program: first the B * m prompt rows, then the B * L token rows.

    Args:
        p_out: X (B, m + L, d), written.
        p_prompts: P (T, m, d).
        p_task_ids: (B,).
        p_input_ids: (B, L).
        p_table: (V, d), strided.
        B: batch.
        L: input length.
        T: tasks.
        m: prompt length.
        d: width.
        V: vocabulary.
        stride_v: stride of the table between tokens.
        stride_d: stride of the table along a row.
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
        copy_rows(p_out, p_prompts, o_out, (o_t * m + o_r % m) * d, m_r, m_t, d, 1, BC)
    else:
        copy_tokens(p_out, p_input_ids, p_table, i_tile - n_prompt, B, L, m, d, V, stride_v, stride_d, BR, BC)


def prepend_prompts(prompts: Tensor, task_ids: Tensor, input_ids: Tensor, table: Tensor) -> Tensor:
    """X (B, m + L, d) in the table's dtype."""
    (batch, tokens), (tasks, length, width) = input_ids.shape, prompts.shape
    out = torch.empty((batch, length + tokens, width), dtype=table.dtype, device=table.device)
    tiles = copy_tiles(width, table.dtype)
    grid = (-(-batch * length // tiles.BR) + -(-batch * tokens // tiles.BR),)
    if grid[0]:
        launch(
            prepend_prompts_kernel, grid, out,
            out, prompts.contiguous(), task_ids.contiguous(), input_ids.contiguous(), table,
            batch, tokens, tasks, length, width, *table.shape[:1], *table.stride(),
            tiles.BR, tiles.BC, num_warps=tiles.num_warps,
        )  # fmt: skip
    return out


@triton.jit(do_not_specialize=["B", "m"])
def sum_task_rows_kernel(
    p_out, p_grad, p_task_ids, B, m, d, stride_b, stride_i, stride_d, BI: tl.constexpr, BC: tl.constexpr
):
    """``dP_t = sum of dX_b[:m] over the rows b of task t``: BI positions of a task and BC columns a program.

    Args:
        p_out: dP (T, m, d), written.
        p_grad: dX (B, m or more, d), strided; only the first m rows are read.
        p_task_ids: (B,).
        B: batch.
        m: prompt length.
        d: width.
        stride_b: stride of dX between batch rows.
        stride_i: stride of dX between positions.
        stride_d: stride of dX along a row.
        BI: positions of a program.
        BC: columns of a program.
    """
    ACC: tl.constexpr = tl.float64 if p_out.dtype.element_ty == tl.float64 else tl.float32
    n_i = tl.cdiv(m, BI)
    i_t = (tl.program_id(0) // n_i).to(tl.int64)
    o_i = (tl.program_id(0) % n_i * BI + tl.arange(0, BI)).to(tl.int64)[:, None]  # [BI, 1]
    o_c = (tl.program_id(1) * BC + tl.arange(0, BC)).to(tl.int64)[None, :]  # [1, BC]
    m_ic = (o_i < m) & (o_c < d)  # [BI, BC]
    b_sum = tl.zeros([BI, BC], ACC)  # [BI, BC]
    for i_b in range(0, B, AT_ONCE):
        bits = rows_of_tasks(p_task_ids, i_b, B, i_t, i_t)
        while bits != 0:  # the task's rows, in order
            p_g = p_grad + (i_b + first_bit(bits)).to(tl.int64) * stride_b + o_i * stride_i + o_c * stride_d  # [BI, BC]
            b_sum += tl.load(p_g, mask=m_ic, other=0.0).to(ACC)  # [BI, BC]
            bits &= bits - 1
    tl.store(p_out + (i_t * m + o_i) * d + o_c, b_sum.to(p_out.dtype.element_ty), mask=m_ic)


def sum_task_rows(grad: Tensor, task_ids: Tensor, tasks: int, length: int, dtype: torch.dtype) -> Tensor:
    """The prompts' gradient (tasks, length, d) in ``dtype`` from the output's (B, length + L, d)."""
    batch, _, width = grad.shape
    out = torch.empty((tasks, length, width), dtype=dtype, device=grad.device)
    tiles = row_sum_tiles(length, width, grad.dtype)
    launch(
        sum_task_rows_kernel, (tasks * -(-length // tiles.BI), -(-width // tiles.BC)), out,
        out, grad, task_ids.contiguous(), batch, length, width, *grad.stride(),
        tiles.BI, tiles.BC, num_warps=tiles.num_warps,
    )  # fmt: skip
    return out

"""The gradients of a prompt that all tasks share and of their gains of it: nothing of (T, m, d) numbers is formed."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.compose_sums import add_up
from crosspt.kernels.launch import launch
from crosspt.kernels.mixed_tiles import sum_tiles
from crosspt.kernels.prepend_prompts import sum_rows_of_task
from crosspt.kernels.tiles import gain_tiles


@triton.jit(do_not_specialize=["B", "T", "m"])
def prepend_gain_kernel(
    p_dprompts, p_dpositions, p_dcolumns, p_grad, p_task_ids, p_prompts, p_positions, p_columns,
    B, T, m, d, stride_b, stride_i, stride_d, BI: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """With S_t the sum of dX_b over the rows b of task t: dP, and what adds up to du and dv, in BI x BC of (m, d).

    Args:
        p_dprompts: dP = sum_t u_t v_t^T * S_t (m, d), written; or None.
        p_dpositions: sums of P v_t S_t over a tile's columns (column tiles, T, m), written; or None.
        p_dcolumns: sums of P u_t S_t over a tile's positions (position tiles, T, d), written; or None.
        p_grad: dX (B, m + L, d), strided.
        p_task_ids: (B,).
        p_prompts: P (m, d).
        p_positions: u (T, m).
        p_columns: v (T, d).
        B: batch.
        T: tasks.
        m: prompt length.
        d: width.
        stride_b: stride of dX between batch rows.
        stride_i: stride of dX between positions.
        stride_d: stride of dX along a row.
        BI: positions of a program.
        BC: columns of a program.
    """
    NARROW: tl.constexpr = p_positions.dtype.element_ty != tl.float64 and p_columns.dtype.element_ty != tl.float64
    ACC: tl.constexpr = tl.float32 if NARROW and p_prompts.dtype.element_ty != tl.float64 else tl.float64
    o_i = (tl.program_id(0) * BI + tl.arange(0, BI)).to(tl.int64)[:, None]  # [BI, 1]
    o_c = (tl.program_id(1) * BC + tl.arange(0, BC)).to(tl.int64)[None, :]  # [1, BC]
    m_ic = (o_i < m) & (o_c < d)  # [BI, BC]
    b_p = tl.load(p_prompts + o_i * d + o_c, mask=m_ic, other=0.0).to(ACC)  # [BI, BC]
    b_dp = tl.zeros([BI, BC], ACC)  # [BI, BC]
    for i_t in range(T):
        b_sum = sum_rows_of_task(p_grad, p_task_ids, i_t, o_i, o_c, m_ic, B, stride_b, stride_i, stride_d, ACC)
        b_u = tl.load(p_positions + i_t * m + o_i, mask=o_i < m, other=0.0).to(ACC)  # [BI, 1]
        b_v = tl.load(p_columns + i_t * d + o_c, mask=o_c < d, other=0.0).to(ACC)  # [1, BC]
        if p_dprompts is not None:
            b_dp += b_sum * b_u * b_v
        if p_dpositions is not None:
            o_u = (tl.program_id(1).to(tl.int64) * T + i_t) * m + o_i  # [BI, 1]
            tl.store(p_dpositions + o_u, tl.sum(b_p * b_sum * b_v, 1, keep_dims=True), mask=o_i < m)
        if p_dcolumns is not None:
            o_v = (tl.program_id(0).to(tl.int64) * T + i_t) * d + o_c  # [1, BC]
            tl.store(p_dcolumns + o_v, tl.sum(b_p * b_sum * b_u, 0, keep_dims=True), mask=o_c < d)
    if p_dprompts is not None:
        tl.store(p_dprompts + o_i * d + o_c, b_dp.to(p_dprompts.dtype.element_ty), mask=m_ic)


@triton.jit(do_not_specialize=["T", "m", "n_column_tiles", "n_position_tiles"])
def gain_sums_kernel(
    p_dpositions, p_dcolumns, p_of_columns, p_of_positions, T, m, d, n_column_tiles, n_position_tiles,
    BY: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """First the programs of du, then those of dv: what the tiles left is added up, BC numbers of a task a program.

    Args:
        p_dpositions: du (T, m), written; or None.
        p_dcolumns: dv (T, d), written; or None.
        p_of_columns: what adds up to du (n_column_tiles, T, m); or None.
        p_of_positions: what adds up to dv (n_position_tiles, T, d); or None.
        T: tasks.
        m: prompt length.
        d: width.
        n_column_tiles: tiles along the columns.
        n_position_tiles: tiles along the positions.
        BY: tiles added at a time.
        BC: numbers of a program.
    """
    i_tile = tl.program_id(0)
    n_positions = 0
    if p_dpositions is not None:
        n_positions = T * tl.cdiv(m, BC)
    if i_tile < n_positions:
        if p_dpositions is not None:
            add_up(p_dpositions, p_of_columns, i_tile, T, m, n_column_tiles, BY, BC)
    elif p_dcolumns is not None:
        add_up(p_dcolumns, p_of_positions, i_tile - n_positions, T, d, n_position_tiles, BY, BC)


def prepend_gain(
    grad: Tensor, task_ids: Tensor, prompts: Tensor, positions: Tensor, columns: Tensor, needs: Sequence[bool]
) -> list[Tensor]:
    """Gradients of the prompt and of its gains from the output's (B, m + L, d), those that are needed.

    Args:
        grad: dX, any strides.
        task_ids: (B,).
        prompts: P (1, m, d).
        positions: u (T, m).
        columns: v (T, d).
        needs: which of the three.
    """
    (tasks, length), width = positions.shape, columns.shape[1]
    tiles = gain_tiles(length, width, grad.dtype)
    n_i, n_c = -(-length // tiles.BI), -(-width // tiles.BC)
    wide = torch.float64 if torch.float64 in (prompts.dtype, positions.dtype, columns.dtype) else torch.float32
    dprompts, dpositions, dcolumns = (
        torch.empty_like(tensor, memory_format=torch.contiguous_format) if need else None
        for tensor, need in zip((prompts, positions, columns), needs, strict=True)
    )
    of_columns = None if dpositions is None else grad.new_empty((n_c, tasks, length), dtype=wide)
    of_positions = None if dcolumns is None else grad.new_empty((n_i, tasks, width), dtype=wide)
    launch(
        prepend_gain_kernel, (n_i, n_c), prompts,
        dprompts, of_columns, of_positions, grad, task_ids.contiguous(),
        prompts.contiguous(), positions.contiguous(), columns.contiguous(),
        grad.shape[0], tasks, length, width, *grad.stride(), tiles.BI, tiles.BC, num_warps=tiles.num_warps,
    )  # fmt: skip
    sums = sum_tiles(width)
    programs = sum(-(-tensor.shape[1] // sums.BC) * tasks for tensor in (dpositions, dcolumns) if tensor is not None)
    if programs:
        launch(
            gain_sums_kernel, (programs,), prompts,
            dpositions, dcolumns, of_columns, of_positions, tasks, length, width, n_c, n_i, sums.BY, sums.BC,
            num_warps=sums.num_warps,
        )  # fmt: skip
    return [gradient for gradient in (dprompts, dpositions, dcolumns) if gradient is not None]

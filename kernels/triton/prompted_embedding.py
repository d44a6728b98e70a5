"""prompted_embedding: prompts composed and token rows gathered in one launch."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.architecture import tile_class
from crosspt.kernels.compose_encode import compose_encode
from crosspt.kernels.compose_prompts import compose_tile
from crosspt.kernels.compose_prompts_backward import Gradients, Needs, compose_prompts_backward
from crosspt.kernels.launch import Composition, launch
from crosspt.kernels.mixing import Operands, group_count
from crosspt.kernels.prepend_prompts import copy_tokens, fill_bad_rows, sum_task_rows
from crosspt.kernels.tiles import compose_tiles, copy_tiles, mixed_once


@triton.jit
def store_tile(x, p_out, L, o_g, m_t, at, b_out):
    """Write a composed tile to every batch row of its groups; see ``compose_tile`` for the last four arguments."""
    o_ic = at.o_i * x.d + at.o_c  # [BI * BN]
    stride_b = (x.m + L).to(tl.int64) * x.d
    m_g = o_g < group_count(x.B, x.T, x.p_row_alpha)  # [BG]
    # A batch row without a valid task is filled with NaN.
    b_x = tl.where(m_t[:, None], b_out, float("nan")).to(p_out.dtype.element_ty)  # [BG, BI * BN]
    i_g = tl.min(o_g)
    if x.p_row_alpha is not None or x.B < x.T:
        tl.device_assert(m_t | (o_g >= x.B), "crosspt: task_ids must lie in [0, T)")
        p_x = p_out + o_g[:, None] * stride_b + o_ic[None, :]  # [BG, BI * BN]
        tl.store(p_x, b_x, mask=m_g[:, None] & at.m_c[None, :])
    else:
        for i_b in range(x.B):
            i_t = tl.load(x.p_task_ids + i_b)
            p_x = p_out + i_b * stride_b + o_ic[None, :] + tl.zeros_like(o_g)[:, None]  # [BG, BI * BN]
            tl.store(p_x, b_x, mask=(m_g & (o_g == i_t))[:, None] & at.m_c[None, :])
        if i_g == 0:
            fill_bad_rows(p_out, x.p_task_ids, x.B, x.T, stride_b, o_ic, at.m_c)


@triton.jit(do_not_specialize=["B", "L", "T", "n", "m", "V"])
def prompted_embedding_kernel(
    p_out, p_input_ids, p_task_ids, p_table, p_logits, p_alpha, p_row_alpha, p_sources, p_privates, p_weight, p_bias,
    p_added, p_mask,
    inv_tau: tl.float64, B, L, T, n, m, d, V, stride_v, stride_d,
    RAW_SOURCES: tl.constexpr, RAW_PRIVATES: tl.constexpr,
    BG: tl.constexpr, BI: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BJ: tl.constexpr,
    ONE_BLOCK: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """First the programs that compose a tile and write it to every batch row of its task, then those that copy tokens.

    Args:
        p_out: X (B, m + L, d), written.
        p_input_ids: (B, L).
        p_task_ids: (B,).
        p_table: (V, d), strided.
        p_logits: A (T, N), N = n, plus 1 with private prompts; or None with weights that are given.
        p_alpha: these of the tasks (T, N), or None.
        p_row_alpha: these of the batch rows (B, N), each a group then, or None.
        p_sources: (n, m, d), or None.
        p_privates: (T, m, d), or None.
        p_weight: W (d, d), or None when nothing is raw.
        p_bias: b (d,), or None.
        p_added: (T, m, d), or None.
        p_mask: (T, N) bool, or None.
        inv_tau: 1 / tau.
        B: batch.
        L: input length.
        T: number of tasks.
        n: number of sources.
        m: prompt length.
        d: width.
        V: vocabulary.
        stride_v: stride of the table between tokens.
        stride_d: stride of the table along a row.
        RAW_SOURCES: whether the sources go through the encoder.
        RAW_PRIVATES: whether the private prompts do.
        BG: groups of a tile: tasks, or batch rows when B < T or each has weights of its own.
        BI: positions of a tile.
        BN: columns of a tile.
        BK: columns of the inner product, a step.
        BJ: sources mixed in one product.
        ONE_BLOCK: whether n <= BJ.
        OPERAND: type of the operands of matrix products.
        PRECISION: "ieee" or "tf32", how float32 operands are multiplied.
        BR: token rows of a copy program.
        BC: columns a step of a copy program.
    """
    i_tile = tl.program_id(0)
    n_compose = tl.cdiv(group_count(B, T, p_row_alpha), BG) * tl.cdiv(m, BI) * tl.cdiv(d, BN)
    if i_tile < n_compose:
        N = n + (1 if p_privates is not None else 0)
        x = Operands(
            p_logits, p_alpha, p_row_alpha, p_sources, p_privates, p_weight, p_bias, p_added, p_mask, p_task_ids,
            inv_tau, B, T, n, N, m, d,
        )  # fmt: skip
        o_g, m_t, at, b_out = compose_tile(
            x, i_tile, RAW_SOURCES, RAW_PRIVATES, BG, BI, BN, BK, BJ, ONE_BLOCK, OPERAND, PRECISION
        )
        store_tile(x, p_out, L, o_g, m_t, at, b_out)
    else:
        copy_tokens(p_out, p_input_ids, p_table, i_tile - n_compose, B, L, m, d, V, stride_v, stride_d, BR, BC)


def prompted_embedding(input_ids: Tensor, task_ids: Tensor, table: Tensor, mixture: Composition) -> Tensor:
    """X (B, m + L, d) in the table's dtype."""
    x = mixture
    batch, tokens = input_ids.shape
    out = table.new_empty(batch, x.length + tokens, x.width)
    if batch == 0:
        return out
    if mixed_once(x.length, x.num_sources, x.operand):
        compose_encode(out, x, task_ids.contiguous(), input_ids, table)
        return out
    tiles = compose_tiles(x.length, x.width, x.num_sources, x.operand, tile_class(out.device))
    copy = copy_tiles(x.width, table.dtype)
    grid = (x.programs(x.groups(batch), tiles) + -(-batch * tokens // copy.BR),)
    launch(
        prompted_embedding_kernel, grid, out,
        out, input_ids.contiguous(), task_ids.contiguous(), table,
        x.logits, x.alpha, x.row_alpha, x.sources, x.privates, x.weight, x.bias, x.added, x.mask, x.inv_tau,
        batch, tokens, x.tasks(), x.num_sources, x.length, x.width, table.shape[0], *table.stride(),
        x.raw_sources(), x.raw_privates(), *tiles[:5], x.num_sources <= tiles.BJ, x.operand_type, x.precision,
        copy.BR, copy.BC, num_warps=tiles.num_warps, num_stages=tiles.num_stages,
    )  # fmt: skip
    return out


def prompted_embedding_backward(grad: Tensor, task_ids: Tensor, mixture: Composition, needs: Needs) -> Gradients:
    """Gradients of the composition from the first m rows of dX (B, m + L, d): three launches at most.

    With fewer batch rows than tasks, or weights of the rows' own, dX itself is the gradient of the rows' prompts and
    nothing is summed beforehand.
    """
    if mixture.by_row or task_ids.shape[0] < mixture.tasks():
        return compose_prompts_backward(grad, mixture, needs, task_ids.contiguous())
    accumulator = torch.float64 if mixture.operand is torch.float64 else torch.float32
    if mixed_once(mixture.length, mixture.num_sources, mixture.operand):
        accumulator = mixture.operand  # what the products would round it to
    (summed,) = sum_task_rows(grad, task_ids, mixture.tasks(), mixture.length, accumulator)
    return compose_prompts_backward(summed, mixture, needs)

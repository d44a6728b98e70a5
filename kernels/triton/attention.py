"""attention: T5's attention over a task's prefix and a row's own keys, in one launch."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.architecture import tile_class
from crosspt.kernels.launch import launch, precision
from crosspt.kernels.mixing import dot
from crosspt.kernels.scores import Head, Keys, exp_difference, kept, load_rows, offset, scores, seen_keys, store_rows
from crosspt.kernels.tiles import attention_tiles


@triton.jit
def attend(
    b_q, b_out, b_max, b_sum, head, keys, o_i, n_seen,
    CAUSAL: tl.constexpr, D: tl.constexpr, BN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Let a block of queries see the keys of one place: the running output, maximum and sum of exponentials.

    Args:
        b_q: queries [BM, BD].
        b_out: sum of the values so far, weighted by ``exp(score - b_max)`` [BM, BD].
        b_max: largest score so far [BM].
        b_sum: sum of ``exp(score - b_max)`` so far, whatever was dropped [BM].
        head: the row and head.
        keys: the place.
        o_i: numbers of the queries [BM].
        n_seen: keys that any of the queries sees, from the first on.
        CAUSAL: whether later keys are hidden.
        D: width of the head.
        BN: keys a step.
        PRECISION: how float32 operands are multiplied.
    """
    BD: tl.constexpr = b_q.shape[1]
    for i_j in range(0, n_seen, BN):
        o_j = i_j + tl.arange(0, BN)  # [BN]
        b_k = load_rows(keys.p_key, o_j, keys.count, keys.stride_kj, 1, D, BD)  # [BN, BD]
        b_s = scores(b_q, b_k, head, keys, o_i[:, None], o_j[None, :], CAUSAL, b_out.dtype, PRECISION)  # [BM, BN]
        b_new = tl.maximum(b_max, tl.max(b_s, 1))  # [BM]
        b_ref = tl.where(b_new == float("-inf"), 0.0, b_new)  # [BM]
        b_p = exp_difference(b_s, b_ref[:, None])  # [BM, BN]
        b_old = tl.exp(b_max - b_ref)  # 1 where nothing changes [BM]
        b_sum = b_sum * b_old + tl.sum(b_p, 1)
        b_max = b_new
        if head.p_seed is not None:
            b_p = tl.where(kept(head, keys.i_place, o_i, i_j, BN), b_p, 0.0)
        b_v = load_rows(keys.p_value, o_j, keys.count, keys.stride_vj, 1, D, BD)  # [BN, BD]
        b_out = dot(b_p.to(b_v.dtype), b_v, b_out * b_old[:, None], PRECISION)
    return b_out, b_max, b_sum


@triton.jit(do_not_specialize=["H", "Lq", "Lk", "T", "m"])
def attention_kernel(
    p_out, p_stats, p_query, p_key, p_value, p_bias, p_mask, p_prefix_key, p_prefix_value, p_task_ids, p_seed,
    dropout: tl.float64, H, Lq, Lk, T, m,
    stride_qb, stride_qh, stride_qi, stride_kb, stride_kh, stride_kj, stride_vb, stride_vh, stride_vj,
    stride_pt, stride_ph, stride_pj, stride_rt, stride_rh, stride_rj,
    CAUSAL: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """BM queries of one row and head a program: first over the prefix of the row's task, then over the row's own keys.

    Args:
        p_out: (B, Lq, H, D), written.
        p_stats: each query's largest score, then the reciprocal of its sum of ``exp(score - largest)`` (B, H, 2, Lq),
            written; both 0 if it sees no key.
        p_query: (B, H, Lq, D), strided but along D, as are all keys and values.
        p_key: (B, H, Lk, D).
        p_value: (B, H, Lk, D).
        p_bias: (H, Lq + m + Lk - 1), or None.
        p_mask: (B, Lk), not 0 where a key counts; or None.
        p_prefix_key: (T, H, m, D), or None.
        p_prefix_value: (T, H, m, D), or None.
        p_task_ids: (B,), or None.
        p_seed: (1,) int64, or None: nothing is dropped.
        dropout: probability with which a weight is dropped.
        H: heads.
        Lq: queries.
        Lk: a row's own keys.
        T: tasks.
        m: keys of a prefix; 0 without one.
        stride_qb: stride of the queries between batch rows.
        stride_qh: between heads.
        stride_qi: between queries.
        stride_kb: stride of the keys between batch rows.
        stride_kh: between heads.
        stride_kj: between keys.
        stride_vb: stride of the values between batch rows.
        stride_vh: between heads.
        stride_vj: between values.
        stride_pt: stride of the prefix keys between tasks.
        stride_ph: between heads.
        stride_pj: between keys.
        stride_rt: stride of the prefix values between tasks.
        stride_rh: between heads.
        stride_rj: between values.
        CAUSAL: whether later keys are hidden.
        D: width of a head.
        BM: queries of a program.
        BN: keys a step.
        BD: columns of a tile, D or more.
        PRECISION: "ieee" or "tf32", how float32 operands are multiplied.
    """
    ACC: tl.constexpr = tl.float64 if p_query.dtype.element_ty == tl.float64 else tl.float32
    n_i = tl.cdiv(Lq, BM)
    i_row = (tl.program_id(0) // n_i).to(tl.int64)
    i_i = tl.program_id(0) % n_i * BM
    i_b = i_row // H
    i_h = i_row % H
    o_i = i_i + tl.arange(0, BM)  # [BM]
    n_keys = m + Lk
    head = Head(i_row, offset(p_bias, i_h * (Lq + n_keys - 1)), p_seed, dropout, Lq, n_keys)
    b_q = load_rows(p_query + i_b * stride_qb + i_h * stride_qh, o_i, Lq, stride_qi, 1, D, BD)  # [BM, BD]
    b_out = tl.zeros([BM, BD], ACC)  # [BM, BD]
    b_max = tl.full([BM], float("-inf"), ACC)  # [BM]
    b_sum = tl.zeros([BM], ACC)  # [BM]
    valid = True
    if p_task_ids is not None:
        i_t = tl.load(p_task_ids + i_b)
        valid = (i_t >= 0) & (i_t < T)
        tl.device_assert(valid, "crosspt: task_ids must lie in [0, T)")
        p_k = p_prefix_key + i_t * stride_pt + i_h * stride_ph
        p_v = p_prefix_value + i_t * stride_rt + i_h * stride_rh
        prefix = Keys(p_k, p_v, None, stride_pj, stride_rj, 0, 0, m)
        n_seen = tl.where(valid, seen_keys(head, prefix, i_i, BM, CAUSAL), 0)
        b_out, b_max, b_sum = attend(b_q, b_out, b_max, b_sum, head, prefix, o_i, n_seen, CAUSAL, D, BN, PRECISION)
    p_k = p_key + i_b * stride_kb + i_h * stride_kh
    p_v = p_value + i_b * stride_vb + i_h * stride_vh
    own = Keys(p_k, p_v, offset(p_mask, i_b * Lk), stride_kj, stride_vj, 1, m, Lk)
    n_seen = seen_keys(head, own, i_i, BM, CAUSAL)
    b_out, b_max, b_sum = attend(b_q, b_out, b_max, b_sum, head, own, o_i, n_seen, CAUSAL, D, BN, PRECISION)
    m_none = b_sum == 0.0  # [BM]
    b_max = tl.where(m_none, 0.0, b_max)  # [BM]
    b_inv = tl.where(m_none, 0.0, 1.0 / tl.where(m_none, 1.0, b_sum))  # [BM]
    if p_task_ids is not None:
        # A row without a valid task is filled with NaN: never a silent result.
        b_inv = tl.where(valid, b_inv, float("nan"))  # [BM]
    p_row = p_stats + i_row * 2 * Lq + o_i  # [BM]
    tl.store(p_row, b_max, mask=o_i < Lq)
    tl.store(p_row + Lq, b_inv, mask=o_i < Lq)
    if p_seed is not None:
        b_inv *= tl.full([1], 1.0 / (1.0 - dropout), ACC)
    store_rows(p_out + (i_b * Lq * H + i_h) * D, o_i, Lq, H * D, b_out * b_inv[:, None], D, BD)


class Attention(NamedTuple):
    """The prepared arguments of an attention: of queries, keys and values the columns lie side by side."""

    query: Tensor  # (B, H, Lq, D)
    key: Tensor  # (B, H, Lk, D)
    value: Tensor  # (B, H, Lk, D)
    bias: Tensor | None  # (H, Lq + m + Lk - 1), contiguous
    mask: Tensor | None  # (B, Lk), contiguous: bool, beside float64 int64
    prefix_key: Tensor | None  # (T, H, m, D)
    prefix_value: Tensor | None  # (T, H, m, D)
    task_ids: Tensor | None  # (B,), contiguous
    seed: Tensor | None  # (1,) int64
    causal: bool
    dropout: float

    @property
    def operands(self) -> tuple[Tensor | float | None, ...]:
        """Tensors and probability, as the kernels take them."""
        return (*self[:9], self.dropout)

    @property
    def accumulator(self) -> torch.dtype:
        """The dtype of sums."""
        return torch.float64 if self.query.dtype is torch.float64 else torch.float32

    @property
    def counts(self) -> tuple[int, int, int, int, int]:
        """H, Lq, Lk, T and m, as the kernels take them."""
        _, heads, queries, _ = self.query.shape
        tasks, length = (0, 0) if self.prefix_key is None else (self.prefix_key.shape[0], self.prefix_key.shape[2])
        return heads, queries, self.key.shape[2], tasks, length

    @property
    def strides(self) -> tuple[int, ...]:
        """Three strides each of queries, keys, values, prefix keys and prefix values."""
        qb, qh, qi, _ = self.query.stride()
        kb, kh, kj, _ = self.key.stride()
        vb, vh, vj, _ = self.value.stride()
        if self.prefix_key is None or self.prefix_value is None:
            return (qb, qh, qi, kb, kh, kj, vb, vh, vj, 0, 0, 0, 0, 0, 0)
        pt, ph, pj, _ = self.prefix_key.stride()
        rt, rh, rj, _ = self.prefix_value.stride()
        return (qb, qh, qi, kb, kh, kj, vb, vh, vj, pt, ph, pj, rt, rh, rj)


def attention_arguments(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    prefix_key: Tensor | None,
    prefix_value: Tensor | None,
    task_ids: Tensor | None,
    seed: Tensor | None,
    causal: bool,
    dropout: float,
) -> Attention:
    """Prepare the arguments of an attention; see ``crosspt.functional.attention``."""
    if query.dtype is torch.float64:
        # Triton takes the width of the narrowest load behind an operand for the layout of a matrix product, and its
        # float64 products for sm_80 and sm_90 do not compile with that of less than 64 bits.
        bias = None if bias is None else bias.double()
        mask = None if mask is None else mask.long()
    return Attention(
        query if query.stride(3) == 1 else query.contiguous(),
        key if key.stride(3) == 1 else key.contiguous(),
        value if value.stride(3) == 1 else value.contiguous(),
        None if bias is None else bias.contiguous(),
        None if mask is None else mask.contiguous(),
        prefix_key if prefix_key is None or prefix_key.stride(3) == 1 else prefix_key.contiguous(),
        prefix_value if prefix_value is None or prefix_value.stride(3) == 1 else prefix_value.contiguous(),
        None if task_ids is None else task_ids.contiguous(),
        seed,
        causal,
        dropout,
    )


def attention(x: Attention) -> tuple[Tensor, Tensor]:
    """The output (B, Lq, H, D), and what the backward needs to find the weights again (B, H, 2, Lq)."""
    batch, heads, queries, width = x.query.shape
    out = x.query.new_empty(batch, queries, heads, width)
    stats = x.query.new_empty(batch, heads, 2, queries, dtype=x.accumulator)
    tiles = attention_tiles("attention", width, x.query.dtype, tile_class(out.device), x.seed is not None)
    grid = (-(-queries // tiles.BM) * batch * heads,)
    if grid[0]:
        launch(
            attention_kernel, grid, out,
            out, stats, *x.operands, *x.counts, *x.strides, x.causal, width, *tiles[:3], precision(x.query.dtype),
            num_warps=tiles.num_warps, num_stages=tiles.num_stages,
        )  # fmt: skip
    return out, stats

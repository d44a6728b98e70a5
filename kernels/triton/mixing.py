"""Device functions that every composing kernel shares: mixing weights, mixed tiles, matrix products.

A *group* is a row of the composition: a task, or a batch row when the batch has fewer rows than there are tasks, or
where each row has weights of its own. The (m, d) plane of a prompt is cut into patches of BI positions x BC columns; a
tile of BG groups is kept as [BG, BI * BC], so that the sources of one patch are mixed for all its groups in one matrix
product [BG, BJ] x [BJ, BI * BC], and is read as [BG * BI, BC] where it meets the encoder.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl


class Operands(NamedTuple):
    """The operands of a composition on the device; None for what there is not, or what the launch has no use for."""

    p_logits: Any  # A (T, N), None where weights are given
    p_alpha: Any  # given weights of the tasks (T, N)
    p_row_alpha: Any  # given weights of the batch rows (B, N), which are the groups then
    p_sources: Any  # (n, m, d)
    p_privates: Any  # (T, m, d)
    p_weight: Any  # W (d, d)
    p_bias: Any  # b (d,)
    p_added: Any  # (T, m, d)
    p_mask: Any  # (T, N) bool
    p_task_ids: Any  # (B,), None when the groups are the tasks
    inv_tau: Any
    B: Any
    T: Any
    n: Any
    N: Any
    m: Any
    d: Any


class Patch(NamedTuple):
    """BI positions x BC columns of a prompt's plane, flat: [BI * BC]."""

    o_i: Any  # positions
    o_c: Any  # columns
    m_c: Any  # which of them exist


class Softmax(NamedTuple):
    """What alpha of any candidate is read from, for a tile of groups: [BG]."""

    o_a: Any  # their rows of A, or of the weights that are given
    o_t: Any  # their tasks
    m_t: Any  # which of them exist and have a task
    b_max: Any  # largest score, 0 for a row without candidates
    b_inv: Any  # reciprocal of the sum of exponentials, 0 for a row without candidates


class Gradient(NamedTuple):
    """A gradient (G, m or more, d), through its strides."""

    p_grad: Any
    stride_g: Any
    stride_i: Any
    stride_d: Any


@triton.jit
def dot(b_x, b_y, b_acc, PRECISION: tl.constexpr):
    """``b_acc + b_x @ b_y`` in the accumulator's type."""
    if INTERPRETED:
        # The interpreter would multiply the bit patterns of bfloat16.
        b_x = b_x.to(b_acc.dtype)
        b_y = b_y.to(b_acc.dtype)
    return tl.dot(b_x, b_y, b_acc, input_precision=PRECISION, out_dtype=b_acc.dtype)


INTERPRETED = tl.constexpr(not isinstance(dot, triton.JITFunction))


@triton.jit
def patch(x, i_i, i_c, BI: tl.constexpr, BC: tl.constexpr):
    """The patch that starts at position ``i_i`` and column ``i_c``."""
    o_flat = tl.arange(0, BI * BC)  # [BI * BC]
    o_i = (i_i + o_flat // BC).to(tl.int64)  # [BI * BC]
    o_c = (i_c + o_flat % BC).to(tl.int64)  # [BI * BC]
    return Patch(o_i, o_c, (o_i < x.m) & (o_c < x.d))


@triton.jit
def group_count(B, T, p_row_alpha):
    """G, the number of groups of B batch rows, which may have weights of their own, and T tasks."""
    G = tl.minimum(B, T)
    if p_row_alpha is not None:
        G = B
    return G


@triton.jit
def group_tasks(x, i_g, BG: tl.constexpr):
    """Groups from ``i_g`` on: their numbers, their tasks, and which of them exist and have a task in [0, T).

    Groups are tasks, unless task ids are given and there are fewer batch rows than tasks, or each has weights of its
    own: then they are batch rows.
    """
    o_g = i_g + tl.arange(0, BG).to(tl.int64)  # [BG]
    o_t = o_g  # [BG]
    m_t = o_g < x.T  # [BG]
    if x.p_task_ids is not None:
        of_rows = x.p_row_alpha is not None or x.B < x.T
        m_row = o_g < tl.where(of_rows, x.B, 0)  # [BG]
        o_t = tl.where(of_rows, tl.load(x.p_task_ids + o_g, mask=m_row, other=-1), o_g)  # [BG]
        m_t = (o_t >= 0) & (o_t < x.T)  # [BG]
    return o_g, o_t, m_t


@triton.jit
def candidate_scores(x, o_t, m_t, o_j, m_j, ACC: tl.constexpr):
    """``A_tj / tau`` as [BG, BJ]; minus infinity where the candidate may not be used or does not exist."""
    o_tj = o_t[:, None] * x.N + o_j[None, :]  # [BG, BJ]
    m_tj = m_t[:, None] & m_j[None, :]  # [BG, BJ]
    b_logits = tl.load(x.p_logits + o_tj, mask=m_tj, other=float("-inf")).to(ACC)  # [BG, BJ]
    b_scores = b_logits * tl.full([1, 1], x.inv_tau, ACC)  # [BG, BJ]
    if x.p_mask is not None:
        m_use = m_tj  # [BG, BJ]
        if x.N > 0:
            # Always so. Inside a branch the one-byte load is out of sight of Triton's choice of operand layouts, which
            # for float64 would follow its width into a layout that the matrix units of sm_80 and sm_90 do not have.
            m_use = tl.load(x.p_mask + o_tj, mask=m_tj, other=0) != 0  # [BG, BJ]
        b_scores = tl.where(m_use, b_scores, float("-inf"))  # [BG, BJ]
    return b_scores


@triton.jit
def given_weights(x, s, o_j, m_j):
    """Alpha as it is given: [BG, BJ]; 0 where there is none."""
    p_given = x.p_alpha if x.p_row_alpha is None else x.p_row_alpha
    p_a = p_given + s.o_a[:, None] * x.N + o_j[None, :]  # [BG, BJ]
    return tl.load(p_a, mask=s.m_t[:, None] & m_j[None, :], other=0.0).to(s.b_max.dtype)


@triton.jit
def softmax_terms(x, o_g, o_t, m_t, BJ: tl.constexpr, ACC: tl.constexpr):
    """The softmax of the groups ``o_g`` whose tasks are ``o_t``, without meaning where weights are given."""
    BG: tl.constexpr = o_t.shape[0]
    if x.p_logits is None:
        b_none = tl.zeros([BG], ACC)  # [BG]
        s = Softmax(o_g if x.p_row_alpha is not None else o_t, o_t, m_t, b_none, b_none)
    else:
        b_max, b_inv = softmax_of_logits(x, o_t, m_t, BG, BJ, ACC)
        s = Softmax(o_t, o_t, m_t, b_max, b_inv)
    return s


@triton.jit
def softmax_of_logits(x, o_t, m_t, BG: tl.constexpr, BJ: tl.constexpr, ACC: tl.constexpr):
    """Largest scores and reciprocal sums of the tasks ``o_t``, as :class:`Softmax` has them."""
    b_most = tl.full([BG, BJ], float("-inf"), ACC)  # [BG, BJ]
    b_sums = tl.zeros([BG, BJ], ACC)  # [BG, BJ]
    for i_j in range(0, x.N, BJ):
        o_j = i_j + tl.arange(0, BJ)  # [BJ]
        b_scores = candidate_scores(x, o_t, m_t, o_j, o_j < x.N, ACC)  # [BG, BJ]
        b_new = tl.maximum(b_most, b_scores)  # [BG, BJ]
        b_ref = tl.where(b_new == float("-inf"), 0.0, b_new)  # [BG, BJ]
        b_sums = b_sums * tl.exp(b_most - b_ref) + tl.exp(b_scores - b_ref)  # [BG, BJ]
        b_most = b_new
    # Threads meet once, not in each step.
    b_max = tl.max(b_most, 1)  # [BG]
    b_max = tl.where(b_max == float("-inf"), 0.0, b_max)  # [BG]
    b_sum = tl.sum(b_sums * tl.exp(b_most - b_max[:, None]), 1)  # [BG]
    b_inv = tl.where(b_sum == 0.0, 0.0, 1.0 / tl.where(b_sum == 0.0, 1.0, b_sum))  # [BG]
    return b_max, b_inv


@triton.jit
def load_terms(x, p_terms, o_g, o_t, m_t):
    """The softmax of the groups ``o_g`` from its terms (3, G): largest score, reciprocal sum, raw weight."""
    G = group_count(x.B, x.T, x.p_row_alpha)
    b_max = tl.load(p_terms + o_g, mask=o_g < G, other=0.0)  # [BG]
    b_inv = tl.load(p_terms + G + o_g, mask=o_g < G, other=0.0)  # [BG]
    return Softmax(o_g if x.p_row_alpha is not None else o_t, o_t, m_t, b_max, b_inv)


@triton.jit
def candidate_weights(x, s, i_j, count, BJ: tl.constexpr):
    """Alpha of the candidates ``i_j ... i_j + BJ`` as [BG, BJ]; 0 from number ``count`` on."""
    o_j = i_j + tl.arange(0, BJ)  # [BJ]
    if x.p_logits is None:
        b_alpha = given_weights(x, s, o_j, o_j < count)  # [BG, BJ]
    else:
        b_scores = candidate_scores(x, s.o_t, s.m_t, o_j, o_j < count, s.b_max.dtype)  # [BG, BJ]
        b_alpha = tl.exp(b_scores - s.b_max[:, None]) * s.b_inv[:, None]  # [BG, BJ]
    return b_alpha


@triton.jit
def private_weights(x, s):
    """Alpha of the private prompt, the last candidate, as [BG]."""
    o_j = x.N - 1 + tl.arange(0, 1)  # [1]
    if x.p_logits is None:
        b_alpha = tl.sum(given_weights(x, s, o_j, o_j < x.N), 1)  # [BG]
    else:
        b_scores = candidate_scores(x, s.o_t, s.m_t, o_j, o_j < x.N, s.b_max.dtype)  # [BG, 1]
        b_alpha = tl.sum(tl.exp(b_scores - s.b_max[:, None]), 1) * s.b_inv  # [BG]
    return b_alpha


@triton.jit
def raw_weights(x, s, b_private, RAW_SOURCES: tl.constexpr, RAW_PRIVATES: tl.constexpr, BJ: tl.constexpr):
    """The share of each group that goes through the encoder, ``sum_raw alpha_tj``, as [BG]."""
    b_raw = tl.zeros_like(b_private)  # [BG]
    if RAW_SOURCES:
        for i_j in range(0, x.n, BJ):
            b_raw += tl.sum(candidate_weights(x, s, i_j, x.n, BJ), 1)
    if RAW_PRIVATES:
        b_raw += b_private
    return b_raw


@triton.jit
def load_own(x, p_own, s, at):
    """Prompts (T, m, d), the private or the added ones, of the groups' tasks on one patch: [BG, BC]."""
    p_u = p_own + s.o_t[:, None] * x.m * x.d + (at.o_i * x.d + at.o_c)[None, :]  # [BG, BC]
    return tl.load(p_u, mask=s.m_t[:, None] & at.m_c[None, :], other=0.0)


@triton.jit
def mix(
    x, s, b_alpha, b_private, b_u, at,
    SOURCES: tl.constexpr, PRIVATES: tl.constexpr, ONE_BLOCK: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """``sum_j alpha_tj E_j`` over the chosen groups of prompts, on one patch: [BG, BC].

    ``BC`` is the number of elements of the patch here. ``b_alpha`` holds the weights of the first BJ sources, which
    are all of them if ONE_BLOCK; ``b_u`` what ``load_own`` gives, which a caller with a loop loads a step ahead.
    """
    BJ: tl.constexpr = b_alpha.shape[1]
    o_ic = at.o_i * x.d + at.o_c  # [BC]
    b_mix = tl.zeros([b_alpha.shape[0], o_ic.shape[0]], b_alpha.dtype)  # [BG, BC]
    if SOURCES:
        o_j = tl.arange(0, BJ).to(tl.int64)  # [BJ]
        p_e = x.p_sources + o_j[:, None] * x.m * x.d + o_ic[None, :]  # [BJ, BC]
        b_e = tl.load(p_e, mask=(o_j < x.n)[:, None] & at.m_c[None, :], other=0.0)  # [BJ, BC]
        b_mix = dot(b_alpha.to(OPERAND), b_e.to(OPERAND), b_mix, PRECISION)  # [BG, BC]
        if not ONE_BLOCK:
            for i_j in range(BJ, x.n, BJ):
                b_more = candidate_weights(x, s, i_j, x.n, BJ)  # [BG, BJ]
                o_j = i_j + tl.arange(0, BJ).to(tl.int64)  # [BJ]
                p_e = x.p_sources + o_j[:, None] * x.m * x.d + o_ic[None, :]  # [BJ, BC]
                b_e = tl.load(p_e, mask=(o_j < x.n)[:, None] & at.m_c[None, :], other=0.0)  # [BJ, BC]
                b_mix = dot(b_more.to(OPERAND), b_e.to(OPERAND), b_mix, PRECISION)  # [BG, BC]
    if PRIVATES:
        b_mix += b_private[:, None] * b_u.to(b_mix.dtype)
    return b_mix


@triton.jit
def load_gradient(g, o_g, m_g, at):
    """A patch of a gradient, 0 where there is none: [BG, BI * BC]."""
    o_ic = at.o_i * g.stride_i + at.o_c * g.stride_d  # [BI * BC]
    p_g = g.p_grad + o_g[:, None] * g.stride_g + o_ic[None, :]  # [BG, BI * BC]
    return tl.load(p_g, mask=m_g[:, None] & at.m_c[None, :], other=0.0)

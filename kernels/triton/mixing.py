"""Device functions that every composing kernel shares: mixing weights, mixed tiles, matrix products.

A *group* is a row of the composition: a task, or a batch row when the batch has fewer rows than there are tasks. The
(m, d) plane of a prompt is cut into patches of BI positions x BC columns; a tile of BG groups is kept as
[BG, BI * BC], so that the sources of one patch are mixed for all its groups in one matrix product
[BG, BJ] x [BJ, BI * BC], and is read as [BG * BI, BC] where it meets the encoder.
"""

import triton
import triton.language as tl


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
def patch(i_i, i_c, m, d, BI: tl.constexpr, BC: tl.constexpr):
    """Positions and columns of the patch that starts at position ``i_i`` and column ``i_c``, and which exist."""
    o_flat = tl.arange(0, BI * BC)  # [BI * BC]
    o_i = (i_i + o_flat // BC).to(tl.int64)  # [BI * BC]
    o_c = (i_c + o_flat % BC).to(tl.int64)  # [BI * BC]
    return o_i, o_c, (o_i < m) & (o_c < d)


@triton.jit
def group_tasks(p_task_ids, i_g, B, T, BG: tl.constexpr):
    """Groups from ``i_g`` on: their numbers, their tasks, and which of them exist and have a task in [0, T).

    Groups are tasks, unless task ids are given and there are fewer batch rows than tasks: then they are batch rows.
    """
    o_g = i_g + tl.arange(0, BG).to(tl.int64)  # [BG]
    o_t = o_g  # [BG]
    m_g = o_g < T  # [BG]
    if p_task_ids is not None:
        m_row = (o_g < B) & (B < T)  # [BG]
        o_t = tl.where(B < T, tl.load(p_task_ids + o_g, mask=m_row, other=-1), o_g)  # [BG]
        m_g = (o_t >= 0) & (o_t < T)  # [BG]
    return o_g, o_t, m_g


@triton.jit
def scores(p_logits, p_mask, o_t, m_t, o_j, m_j, N, inv_tau, ACC: tl.constexpr):
    """``A_tj / tau`` as [BG, BJ]; minus infinity where the candidate may not be used or does not exist."""
    o_tj = o_t[:, None] * N + o_j[None, :]  # [BG, BJ]
    m_tj = m_t[:, None] & m_j[None, :]  # [BG, BJ]
    b_logits = tl.load(p_logits + o_tj, mask=m_tj, other=float("-inf")).to(ACC)  # [BG, BJ]
    b_scores = b_logits * tl.full([1, 1], inv_tau, ACC)  # [BG, BJ]
    if p_mask is not None:
        m_use = m_tj  # [BG, BJ]
        if N > 0:
            # Always so. Inside a branch the one-byte load is out of sight of Triton's choice of operand layouts, which
            # for float64 would follow its width into a layout that the matrix units of sm_80 and sm_90 do not have.
            m_use = tl.load(p_mask + o_tj, mask=m_tj, other=0) != 0  # [BG, BJ]
        b_scores = tl.where(m_use, b_scores, float("-inf"))  # [BG, BJ]
    return b_scores


@triton.jit
def softmax_terms(p_logits, p_mask, o_t, m_t, N, inv_tau, BG: tl.constexpr, BJ: tl.constexpr, ACC: tl.constexpr):
    """Each row's maximum and the reciprocal of its sum of exponentials, both [BG]; 0 for a row without candidates."""
    b_max = tl.full([BG], float("-inf"), ACC)  # [BG]
    b_sum = tl.zeros([BG], ACC)  # [BG]
    for i_j in range(0, N, BJ):
        o_j = i_j + tl.arange(0, BJ)  # [BJ]
        b_scores = scores(p_logits, p_mask, o_t, m_t, o_j, o_j < N, N, inv_tau, ACC)  # [BG, BJ]
        b_new = tl.maximum(b_max, tl.max(b_scores, 1))  # [BG]
        b_ref = tl.where(b_new == float("-inf"), 0.0, b_new)  # [BG]
        b_sum = b_sum * tl.exp(b_max - b_ref) + tl.sum(tl.exp(b_scores - b_ref[:, None]), 1)  # [BG]
        b_max = b_new
    b_inv = tl.where(b_sum == 0.0, 0.0, 1.0 / tl.where(b_sum == 0.0, 1.0, b_sum))  # [BG]
    return tl.where(b_max == float("-inf"), 0.0, b_max), b_inv


@triton.jit
def source_weights(p_logits, p_mask, o_t, m_t, b_max, b_inv, i_j, n, N, inv_tau, BJ: tl.constexpr):
    """Alpha of the sources ``i_j ... i_j + BJ`` as [BG, BJ]; 0 where there is no such source."""
    o_j = i_j + tl.arange(0, BJ)  # [BJ]
    b_scores = scores(p_logits, p_mask, o_t, m_t, o_j, o_j < n, N, inv_tau, b_max.dtype)  # [BG, BJ]
    return tl.exp(b_scores - b_max[:, None]) * b_inv[:, None]


@triton.jit
def private_weights(p_logits, p_mask, o_t, m_t, b_max, b_inv, N, inv_tau):
    """Alpha of the private prompt, the last candidate, as [BG]."""
    o_j = N - 1 + tl.arange(0, 1)  # [1]
    b_scores = scores(p_logits, p_mask, o_t, m_t, o_j, o_j < N, N, inv_tau, b_max.dtype)  # [BG, 1]
    return tl.sum(tl.exp(b_scores - b_max[:, None]), 1) * b_inv


@triton.jit
def raw_weights(
    p_logits, p_mask, o_t, m_t, b_max, b_inv, b_private, n, N, inv_tau,
    RAW_SOURCES: tl.constexpr, RAW_PRIVATES: tl.constexpr, BJ: tl.constexpr,
):  # fmt: skip
    """The share of each group that goes through the encoder, ``sum_raw alpha_tj``, as [BG]."""
    b_raw = tl.zeros_like(b_private)  # [BG]
    if RAW_SOURCES:
        for i_j in range(0, n, BJ):
            b_alpha = source_weights(p_logits, p_mask, o_t, m_t, b_max, b_inv, i_j, n, N, inv_tau, BJ)  # [BG, BJ]
            b_raw += tl.sum(b_alpha, 1)
    if RAW_PRIVATES:
        b_raw += b_private
    return b_raw


@triton.jit
def mix(
    p_logits, p_mask, p_sources, p_privates, o_t, m_t, b_max, b_inv, b_alpha, b_private, o_i, o_c, m_c,
    n, N, m, d, inv_tau,
    SOURCES: tl.constexpr, PRIVATES: tl.constexpr, BG: tl.constexpr, BC: tl.constexpr, BJ: tl.constexpr,
    ONE_BLOCK: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """``sum_j alpha_tj E_j`` over the chosen groups of prompts, on one patch: [BG, BC].

    ``BC`` is the number of elements of the patch here. ``b_alpha`` holds the weights of the first BJ sources, which
    are all of them if ONE_BLOCK.
    """
    o_ic = o_i * d + o_c  # [BC]
    b_mix = tl.zeros([BG, BC], b_max.dtype)  # [BG, BC]
    if SOURCES:
        o_j = tl.arange(0, BJ).to(tl.int64)  # [BJ]
        p_e = p_sources + o_j[:, None] * m * d + o_ic[None, :]  # [BJ, BC]
        b_e = tl.load(p_e, mask=(o_j < n)[:, None] & m_c[None, :], other=0.0)  # [BJ, BC]
        b_mix = dot(b_alpha.to(OPERAND), b_e.to(OPERAND), b_mix, PRECISION)  # [BG, BC]
        if not ONE_BLOCK:
            for i_j in range(BJ, n, BJ):
                b_more = source_weights(p_logits, p_mask, o_t, m_t, b_max, b_inv, i_j, n, N, inv_tau, BJ)  # [BG, BJ]
                o_j = i_j + tl.arange(0, BJ).to(tl.int64)  # [BJ]
                p_e = p_sources + o_j[:, None] * m * d + o_ic[None, :]  # [BJ, BC]
                b_e = tl.load(p_e, mask=(o_j < n)[:, None] & m_c[None, :], other=0.0)  # [BJ, BC]
                b_mix = dot(b_more.to(OPERAND), b_e.to(OPERAND), b_mix, PRECISION)  # [BG, BC]
    if PRIVATES:
        p_u = p_privates + o_t[:, None] * m * d + o_ic[None, :]  # [BG, BC]
        b_u = tl.load(p_u, mask=m_t[:, None] & m_c[None, :], other=0.0)  # [BG, BC]
        b_mix += b_private[:, None] * b_u.to(b_mix.dtype)
    return b_mix

"""Device functions that the attention kernels share: rows of a head, scores, dropout.

Keys come from two places, a task's prefix and a row's own. Those of one place are numbered from 0; their place in the
concatenation is that number plus the number ``i_first`` of the first key there. A tile holds queries x keys, or keys x
queries where its transpose is the operand of a product: indices come as [BM, 1] and [1, BN], or [1, BM] and [BN, 1].
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

from crosspt.kernels.mixing import dot

LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)


class Head(NamedTuple):
    """What the queries of one row and head have in common, whichever keys they see."""

    i_row: Any  # number of the row and head
    p_bias: Any  # (Lq + n_keys - 1,), or None
    p_seed: Any  # (1,), or None: nothing is dropped
    dropout: Any  # probability with which a weight is dropped
    Lq: Any  # queries
    n_keys: Any  # keys of all places


class Keys(NamedTuple):
    """The keys and values of one place of a head: a task's prefix, or a row's own."""

    p_key: Any
    p_value: Any
    p_mask: Any  # which of them count (count,), or None
    stride_kj: Any
    stride_vj: Any
    i_place: Any  # 0 the prefix, 1 the row's own
    i_first: Any  # keys in front of this place
    count: Any


@triton.jit
def offset(p_x, o_x):
    """``p_x + o_x``; None stays None."""
    p_at = p_x
    if p_x is not None:
        p_at = p_x + o_x
    return p_at


@triton.jit
def load_rows(p_x, o_r, n_rows, stride_r, stride_d, D: tl.constexpr, BD: tl.constexpr, WHOLE: tl.constexpr = False):
    """Rows ``o_r`` of one head [BR, BD], all there if WHOLE; 0 beyond D columns, else beyond ``n_rows`` rows too."""
    o_d = tl.arange(0, BD)  # [BD]
    p_r = p_x + o_r.to(tl.int64)[:, None] * stride_r + o_d[None, :] * stride_d  # [BR, BD]
    if WHOLE:
        return tl.load(p_r, mask=(o_d < D)[None, :], other=0.0)
    return tl.load(p_r, mask=(o_r < n_rows)[:, None] & (o_d < D)[None, :], other=0.0)


@triton.jit
def load_numbers(p_x, o_x, n, other, WHOLE: tl.constexpr):
    """The numbers ``o_x``; ``other`` beyond n, of which there are enough if WHOLE."""
    if WHOLE:
        return tl.load(p_x + o_x)
    return tl.load(p_x + o_x, mask=o_x < n, other=other)


@triton.jit
def store_rows(p_x, o_r, n_rows, stride_r, b_x, D: tl.constexpr, BD: tl.constexpr):
    """Store rows ``o_r`` of one head [BR, BD], whose columns lie side by side."""
    o_d = tl.arange(0, BD)  # [BD]
    p_r = p_x + o_r.to(tl.int64)[:, None] * stride_r + o_d[None, :]  # [BR, BD]
    tl.store(p_r, b_x.to(p_x.dtype.element_ty), mask=(o_r < n_rows)[:, None] & (o_d < D)[None, :])


@triton.jit
def scores(
    b_x, b_y, head, keys, o_i, o_j,
    CAUSAL: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr, WHOLE: tl.constexpr = False,
):  # fmt: skip
    """``Q K^T + bias`` on a tile; minus infinity where a query does not see the key, anything where there is none.

    Args:
        b_x: queries [BM, BD], or keys [BN, BD]: the rows of the tile.
        b_y: the other ones: its columns.
        head: the row and head.
        keys: the place of the keys.
        o_i: numbers of the queries, broadcast along the tile.
        o_j: numbers of the keys in their place, broadcast along the tile.
        CAUSAL: whether later keys are hidden.
        ACC: type of the scores.
        PRECISION: "ieee" or "tf32", how float32 operands are multiplied.
        WHOLE: whether all of the queries exist.
    """
    b_s = dot(b_x, tl.trans(b_y), tl.zeros([b_x.shape[0], b_y.shape[0]], ACC), PRECISION)
    # Numbers of keys and queries that exist, so that no load asks for each element whether it is there.
    o_y = tl.maximum(tl.minimum(o_j, keys.count - 1), 0)
    o_x = o_i
    if not WHOLE:
        o_x = tl.minimum(o_i, head.Lq - 1)
    if head.p_bias is not None:  # first the rows of the tile, whose addresses a loop over its columns keeps
        if o_i.shape[1] == 1:
            p_b = head.p_bias + (head.Lq - 1 - o_x) + (keys.i_first + o_y)
        else:
            p_b = head.p_bias + (keys.i_first + o_y) + (head.Lq - 1 - o_x)
        b_s += tl.load(p_b).to(ACC)
    m_see = o_j < keys.count
    if keys.p_mask is not None:
        m_see = m_see & (tl.load(keys.p_mask + o_y) != 0)
    if CAUSAL:
        m_see = m_see & (keys.i_first + o_j <= o_i + (head.n_keys - head.Lq))
    return tl.where(m_see, b_s, float("-inf"))


@triton.jit
def exp_difference(b_x, b_y):
    """``exp(b_x - b_y)``, of float32 as a power of 2 in one multiply-add: where both are equal, nearly 1.

    The rounding error of ``b_y`` comes on top, which that of a score, the sum of many products, exceeds. Subnormal
    results are 0 on a GPU; ``tl.exp`` has three instructions more for them.
    """
    if b_x.dtype == tl.float64:
        return tl.exp(b_x - b_y)
    return tl.exp2(tl.fma(b_x, LOG2E, -(b_y * LOG2E)))


@triton.jit
def seen_keys(head, keys, i_i, BM: tl.constexpr, CAUSAL: tl.constexpr):
    """How many of a place's keys, from its first on, any of the BM queries from ``i_i`` on may see."""
    n_seen = keys.count
    if CAUSAL:
        i_last = tl.minimum(i_i + BM, head.Lq) - 1
        n_seen = tl.maximum(tl.minimum(keys.count, i_last + (head.n_keys - head.Lq) + 1 - keys.i_first), 0)
    return n_seen


@triton.jit
def kept(head, i_place, o_i, i_j, BN: tl.constexpr):
    """Which weights dropout keeps, for queries ``o_i`` and the BN keys of a place from ``i_j`` on [BM, BN].

    A function of the seed, the row and head, the place, and the numbers of query and key alone, so that every launch
    finds the same whatever its blocks. Four keys share a call of Philox: its cost would exceed that of the products.
    """
    o_j = i_j // 4 + tl.arange(0, BN // 4)  # [BN / 4]
    o_zero = (o_i * 0)[:, None] + (o_j * 0)[None, :]  # [BM, BN / 4]
    b_0, b_1, b_2, b_3 = tl.philox(
        tl.load(head.p_seed),
        o_zero + o_j[None, :],
        o_zero + o_i[:, None],
        o_zero + head.i_row.to(tl.int32),
        o_zero + i_place,
    )  # [BM, BN / 4]
    b_random = tl.join(tl.join(b_0, b_2), tl.join(b_1, b_3))  # [BM, BN / 4, 2, 2]
    # A float32 would round the probability.
    m_kept = b_random >= tl.full([1, 1, 1, 1], head.dropout * 4294967296.0, tl.float64).to(tl.uint32)
    return tl.reshape(m_kept, [o_i.shape[0], BN])

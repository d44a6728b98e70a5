"""One-line faults for ``python -m tests.kernels.mutants``, each with the tests that must notice it."""

from typing import NamedTuple


class Fault(NamedTuple):
    """A fault to plant.

    Attributes:
        file: path in the repository.
        before: text that occurs exactly once in the file.
        after: what replaces it.
        tests: pytest node ids of the tests that should notice.
    """

    file: str
    before: str
    after: str
    tests: tuple[str, ...]


MIXING = "kernels/triton/mixing.py"
COMPOSE = "kernels/triton/compose_prompts.py"
BACKWARD = "kernels/triton/compose_prompts_backward.py"
PREPEND = "kernels/triton/prepend_prompts.py"
PROMPTED = "kernels/triton/prompted_embedding.py"
LAUNCH = "kernels/triton/launch.py"

VARIANTS = ("tests/kernels/test_values.py::test_prompted_embedding_of_every_variant",)
PARTS = ("tests/kernels/test_values.py::test_compose_prompts_of_every_variant",)
SIZES = ("tests/kernels/test_values.py::test_sizes",)
PREPENDED = ("tests/kernels/test_values.py::test_prepend_prompts",)
DTYPES = ("tests/kernels/test_values.py::test_dtypes",)
ADDRESSES = (
    "tests/kernels/test_memory.py::test_recorded_addresses_at_odd_sizes",
    "tests/kernels/test_memory.py::test_recorded_addresses_of_the_parts",
)
STRESS = ("tests/kernels/test_memory.py::test_order_poison_and_masked_lanes_change_no_bit",)
STRIDES = ("tests/kernels/test_strides.py",)
IDS = ("tests/kernels/test_operators.py::test_ids_out_of_range",)
NO_CANDIDATES = ("tests/kernels/test_values.py::test_task_without_candidates",)

FAULTS: list[Fault] = [
    # mixing.py
    Fault(MIXING, "(i_i + o_flat // BC)", "(i_i + o_flat % BC)", VARIANTS),
    Fault(MIXING, "(o_i < m) & (o_c < d)", "(o_i <= m) & (o_c < d)", ADDRESSES),
    Fault(MIXING, "(o_i < m) & (o_c < d)", "(o_i < m) & (o_c <= d)", ADDRESSES),
    Fault(MIXING, "m_g = o_g < T  # [BG]", "m_g = o_g <= T  # [BG]", ADDRESSES),
    Fault(MIXING, "(o_g < B) & (B < T)", "(o_g <= B) & (B < T)", ADDRESSES),
    Fault(MIXING, "m_g = (o_t >= 0) & (o_t < T)", "m_g = o_t >= 0", IDS),
    Fault(MIXING, "b_logits * tl.full([1, 1], inv_tau, ACC)", "b_logits", VARIANTS),
    Fault(MIXING, "tl.full([1, 1], inv_tau, ACC)", "tl.full([1, 1], inv_tau, tl.float32)", VARIANTS),
    Fault(MIXING, 'tl.where(m_use, b_scores, float("-inf"))', "b_scores", VARIANTS),
    Fault(MIXING, 'mask=m_tj, other=float("-inf")', "mask=m_tj, other=0.0", VARIANTS),
    Fault(MIXING, "b_sum * tl.exp(b_max - b_ref)", "b_sum", SIZES),
    Fault(MIXING, "for i_j in range(0, N, BJ):", "for i_j in range(0, N - 1, BJ):", VARIANTS),
    Fault(MIXING, 'return tl.where(b_max == float("-inf"), 0.0, b_max), b_inv', "return b_max, b_inv", NO_CANDIDATES),
    Fault(MIXING, "o_j = N - 1 + tl.arange(0, 1)", "o_j = tl.arange(0, 1)", VARIANTS),
    Fault(MIXING, "b_raw += b_private", "b_raw += 0.0 * b_private", VARIANTS),
    Fault(MIXING, "b_raw += tl.sum(b_alpha, 1)", "b_raw = tl.sum(b_alpha, 1)", SIZES),
    Fault(MIXING, "for i_j in range(BJ, n, BJ):", "for i_j in range(2 * BJ, n, BJ):", SIZES),
    Fault(MIXING, "b_private[:, None] * b_u.to(b_mix.dtype)", "b_u.to(b_mix.dtype)", VARIANTS),
    Fault(
        MIXING,
        "b_u = tl.load(p_u, mask=m_t[:, None] & m_c[None, :], other=0.0)",
        "b_u = tl.load(p_u, mask=m_t[:, None] & m_c[None, :])",
        STRESS,
    ),
    Fault(MIXING, "b_mix = tl.zeros([BG, BC], b_max.dtype)", "b_mix = tl.zeros([BG, BC], OPERAND)", DTYPES),
    # compose_prompts.py
    Fault(COMPOSE, "tl.float64 if tl.float64 == OPERAND else tl.float32", "tl.float32", PARTS),
    Fault(COMPOSE, "i_i = (i_tile // n_n % n_i) * BI", "i_i = (i_tile // n_n // n_i) * BI", PARTS),
    Fault(COMPOSE, "o_n[:, None] * d + o_k[None, :]", "o_n[:, None] + o_k[None, :] * d", PARTS),
    Fault(COMPOSE, "(o_n < d)[:, None] & (o_k < d)[None, :]", "(o_n < d)[:, None] & (o_k <= d)[None, :]", ADDRESSES),
    Fault(COMPOSE, "b_raw[:, None] * b_bias[None, :]", "b_bias[None, :]", PARTS),
    Fault(COMPOSE, "b_out += mix(", "b_out = mix(", PARTS),
    Fault(COMPOSE, "mask=m_t[:, None] & m_c[None, :])", "mask=m_c[None, :])", ADDRESSES),
    # prompted_embedding.py
    Fault(PROMPTED, "p_out + i_b * stride_b + o_ic[None, :]", "p_out + i_t * stride_b + o_ic[None, :]", VARIANTS),
    Fault(
        PROMPTED,
        "for i_b in range(B):\n                i_t = tl.load(p_task_ids + i_b)\n                p_x",
        "for i_b in range(1, B):\n                i_t = tl.load(p_task_ids + i_b)\n                p_x",
        ADDRESSES,
    ),
    Fault(PROMPTED, "(m + L).to(tl.int64) * d", "(m + L + 1).to(tl.int64) * d", ADDRESSES),
    Fault(PROMPTED, 'tl.where(m_t[:, None], b_out, float("nan"))', "b_out", IDS),
    # prepend_prompts.py
    Fault(PREPEND, "(o_b * (m + L) + m + o_r % L) * d", "(o_b * (m + L) + o_r % L) * d", VARIANTS),
    Fault(PREPEND, "m_r = o_r < B.to(tl.int64) * L", "m_r = o_r <= B.to(tl.int64) * L", ADDRESSES),
    Fault(PREPEND, "(o_t * m + o_r % m) * d", "(o_t * m + o_r // m) * d", PREPENDED),
    Fault(PREPEND, "mask=m_row[:, None] & m_c[None, :]", "mask=m_row[:, None]", ADDRESSES),
    Fault(PREPEND, "o_c[None, :] * stride_d, mask=m_in", "o_c[None, :], mask=m_in", STRIDES),
    Fault(PREPEND, "(m_row & m_valid)[:, None] & m_c[None, :]", "m_row[:, None] & m_c[None, :]", IDS),
    Fault(PREPEND, "m_b = (o_t == i_t)[:, None]", "m_b = (o_t >= i_t)[:, None]", VARIANTS),
    Fault(PREPEND, "mask=o_b < B, other=-1", "mask=o_b < B, other=0", ADDRESSES),
    Fault(PREPEND, "b_sum += tl.sum(tl.load(p_g", "b_sum = tl.sum(tl.load(p_g", SIZES),
    Fault(PREPEND, "i_i * stride_i + o_c[None, :]", "i_i * d + o_c[None, :]", STRIDES),
    # compose_prompts_backward.py
    Fault(BACKWARD, "o_i * stride_i + o_c * stride_d", "o_i * stride_i + o_c", STRIDES),
    Fault(BACKWARD, "o_k[:, None] * d + o_n[None, :]", "o_k[:, None] + o_n[None, :] * d", PARTS),
    Fault(BACKWARD, "b_dots += b_bias[:, None]", "b_dots += 0.0 * b_bias[:, None]", PARTS),
    Fault(BACKWARD, "b_dot += b_bias", "b_dot += 0.0 * b_bias", PARTS),
    Fault(BACKWARD, "b_dp.to(ACC) * b_raw[:, None]", "b_dp.to(ACC)", PARTS),
    Fault(BACKWARD, "b_dw = dot(b_x, b_y, b_dw, PRECISION)", "b_dw = dot(b_x, b_y, 0.0 * b_dw, PRECISION)", SIZES),
    Fault(BACKWARD, "o_o[:, None] * d + o_p[None, :]", "o_o[:, None] + o_p[None, :] * d", PARTS),
    Fault(BACKWARD, "mask=(o_o < d) & (i_p == 0)", "mask=o_o < d", ADDRESSES),
    Fault(BACKWARD, "mask=(o_g < G)[:, None] & (o_j < n)[None, :]", "mask=(o_j < n)[None, :]", ADDRESSES),
    Fault(BACKWARD, "tl.store(p_row + n, b_dot, mask=o_g < G)", "tl.store(p_row + n - 1, b_dot, mask=o_g < G)", PARTS),
    Fault(BACKWARD, "count = T\n", "count = n\n", PARTS),
    Fault(BACKWARD, "i_hi = tl.minimum(i_j + BJ, T)", "i_hi = tl.minimum(i_j + BJ, T - 1)", SIZES),
    Fault(BACKWARD, "o_t[:, None] == o_j[None, :]", "o_g[:, None] == o_j[None, :]", VARIANTS),
    Fault(BACKWARD, "tl.where(B < T, G, i_t + 1)", "tl.where(B < T, G - 1, i_t + 1)", VARIANTS),
    Fault(BACKWARD, "* tl.full([1, 1], inv_tau, ACC)", "", PARTS),
    Fault(BACKWARD, "b_alpha * (b_dalpha - b_mean[:, None])", "b_alpha * b_dalpha", PARTS),
    Fault(BACKWARD, "((o_x * G + i_g) * N)[:, None]", "((o_x * T + i_g) * N)[:, None]", VARIANTS),
    Fault(BACKWARD, "b_dots += tl.sum(tl.load(p_x", "b_dots = tl.sum(tl.load(p_x", SIZES),
    Fault(BACKWARD, "products += -(-groups // tiles.BG) * patches", "products += groups // tiles.BG * patches", PARTS),
    # launch.py
    Fault(LAUNCH, "1.0 / temperature", "temperature", VARIANTS),
    Fault(LAUNCH, "weight.contiguous() if raw and weight is not None else None", "weight if raw else None", STRIDES),
]  # fmt: skip

"""One-line faults that the kernel tests must notice; see ``mutants.py``."""

from typing import NamedTuple


class Fault(NamedTuple):
    """One fault.

    Attributes:
        file: File under the repository root.
        before: Text that occurs exactly once in the file.
        after: What it becomes.
        tests: pytest arguments: the tests that must notice.
    """

    file: str
    before: str
    after: str
    tests: tuple[str, ...]


MIXING = "kernels/triton/mixing.py"
COMPOSE = "kernels/triton/compose_prompts.py"
EMBED = "kernels/triton/prompted_embedding.py"
PREPEND = "kernels/triton/prepend_prompts.py"
BACKWARD = "kernels/triton/compose_prompts_backward.py"

_VALUES = "tests/kernels/test_values.py"
VARIANTS = (f"{_VALUES}::test_prompted_embedding_of_every_variant",)
SIZES = (f"{_VALUES}::test_sizes",)
BOTH = VARIANTS + SIZES
DTYPES = (f"{_VALUES}::test_dtypes",)
ROWS = (f"{_VALUES}::test_prepend_prompts", *SIZES)
_MEMORY = "tests/kernels/test_memory.py"
ADDRESSES = (f"{_MEMORY}::test_recorded_addresses", f"{_MEMORY}::test_recorded_addresses_at_odd_sizes")
MASKED_LANES = (f"{_MEMORY}::test_order_poison_and_masked_lanes_change_no_bit",)
LAUNCHES = ("tests/kernels/test_launches.py::test_forward_is_one_launch_and_backward_at_most_three",)
FROZEN = ("tests/kernels/test_launches.py::test_frozen_parameters_cost_nothing",)

FAULTS = [
    # The softmax and its mask.
    Fault(MIXING, "b_logits * tl.full([1, 1], inv_tau, ACC)", "b_logits", VARIANTS),
    Fault(MIXING, "mask=m_tj, other=0) != 0  # [BG, BJ]", "mask=m_tj, other=0) != 2  # [BG, BJ]", VARIANTS),
    Fault(MIXING, "o_tj = o_t[:, None] * N + o_j[None, :]", "o_tj = o_j[None, :] * N + o_t[:, None]", VARIANTS),
    Fault(MIXING, "b_sum = b_sum * tl.exp(b_max - b_ref) + ", "b_sum = b_sum + ", SIZES),
    Fault(MIXING, "for i_j in range(0, N, BJ):", "for i_j in range(0, N - 1, N):", BOTH),
    Fault(MIXING, "o_j = N - 1 + tl.arange(0, 1)", "o_j = tl.arange(0, 1)", VARIANTS),
    Fault(
        MIXING,
        "return tl.exp(b_scores - b_max[:, None]) * b_inv[:, None]",
        "return tl.exp(b_scores - b_max[:, None])",
        VARIANTS,
    ),
    # Mixing.
    Fault(MIXING, "b_raw += b_private", "b_raw += 0.0 * b_private", VARIANTS),
    Fault(MIXING, "for i_j in range(0, n, BJ):", "for i_j in range(0, BJ, BJ):", SIZES),
    Fault(MIXING, "for i_j in range(BJ, n, BJ):", "for i_j in range(2 * BJ, n, BJ):", SIZES),
    Fault(MIXING, "b_mix += b_private[:, None] * b_u", "b_mix += b_u", VARIANTS),
    Fault(MIXING, "p_privates + o_t[:, None] * m * d", "p_privates + o_t[:, None] * d", VARIANTS),
    Fault(MIXING, "return o_i, o_c, (o_i < m) & (o_c < d)", "return o_i, o_c, o_c < d", ADDRESSES),
    Fault(MIXING, "return o_i, o_c, (o_i < m) & (o_c < d)", "return o_i, o_c, o_i < m", ADDRESSES),
    Fault(MIXING, "m_row = (o_g < B) & (B < T)", "m_row = (o_g < B - 1) & (B < T)", BOTH),
    # Composing.
    Fault(
        COMPOSE, "p_weight + o_n[:, None] * d + o_k[None, :]", "p_weight + o_n[:, None] + o_k[None, :] * d", VARIANTS
    ),
    Fault(COMPOSE, "N = n + (1 if PRIVATES else 0)", "N = n", VARIANTS),
    Fault(COMPOSE, "b_out += b_raw[:, None] * b_bias[None, :]", "b_out += b_bias[None, :]", VARIANTS),
    Fault(
        COMPOSE,
        "ENCODED_PRIVATES: tl.constexpr = PRIVATES and not RAW_PRIVATES",
        "ENCODED_PRIVATES: tl.constexpr = False",
        VARIANTS,
    ),
    Fault(COMPOSE, "i_g = (i_tile // n_n // n_i) * BG", "i_g = i_tile // n_n // n_i", SIZES),
    Fault(COMPOSE, "for i_k in range(0, d, BK):", "for i_k in range(0, d - BK, BK):", BOTH),
    Fault(
        COMPOSE,
        "ACC: tl.constexpr = tl.float64 if tl.float64 == OPERAND else tl.float32",
        "ACC: tl.constexpr = OPERAND",
        DTYPES,
    ),
    # The embedding.
    Fault(
        EMBED,
        "mask=(m_g & (o_g == i_t))[:, None] & m_c[None, :]",
        "mask=(m_g & (o_g >= i_t))[:, None] & m_c[None, :]",
        VARIANTS,
    ),
    Fault(EMBED, "if B < T:", "if B <= T:", SIZES),
    Fault(EMBED, "stride_b = (m + L).to(tl.int64) * d", "stride_b = (m + L - 1).to(tl.int64) * d", VARIANTS),
    Fault(EMBED, "tl.cdiv(tl.minimum(B, T), BG)", "tl.cdiv(T, BG)", SIZES),
    Fault(PREPEND, "m_r = o_r < B.to(tl.int64) * L", "m_r = o_r < B.to(tl.int64) * L - 1", ROWS),
    Fault(PREPEND, "(o_b * (m + L) + m + o_r % L) * d", "(o_b * (m + L) + o_r % L) * d", ROWS),
    Fault(PREPEND, "(o_t * m + o_r % m) * d", "(o_t * m) * d", ROWS),
    Fault(PREPEND, "for i_c in range(0, d, BC):", "for i_c in range(0, BC, BC):", ROWS),
    Fault(PREPEND, "for i_b in range(0, B, BB):", "for i_b in range(0, B - 1, BB):", ROWS),
    Fault(PREPEND, "m_b = (o_t == i_t)[:, None]", "m_b = (o_t <= i_t)[:, None]", ROWS),
    # The backward products.
    Fault(BACKWARD, "b_dots += b_bias[:, None]", "b_dots += 0.0 * b_bias[:, None]", VARIANTS),
    Fault(BACKWARD, "b_dot += b_bias", "b_dot += 0.0 * b_bias", VARIANTS),
    Fault(BACKWARD, "b_dp.to(ACC) * b_raw[:, None]", "b_dp.to(ACC)", VARIANTS),
    Fault(
        BACKWARD, "p_weight + o_k[:, None] * d + o_n[None, :]", "p_weight + o_k[:, None] + o_n[None, :] * d", VARIANTS
    ),
    Fault(BACKWARD, "for i_i in range(0, m, BQ):", "for i_i in range(0, m - 1, BQ):", BOTH),
    Fault(BACKWARD, "for i_g in range(0, G, BH):", "for i_g in range(0, BH, BH):", BOTH),
    Fault(
        BACKWARD,
        "p_row = p_dots + (i_patch.to(tl.int64) * G + o_g) * N",
        "p_row = p_dots + (i_patch.to(tl.int64) + o_g) * N",
        BOTH,
    ),
    Fault(
        BACKWARD, "b_from = b_dmixed if RAW_PRIVATES else b_dp", "b_from = b_dmixed if RAW_SOURCES else b_dp", VARIANTS
    ),
    # What is spread over prompts and logits.
    Fault(
        BACKWARD,
        "tl.where(o_t[:, None] == o_j[None, :], b_private[:, None], 0.0)",
        "b_private[:, None] + 0.0 * o_j[None, :]",
        VARIANTS,
    ),
    Fault(BACKWARD, "i_hi = tl.minimum(i_j + BJ, T)", "i_hi = tl.minimum(i_j + BJ, T - 1)", BOTH),
    Fault(BACKWARD, "tl.where(B < T, G, i_t + 1)", "tl.where(B < T, G - 1, i_t + 1)", BOTH),
    Fault(BACKWARD, "for i_x in range(0, n_patches, BX):", "for i_x in range(0, BX, BX):", SIZES),
    Fault(BACKWARD, "(b_dalpha - b_mean[:, None])", "b_dalpha", VARIANTS),
    Fault(BACKWARD, " * tl.full([1, 1], inv_tau, ACC)", "", VARIANTS),
    Fault(BACKWARD, "from_privates = dmixed if x.raw_privates", "from_privates = dmixed if x.raw_sources", VARIANTS),
    Fault(BACKWARD, "p_e = p_out + o_j[:, None] * m * d", "p_e = p_out + o_j[:, None] * d", BOTH),
    # Memory and launches.
    Fault(COMPOSE, "mask=m_w, other=0.0)", "mask=m_w)", MASKED_LANES),
    Fault(MIXING, 'o_tj, mask=m_tj, other=float("-inf"))', "o_tj, mask=m_tj)", MASKED_LANES),
    Fault(
        BACKWARD,
        "mask=m_g[:, None] & m_c[None, :], other=0.0)\n\n\n",
        "mask=m_g[:, None] & m_c[None, :])\n\n\n",
        MASKED_LANES,
    ),
    Fault(
        BACKWARD,
        "tl.store(p_dlogits + i_t * N + o_j, b_da.to(p_dlogits.dtype.element_ty), mask=o_j < N)",
        "tl.store(p_dlogits + i_t * N + o_j, b_da.to(p_dlogits.dtype.element_ty))",
        ADDRESSES,
    ),
    Fault(BACKWARD, "mask=(o_o < d) & (i_p == 0))", "mask=o_o < d)", ADDRESSES),
    Fault(BACKWARD, "return torch.empty_like(tensor) if asked", "return torch.zeros_like(tensor) if asked", LAUNCHES),
    Fault(BACKWARD, "dlogits = like(needs.logits, x.logits)", "dlogits = like(True, x.logits)", FROZEN),
]

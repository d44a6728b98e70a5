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
SCORES = "kernels/triton/scores.py"
ATTENTION = "kernels/triton/attention.py"
ATTENTION_BACKWARD = "kernels/triton/attention_backward.py"
OPERATORS = "crosspt/ops/operators.py"
FUNCTIONAL = "crosspt/functional.py"

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
LAUNCHES = ("tests/kernels/test_launches.py::test_forward_is_one_launch_and_backward_at_most_three",)
FROZEN = ("tests/kernels/test_launches.py::test_frozen_parameters_cost_nothing",)
ATTENDED = ("tests/kernels/test_attention.py::test_every_variant",)
ATTENDED_SIZES = ("tests/kernels/test_attention.py::test_sizes",)
ATTENDED_ADDRESSES = ("tests/kernels/test_attention_memory.py::test_recorded_addresses",)
ATTENDED_STRESS = ("tests/kernels/test_attention_memory.py::test_order_poison_and_masked_lanes_change_no_bit",)
ATTENDED_STRIDES = (
    "tests/kernels/test_attention_memory.py::test_strided_arguments",
    "tests/kernels/test_attention_memory.py::test_strided_gradients",
)
DROPPED = ("tests/kernels/test_attention.py::test_dropout",)
TILED_DROPOUT = ("tests/kernels/test_attention.py::test_dropout_is_the_same_in_every_tile",)
NO_KEYS = ("tests/kernels/test_attention.py::test_query_without_keys",)
LARGE_SCORES = ("tests/kernels/test_attention.py::test_large_scores_do_not_overflow",)
TASK_IDS = ("tests/kernels/test_attention.py::test_task_ids_out_of_range",)
HIDDEN_BLOCKS = ("tests/kernels/test_attention_memory.py::test_blocks_of_hidden_keys_are_not_read",)
ATTENDED_LAUNCHES = ("tests/kernels/test_attention_memory.py::test_forward_is_one_launch_and_backward_two",)
ATTENDED_NEEDS = ("tests/kernels/test_attention_memory.py::test_what_needs_no_gradient_costs_nothing",)
IN_PLACE = (
    "tests/kernels/test_attention_memory.py::test_projections_are_read_in_place_and_gradients_written_for_them",
)
NO_CANDIDATES = ("tests/kernels/test_values.py::test_task_without_candidates",)

FAULTS: list[Fault] = [
    # mixing.py
    Fault(MIXING, "(i_i + o_flat // BC)", "(i_i + o_flat % BC)", VARIANTS),
    Fault(MIXING, "(o_i < m) & (o_c < d)", "(o_i <= m) & (o_c < d)", ADDRESSES),
    Fault(MIXING, "(o_i < m) & (o_c < d)", "(o_i < m) & (o_c <= d)", ADDRESSES),
    Fault(MIXING, "m_g = o_g < T  # [BG]", "m_g = o_g <= T  # [BG]", ADDRESSES),
    Fault(MIXING, "(o_g < B) & (B < T)", "(o_g <= B) & (B < T)", ADDRESSES),
    Fault(MIXING, "m_g = (o_t >= 0) & (o_t < T)", "m_g = o_t >= 0", ADDRESSES),
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
    Fault(LAUNCH, "_dense(weight)", "weight", STRIDES),
    # A bound, an index or a mask more.
    Fault(MIXING, "o_tj = o_t[:, None] * N + o_j[None, :]", "o_tj = o_j[None, :] * N + o_t[:, None]", VARIANTS),
    Fault(MIXING, "for i_j in range(0, n, BJ):", "for i_j in range(0, BJ, BJ):", SIZES),
    Fault(MIXING, "p_privates + o_t[:, None] * m * d", "p_privates + o_t[:, None] * d", VARIANTS),
    Fault(COMPOSE, "N = n + (1 if PRIVATES else 0)", "N = n", VARIANTS),
    Fault(COMPOSE, "= PRIVATES and not RAW_PRIVATES", "= False", VARIANTS),
    Fault(COMPOSE, "i_g = (i_tile // n_n // n_i) * BG", "i_g = i_tile // n_n // n_i", SIZES),
    Fault(COMPOSE, "for i_k in range(0, d, BK):", "for i_k in range(0, d - BK, BK):", VARIANTS),
    Fault(COMPOSE, "mask=m_w, other=0.0)", "mask=m_w)", STRESS),
    Fault(PROMPTED, "if B < T:", "if B <= T:", SIZES),
    Fault(PROMPTED, "tl.cdiv(tl.minimum(B, T), BG)", "tl.cdiv(T, BG)", SIZES),
    Fault(PROMPTED, "m_g & (o_g == i_t)", "m_g & (o_g >= i_t)", VARIANTS),
    Fault(PREPEND, "for i_c in range(0, d, BC):", "for i_c in range(0, BC, BC):", PREPENDED),
    Fault(PREPEND, "for i_b in range(0, B, BB):", "for i_b in range(0, B - 1, BB):", PREPENDED),
    Fault(BACKWARD, "m_c[None, :], other=0.0)\n\n\n", "m_c[None, :])\n\n\n", STRESS),
    Fault(BACKWARD, "for i_i in range(0, m, BQ):", "for i_i in range(0, m - 1, BQ):", VARIANTS),
    Fault(BACKWARD, "for i_g in range(0, G, BH):", "for i_g in range(0, BH, BH):", SIZES),
    Fault(BACKWARD, "(i_patch.to(tl.int64) * G + o_g) * N", "(i_patch.to(tl.int64) + o_g) * N", VARIANTS),
    Fault(BACKWARD, "b_dmixed if RAW_PRIVATES else b_dp", "b_dmixed if RAW_SOURCES else b_dp", VARIANTS),
    Fault(BACKWARD, "for i_x in range(0, n_patches, BX):", "for i_x in range(0, BX, BX):", SIZES),
    Fault(BACKWARD, "p_e = p_out + o_j[:, None] * m * d", "p_e = p_out + o_j[:, None] * d", VARIANTS),
    Fault(BACKWARD, "p_dlogits.dtype.element_ty), mask=o_j < N)", "p_dlogits.dtype.element_ty))", ADDRESSES),
    Fault(BACKWARD, "dmixed if x.raw_privates", "dmixed if x.raw_sources", VARIANTS),
    # What a launch costs.
    Fault(BACKWARD, "return torch.empty_like(tensor) if asked", "return torch.zeros_like(tensor) if asked", LAUNCHES),
    Fault(BACKWARD, "like(needs.logits, x.logits)", "like(True, x.logits)", FROZEN),
    # scores.py
    Fault(
        SCORES,
        "mask=(o_r < n_rows)[:, None] & (o_d < D)[None, :], other=0.0)",
        "mask=(o_r < n_rows)[:, None], other=0.0)",
        ATTENDED_ADDRESSES,
    ),
    Fault(
        SCORES,
        "mask=(o_r < n_rows)[:, None] & (o_d < D)[None, :], other=0.0)",
        "mask=(o_r < n_rows)[:, None] & (o_d < D)[None, :])",
        ATTENDED_STRESS,
    ),
    Fault(
        SCORES,
        "o_r.to(tl.int64)[:, None] * stride_r + o_d[None, :] * stride_d",
        "o_r.to(tl.int64)[:, None] * stride_r + o_d[None, :]",
        ATTENDED_STRIDES,
    ),
    Fault(SCORES, "m_see = (o_j < count) & (o_i < Lq)", "m_see = (o_j <= count) & (o_i < Lq)", ATTENDED),
    Fault(SCORES, "m_see = (o_j < count) & (o_i < Lq)", "m_see = o_j < count", ATTENDED_ADDRESSES),
    Fault(SCORES, "o_at = i_first + o_j", "o_at = o_j", ATTENDED),
    Fault(SCORES, "o_at - o_i + Lq - 1", "o_at - o_i + Lq", ATTENDED_ADDRESSES),
    Fault(SCORES, "mask=o_j < count, other=0) != 0", "mask=o_j < count, other=0) == 0", ATTENDED),
    Fault(SCORES, "o_at <= o_i + (n_keys - Lq)", "o_at <= o_i", ATTENDED),
    Fault(SCORES, "o_at <= o_i + (n_keys - Lq)", "o_at < o_i + (n_keys - Lq)", ATTENDED),
    Fault(SCORES, "+ 1 - i_first), 0)", "- i_first), 0)", ATTENDED_SIZES),
    Fault(SCORES, "        n_seen = tl.maximum(", "        n_last = tl.maximum(", HIDDEN_BLOCKS),
    Fault(
        SCORES,
        "o_zero + o_j[None, :], o_zero + o_i[:, None]",
        "o_zero + tl.arange(0, BN // 4)[None, :], o_zero + o_i[:, None]",
        ATTENDED_SIZES,
    ),
    Fault(SCORES, "o_zero + i_row.to(tl.int32)", "o_zero", DROPPED),
    Fault(SCORES, "o_zero + i_place", "o_zero", DROPPED),
    Fault(SCORES, "tl.join(b_0, b_2), tl.join(b_1, b_3)", "tl.join(b_0, b_0), tl.join(b_0, b_0)", DROPPED),
    Fault(SCORES, "dropout * 4294967296.0", "dropout * 2147483648.0", DROPPED),
    # attention.py
    Fault(ATTENTION, 'b_ref = tl.where(b_new == float("-inf"), 0.0, b_new)', "b_ref = b_new", NO_KEYS),
    Fault(ATTENTION, "b_sum = b_sum * b_old + tl.sum(b_p, 1)", "b_sum = b_sum + tl.sum(b_p, 1)", ATTENDED_SIZES),
    Fault(ATTENTION, "b_v, b_out * b_old[:, None], PRECISION", "b_v, b_out, PRECISION", ATTENDED_SIZES),
    Fault(ATTENTION, "b_new = tl.maximum(b_max, tl.max(b_s, 1))", "b_new = tl.zeros_like(b_max)", LARGE_SCORES),
    Fault(ATTENTION, "p_bias + i_h * (Lq + n_keys - 1)", "p_bias + i_h * (Lq + n_keys)", ATTENDED_ADDRESSES),
    Fault(
        ATTENTION,
        "tl.where(valid, seen_keys(i_i, 0, m, Lq, n_keys, BM, CAUSAL), 0)",
        "tl.where(valid, seen_keys(i_i, 0, m, Lq, n_keys, BM, CAUSAL), 0) // BN * BN",
        ATTENDED_SIZES,
    ),
    Fault(
        ATTENTION,
        "p_prefix_value + i_t * stride_rt + i_h * stride_rh",
        "p_prefix_value + i_t * stride_rt + i_h * stride_ph",
        ATTENDED_STRIDES,
    ),
    Fault(ATTENTION, 'b_inv = tl.where(valid, b_inv, float("nan"))', "b_inv = tl.where(valid, b_inv, 0.0)", TASK_IDS),
    Fault(ATTENTION, "b_inv *= tl.full([1], 1.0 / (1.0 - dropout), ACC)", "b_inv *= 1.0", ATTENDED),
    Fault(ATTENTION, "return x if x.stride(3) == 1 else x.contiguous()", "return x.contiguous()", IN_PLACE),
    Fault(ATTENTION, "return x if x.stride(3) == 1 else x.contiguous()", "return x", ATTENDED_STRIDES),
    # attention_backward.py
    Fault(ATTENTION_BACKWARD, "b_ds = b_p * (b_dp - b_delta[:, None])", "b_ds = b_p * b_dp", ATTENDED),
    Fault(
        ATTENTION_BACKWARD,
        "b_ds = b_p * (b_dp - b_delta[None, :])",
        "b_ds = b_zp * (b_dp - b_delta[None, :])",
        ATTENDED,
    ),
    Fault(
        ATTENTION_BACKWARD,
        "m_kept = tl.trans(kept(p_seed, dropout, i_row, i_place, o_i, i_j, BN))",
        "m_kept = tl.trans(kept(p_seed, dropout, i_row, i_place, o_i - i_i, i_j, BN))",
        ATTENDED_SIZES,
    ),
    Fault(ATTENTION_BACKWARD, "b_zp = tl.where(m_kept, b_p, 0.0)", "b_zp = b_p", ATTENDED),
    Fault(
        ATTENTION_BACKWARD,
        "tl.maximum(i_first + i_j - (n_keys - Lq), 0)",
        "tl.maximum(i_first + i_j - (n_keys - Lq) + 1, 0)",
        ATTENDED_SIZES,
    ),
    Fault(
        ATTENTION_BACKWARD,
        "tl.load(p_task_ids + i_b) == i_t, Lq, 0",
        "tl.load(p_task_ids + i_b) >= i_t, Lq, 0",
        ATTENDED,
    ),
    Fault(ATTENTION_BACKWARD, "for i in range(B):", "for i in range(1, B):", ATTENDED),
    Fault(ATTENTION_BACKWARD, "n_prefix = T * H * tl.cdiv(m, BN)", "n_prefix = T * H", ATTENDED_ADDRESSES),
    Fault(ATTENTION_BACKWARD, "p_first = (i_t * m * H + i_h) * D", "p_first = (i_t * H + i_h) * D", ATTENDED_ADDRESSES),
    Fault(
        ATTENTION_BACKWARD,
        "like(asked: bool, tensor: Tensor | None) -> Tensor | None:\n        if not asked or",
        "like(asked: bool, tensor: Tensor | None) -> Tensor | None:\n        if",
        ATTENDED_NEEDS,
    ),
    # The operators.
    Fault(
        OPERATORS,
        "ctx.set_materialize_grads(False)",
        "ctx.set_materialize_grads(True)",
        ATTENDED_LAUNCHES,
    ),
    Fault(
        FUNCTIONAL,
        "torch.randint(2**63 - 1, (1,), device=query.device)",
        "torch.zeros(1, dtype=torch.int64, device=query.device)",
        ("tests/kernels/test_attention.py::test_seed_is_drawn_from_torch",),
    ),
]  # fmt: skip

"""Small faults for ``python -m tests.kernels.mutants``, each with the tests that must notice it."""

from tests.kernels.planting import Fault

MIXING = "kernels/triton/mixing.py"
COMPOSE = "kernels/triton/compose_prompts.py"
PRODUCTS = "kernels/triton/compose_products.py"
SPREAD = "kernels/triton/compose_spread.py"
BACKWARD = "kernels/triton/compose_prompts_backward.py"
MIXTURE = "kernels/triton/compose_mixture.py"
ENCODE = "kernels/triton/compose_encode.py"
ENCODE_BACKWARD = "kernels/triton/compose_encode_backward.py"
SHARES = "kernels/triton/compose_shares.py"
SUMS = "kernels/triton/compose_sums.py"
TILES = "kernels/triton/tiles.py"
PREPEND = "kernels/triton/prepend_prompts.py"
PROMPTED = "kernels/triton/prompted_embedding.py"
LAUNCH = "kernels/triton/launch.py"
SCORES = "kernels/triton/scores.py"
ATTENTION = "kernels/triton/attention.py"
ATTENTION_QUERY = "kernels/triton/attention_query.py"
ATTENTION_KEY = "kernels/triton/attention_key.py"
ATTENTION_BIAS = "kernels/triton/attention_bias.py"
ATTENTION_BACKWARD = "kernels/triton/attention_backward.py"
OPERATORS = "crosspt/functional/operators.py"
FUNCTIONAL = "crosspt/functional/__init__.py"

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
KEPT = ("tests/kernels/test_kept.py",)
IDS = ("tests/kernels/test_operators.py::test_ids_out_of_range",)
LAUNCHES = ("tests/kernels/test_launches.py::test_forward_is_one_launch_and_backward_at_most_three",)
FROZEN = ("tests/kernels/test_launches.py::test_frozen_parameters_cost_nothing",)
ONCE = "tests/kernels/test_mixed_once.py"
ONCE_VARIANTS = (f"{ONCE}::test_prompted_embedding_of_every_variant",)
ONCE_SIZES = (f"{ONCE}::test_sizes",)
ONCE_ADDRESSES = (
    f"{ONCE}::test_recorded_addresses_at_odd_sizes",
    f"{ONCE}::test_recorded_addresses_beside_a_half_table",
)
ONCE_STRESS = (f"{ONCE}::test_order_poison_and_masked_lanes_change_no_bit",)
ONCE_STRIDES = (f"{ONCE}::test_strided_gradients",)
ONCE_IDS = (f"{ONCE}::test_ids_out_of_range",)
ONCE_NO_TASK = (f"{ONCE}::test_a_gradient_of_rows_without_a_task_is_not_looked_at",)
ONCE_FROZEN = (f"{ONCE}::test_frozen_parameters_cost_nothing",)
WHAT = ("tests/kernels/test_launches.py::test_what_is_mixed_once",)
ATTENDED = ("tests/kernels/test_attention.py::test_every_variant",)
ATTENDED_SIZES = ("tests/kernels/test_attention.py::test_sizes",)
ATTENDED_ADDRESSES = ("tests/kernels/test_attention_memory.py::test_recorded_addresses",)
ATTENDED_STRESS = ("tests/kernels/test_attention_memory.py::test_order_poison_and_masked_lanes_change_no_bit",)
ATTENDED_STRIDES = (
    "tests/kernels/test_attention_memory.py::test_strided_arguments",
    "tests/kernels/test_attention_memory.py::test_strided_gradients",
)
BIAS_SPLITS = ("tests/kernels/test_attention.py::test_gradient_of_the_bias_however_diagonals_are_split",)
BIAS_BLOCKS = ("tests/kernels/test_attention.py::test_gradient_of_the_bias_over_several_blocks_of_half_precision",)
BIAS_TASK_IDS = ("tests/kernels/test_attention.py::test_a_task_id_out_of_range_makes_the_gradient_of_the_bias_nan",)
NOTHING = ("tests/kernels/test_attention.py::test_nothing_to_attend",)
DROPPED = ("tests/kernels/test_attention.py::test_dropout",)
TILED_DROPOUT = ("tests/kernels/test_attention.py::test_dropout_is_the_same_in_every_tile",)
NO_KEYS = ("tests/kernels/test_attention.py::test_query_without_keys",)
LARGE_SCORES = ("tests/kernels/test_attention.py::test_large_scores_do_not_overflow",)
LARGE_BIAS = ("tests/kernels/test_attention.py::test_large_bias_beside_queries_that_do_not_exist",)
TASK_IDS = ("tests/kernels/test_attention.py::test_task_ids_out_of_range",)
HIDDEN_BLOCKS = ("tests/kernels/test_attention_memory.py::test_blocks_of_hidden_keys_are_not_read",)
ATTENDED_LAUNCHES = ("tests/kernels/test_attention_memory.py::test_forward_is_one_launch_and_backward_two",)
ATTENDED_NEEDS = ("tests/kernels/test_attention_memory.py::test_what_needs_no_gradient_costs_nothing",)
IN_PLACE = (
    "tests/kernels/test_attention_memory.py::test_projections_are_read_in_place_and_gradients_written_for_them",
)
NO_CANDIDATES = ("tests/kernels/test_values.py::test_task_without_candidates",)
SEED = ("tests/kernels/test_attention.py::test_seed_is_drawn_from_torch",)

ENCODED_MIX = "mix(x, s, b_alpha, b_private, b_u, at, ENCODED_SOURCES, ENCODED_PRIVATES, ONE_BLOCK, OPERAND, PRECISION)"

FAULTS: list[Fault] = [
    # mixing.py
    Fault(MIXING, "patch", "i_i + o_flat // BC", "i_i + o_flat % BC", VARIANTS),
    Fault(MIXING, "patch", "(o_i < x.m) & (o_c < x.d)", "(o_i <= x.m) & (o_c < x.d)", ADDRESSES),
    Fault(MIXING, "patch", "(o_i < x.m) & (o_c < x.d)", "(o_i < x.m) & (o_c <= x.d)", ADDRESSES),
    Fault(MIXING, "group_tasks", "o_g < x.T", "o_g <= x.T", ADDRESSES),
    Fault(MIXING, "group_tasks", "tl.where(x.B < x.T, x.B, 0)", "tl.where(x.B < x.T, x.B + 1, 0)", ADDRESSES),
    Fault(MIXING, "group_tasks", "(o_t >= 0) & (o_t < x.T)", "o_t >= 0", ADDRESSES),
    Fault(MIXING, "candidate_scores", "b_logits * tl.full([1, 1], x.inv_tau, ACC)", "b_logits", VARIANTS),
    Fault(MIXING, "candidate_scores",
        "tl.full([1, 1], x.inv_tau, ACC)",
        "tl.full([1, 1], x.inv_tau, tl.float32)", VARIANTS),
    Fault(MIXING, "candidate_scores", 'tl.where(m_use, b_scores, float("-inf"))', "b_scores", VARIANTS),
    Fault(MIXING, "candidate_scores",
        'tl.load(x.p_logits + o_tj, mask=m_tj, other=float("-inf"))',
        "tl.load(x.p_logits + o_tj, mask=m_tj, other=0.0)", VARIANTS),
    Fault(MIXING, "softmax_terms", "b_sums * tl.exp(b_most - b_ref)", "b_sums", SIZES),
    Fault(MIXING, "softmax_terms", "b_sums * tl.exp(b_most - b_max[:, None])", "b_sums", VARIANTS),
    Fault(MIXING, "softmax_terms", "range(0, x.N, BJ)", "range(0, x.N - 1, BJ)", VARIANTS),
    Fault(MIXING, "softmax_terms", 'tl.where(b_max == float("-inf"), 0.0, b_max)', "b_max", NO_CANDIDATES),
    Fault(MIXING, "private_weights", "x.N - 1 + tl.arange(0, 1)", "tl.arange(0, 1)", VARIANTS),
    Fault(MIXING, "raw_weights", "b_raw += b_private", "b_raw += 0.0 * b_private", VARIANTS),
    Fault(MIXING, "raw_weights",
        "b_raw += tl.sum(candidate_weights(x, s, i_j, x.n, BJ), 1)",
        "b_raw = tl.sum(candidate_weights(x, s, i_j, x.n, BJ), 1)", SIZES),
    Fault(MIXING, "mix", "range(BJ, x.n, BJ)", "range(2 * BJ, x.n, BJ)", SIZES),
    Fault(MIXING, "mix", "b_private[:, None] * b_u.to(b_mix.dtype)", "b_u.to(b_mix.dtype)", VARIANTS),
    Fault(MIXING, "load_privates",
        "tl.load(p_u, mask=s.m_t[:, None] & at.m_c[None, :], other=0.0)",
        "tl.load(p_u, mask=s.m_t[:, None] & at.m_c[None, :])", STRESS),
    Fault(MIXING, "mix",
        "tl.zeros([b_alpha.shape[0], o_ic.shape[0]], b_alpha.dtype)",
        "tl.zeros([b_alpha.shape[0], o_ic.shape[0]], OPERAND)", DTYPES),
    # compose_prompts.py
    Fault(COMPOSE, "compose_tile", "tl.float64 if tl.float64 == OPERAND else tl.float32", "tl.float32", PARTS),
    Fault(COMPOSE, "compose_tile", "patch(x, i_i, i_k + BK, BI, BK)", "patch(x, i_i, i_k, BI, BK)", SIZES),
    Fault(COMPOSE, "compose_tile", "(i_tile // n_n % n_i) * BI", "(i_tile // n_n // n_i) * BI", PARTS),
    Fault(COMPOSE, "compose_tile",
        "x.p_weight + o_n[:, None] * x.d + o_k[None, :]",
        "x.p_weight + o_n[:, None] + o_k[None, :] * x.d", PARTS),
    Fault(COMPOSE, "compose_tile",
        "(o_n < x.d)[:, None] & (o_k < x.d)[None, :]",
        "(o_n < x.d)[:, None] & (o_k <= x.d)[None, :]", ADDRESSES),
    Fault(COMPOSE, "compose_tile", "b_raw[:, None] * b_bias[None, :]", "b_bias[None, :]", PARTS),
    Fault(COMPOSE, "compose_tile",
        f"b_out += {ENCODED_MIX}",
        f"b_out = {ENCODED_MIX}", PARTS),
    Fault(COMPOSE, "compose_prompts_kernel", "m_t[:, None] & at.m_c[None, :]", "at.m_c[None, :]", ADDRESSES),
    # prompted_embedding.py
    Fault(PROMPTED, "store_tile",
        "p_out + i_b * stride_b + o_ic[None, :]",
        "p_out + i_t * stride_b + o_ic[None, :]", VARIANTS),
    Fault(PROMPTED, "store_tile", "range(x.B)", "range(1, x.B)", ADDRESSES),
    Fault(PROMPTED, "store_tile", "(x.m + L).to(tl.int64) * x.d", "(x.m + L + 1).to(tl.int64) * x.d", ADDRESSES),
    Fault(PROMPTED, "store_tile", 'tl.where(m_t[:, None], b_out, float("nan"))', "b_out", IDS),
    # prepend_prompts.py
    Fault(PREPEND, "copy_tokens", "(o_b * (m + L) + m + o_r % L) * d", "(o_b * (m + L) + o_r % L) * d", VARIANTS),
    Fault(PREPEND, "copy_tokens", "o_r < B.to(tl.int64) * L", "o_r <= B.to(tl.int64) * L", ADDRESSES),
    Fault(PREPEND, "prepend_prompts_kernel", "(o_t * m + o_r % m) * d", "(o_t * m + o_r // m) * d", PREPENDED),
    Fault(PREPEND, "copy_rows", "m_row[:, None] & m_c[None, :]", "m_row[:, None]", ADDRESSES),
    Fault(PREPEND, "copy_rows", "o_c[None, :] * stride_d", "o_c[None, :]", STRIDES),
    Fault(PREPEND, "copy_rows", "(m_row & m_valid)[:, None] & m_c[None, :]", "m_row[:, None] & m_c[None, :]", IDS),
    Fault(PREPEND, "rows_of_tasks",
        "(o_t >= i_lo) & (o_t <= i_hi) & (i_b + o_b < B)",
        "(o_t >= i_lo) & (i_b + o_b < B)", VARIANTS),
    Fault(PREPEND, "rows_of_tasks",
        "(o_t >= i_lo) & (o_t <= i_hi) & (i_b + o_b < B)",
        "(o_t >= i_lo) & (o_t <= i_hi)", ADDRESSES),
    Fault(PREPEND, "first_bit", "127", "126", VARIANTS),
    Fault(PREPEND, "fill_bad_rows", "T - 1", "T", IDS),
    Fault(PREPEND, "fill_bad_rows", "bits &= bits - 1", "bits = 0", IDS),
    Fault(PREPEND, "sum_task_rows_kernel", "bits &= bits - 1", "bits = 0", VARIANTS),
    Fault(PREPEND, "sum_task_rows_kernel",
        "b_sum += tl.load(p_g, mask=m_ic, other=0.0).to(ACC)",
        "b_sum = tl.load(p_g, mask=m_ic, other=0.0).to(ACC)", VARIANTS),
    Fault(PREPEND, "sum_task_rows_kernel", "o_i * stride_i", "o_i * d", STRIDES),
    Fault(PREPEND, "sum_task_rows_kernel", "(o_i < m) & (o_c < d)", "o_c < d", ADDRESSES),
    # The backward of a composition.
    Fault(MIXING, "load_gradient",
        "at.o_i * g.stride_i + at.o_c * g.stride_d",
        "at.o_i * g.stride_i + at.o_c", STRIDES),
    Fault(PRODUCTS, "mixed_gradient",
        "x.p_weight + o_k[:, None] * x.d + o_n[None, :]",
        "x.p_weight + o_k[:, None] + o_n[None, :] * x.d", PARTS),
    Fault(PRODUCTS, "differentiate_mixed", "b_dots += b_bias[:, None]", "b_dots += 0.0 * b_bias[:, None]", PARTS),
    Fault(PRODUCTS, "differentiate_mixed", "b_dot += b_bias", "b_dot += 0.0 * b_bias", PARTS),
    Fault(PRODUCTS, "differentiate_encoder", "b_dp.to(ACC) * b_raw[:, None]", "b_dp.to(ACC)", PARTS),
    Fault(PRODUCTS, "differentiate_encoder",
        "dot(b_x, b_y, b_dw, PRECISION)",
        "dot(b_x, b_y, 0.0 * b_dw, PRECISION)", SIZES),
    Fault(PRODUCTS, "differentiate_encoder",
        "p_dweight + o_o[:, None] * x.d + o_p[None, :]",
        "p_dweight + o_o[:, None] + o_p[None, :] * x.d", PARTS),
    Fault(PRODUCTS, "differentiate_encoder", "tl.where(i_p == 0, x.d, 0)", "x.d", ADDRESSES),
    Fault(PRODUCTS, "differentiate_mixed",
        "(o_g < G)[:, None] & (o_j < x.n)[None, :]",
        "(o_j < x.n)[None, :]", ADDRESSES),
    Fault(PRODUCTS, "differentiate_mixed", "p_row + x.n", "p_row + x.n - 1", PARTS),
    Fault(SPREAD, "spread_patch", "count = x.T", "count = x.n", PARTS),
    Fault(SPREAD, "spread_patch", "tl.minimum(i_j + BJ, x.T)", "tl.minimum(i_j + BJ, x.T - 1)", SIZES),
    Fault(SPREAD, "spread_patch", "o_t[:, None] == o_j[None, :]", "o_g[:, None] == o_j[None, :]", VARIANTS),
    Fault(SPREAD, "task_dots", "tl.where(x.B < x.T, G, i_t + 1)", "tl.where(x.B < x.T, G - 1, i_t + 1)", VARIANTS),
    Fault(SPREAD, "differentiate_logits",
        "b_alpha * (b_dalpha - b_mean[:, None]) * tl.full([1, 1], x.inv_tau, ACC)",
        "b_alpha * (b_dalpha - b_mean[:, None])", PARTS),
    Fault(SPREAD, "differentiate_logits", "b_alpha * (b_dalpha - b_mean[:, None])", "b_alpha * b_dalpha", PARTS),
    Fault(SPREAD, "task_dots", "(o_x * G + i_g) * x.N", "(o_x * x.T + i_g) * x.N", VARIANTS),
    Fault(SPREAD, "task_dots",
        "b_dots += tl.sum(tl.load(p_x, mask=m_x, other=0.0), 0)",
        "b_dots = tl.sum(tl.load(p_x, mask=m_x, other=0.0), 0)", SIZES),
    Fault(PRODUCTS, "compose_products", "-(-groups // tiles.BG) * patches", "groups // tiles.BG * patches", PARTS),
    # launch.py
    Fault(LAUNCH, "Composition.of", "1.0 / temperature", "temperature", VARIANTS),
    Fault(LAUNCH, "Composition.of", "_dense(weight)", "weight", STRIDES),
    Fault(LAUNCH, "_variant", "addresses |= argument.data_ptr()", "pass", KEPT),
    Fault(LAUNCH, "_variant", "args[len(dtypes) :]", "args[len(dtypes) : -1]", KEPT),
    Fault(LAUNCH, "_variant", "dtypes.append(argument.dtype)", "dtypes.append(torch.half)", KEPT),
    Fault(LAUNCH, "start", "(*grid, 1, 1)", "(1, 1, 1)", KEPT),
    # A bound, an index or a mask more.
    Fault(MIXING, "candidate_scores",
        "o_t[:, None] * x.N + o_j[None, :]",
        "o_j[None, :] * x.N + o_t[:, None]", VARIANTS),
    Fault(MIXING, "raw_weights", "range(0, x.n, BJ)", "range(0, BJ, BJ)", SIZES),
    Fault(MIXING, "load_privates", "s.o_t[:, None] * x.m * x.d", "s.o_t[:, None] * x.d", VARIANTS),
    Fault(PROMPTED, "prompted_embedding_kernel", "n + (1 if p_privates is not None else 0)", "n", VARIANTS),
    Fault(COMPOSE, "compose_tile", "x.p_privates is not None and not RAW_PRIVATES", "False", VARIANTS),
    Fault(COMPOSE, "compose_tile", "(i_tile // n_n // n_i) * BG", "i_tile // n_n // n_i", SIZES),
    Fault(COMPOSE, "compose_tile", "range(0, x.d, BK)", "range(0, x.d - BK, BK)", VARIANTS),
    Fault(COMPOSE, "compose_tile",
        "tl.load(x.p_weight + o_n[:, None] * x.d + o_k[None, :], mask=m_w, other=0.0)",
        "tl.load(x.p_weight + o_n[:, None] * x.d + o_k[None, :], mask=m_w)", STRESS),
    Fault(PROMPTED, "store_tile", "x.B < x.T", "x.B <= x.T", SIZES),
    Fault(PROMPTED, "prompted_embedding_kernel", "tl.cdiv(tl.minimum(B, T), BG)", "tl.cdiv(T, BG)", SIZES),
    Fault(PROMPTED, "store_tile", "m_g & (o_g == i_t)", "m_g & (o_g >= i_t)", VARIANTS),
    Fault(PREPEND, "copy_rows", "range(0, d, BC)", "range(0, BC, BC)", PREPENDED),
    Fault(PREPEND, "sum_task_rows_kernel", "range(0, B, AT_ONCE)", "range(0, AT_ONCE, AT_ONCE)", PREPENDED),
    Fault(MIXING, "load_gradient",
        "tl.load(p_g, mask=m_g[:, None] & at.m_c[None, :], other=0.0)",
        "tl.load(p_g, mask=m_g[:, None] & at.m_c[None, :])", STRESS),
    Fault(PRODUCTS, "differentiate_encoder", "range(0, x.m, BQ)", "range(0, x.m - 1, BQ)", VARIANTS),
    Fault(PRODUCTS, "differentiate_encoder", "range(0, G, BH)", "range(0, BH, BH)", SIZES),
    Fault(PRODUCTS, "differentiate_mixed",
        "(i_patch.to(tl.int64) * G + o_g) * x.N",
        "(i_patch.to(tl.int64) + o_g) * x.N", VARIANTS),
    Fault(PRODUCTS, "differentiate_mixed",
        "b_dmixed if RAW_PRIVATES else b_dp",
        "b_dmixed if RAW_SOURCES else b_dp", VARIANTS),
    Fault(SPREAD, "task_dots", "range(0, n_patches, BX)", "range(0, BX, BX)", SIZES),
    Fault(SPREAD, "spread_patch", "o_j[:, None] * x.m * x.d", "o_j[:, None] * x.d", VARIANTS),
    Fault(SPREAD, "differentiate_logits",
        "tl.store(p_dlogits + i_t * x.N + o_j, b_da.to(p_dlogits.dtype.element_ty), mask=o_j < x.N)",
        "tl.store(p_dlogits + i_t * x.N + o_j, b_da.to(p_dlogits.dtype.element_ty))", ADDRESSES),
    Fault(SPREAD, "compose_spread",
        "dmixed if x.raw_privates and dmixed is not None else grad",
        "dmixed if x.raw_sources and dmixed is not None else grad", VARIANTS),
    # A composition that is mixed once.
    Fault(MIXTURE, "mix_patch", "i_patch // n_n", "i_patch % n_n", ONCE_VARIANTS),
    Fault(MIXTURE, "mix_patch", "i_patch % n_n * BN", "0", ONCE_SIZES),
    Fault(MIXTURE, "mix_patch", "(o_g < G)[:, None] & at.m_c[None, :]", "at.m_c[None, :]", ONCE_ADDRESSES),
    Fault(MIXTURE, "mix_patch", "p_terms + 2 * G + o_g", "p_terms + 2 * G", ONCE_ADDRESSES),
    Fault(MIXTURE, "mix_patch", "p_terms is not None and i_patch == 0", "p_terms is not None", ONCE_ADDRESSES),
    Fault(MIXTURE, "compose_mixture_kernel", "(o_r < d) & (o_c < d)", "o_c < d", ONCE_ADDRESSES),
    Fault(MIXTURE, "compose_mixture_kernel", "i_tile % n_groups * BG", "0", ONCE_SIZES),
    Fault(ENCODE, "encode_rows", "range(0, x.d, BK)", "range(0, x.d - BK, BK)", ONCE_VARIANTS),
    Fault(ENCODE, "encode_rows", "b_raw[:, None] * b_bias[None, :]", "b_bias[None, :]", ONCE_VARIANTS),
    Fault(ENCODE, "encode_rows", "x.p_terms + 2 * G + o_r // x.m", "x.p_terms + 2 * G + o_r % G", ONCE_VARIANTS),
    Fault(ENCODE, "encode_rows",
        "tl.load(x.p_mixed + o_r.to(tl.int64)[:, None] * x.d + o_k[None, :], mask=m_x, other=0.0)",
        "tl.load(x.p_mixed + o_r.to(tl.int64)[:, None] * x.d + o_k[None, :], mask=m_x)", ONCE_STRESS),
    Fault(ENCODE, "store_rows", "tl.max(o_g)", "tl.min(o_g)", ONCE_VARIANTS),
    Fault(ENCODE, "store_rows", "o_g == tl.load(x.p_task_ids + i_row)", "o_g >= tl.load(x.p_task_ids + i_row)",
        ONCE_VARIANTS),
    Fault(ENCODE, "store_rows", "bits &= bits - 1", "bits = 0", ONCE_VARIANTS),
    Fault(ENCODE, "store_rows", 'tl.where(m_t, b_out, float("nan"))', "b_out", ONCE_IDS),
    Fault(ENCODE, "store_rows", "i_lo == 0", "i_lo == 1", ONCE_IDS),
    Fault(ENCODE, "compose_encode_kernel", "tl.minimum(B, T) * m", "T * m", ONCE_SIZES),
    Fault(ENCODE_BACKWARD, "rows_with_task", "(o_t >= 0) & (o_t < g.T)", "m_r", ONCE_NO_TASK),
    Fault(ENCODE_BACKWARD, "load_rows", "(o_r % g.m).to(tl.int64) * g.stride_i", "(o_r % g.m).to(tl.int64) * g.d",
        ONCE_STRIDES),
    Fault(ENCODE_BACKWARD, "split_rows", "i_split * n_steps * BK", "i_split * BK", ONCE_SIZES),
    Fault(ENCODE_BACKWARD, "differentiate_mixture",
        "(o_r < g.n_rows)[:, None] & (o_n < g.d)[None, :]",
        "(o_n < g.d)[None, :]", ONCE_ADDRESSES),
    Fault(ENCODE_BACKWARD, "sum_weight", "i_split.to(tl.int64) * g.d + o_o", "o_o", ONCE_SIZES),
    Fault(ENCODE_BACKWARD, "sum_bias", "i_split.to(tl.int64) * g.d", "0", ONCE_SIZES),
    Fault(ENCODE_BACKWARD, "sum_bias", "2 * (g.n_rows // g.m)", "g.n_rows // g.m", ONCE_VARIANTS),
    Fault(SHARES, "split_patches", "i_split * n_steps + n_steps", "i_split * n_steps + 1", ONCE_SIZES),
    Fault(SHARES, "share_of_sources", "i_split.to(tl.int64) * G + o_g", "i_split.to(tl.int64) + o_g", ONCE_VARIANTS),
    Fault(SHARES, "share_of_sources", "i_tile // n_g % n_j * BJ", "0", ONCE_SIZES),
    Fault(SHARES, "share_of_privates", "x.n", "x.n - 1", ONCE_VARIANTS),
    Fault(SHARES, "share_of_privates", "i_patch // n_n", "0", ONCE_VARIANTS),
    Fault(SHARES, "compose_shares_kernel", "1 if RAW_PRIVATES else -1", "1", ONCE_VARIANTS),
    Fault(SHARES, "compose_shares", "x.raw_sources != x.raw_privates", "False", ONCE_VARIANTS),
    Fault(SHARES, "compose_shares_kernel", "dmixed if RAW_PRIVATES else dp", "dmixed if RAW_SOURCES else dp",
        ONCE_VARIANTS),
    Fault(SUMS, "add_up", "range(0, n_splits, BY)", "range(0, BY, BY)", ONCE_SIZES),
    Fault(SUMS, "add_up", "(o_x * n_rows + i_row) * d", "(o_x + i_row) * d", ONCE_SIZES),
    Fault(SUMS, "compose_sums_kernel", "d * tl.cdiv(d, BC)", "d", ONCE_ADDRESSES),
    Fault(MIXING, "load_terms", "p_terms + G + o_g", "p_terms + o_g", ONCE_VARIANTS),
    Fault(TILES, "mixed_once", "dtype.itemsize <= MIXED_ONCE_BYTES", "True", WHAT),
    Fault(TILES, "mixed_once", "max(length, sources) > MOST_INSIDE", "sources > MOST_INSIDE", WHAT),
    Fault(BACKWARD, "compose_prompts_backward", "dsources is not None or dprivates is not None or dbias is not None",
        "True", ONCE_FROZEN),
    Fault(PROMPTED, "prompted_embedding_backward", "accumulator = mixture.operand", "accumulator = torch.bfloat16",
        ONCE_VARIANTS),
    # What a launch costs.
    Fault(BACKWARD, "compose_prompts_backward.like", "torch.empty_like(tensor)", "torch.zeros_like(tensor)", LAUNCHES),
    Fault(BACKWARD, "compose_prompts_backward", "like(needs.logits, x.logits)", "like(True, x.logits)", FROZEN),
    # scores.py
    Fault(SCORES, "load_rows",
        "(o_r < n_rows)[:, None] & (o_d < D)[None, :]",
        "(o_r < n_rows)[:, None]", ATTENDED_ADDRESSES),
    Fault(SCORES, "load_rows",
        "tl.load(p_r, mask=(o_r < n_rows)[:, None] & (o_d < D)[None, :], other=0.0)",
        "tl.load(p_r, mask=(o_r < n_rows)[:, None] & (o_d < D)[None, :])", ATTENDED_STRESS),
    Fault(SCORES, "load_rows", "o_d[None, :] * stride_d", "o_d[None, :]", ATTENDED_STRIDES),
    Fault(SCORES, "scores", "o_j < keys.count", "o_j <= keys.count", ATTENDED),
    Fault(SCORES, "scores", "tl.minimum(o_j, keys.count - 1)", "o_j", ATTENDED_ADDRESSES),
    Fault(SCORES, "scores", "tl.maximum(tl.minimum(o_j, keys.count - 1), 0)", "tl.minimum(o_j, keys.count - 1)",
        BIAS_TASK_IDS),
    Fault(SCORES, "scores", "tl.minimum(o_i, head.Lq - 1)", "o_i", ATTENDED_ADDRESSES),
    Fault(SCORES, "scores",
        "head.p_bias + (head.Lq - 1 - o_x) + (keys.i_first + o_y)",
        "head.p_bias + (head.Lq - 1 - o_x) + o_y", ATTENDED),
    Fault(SCORES, "scores",
        "head.p_bias + (keys.i_first + o_y) + (head.Lq - 1 - o_x)",
        "head.p_bias + (keys.i_first + o_y) + (head.Lq - o_x)", ATTENDED_ADDRESSES),
    Fault(SCORES, "scores", "tl.load(keys.p_mask + o_y) != 0", "tl.load(keys.p_mask + o_y) == 0", ATTENDED),
    Fault(SCORES, "scores",
        "keys.i_first + o_j <= o_i + (head.n_keys - head.Lq)",
        "keys.i_first + o_j <= o_i", ATTENDED),
    Fault(SCORES, "scores",
        "keys.i_first + o_j <= o_i + (head.n_keys - head.Lq)",
        "keys.i_first + o_j < o_i + (head.n_keys - head.Lq)", ATTENDED),
    Fault(SCORES, "seen_keys",
        "i_last + (head.n_keys - head.Lq) + 1 - keys.i_first",
        "i_last + (head.n_keys - head.Lq) - keys.i_first", ATTENDED_SIZES),
    Fault(SCORES, "seen_keys",
        "n_seen = tl.maximum(tl.minimum(keys.count, i_last + (head.n_keys - head.Lq) + 1 - keys.i_first), 0)",
        "pass", HIDDEN_BLOCKS),
    Fault(SCORES, "kept", "o_zero + o_j[None, :]", "o_zero + tl.arange(0, BN // 4)[None, :]", ATTENDED_SIZES),
    Fault(SCORES, "kept", "o_zero + head.i_row.to(tl.int32)", "o_zero", DROPPED),
    Fault(SCORES, "kept", "o_zero + i_place", "o_zero", DROPPED),
    Fault(SCORES, "kept",
        "tl.join(tl.join(b_0, b_2), tl.join(b_1, b_3))",
        "tl.join(tl.join(b_0, b_0), tl.join(b_0, b_0))", DROPPED),
    Fault(SCORES, "kept", "head.dropout * 4294967296.0", "head.dropout * 2147483648.0", DROPPED),
    # attention.py
    Fault(ATTENTION, "attend", 'tl.where(b_new == float("-inf"), 0.0, b_new)', "b_new", NO_KEYS),
    Fault(ATTENTION, "attend", "b_sum * b_old + tl.sum(b_p, 1)", "b_sum + tl.sum(b_p, 1)", ATTENDED_SIZES),
    Fault(ATTENTION, "attend", "b_out * b_old[:, None]", "b_out", ATTENDED_SIZES),
    Fault(ATTENTION, "attend", "tl.maximum(b_max, tl.max(b_s, 1))", "tl.zeros_like(b_max)", LARGE_SCORES),
    Fault(ATTENTION, "attention_kernel", "i_h * (Lq + n_keys - 1)", "i_h * (Lq + n_keys)", ATTENDED_ADDRESSES),
    Fault(ATTENTION, "attention_kernel",
        "tl.where(valid, seen_keys(head, prefix, i_i, BM, CAUSAL), 0)",
        "tl.where(valid, seen_keys(head, prefix, i_i, BM, CAUSAL), 0) // BN * BN", ATTENDED_SIZES),
    Fault(ATTENTION, "attention_kernel", "i_h * stride_rh", "i_h * stride_ph", ATTENDED_STRIDES),
    Fault(ATTENTION, "attention_kernel",
        'tl.where(valid, b_inv, float("nan"))',
        "tl.where(valid, b_inv, 0.0)", TASK_IDS),
    Fault(ATTENTION, "attention_kernel", "tl.full([1], 1.0 / (1.0 - dropout), ACC)", "1.0", ATTENDED),
    Fault(ATTENTION, "attention_arguments", "query if query.stride(3) == 1 else query.contiguous()",
        "query.contiguous()", IN_PLACE),
    Fault(ATTENTION, "attention_arguments", "query if query.stride(3) == 1 else query.contiguous()", "query",
        ATTENDED_STRIDES),
    # The backward of the attention.
    Fault(ATTENTION_QUERY, "score_gradient", "b_p * (b_dp - x.b_delta[:, None])", "b_p * b_dp", ATTENDED),
    Fault(ATTENTION_KEY, "key_gradients",
        "b_p * (b_dp - b_delta[None, :])",
        "b_zp * (b_dp - b_delta[None, :])", ATTENDED),
    Fault(ATTENTION_KEY, "key_gradients",
        "kept(head, keys.i_place, o_i, block.i_j, BN)",
        "kept(head, keys.i_place, o_i - i_i, block.i_j, BN)", ATTENDED_SIZES),
    Fault(ATTENTION_KEY, "key_gradients", "tl.where(m_kept, b_p, 0.0)", "b_p", ATTENDED),
    Fault(ATTENTION_KEY, "key_gradients",
        'tl.load(p_stats + o_i, mask=o_i < Lq, other=float("inf"))',
        "tl.load(p_stats + o_i, mask=o_i < Lq, other=0.0)", LARGE_BIAS),
    Fault(ATTENTION_KEY, "first_query",
        "keys.i_first + i_j - (x.n_keys - x.Lq)",
        "keys.i_first + i_j - (x.n_keys - x.Lq) + 1", ATTENDED_SIZES),
    Fault(ATTENTION_KEY, "key_tile",
        "tl.load(x.p_task_ids + i_b) == i_x",
        "tl.load(x.p_task_ids + i_b) >= i_x", ATTENDED),
    Fault(ATTENTION_KEY, "key_tile", "range(x.B)", "range(1, x.B)", ATTENDED),
    Fault(ATTENTION_KEY, "attention_key_kernel", "T * H * tl.cdiv(m, BN)", "T * H", ATTENDED_ADDRESSES),
    Fault(ATTENTION_KEY, "key_tile", "(i_x * keys.count * x.H + i_h) * D", "(i_x * x.H + i_h) * D", ATTENDED_ADDRESSES),
    Fault(ATTENTION_BACKWARD, "attention_backward.like",
        "not asked or tensor is None",
        "tensor is None", ATTENDED_NEEDS),
    # The gradient of the bias.
    Fault(ATTENTION_BIAS, "diagonal_gradient", "range(i_split, x.B * n_blocks, n_splits)",
        "range(i_split, x.B * n_blocks, n_splits + 1)", BIAS_SPLITS),
    Fault(ATTENTION_BIAS, "diagonal_gradient", "tl.maximum(-i_shift, 0)", "tl.maximum(-i_shift - 1, 0)", BIAS_SPLITS),
    Fault(ATTENTION_BIAS, "diagonal_gradient",
        "tl.cdiv(tl.maximum(-i_shift, 0), BM // BN)",
        "tl.maximum(-i_shift, 0) // (BM // BN)", BIAS_BLOCKS),
    Fault(ATTENTION_BIAS, "diagonal_gradient",
        "tl.cdiv(tl.cdiv(place.count, BN) - i_shift, BM // BN)",
        "(tl.cdiv(place.count, BN) - i_shift) // (BM // BN)", BIAS_BLOCKS),
    Fault(ATTENTION_BIAS, "diagonal_gradient", "(i_lo + i % n_blocks) * BM", "i % n_blocks * BM", BIAS_SPLITS),
    Fault(ATTENTION_BIAS, "diagonal_gradient", "i_i + i_shift * BN", "i_i + i_shift * BM", BIAS_BLOCKS),
    Fault(ATTENTION_BIAS, "diagonal_gradient", "place.i_first + i_shift * BN - BM < x.n_keys - Lq",
        "place.i_first + i_shift * BN < x.n_keys - Lq", BIAS_SPLITS),
    Fault(ATTENTION_BIAS, "diagonal_gradient",
        "tl.where(place.i_first + i_shift * BN - BM < x.n_keys - Lq, n_blocks, 0)",
        "n_blocks", HIDDEN_BLOCKS),
    Fault(ATTENTION_BIAS, "diagonal_gradient", "tl.where((i_x >= 0) & (i_x < place.X), count, 0)",
        "tl.where(i_x >= 0, count, 0)", BIAS_TASK_IDS),
    Fault(ATTENTION_BIAS, "diagonal_gradient", "i_x * place.stride_vx", "i_b * place.stride_vx", ATTENDED),
    Fault(ATTENTION_BIAS, "diagonal_gradient", "i_h * place.stride_vh", "i_h * place.stride_kh", ATTENDED_STRIDES),
    Fault(ATTENTION_BIAS, "diagonal_gradient", "offset(place.p_mask, i_b * count)", "place.p_mask", ATTENDED),
    Fault(ATTENTION_BIAS, "diagonal_gradient",
        'tl.load(p_row, mask=o_i < Lq, other=float("inf"))',
        "tl.load(p_row, mask=o_i < Lq, other=0.0)", LARGE_BIAS),
    Fault(ATTENTION_BIAS, "diagonal_gradient",
        "tl.load(p_row + Lq, mask=o_i < Lq, other=0.0)",
        "tl.load(p_row + Lq, mask=o_i < Lq)", ATTENDED_STRESS),
    Fault(ATTENTION_BIAS, "attention_bias_kernel", "i_diagonal - n_prefix", "i_diagonal", ATTENDED),
    Fault(ATTENTION_BIAS, "add_parts", "tl.static_range(BM // BN + 1)", "tl.static_range(BM // BN)", ATTENDED),
    Fault(ATTENTION_BIAS, "add_parts", "range(n_splits)", "range(1, n_splits)", ATTENDED),
    Fault(ATTENTION_BIAS, "add_parts", "o_n < n_diagonals", "o_n <= n_diagonals", ATTENDED_ADDRESSES),
    Fault(ATTENTION_BIAS, "add_parts", "i_back * BN - BM + 1", "i_back * BN - BM", ATTENDED),
    Fault(ATTENTION_BIAS, "add_parts",
        "tl.load(p_x + i_split * BM * BN, mask=m_x, other=0.0)",
        "tl.load(p_x + i_split * BM * BN, mask=m_x)", ATTENDED_STRESS),
    Fault(ATTENTION_BIAS, "attention_bias_sum_kernel", "o_first - m", "o_first", ATTENDED),
    Fault(ATTENTION_BIAS, "attention_bias_sum_kernel", "o_d < n_distances", "o_d <= n_distances", ATTENDED_ADDRESSES),
    Fault(ATTENTION_BIAS, "attention_bias", "dbias.zero_()", "pass", NOTHING),
    Fault(ATTENTION_BACKWARD, "attention_backward", "needs.bias and x.bias is not None", "x.bias is not None",
        ATTENDED_LAUNCHES),
    # The operators.
    Fault(OPERATORS, "_Attention.forward",
        "ctx.set_materialize_grads(False)",
        "ctx.set_materialize_grads(True)", ATTENDED_LAUNCHES),
    Fault(FUNCTIONAL, "attention",
        "torch.randint(2**63 - 1, (1,), device=query.device)",
        "torch.zeros(1, dtype=torch.int64, device=query.device)", SEED),
]  # fmt: skip

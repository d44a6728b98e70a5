"""Small faults for ``python -m tests.kernels.mutants``, each with the tests that must notice it."""

from tests.kernels.attention_faults import ATTENTION_FAULTS
from tests.kernels.given_faults import GIVEN_FAULTS
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
NO_CANDIDATES = ("tests/kernels/test_values.py::test_task_without_candidates",)

ENCODED_MIX = "mix(x, s, b_alpha, b_private, b_u, at, ENCODED_SOURCES, ENCODED_PRIVATES, ONE_BLOCK, OPERAND, PRECISION)"

FAULTS: list[Fault] = [
    # mixing.py
    Fault(MIXING, "patch", "i_i + o_flat // BC", "i_i + o_flat % BC", VARIANTS),
    Fault(MIXING, "patch", "(o_i < x.m) & (o_c < x.d)", "(o_i <= x.m) & (o_c < x.d)", ADDRESSES),
    Fault(MIXING, "patch", "(o_i < x.m) & (o_c < x.d)", "(o_i < x.m) & (o_c <= x.d)", ADDRESSES),
    Fault(MIXING, "group_tasks", "o_g < x.T", "o_g <= x.T", ADDRESSES),
    Fault(MIXING, "group_tasks", "tl.where(of_rows, x.B, 0)", "tl.where(of_rows, x.B + 1, 0)", ADDRESSES),
    Fault(MIXING, "group_tasks", "(o_t >= 0) & (o_t < x.T)", "o_t >= 0", ADDRESSES),
    Fault(MIXING, "candidate_scores", "b_logits * tl.full([1, 1], x.inv_tau, ACC)", "b_logits", VARIANTS),
    Fault(MIXING, "candidate_scores",
        "tl.full([1, 1], x.inv_tau, ACC)",
        "tl.full([1, 1], x.inv_tau, tl.float32)", VARIANTS),
    Fault(MIXING, "candidate_scores", 'tl.where(m_use, b_scores, float("-inf"))', "b_scores", VARIANTS),
    Fault(MIXING, "candidate_scores",
        'tl.load(x.p_logits + o_tj, mask=m_tj, other=float("-inf"))',
        "tl.load(x.p_logits + o_tj, mask=m_tj, other=0.0)", VARIANTS),
    Fault(MIXING, "softmax_of_logits", "b_sums * tl.exp(b_most - b_ref)", "b_sums", SIZES),
    Fault(MIXING, "softmax_of_logits", "b_sums * tl.exp(b_most - b_max[:, None])", "b_sums", VARIANTS),
    Fault(MIXING, "softmax_of_logits", "range(0, x.N, BJ)", "range(0, x.N - 1, BJ)", VARIANTS),
    Fault(MIXING, "softmax_of_logits", 'tl.where(b_max == float("-inf"), 0.0, b_max)', "b_max", NO_CANDIDATES),
    Fault(MIXING, "private_weights", "x.N - 1 + tl.arange(0, 1)", "tl.arange(0, 1)", VARIANTS),
    Fault(MIXING, "raw_weights", "b_raw += b_private", "b_raw += 0.0 * b_private", VARIANTS),
    Fault(MIXING, "raw_weights",
        "b_raw += tl.sum(candidate_weights(x, s, i_j, x.n, BJ), 1)",
        "b_raw = tl.sum(candidate_weights(x, s, i_j, x.n, BJ), 1)", SIZES),
    Fault(MIXING, "mix", "range(BJ, x.n, BJ)", "range(2 * BJ, x.n, BJ)", SIZES),
    Fault(MIXING, "mix", "b_private[:, None] * b_u.to(b_mix.dtype)", "b_u.to(b_mix.dtype)", VARIANTS),
    Fault(MIXING, "load_own",
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
    Fault(PREPEND, "sum_rows_of_task", "bits &= bits - 1", "bits = 0", VARIANTS),
    Fault(PREPEND, "sum_rows_of_task",
        "b_sum += tl.load(p_g, mask=m_ic, other=0.0).to(ACC)",
        "b_sum = tl.load(p_g, mask=m_ic, other=0.0).to(ACC)", VARIANTS),
    Fault(PREPEND, "sum_rows_of_task", "o_i * stride_i", "o_i * d", STRIDES),
    Fault(PREPEND, "store_sum", "(o_i < n) & (o_c < d)", "o_c < d", ADDRESSES),
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
    Fault(SPREAD, "spread_patch",
        "tl.where(o_t[:, None] == o_j[None, :], b_private[:, None], 0.0)",
        "tl.where(o_g[:, None] == o_j[None, :], b_private[:, None], 0.0)", VARIANTS),
    Fault(SPREAD, "task_dots", "tl.where(search, G, i_t + 1)", "tl.where(search, G - 1, i_t + 1)", VARIANTS),
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
    Fault(LAUNCH, "Composition.of", "1.0 / mixture.temperature", "mixture.temperature", VARIANTS),
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
    Fault(MIXING, "load_own", "s.o_t[:, None] * x.m * x.d", "s.o_t[:, None] * x.d", VARIANTS),
    Fault(PROMPTED, "prompted_embedding_kernel", "n + (1 if p_privates is not None else 0)", "n", VARIANTS),
    Fault(COMPOSE, "compose_tile", "x.p_privates is not None and not RAW_PRIVATES", "False", VARIANTS),
    Fault(COMPOSE, "compose_tile", "(i_tile // n_n // n_i) * BG", "i_tile // n_n // n_i", SIZES),
    Fault(COMPOSE, "compose_tile", "range(0, x.d, BK)", "range(0, x.d - BK, BK)", VARIANTS),
    Fault(COMPOSE, "compose_tile",
        "tl.load(x.p_weight + o_n[:, None] * x.d + o_k[None, :], mask=m_w, other=0.0)",
        "tl.load(x.p_weight + o_n[:, None] * x.d + o_k[None, :], mask=m_w)", STRESS),
    Fault(PROMPTED, "store_tile", "x.B < x.T", "x.B <= x.T", SIZES),
    Fault(PROMPTED, "prompted_embedding_kernel",
        "tl.cdiv(group_count(B, T, p_row_alpha), BG)",
        "tl.cdiv(T, BG)", SIZES),
    Fault(PROMPTED, "store_tile", "m_g & (o_g == i_t)", "m_g & (o_g >= i_t)", VARIANTS),
    Fault(PREPEND, "copy_rows", "range(0, d, BC)", "range(0, BC, BC)", PREPENDED),
    Fault(PREPEND, "sum_rows_of_task", "range(0, B, AT_ONCE)", "range(0, AT_ONCE, AT_ONCE)", PREPENDED),
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
        "dmixed if x.raw_privates() and dmixed is not None else grad",
        "dmixed if x.raw_sources() and dmixed is not None else grad", VARIANTS),
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
    Fault(ENCODE, "compose_encode_kernel", "(B if ROWS else tl.minimum(B, T)) * m", "T * m", ONCE_SIZES),
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
    Fault(SHARES, "compose_shares_kernel", "0 if p_logits is None else -1", "1", ONCE_VARIANTS),
    Fault(SHARES, "compose_shares", "x.raw_sources() != x.raw_privates()", "False", ONCE_VARIANTS),
    Fault(SHARES, "compose_shares_kernel", "dmixed if RAW_PRIVATES else dp", "dmixed if RAW_SOURCES else dp",
        ONCE_VARIANTS),
    Fault(SUMS, "add_up", "range(0, n_splits, BY)", "range(0, BY, BY)", ONCE_SIZES),
    Fault(SUMS, "add_up", "(o_x * n_rows + i_row) * d", "(o_x + i_row) * d", ONCE_SIZES),
    Fault(SUMS, "compose_sums_kernel", "d * tl.cdiv(d, BC)", "d", ONCE_ADDRESSES),
    Fault(MIXING, "load_terms", "p_terms + G + o_g", "p_terms + o_g", ONCE_VARIANTS),
    Fault(TILES, "mixed_once", "dtype.itemsize <= MIXED_ONCE_BYTES", "True", WHAT),
    Fault(TILES, "mixed_once", "max(length, sources) > MOST_INSIDE", "sources > MOST_INSIDE", WHAT),
    Fault(BACKWARD, "compose_prompts_backward", "not x.given and (dsources is not None or dprivates is not None)",
        "True", ONCE_FROZEN),
    Fault(PROMPTED, "prompted_embedding_backward", "accumulator = mixture.operand", "accumulator = torch.bfloat16",
        ONCE_VARIANTS),
    # What a launch costs.
    Fault(BACKWARD, "compose_prompts_backward.like", "torch.empty_like(tensor)", "torch.zeros_like(tensor)", LAUNCHES),
    Fault(BACKWARD, "compose_prompts_backward", "like(needs.logits, x.logits)", "like(True, x.logits)", FROZEN),
    *ATTENTION_FAULTS,
    *GIVEN_FAULTS,
]  # fmt: skip

"""Small faults of weights that are given, of added prompts, offsets and gains, for ``tests.kernels.faults``."""

from tests.kernels.planting import Fault

MIXING = "kernels/triton/mixing.py"
COMPOSE = "kernels/triton/compose_prompts.py"
PROMPTED = "kernels/triton/prompted_embedding.py"
PREPEND = "kernels/triton/prepend_prompts.py"
GAIN = "kernels/triton/prepend_gain.py"
SPREAD = "kernels/triton/compose_spread.py"
SHARES = "kernels/triton/compose_shares.py"
SUMS = "kernels/triton/compose_sums.py"
ENCODE = "kernels/triton/compose_encode.py"
BACKWARD = "kernels/triton/compose_prompts_backward.py"
LAUNCH = "kernels/triton/launch.py"
COMPOSITION = "crosspt/functional/torch_composition.py"
FUNCTIONAL = "crosspt/functional/__init__.py"
ROUTING = "crosspt/functional/routing.py"

VARIANTS = ("tests/kernels/test_values.py::test_prompted_embedding_of_every_variant",)
PARTS = ("tests/kernels/test_values.py::test_compose_prompts_of_every_variant",)
SIZES = ("tests/kernels/test_values.py::test_sizes",)
ADDRESSES = ("tests/kernels/test_memory.py::test_recorded_addresses_at_odd_sizes",)
BLOCKS = ("tests/kernels/test_values.py::test_rows_with_weights_of_their_own_in_several_blocks",)
STRIDES = ("tests/kernels/test_strides.py::test_strided_arguments",)
FROZEN = ("tests/kernels/test_launches.py::test_frozen_parameters_cost_nothing",)
ONCE = "tests/kernels/test_mixed_once.py"
ONCE_VARIANTS = (f"{ONCE}::test_prompted_embedding_of_every_variant",)
ONCE_STRESS = (f"{ONCE}::test_order_poison_and_masked_lanes_change_no_bit",)
ONCE_FROZEN = (f"{ONCE}::test_frozen_parameters_cost_nothing",)
REFERENCE = ("tests/functional/test_functional.py::test_prompted_embedding_equals_the_reference",)
BAD = ("tests/functional/test_arguments.py::test_bad_mixtures",)
ROUTED = ("tests/functional/test_routing.py",)
MORE = "tests/kernels/test_rows.py"
MORE_SIZES = (f"{MORE}::test_sizes",)
MORE_ADDRESSES = (f"{MORE}::test_recorded_addresses",)
MORE_IDS = (f"{MORE}::test_ids_out_of_range",)
MORE_DTYPES = (f"{MORE}::test_dtypes",)
MORE_STRIDES = (f"{MORE}::test_strided_arguments",)
MORE_LEARNED = (f"{MORE}::test_launches_of_what_learns",)
MORE_POISON = (f"{MORE}::test_order_poison_and_masked_lanes_change_no_bit",)
MORE_BYTES = (f"{MORE}::test_bytes_are_the_floor",)

GIVEN_FAULTS: list[Fault] = [
    Fault(MIXING, "given_weights", "s.o_a[:, None] * x.N", "s.o_t[:, None] * x.N", VARIANTS),
    Fault(MIXING, "given_weights", "s.m_t[:, None] & m_j[None, :]", "m_j[None, :]", ADDRESSES),
    Fault(MIXING, "softmax_terms", "o_g if x.p_row_alpha is not None else o_t", "o_t", VARIANTS),
    Fault(MIXING, "load_own", "s.m_t[:, None] & at.m_c[None, :]", "at.m_c[None, :]", ADDRESSES),
    Fault(MIXING, "group_count", "G = B", "pass", VARIANTS),
    Fault(MIXING, "group_tasks", "x.p_row_alpha is not None or x.B < x.T", "x.B < x.T", VARIANTS),
    Fault(COMPOSE, "compose_tile", "load_own(x, x.p_added, s, at)", "0.0 * load_own(x, x.p_added, s, at)", PARTS),
    Fault(PROMPTED, "store_tile", "x.p_row_alpha is not None or x.B < x.T", "x.B < x.T", VARIANTS),
    Fault(PROMPTED, "prompted_embedding_backward", "mixture.by_row or task_ids.shape[0] < mixture.tasks()",
        "task_ids.shape[0] < mixture.tasks()", VARIANTS),
    Fault(LAUNCH, "Composition.groups", "batch if self.by_row else min(batch, self.tasks())",
        "min(batch, self.tasks())", BLOCKS),
    Fault(LAUNCH, "Composition.of", "_dense(mixture.row_alpha)", "mixture.row_alpha", STRIDES),
    Fault(LAUNCH, "Composition.of", "_dense(mixture.added)", "mixture.added", STRIDES),
    Fault(SPREAD, "spread_patch",
        "tl.where(o_t[:, None] == o_j[None, :], 1.0, 0.0)",
        "tl.where(o_g[:, None] == o_j[None, :], 1.0, 0.0)", VARIANTS),
    Fault(SPREAD, "spread_patch", "OF_TASKS and x.p_row_alpha is None and x.B >= x.T", "OF_TASKS and x.B >= x.T",
        BLOCKS),
    Fault(SPREAD, "task_dots", "x.p_row_alpha is None and x.B < x.T", "x.B < x.T", VARIANTS),
    Fault(SPREAD, "task_dots", "x.p_task_ids is not None and x.p_row_alpha is None", "x.p_task_ids is not None",
        VARIANTS),
    Fault(SPREAD, "compose_spread_kernel", "i_tile - n_sources - n_privates - n_added",
        "i_tile - n_sources - n_privates", ADDRESSES),
    Fault(SPREAD, "compose_spread", "dlogits.shape[0]", "x.tasks()", VARIANTS),
    Fault(SHARES, "share_of_sources", "b_dots += b_bias[:, None]", "b_dots += 0.0 * b_bias[:, None]", ONCE_VARIANTS),
    Fault(SHARES, "compose_shares_kernel", "0 if p_logits is None else -1", "-1", ONCE_VARIANTS),
    Fault(SHARES, "compose_shares", "half_raw or x.given", "half_raw", ONCE_VARIANTS),
    Fault(SUMS, "compose_sums", "0 if dlogits is None else dlogits.shape[0]", "0 if dlogits is None else x.tasks()",
        ONCE_STRESS),
    Fault(ENCODE, "encode_rows", "(o_t * x.m + o_r % x.m) * x.d", "(o_t * x.m + o_r // x.m) * x.d", ONCE_VARIANTS),
    Fault(ENCODE, "encode_rows", "tl.where(of_rows, G * x.m, 0)", "tl.where(of_rows, G, 0)", ONCE_VARIANTS),
    Fault(BACKWARD, "compose_prompts_backward", "like(needs.added, x.added)", "like(True, x.added)", FROZEN),
    Fault(BACKWARD, "compose_prompts_backward", "not x.given", "True", ONCE_FROZEN),
    Fault(COMPOSITION, "_compose", "rows is not None and mixture.row_alpha is None", "rows is not None", REFERENCE),
    Fault(COMPOSITION, "_compose",
        "mixture.added if rows is None else gather_prompts(mixture.added, rows)",
        "0 * mixture.added if rows is None else gather_prompts(mixture.added, rows)", REFERENCE),
    Fault("crosspt/functional/validation.py", "_check_given_weights", "mixture.temperature != 1", "False", BAD),
    Fault(ROUTING, "suits_composition", "mixture.tasks() if mixture.row_alpha is None else TYPICAL_ROWS", "1", ROUTED),
    # Offsets of token rows.
    Fault(PREPEND, "copy_rows", "b_x.to(ACC) + b_more.to(ACC)", "b_x + b_more.to(b_x.dtype)", MORE_DTYPES),
    Fault(PREPEND, "copy_rows", "b_x.dtype == tl.float64 or b_more.dtype == tl.float64", "False", MORE_SIZES),
    Fault(PREPEND, "copy_rows", "tl.load(p_more + o_more[:, None] + o_c[None, :], mask=m_in, other=0.0)",
        "tl.load(p_more + o_more[:, None] + o_c[None, :], mask=m_c[None, :], other=0.0)", MORE_IDS),
    Fault(PREPEND, "copy_tokens", "(o_t * offsets.n_offsets + o_r % L) * d", "(o_t * L + o_r % L) * d", MORE_SIZES),
    Fault(PREPEND, "copy_tokens", "(o_t >= 0) & (o_t < offsets.T)", "m_r", MORE_IDS),
    Fault(PREPEND, "prepend_prompts", "more.contiguous()", "more", MORE_STRIDES),
    Fault(PREPEND, "sum_task_rows_kernel", "(o_i < n_read) & (o_c < d)", "o_c < d", MORE_ADDRESSES),
    Fault(PREPEND, "sum_task_rows_kernel", "tl.where(i_tile < n_prompt, m, m + L)", "m + n_offsets", MORE_ADDRESSES),
    Fault(PREPEND, "sum_task_rows_kernel", "m + (i_tile - n_prompt) * BI", "i_i", MORE_SIZES),
    Fault(PREPEND, "sum_task_rows_kernel", "store_sum(p_offsets, b_sum, i_t, n_offsets, d, o_i - m, o_c)",
        "store_sum(p_offsets, b_sum, i_t, L, d, o_i - m, o_c)", MORE_ADDRESSES),
    Fault(PREPEND, "sum_task_rows_kernel", "tl.float64 == FIRST or tl.float64 == LAST", "False", MORE_SIZES),
    Fault(PREPEND, "sum_task_rows", "grad[:, length:]", "grad", MORE_LEARNED),
    Fault("crosspt/functional/operators.py", "_PrependPrompts.backward", "offsets_dtype if needs[1] else None",
        "offsets_dtype", MORE_LEARNED),
    Fault(COMPOSITION, "add_offsets",
        "(tokens + gather_prompts(offsets[:, : tokens.shape[1]], task_ids)).to(tokens.dtype)",
        "tokens + gather_prompts(offsets[:, : tokens.shape[1]], task_ids).to(tokens.dtype)",
        ("tests/functional/test_functional.py::test_offsets_are_added_before_the_sum_is_rounded",)),
    Fault("crosspt/functional/validation.py", "check_offsets", "shape[1] < tokens", "False",
        ("tests/functional/test_arguments.py::test_bad_offsets",)),
    # Gains of a shared prompt.
    Fault(PREPEND, "copy_rows", "b_x.to(ACC) * b_factors[:, None] * b_more",
        "(b_x * b_factors[:, None]).to(b_x.dtype) * b_more", MORE_DTYPES),
    Fault(PREPEND, "copy_rows", "b_x.to(ACC) * b_factors[:, None] * b_more",
        "b_x.to(ACC) * b_factors.to(ACC)[:, None] * b_more", MORE_DTYPES),
    Fault(PREPEND, "prepend_prompts_kernel", "o_t * m + o_r % m", "o_t * m + o_r // m", MORE_SIZES),
    Fault(PREPEND, "prepend_prompts_kernel", "m_r & m_t", "m_r", MORE_IDS),
    Fault(PREPEND, "prepend_prompts_kernel", "o_r % m * d", "o_r * d", MORE_SIZES),
    Fault(PREPEND, "prepend_prompts_kernel", "o_t * d", "o_b * d", MORE_SIZES),
    Fault(PREPEND, "prepend_prompts", "tasks = positions.shape[0]", "pass", MORE_SIZES),
    Fault(GAIN, "prepend_gain_kernel", "b_dp += b_sum * b_u * b_v", "b_dp = b_sum * b_u * b_v", MORE_SIZES),
    Fault(GAIN, "prepend_gain_kernel", "b_dp += b_sum * b_u * b_v", "b_dp += b_sum * b_v", MORE_SIZES),
    Fault(GAIN, "prepend_gain_kernel", "b_p * b_sum * b_v", "b_p * b_sum * b_u", MORE_SIZES),
    Fault(GAIN, "prepend_gain_kernel", "b_p * b_sum * b_u", "b_p * b_sum", MORE_SIZES),
    Fault(GAIN, "prepend_gain_kernel", "tl.program_id(1).to(tl.int64) * T + i_t",
        "tl.program_id(1).to(tl.int64) + i_t", MORE_SIZES),
    Fault(GAIN, "prepend_gain_kernel", "tl.program_id(0).to(tl.int64) * T + i_t", "i_t", MORE_ADDRESSES),
    Fault(GAIN, "prepend_gain_kernel", "(o_i < m) & (o_c < d)", "o_c < d", MORE_ADDRESSES),
    Fault(GAIN, "prepend_gain_kernel",
        "tl.load(p_columns + i_t * d + o_c, mask=o_c < d, other=0.0)",
        "tl.load(p_columns + i_t * d + o_c, mask=o_c < d)", MORE_POISON),
    Fault(GAIN, "prepend_gain_kernel",
        "tl.load(p_positions + i_t * m + o_i, mask=o_i < m, other=0.0)",
        "tl.load(p_positions + i_t * m + o_i)", MORE_ADDRESSES),
    Fault(GAIN, "prepend_gain_kernel", "p_positions.dtype.element_ty != tl.float64", "True", MORE_DTYPES),
    Fault(GAIN, "prepend_gain_kernel", "p_columns.dtype.element_ty != tl.float64", "True", MORE_DTYPES),
    Fault(GAIN, "prepend_gain_kernel", "p_prompts.dtype.element_ty != tl.float64", "True", MORE_DTYPES),
    Fault(GAIN, "gain_sums_kernel", "T * tl.cdiv(m, BC)", "T * m", MORE_ADDRESSES),
    Fault(GAIN, "gain_sums_kernel", "i_tile - n_positions", "i_tile", MORE_ADDRESSES),
    Fault(GAIN, "gain_sums_kernel",
        "add_up(p_dpositions, p_of_columns, i_tile, T, m, n_column_tiles, BY, BC)",
        "add_up(p_dpositions, p_of_columns, i_tile, T, m, n_position_tiles, BY, BC)", MORE_SIZES),
    Fault(GAIN, "prepend_gain", "positions.contiguous()", "positions", MORE_STRIDES),
    Fault(GAIN, "prepend_gain", "prompts.contiguous()", "prompts", MORE_STRIDES),
    Fault(GAIN, "prepend_gain", "torch.float64 in (prompts.dtype, positions.dtype, columns.dtype)", "False",
        MORE_SIZES),
    Fault("crosspt/functional/operators.py", "_PrependPrompts.backward", "[needs[0], *needs[2:]]", "[True, *needs[2:]]",
        MORE_LEARNED),
    Fault(COMPOSITION, "scale_prompts", "prompts.to(torch.promote_types(prompts.dtype, wide))", "prompts",
        ("tests/functional/test_functional.py::test_a_gain_is_multiplied_before_the_product_is_rounded",)),
    Fault("crosspt/functional/validation.py", "check_gain", "one != 1", "False",
        ("tests/functional/test_arguments.py::test_bad_gains",)),
    Fault("crosspt/functional/validation.py", "check_gain", "offsets is not None", "False",
        ("tests/functional/test_arguments.py::test_bad_gains",)),
    Fault("crosspt/methods/mpt.py", "ScaledPrompts.forward",
        "put_in_front(self.prompts[None], task_ids, input_ids, embedding, gain=gain)",
        "put_in_front(self.compose(), task_ids, input_ids, embedding)",
        ("tests/methods/test_prompts.py::test_the_operation_is_taken_where_the_embedding_is_a_lookup",)),
]  # fmt: skip

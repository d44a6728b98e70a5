"""Small faults of the attention, for ``tests.kernels.faults``."""

from tests.kernels.planting import Fault

SCORES = "kernels/triton/scores.py"
ATTENTION = "kernels/triton/attention.py"
ATTENTION_QUERY = "kernels/triton/attention_query.py"
ATTENTION_KEY = "kernels/triton/attention_key.py"
ATTENTION_BIAS = "kernels/triton/attention_bias.py"
ATTENTION_BACKWARD = "kernels/triton/attention_backward.py"
OPERATORS = "crosspt/functional/operators.py"
FUNCTIONAL = "crosspt/functional/__init__.py"

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
SEED = ("tests/kernels/test_attention.py::test_seed_is_drawn_from_torch",)

ATTENTION_FAULTS: list[Fault] = [
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
    Fault(ATTENTION_KEY, "key_step",
        "b_p * (b_dp - b_delta[None, :])",
        "b_zp * (b_dp - b_delta[None, :])", ATTENDED),
    Fault(ATTENTION_KEY, "key_step",
        "kept(head, keys.i_place, o_i, block.i_j, BN)",
        "kept(head, keys.i_place, o_i - i_i, block.i_j, BN)", ATTENDED_SIZES),
    Fault(ATTENTION_KEY, "key_step", "tl.where(m_kept, b_p, 0.0)", "b_p", ATTENDED),
    Fault(ATTENTION_KEY, "key_step",
        'load_numbers(p_stats, o_i, Lq, float("inf"), WHOLE)',
        "load_numbers(p_stats, o_i, Lq, 0.0, WHOLE)", LARGE_BIAS),
    Fault(ATTENTION_KEY, "key_gradients", "i_end < i_hi", "i_end + 1 < i_hi", ATTENDED_SIZES),
    Fault(ATTENTION_KEY, "key_gradients",
        "tl.maximum(i_hi - i_lo, 0) // BM * BM",
        "tl.cdiv(tl.maximum(i_hi - i_lo, 0), BM) * BM", ATTENDED_ADDRESSES),
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

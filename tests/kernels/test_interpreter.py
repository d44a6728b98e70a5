"""The harness is tested on toy kernels, each fault planted once."""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from crosspt.kernels.tools.interpreter import (
    count_launches,
    fast_launches,
    nan_masked_lanes,
    poisoned_empty,
    program_order,
    round_to_nearest_bfloat16,
)
from crosspt.kernels.tools.recorder import record

pytestmark = pytest.mark.usefixtures("interpreted")


@triton.jit
def copy_rows(src, dst, columns, src_stride, dst_stride, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    for start in range(0, columns, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        inside = offsets < columns
        values = tl.load(src + row * src_stride + offsets, mask=inside, other=0.0)
        tl.store(dst + row * dst_stride + offsets, values, mask=inside)


@triton.jit
def copy_unmasked(src, dst, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(dst + offsets, tl.load(src + offsets))


@triton.jit
def sum_row(src, dst, columns, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    values = tl.load(src + offsets, mask=offsets < columns)
    tl.store(dst, tl.sum(values, axis=0))


@triton.jit
def shift_in_place(buffer, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    previous = tl.load(buffer + offsets - 1, mask=offsets > 0, other=0.0)
    tl.store(buffer + offsets, previous)


@triton.jit
def write_own_number(numbers, counter):
    order = tl.load(counter)
    tl.store(numbers + tl.program_id(0) * tl.num_programs(1) + tl.program_id(1), order)
    tl.store(counter, order + 1)


@triton.jit
def cast(src, dst, count, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    values = tl.load(src + offsets, mask=offsets < count, other=0.0)
    tl.store(dst + offsets, values.to(dst.dtype.element_ty), mask=offsets < count)


@triton.jit
def first_of(pair, dst):
    tl.store(dst, tl.load(pair[0]) + tl.load(pair[1]))


@triton.jit
def add_atomically(dst):
    tl.atomic_add(dst, 1.0)


def copied(src, dst, block=4):
    copy_rows[(src.shape[0],)](src, dst, src.shape[1], src.stride(0), dst.stride(0), BLOCK=block)
    return dst


def test_a_clean_launch_passes_and_counts_its_bytes():
    src, dst = torch.randn(3, 7), torch.empty(3, 7)
    with record() as recording:
        copied(src, dst)
    recording.check()
    (launch,) = recording.launches
    assert (launch.kernel, launch.grid, list(launch.arguments)) == ("copy_rows", (3, 1, 1), ["src", "dst"])
    assert launch.outputs == ["dst"]
    assert launch.arguments["src"].loaded.all()
    assert not launch.arguments["dst"].loaded.any()
    assert (launch.arguments["dst"].stores == 1).all()
    assert launch.requested_bytes == launch.unique_bytes == recording.unique_bytes == 2 * 3 * 7 * 4
    torch.testing.assert_close(dst, src)


def test_an_element_read_by_every_program_is_requested_often_and_unique_once():
    src, dst = torch.randn(1, 8).expand(5, 8), torch.empty(5, 8)
    with record() as recording:
        copied(src, dst)
    recording.check()
    (launch,) = recording.launches
    assert launch.requested_load_bytes == 5 * 8 * 4
    assert launch.unique_load_bytes == 8 * 4
    assert launch.requested_store_bytes == launch.unique_store_bytes == 5 * 8 * 4


def test_reads_past_the_end_are_caught_even_inside_a_neighbour_on_the_same_storage():
    whole = torch.randn(16)
    src, dst = whole[:6], torch.empty(8)
    with record() as recording:
        copy_unmasked[(2,)](src, dst, BLOCK=4)
    (fault,) = recording.launches[0].out_of_bounds
    assert "program (1, 0, 0): load outside src in 2 lanes, first at element 6 of a span of 6" in fault
    assert "test_interpreter.py:" in fault
    with pytest.raises(AssertionError, match="load outside src"):
        recording.check()


def test_writes_past_the_end_are_caught_and_not_executed():
    whole = torch.zeros(16)
    with record() as recording:
        copy_unmasked[(2,)](torch.ones(8), whole[4:10], BLOCK=4)
    assert "store outside dst in 2 lanes" in recording.launches[0].out_of_bounds[0]
    assert whole.sum() == 6


def test_writes_before_the_start_are_caught():
    whole = torch.zeros(16)
    with record() as recording:
        copy_rows[(2,)](torch.ones(2, 4), whole[8:], 4, 4, -4, BLOCK=4)
    assert "store outside dst in 4 lanes, first at element -4" in recording.launches[0].out_of_bounds[0]


def test_elements_between_the_rows_of_a_strided_view_are_not_its_own():
    padded = torch.randn(3, 8)[:, :6]
    with record() as recording:
        copied(padded, torch.empty(3, 6))
    recording.check()
    with record() as recording:
        copy_rows[(3,)](padded, torch.empty(3, 8), 8, 8, 8, BLOCK=8)
    faults = recording.launches[0].out_of_bounds
    assert len(faults) == 3
    assert "load outside src in 2 lanes, first at element 6 of a span of 22" in faults[0]


def test_an_element_stored_twice_or_never_is_caught():
    with record() as recording:
        copy_rows[(2,)](torch.randn(2, 4), torch.empty(2, 4), 4, 4, 2, BLOCK=4)
    faults = recording.launches[0].faults()
    assert "copy_rows: 2 elements of dst are stored never, first (1, 2)" in faults
    assert "copy_rows: 2 elements of dst are stored more than once, first (0, 2)" in faults
    assert any("race between programs (writer -2" in fault for fault in faults)


def test_two_lanes_of_one_store_on_one_element_are_caught():
    with record() as recording:
        copy_rows[(1,)](torch.randn(1, 4), torch.empty(1, 4), 4, 4, 4, BLOCK=4)
        copy_scatter[(1,)](torch.empty(4), BLOCK=8)
    clean, twice = recording.launches
    assert clean.faults() == []
    assert twice.faults() == ["copy_scatter: 4 elements of dst are stored more than once, first (0,)"]


@triton.jit
def copy_scatter(dst, BLOCK: tl.constexpr):
    tl.store(dst + tl.arange(0, BLOCK) // 2, tl.arange(0, BLOCK).to(tl.float32))


def test_an_output_named_by_the_caller_must_be_stored_at_all():
    src = torch.randn(2, 4)
    with record() as recording:
        copied(src, torch.empty(2, 4))
    with pytest.raises(AssertionError, match="8 elements of src are stored never"):
        recording.launches[0].check(outputs=["dst", "src"])


@pytest.mark.parametrize("programs", [1, 2])
def test_an_element_stored_by_one_program_and_loaded_by_another_is_a_race(programs):
    with record() as recording:
        shift_in_place[(programs,)](torch.randn(8), BLOCK=8 // programs)
    faults = recording.launches[0].faults()
    assert len(faults) == programs - 1
    if faults:
        assert "1 elements of buffer race between programs (writer 0, reader 1)" in faults[0]


def test_a_race_through_two_views_of_one_storage_of_different_types_is_caught():
    whole = torch.zeros(8)
    with record() as recording:
        copy_rows[(2,)](whole.view(torch.int16).view(2, 8), whole.view(2, 4), 4, 8, 4, BLOCK=4)
    (launch,) = recording.launches
    assert launch.unique_load_bytes == 2 * 4 * 2
    assert launch.unique_store_bytes == 8 * 4
    assert not launch.faults()
    with record() as recording:
        copy_rows[(2,)](whole.view(torch.int16).view(2, 8), whole.view(2, 4), 4, 0, 4, BLOCK=4)
    assert "race" in recording.launches[0].faults()[0]


def test_tuples_of_tensors_are_named_by_index():
    with record() as recording:
        first_of[(1,)]((torch.ones(1), torch.ones(1)), torch.empty(1))
    recording.check()
    assert list(recording.launches[0].arguments) == ["pair[0]", "pair[1]", "dst"]


def test_atomic_operations_are_refused():
    with record(), pytest.raises(triton.runtime.errors.InterpreterError, match="atomic"):
        add_atomically[(1,)](torch.zeros(1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_a_kernel_leaves_unwritten_shows_as_nan(dtype):
    with poisoned_empty():
        outputs = [
            torch.empty(2, 6, dtype=dtype),
            torch.empty_like(torch.zeros(2, 6, dtype=dtype)),
            torch.zeros(1, dtype=dtype).new_empty(2, 6),
            torch.empty_strided((2, 6), (6, 1), dtype=dtype),
            torch.zeros(1, dtype=dtype).new_empty_strided((2, 6), (6, 1)),
        ]
    for out in outputs:
        copy_rows[(2,)](torch.ones(2, 6, dtype=dtype), out, 4, 6, 6, BLOCK=4)
        assert not out[:, :4].isnan().any()
        assert out[:, 4:].isnan().all()
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("order", ["reversed", 0, 1])
def test_programs_run_in_the_order_asked_for(order):
    def visits():
        numbers, counter = torch.full((3, 4), -1), torch.zeros(1, dtype=torch.int64)
        write_own_number[(3, 4)](numbers, counter)
        return numbers.flatten()

    assert visits().tolist() == list(range(12))
    with program_order(order):
        first, second = visits(), visits()
    for numbers in (first, second):
        assert sorted(numbers.tolist()) == list(range(12))
        assert numbers.tolist() != list(range(12))
    if order == "reversed":
        assert first.tolist() == list(range(12))[::-1]
    else:
        assert first.tolist() != second.tolist()
        with program_order(order):
            assert visits().tolist() == first.tolist()
    assert visits().tolist() == list(range(12))


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="got 'forward'"), program_order("forward"):
        pass


def test_the_race_detector_does_not_depend_on_the_order():
    with program_order("reversed"), record() as recording:
        shift_in_place[(2,)](torch.randn(8), BLOCK=4)
    assert "(writer 0, reader 1)" in recording.launches[0].faults()[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("recorded_inside", [False, True])
def test_masked_lanes_without_other_are_nan(dtype, recorded_inside):
    out = torch.empty(1, dtype=torch.float32)
    sum_row[(1,)](torch.ones(6, dtype=dtype), out, 6, BLOCK=8)
    assert out.item() == 6 or dtype == torch.bfloat16
    first, second = (nan_masked_lanes, record) if recorded_inside else (record, nan_masked_lanes)
    with first(), second():
        sum_row[(1,)](torch.ones(6, dtype=dtype), out, 6, BLOCK=8)
    assert out.isnan() or dtype == torch.bfloat16  # the interpreter cannot add bfloat16; the lanes are checked below


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.bfloat16])
def test_masked_lanes_of_other_types_are_garbage(dtype):
    out = torch.zeros(8, dtype=dtype)
    with nan_masked_lanes():
        load_some[(1,)](torch.ones(6, dtype=dtype), out, 6, BLOCK=8)
    assert (out[:6] == 1).all()
    assert (out[6:].isnan() if dtype.is_floating_point else out[6:] > 1e8).all()
    load_some[(1,)](torch.ones(6, dtype=dtype), out, 6, BLOCK=8)
    assert (out[6:] == 0).all()


@triton.jit
def load_some(src, dst, count, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    tl.store(dst + offsets, tl.load(src + offsets, mask=offsets < count))


SPECIAL = [0.0, -0.0, 1.0, 1.00390625, 1.01171875, -1.00390625, 3.3e38, 3.4e38, 1e-39, 1e-45, np.inf, -np.inf, np.nan]


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_casts_to_bfloat16_round_as_torch_does(dtype):
    src = torch.cat([torch.tensor(SPECIAL), torch.randn(4000)]).to(dtype)
    out = torch.empty(src.shape, dtype=torch.bfloat16)
    cast[(1,)](src, out, src.numel(), BLOCK=4096)
    assert not torch.equal(out[20:], src.to(torch.bfloat16)[20:])
    with round_to_nearest_bfloat16():
        cast[(1,)](src, out, src.numel(), BLOCK=4096)
    torch.testing.assert_close(out, src.to(torch.bfloat16), rtol=0, atol=0, equal_nan=True)


def test_casts_from_bfloat16_are_exact():
    src = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    out = torch.empty(src.shape)
    with round_to_nearest_bfloat16():
        cast[(1,)](src, out, src.numel(), BLOCK=2**16)
    torch.testing.assert_close(out, src.float(), rtol=0, atol=0, equal_nan=True)


@torch.library.custom_op("crosspt_test::copied_on_zeros", mutates_args=())
def copied_on_zeros(src: torch.Tensor) -> torch.Tensor:
    return copied(src, torch.zeros_like(src))


@pytest.mark.parametrize("poisoned", [False, True])
def test_launches_and_fills_are_counted_also_inside_operators(poisoned):
    src = torch.randn(2, 4, 1)
    copied_on_zeros(src[..., 0])
    with poisoned_empty() if poisoned else record(), count_launches() as count:
        copied(src.view(2, 4), torch.empty(2, 4))
        assert count.total == 0
        copied_on_zeros(src[..., 0])
    assert count.kernels == ["copy_rows", "copy_rows"]
    assert count.torch_ops == ["aten::zero_"]
    assert count.total == 3


def test_the_language_is_patched_once_a_launch_and_restored_after_it():
    load, src = tl.load, torch.randn(3, 7)
    with fast_launches():
        for _ in range(2):
            torch.testing.assert_close(copied(src, torch.empty(3, 7)), src)
            out = torch.empty(2)
            double_in_a_function[(2,)](src, out)
            torch.testing.assert_close(out, 2 * src[0, :2])
            assert tl.load is load


@triton.jit
def doubled(value):
    return value + value


@triton.jit
def double_in_a_function(src, dst):
    i = tl.program_id(0)
    tl.store(dst + i, doubled(tl.load(src + i)))


def test_copies_and_sums_count_and_views_do_not():
    matrix = torch.randn(4, 4)
    with count_launches() as count:
        matrix.T[1:].unsqueeze(0).expand(2, 3, 4).view(2, 3, 2, 2)[:, :1].detach()
        matrix.contiguous()
        matrix.to(torch.float32)
        matrix.new_empty(3)
    assert count.total == 0
    with count_launches() as count:
        matrix.T.contiguous()
        matrix.to(torch.float64)
        matrix.sum(0)
    assert len(count.torch_ops) == 3

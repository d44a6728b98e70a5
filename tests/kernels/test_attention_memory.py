"""What the attention kernels do to memory, how often they are launched, and which strides they take."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor

from crosspt.kernels import launch
from tests.kernels.attention_cases import CASES, Case, Inputs, Sizes, attended, make_inputs
from tests.kernels.cases import assert_same, output_gradient, results
from tests.kernels.test_strides import shifted, sliced, transposed

pytestmark = pytest.mark.usefixtures("interpreted")
ODD = Sizes(B=2, H=2, Lq=19, Lk=17, D=5, T=3, m=33)


@pytest.mark.parametrize("case", ["bias", "prefix, mask, causal", "all"])
def test_recorded_addresses(case: str) -> None:
    """Addresses are own elements, outputs are written exactly once, no program reads what another writes."""
    from crosspt.kernels.tools.recorder import record

    x = make_inputs(CASES[case], ODD)
    with record() as recording:
        results(attended, x, "triton")
    recording.check()
    outputs = [(launched.kernel, name) for launched in recording.launches for name in launched.outputs]
    assert outputs[:4] == [
        ("attention_kernel", "p_out"),
        ("attention_kernel", "p_stats"),
        ("attention_query_kernel", "p_dquery"),
        ("attention_query_kernel", "p_delta"),
    ]
    keys = [("attention_key_kernel", f"p_d{name}") for name in x.given if name not in ("query", "bias")]
    bias = [("attention_bias_kernel", "p_parts"), ("attention_bias_sum_kernel", "p_dbias")] if "bias" in x.given else []
    assert outputs[4:] == keys + bias


def test_blocks_of_hidden_keys_are_not_read() -> None:
    """Causality leaves out whole blocks, forward and backward."""
    from crosspt.kernels.tools.recorder import record

    def loads(causal: bool) -> dict[str, int]:
        x = make_inputs(Case(prefix=False, causal=causal), Sizes(B=1, H=1, Lq=64, Lk=64, D=16))
        with record() as recording:
            results(attended, x, "triton")
        return {launched.kernel: launched.requested_load_bytes for launched in recording.launches}

    some, every = loads(causal=True), loads(causal=False)
    for kernel, count in every.items():
        assert some[kernel] < 0.85 * count or kernel == "attention_bias_sum_kernel", kernel


@pytest.mark.parametrize("case", ["bias, mask", "all"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_order_poison_and_masked_lanes_change_no_bit(case: str, dtype: torch.dtype) -> None:
    from crosspt.kernels.tools.interpreter import (
        nan_masked_lanes,
        poisoned_empty,
        program_order,
        round_to_nearest_bfloat16,
    )

    x = make_inputs(CASES[case], ODD._replace(Lq=5, m=3), dtype)
    with round_to_nearest_bfloat16():
        wanted = results(attended, x, "triton")
        assert_same(results(attended, x, "triton"), wanted)
    assert all(tensor.isfinite().all() for tensor in wanted.values())
    for order in ("reversed", 1):
        with ExitStack() as stack:
            for context in (nan_masked_lanes(), poisoned_empty(), program_order(order), round_to_nearest_bfloat16()):
                stack.enter_context(context)
            assert_same(results(attended, x, "triton"), wanted)


@pytest.mark.parametrize("case", ["bias", "prefix, bias, mask"])
def test_bytes_at_the_reference_shape(case: str) -> None:
    """Of the floor: every input read once, every output written once, those of the forward launch included.

    Bytes grow with the number of rows and heads alike, so a few stand for 16 x 12.
    """
    from crosspt.kernels.tools.recorder import record

    x = make_inputs(CASES[case], Sizes(B=4, H=2, Lq=128, Lk=128, D=64, T=2, m=10), torch.bfloat16).frozen("bias")
    inputs = [*x.given.values(), *(t for t in (x.mask, x.task_ids) if t is not None)]
    learned = [tensor for tensor in x.given.values() if tensor.requires_grad]
    read = sum(tensor.nbytes for tensor in inputs)
    with record() as forward:
        out = attended(x, "triton")
    kept = out.nbytes + 2 * 4 * out.shape[0] * out.shape[1] * out.shape[2]
    grad = output_gradient(out)
    with record() as backward:
        gradients = torch.autograd.grad(out, learned, grad)
    floor = read + kept + grad.nbytes + sum(gradient.nbytes for gradient in gradients)
    assert forward.unique_bytes <= 1.01 * (read + kept)
    assert backward.unique_bytes <= 1.6 * floor
    assert forward.requested_bytes <= 4 * (read + kept)
    assert backward.requested_bytes <= 6 * floor


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_forward_is_one_launch_and_backward_two(case: Case) -> None:
    """And two more where the bias learns, whose sums are not cleared first."""
    from crosspt.kernels.tools.interpreter import count_launches

    x = make_inputs(case, Sizes(B=1, H=1), torch.bfloat16)
    for inputs, more in (
        (x.frozen("bias"), []),
        *([(x, ["attention_bias_kernel", "attention_bias_sum_kernel"])] if case.bias else []),
    ):
        with count_launches() as forward:
            out = attended(inputs, "triton")
        assert forward.kernels == ["attention_kernel"]
        grad = output_gradient(out)
        with count_launches() as backward:
            torch.autograd.grad(out, [tensor for tensor in inputs.given.values() if tensor.requires_grad], grad)
        assert backward.kernels == ["attention_query_kernel", "attention_key_kernel", *more]
        assert backward.total == len(backward.kernels)


BIAS_MEMORY = {512: (5_898_240, 12_582_912), 2048: (12_386_304, 201_326_592), 8192: (50_135_040, 3_221_225_472)}


@pytest.mark.parametrize("length", BIAS_MEMORY)
def test_memory_of_the_gradient_of_the_bias(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of the blocks for 12 heads in bfloat16, then of a matrix of biases and its gradient.

    The kernels' grow with the length, not with the rows.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    from crosspt.kernels import attention, attention_backward

    made: list[Tensor] = []

    class Allocations(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            made.append(result)
            return result

    monkeypatch.setattr(launch, "start", lambda *_: None)
    for rows in (1, 16):
        x = torch.empty(rows, length, 12, 64, dtype=torch.bfloat16, device="meta").transpose(1, 2)
        bias = torch.empty(12, 2 * length - 1, dtype=torch.bfloat16, device="meta")
        inputs = attention.attention_arguments(x, x, x, bias, None, None, None, None, None, False, 0.0)
        out, stats = attention.attention(inputs)
        needs = attention_backward.AttentionNeeds(False, False, False, True, False, False)
        made.clear()
        with Allocations():
            attention_backward.attention_backward(out, out, stats, inputs, needs)
        shapes = {tuple(tensor.shape) for tensor in made if tensor.dim() != 5}
        assert shapes == {(12, 2 * length - 1), (rows, 12, length)}
        (blocks,) = (tensor.nbytes for tensor in made if tensor.dim() == 5)
        assert (blocks, 2 * 12 * length**2 * 2) == BIAS_MEMORY[length]


NEEDS = {
    ("query",): {"attention_query_kernel": ["p_dquery"]},
    ("value",): {"attention_key_kernel": ["p_dvalue"]},
    ("prefix_value",): {"attention_key_kernel": ["p_dprefix_value"]},
    ("key",): {"attention_query_kernel": ["p_delta"], "attention_key_kernel": ["p_dkey"]},
    ("prefix_key", "prefix_value"): {
        "attention_query_kernel": ["p_delta"],
        "attention_key_kernel": ["p_dprefix_key", "p_dprefix_value"],
    },
    ("bias",): {
        "attention_query_kernel": ["p_delta"],
        "attention_bias_kernel": ["p_parts"],
        "attention_bias_sum_kernel": ["p_dbias"],
    },
}


@pytest.mark.parametrize("learned", NEEDS, ids="+".join)
def test_what_needs_no_gradient_costs_nothing(learned: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    x = make_inputs(CASES["prefix, bias, mask"], Sizes())
    for name, tensor in x.given.items():
        tensor.requires_grad_(name in learned)
    leaves = [x.given[name] for name in learned]
    wanted = torch.autograd.grad(attended(x, "reference").sum(), leaves)
    out = attended(x, "triton")
    written: dict[str, list[str]] = {}
    start = launch.start

    def spy(kernel: Any, grid: Any, args: tuple[object, ...], *rest: int) -> None:
        names = getattr(kernel, "arg_names", ())
        present = [name for name, value in zip(names, args, strict=True) if value is not None]
        outputs = present[: present.index("p_parts" if "p_dbias" in present else "p_grad")]
        written[kernel.__name__] = outputs
        start(kernel, grid, args, *rest)

    monkeypatch.setattr(launch, "start", spy)
    for one, other in zip(torch.autograd.grad(out.sum(), leaves), wanted, strict=True):
        torch.testing.assert_close(one, other)
    assert written == NEEDS[learned]


def rows_of_a_projection(tensor: Tensor) -> Tensor:
    """The same values (B, H, L, D), in memory as (B, L, H, D): what a T5's projections give."""
    return tensor.transpose(1, 2).contiguous().transpose(1, 2) if tensor.dim() == 4 else tensor


@pytest.mark.parametrize("layout", [rows_of_a_projection, sliced, transposed, shifted])
def test_strided_arguments(layout: Callable[[Tensor], Tensor]) -> None:
    x = make_inputs(CASES["prefix, bias, mask"], Sizes())
    strided = x.map(layout)
    for name in ("key", "prefix_key"):  # whose strides are not the values' then
        strided.tensors[name] = x.tensors[name]
    assert_same(results(attended, strided, "triton"), results(attended, x, "reference"), 1e-12)


def test_expanded_arguments() -> None:
    x = make_inputs(CASES["prefix"], Sizes())
    expanded = x.map(lambda tensor: tensor[:, :1].expand_as(tensor))
    dense = expanded.map(lambda tensor: tensor.clone())
    assert_same(results(attended, expanded, "triton"), results(attended, dense, "reference"), 1e-12)


def test_projections_are_read_in_place_and_gradients_written_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    x = make_inputs(CASES["prefix, bias, mask"], Sizes()).map(rows_of_a_projection)
    copied: list[torch.Size] = []
    contiguous = Tensor.contiguous

    def spy(tensor: Tensor) -> Tensor:
        if not tensor.is_contiguous():
            copied.append(tensor.shape)
        return contiguous(tensor)

    monkeypatch.setattr(Tensor, "contiguous", spy)
    out = attended(x, "triton")
    gradients = torch.autograd.grad(out, list(x.given.values()), transposed(torch.ones_like(out)))
    assert copied == [out.shape[::-1]]  # made by this test
    assert all(gradient.dim() == 2 or gradient.transpose(1, 2).is_contiguous() for gradient in gradients)


GRADIENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "sliced": sliced,
    "transposed": transposed,
    "one number": lambda grad: grad[:1, :1, :1, :1].expand_as(grad),
    "one row": lambda grad: grad[:1, :1].expand_as(grad),
}


@pytest.mark.parametrize("change", GRADIENTS.values(), ids=GRADIENTS)
def test_strided_gradients(change: Callable[[Tensor], Tensor]) -> None:
    x = make_inputs(CASES["prefix, bias, mask"], Sizes())
    grad = change(output_gradient(attended(x, "reference")))
    assert_same(results(attended, x, "triton", grad), results(attended, x, "reference", grad.clone()), 1e-12)


def test_inputs_are_not_changed() -> None:
    x = make_inputs(CASES["all"], Sizes())
    before = [tensor.detach().clone() for tensor in _all(x)]
    attended(x, "triton").sum().backward()
    assert all(torch.equal(one, other) for one, other in zip(before, _all(x), strict=True))


def _all(x: Inputs) -> list[Tensor]:
    return [*x.given.values(), *(t for t in (x.mask, x.task_ids, x.seed) if t is not None)]

"""Offsets of token rows in prepend_prompts: values, gradients, memory, launches and bytes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from crosspt import functional, reference
from crosspt.functional import operators, validation
from crosspt.kernels import launch
from tests.kernels.cases import assert_as_accurate, assert_same, output_gradient, results
from tests.kernels.test_strides import GRADIENTS, LAYOUTS

CLOSE = 1e-12


class Sizes(NamedTuple):
    B: int
    L: int
    T: int
    m: int
    d: int
    positions: int  # L'
    V: int = 11


USUAL = Sizes(B=5, L=3, T=3, m=3, d=18, positions=4)


@dataclass(frozen=True)
class Rows:
    """Arguments of prepend_prompts; prompts, table and offsets require gradients."""

    input_ids: Tensor
    task_ids: Tensor
    given: dict[str, Tensor]

    def map(self, change: Callable[[Tensor], Tensor]) -> Rows:
        """The same with every floating-point tensor changed, leaves again."""
        return self.learning(**{name: change(tensor.detach()) for name, tensor in self.given.items()})

    def learning(self, **given: Tensor) -> Rows:
        return replace(self, given={name: tensor.detach().requires_grad_() for name, tensor in given.items()})

    @property
    def operands(self) -> tuple[Tensor, ...]:
        """In the operator's order."""
        prompts, table, offsets = self.given.values()
        return prompts, self.task_ids, self.input_ids, table, offsets


def make_rows(sizes: Sizes, dtype: torch.dtype = torch.float64, device: str = "cpu", seed: int = 0) -> Rows:
    B, L, T, m, d, positions, V = sizes
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype).requires_grad_()

    return Rows(
        torch.randint(V, (B, L), generator=generator).to(device),
        torch.randint(T, (B,), generator=generator).to(device),
        {"prompts": normal(T, m, d), "table": normal(V, d), "offsets": normal(T, positions, d)},
    )


def placed(x: Rows, backend: Any) -> Tensor:
    """prepend_prompts by a backend, or by the reference."""
    rows = {"task_ids": x.task_ids, "input_ids": x.input_ids}
    if backend == "reference":
        return reference.prepend_prompts(**rows, **x.given)
    return functional.prepend_prompts(**rows, **x.given, backend=backend)


SIZES = {
    "ones": Sizes(1, 1, 1, 1, 1, 1, 1),
    "no tokens": Sizes(2, 0, 2, 2, 5, 3),
    "no rows": Sizes(0, 2, 2, 2, 5, 3),
    "more positions than tokens": Sizes(3, 2, 2, 1, 7, 9),
    "more tasks than rows": Sizes(3, 4, 7, 2, 19, 4),
    "wider than a block": Sizes(3, 5, 2, 3, 270, 5),
    "more rows than are looked at together": Sizes(35, 3, 2, 2, 6, 3),
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_sizes(sizes: Sizes, device: str) -> None:
    x = make_rows(sizes, device=device)
    assert_same(results(placed, x, "triton"), results(placed, x, "reference"), CLOSE)


def test_gradcheck(device: str) -> None:
    x = make_rows(Sizes(B=3, L=2, T=2, m=1, d=2, positions=3, V=4), device=device)

    def function(*tensors: Tensor) -> Tensor:
        return placed(replace(x, given=dict(zip(x.given, tensors, strict=True))), "triton")

    torch.autograd.gradcheck(function, tuple(x.given.values()), fast_mode=True)


@pytest.mark.parametrize("offsets", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("table", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_dtypes(table: torch.dtype, offsets: torch.dtype, device: str) -> None:
    """Sums are rounded once, so that they are the reference's bit for bit; every gradient has its own dtype."""
    x = make_rows(USUAL._replace(d=40), table, device)
    x = x.learning(**{**x.given, "offsets": x.given["offsets"].to(offsets)})
    got = results(placed, x, "triton")
    assert got["output"].dtype == table
    assert [got[name].dtype for name in ("prompts", "table", "offsets")] == [table, table, offsets]
    wide = torch.promote_types(torch.promote_types(table, offsets), torch.float32)
    exact = replace(x, given={name: tensor.to(wide) for name, tensor in x.given.items()})
    torch.testing.assert_close(got["output"], placed(exact, "reference").to(table), rtol=0, atol=0)
    low = max(table, offsets, key=lambda dtype: torch.finfo(dtype).eps)
    assert_as_accurate(x, placed, x.map(lambda tensor: tensor.to(low)), low)


def test_offsets_of_zero_change_no_bit(device: str) -> None:
    x = make_rows(USUAL, torch.bfloat16, device)
    without = replace(x, given={name: tensor for name, tensor in x.given.items() if name != "offsets"})
    zero = x.learning(**{**x.given, "offsets": torch.zeros_like(x.given["offsets"])})
    grad = output_gradient(placed(x, "reference"))
    got = results(placed, zero, "triton", grad)
    del got["offsets"]
    assert_same(got, results(placed, without, "triton", grad))


@LAYOUTS
def test_strided_arguments(layout: Callable[[Tensor], Tensor], device: str) -> None:
    x = make_rows(USUAL, device=device)
    strided = replace(x.map(layout), input_ids=layout(x.input_ids), task_ids=layout(x.task_ids))
    assert_same(results(placed, strided, "triton"), results(placed, x, "reference"), CLOSE)


@pytest.mark.parametrize("change", GRADIENTS.values(), ids=GRADIENTS)
@pytest.mark.parametrize("frozen", ["", "prompts"])
def test_strided_gradients(change: Callable[[Tensor], Tensor], frozen: str, device: str) -> None:
    x = make_rows(USUAL, device=device)
    if frozen:
        x.given[frozen].requires_grad_(False)
    grad = change(output_gradient(placed(x, "reference")))
    assert_same(results(placed, x, "triton", grad), results(placed, x, "reference", grad.clone()), CLOSE)


LEARNED = [("prompts", "offsets"), ("offsets",), ("prompts",), ("table",)]


@pytest.mark.parametrize("learned", LEARNED, ids="+".join)
def test_launches_of_what_learns(learned: tuple[str, ...], device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One launch each way, and none backward where neither prompts nor offsets learn; what is frozen is not written."""
    started: list[tuple[str, dict[str, Any]]] = []
    start = launch.start

    def spy(kernel: Any, grid: Any, args: tuple[Any, ...], *rest: Any) -> None:
        started.append((kernel.__name__, dict(zip(kernel.arg_names, args, strict=True))))
        start(kernel, grid, args, *rest)

    monkeypatch.setattr(launch, "start", spy)
    x = make_rows(USUAL, device=device)
    for name, tensor in x.given.items():
        tensor.requires_grad_(name in learned)
    assert_same(results(placed, x, "triton"), results(placed, x, "reference"), CLOSE)
    backward = [] if learned == ("table",) else ["sum_task_rows_kernel"]
    assert [name for name, _ in started] == ["prepend_prompts_kernel", *backward]
    if backward:
        arguments = started[1][1]
        assert (arguments["p_out"] is not None, arguments["p_offsets"] is not None) == (
            "prompts" in learned,
            "offsets" in learned,
        )


def test_a_call_without_offsets_passes_none_and_nothing_of_them(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    absent: list[set[str]] = []

    def spy(kernel: Any, grid: Any, args: tuple[Any, ...], *rest: Any) -> None:
        absent.append({name for name, value in zip(kernel.arg_names, args, strict=True) if value is None})

    monkeypatch.setattr(launch, "start", spy)
    x = make_rows(USUAL, device=device)
    functional.prepend_prompts(*x.operands[:4], backend="triton").sum().backward()
    assert absent == [{"p_offsets", "n_offsets"}, {"p_offsets", "L", "n_offsets"}]


@pytest.mark.usefixtures("interpreted")
def test_nothing_else_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    from crosspt.kernels.tools.interpreter import count_launches

    monkeypatch.setattr(validation, "values_are_visible", lambda tensor: False)  # as for GPU tensors
    x = make_rows(USUAL, torch.bfloat16)
    x.given["table"].requires_grad_(False)
    with count_launches() as forward:
        out = placed(x, "triton")
    grad = output_gradient(out)
    with count_launches() as backward:
        torch.autograd.grad(out, [x.given["prompts"], x.given["offsets"]], grad)
    assert (forward.kernels, forward.torch_ops) == (["prepend_prompts_kernel"], [])
    assert (backward.kernels, backward.torch_ops) == (["sum_task_rows_kernel"], [])


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("name", ["ones", "more positions than tokens", "more tasks than rows", "wider than a block"])
@pytest.mark.parametrize("frozen", ["", "prompts"])
def test_recorded_addresses(name: str, frozen: str) -> None:
    """Addresses are own elements, outputs are written exactly once, no program reads what another writes."""
    from crosspt.kernels.tools.recorder import record

    x = make_rows(SIZES[name])
    if frozen:
        x.given[frozen].requires_grad_(False)
    with record() as recording:
        results(placed, x, "triton")
    recording.check()
    assert [launch.outputs for launch in recording.launches] == [
        ["p_out"],
        ["p_offsets"] if frozen else ["p_out", "p_offsets"],
    ]


@pytest.mark.usefixtures("interpreted")
def test_bytes_are_the_floor() -> None:
    """Each input and each result once: offsets forward, the text rows of the output's gradient backward."""
    from crosspt.kernels.tools.recorder import record

    B, L, T, m, d, positions, V = sizes = Sizes(8, 16, 4, 2, 32, 16, 128)
    x = make_rows(sizes, torch.float32)
    tokens = torch.randperm(V, generator=torch.Generator().manual_seed(0)).view(B, L)  # no token twice
    x = replace(x, input_ids=tokens, task_ids=torch.arange(B) % T)
    x.given["table"].requires_grad_(False)
    with record() as forward:
        out = placed(x, "triton")
    with record() as backward:
        torch.autograd.grad(out, [x.given["prompts"], x.given["offsets"]], output_gradient(out))
    rows, ids = 4 * d * (m + L), 8 * B
    assert forward.unique_bytes == 2 * B * rows - 4 * d * B * m + T * rows + ids * (L + 1)
    assert backward.unique_bytes == B * rows + T * rows + ids
    assert backward.requested_bytes - backward.unique_bytes <= ids * T * (m + positions)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_order_poison_and_masked_lanes_change_no_bit(dtype: torch.dtype) -> None:
    from crosspt.kernels.tools.interpreter import (
        nan_masked_lanes,
        poisoned_empty,
        program_order,
        round_to_nearest_bfloat16,
    )

    x = make_rows(SIZES["more positions than tokens"], dtype)
    with round_to_nearest_bfloat16():
        wanted = results(placed, x, "triton")
    assert all(tensor.isfinite().all() for tensor in wanted.values())
    for order in ("reversed", 1):
        with ExitStack() as stack:
            for context in (nan_masked_lanes(), poisoned_empty(), program_order(order), round_to_nearest_bfloat16()):
                stack.enter_context(context)
            got = results(placed, x, "triton")
        assert_same(got, wanted)


@pytest.mark.usefixtures("interpreted")
def test_ids_out_of_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the public checks: an assert when debugging, else NaN in exactly those rows, never a silent read."""
    from triton.runtime.interpreter import interpreter_builder

    from crosspt.kernels.tools.recorder import record

    x = make_rows(USUAL)
    prompts, task_ids, input_ids, table, offsets = x.operands
    good = operators.prepend_prompts(*x.operands)
    bad_tasks, bad_tokens = task_ids.clone(), input_ids.clone()
    bad_tasks[1], bad_tasks[2], bad_tokens[0, 1] = USUAL.T, -3, -1
    with monkeypatch.context() as debugging:
        debugging.setattr(interpreter_builder, "options", replace(interpreter_builder.options, debug=True))
        for ids in ((task_ids, bad_tokens), (bad_tasks, input_ids)):
            with pytest.raises(Exception, match="_ids must lie in"):
                operators.prepend_prompts(prompts, *ids, table, offsets)
    with record() as recording:
        out = operators.prepend_prompts(prompts, bad_tasks, bad_tokens, table, offsets)
    recording.check()
    bad = torch.zeros(out.shape[:2], dtype=torch.bool)
    bad[1] = bad[2] = bad[0, USUAL.m + 1] = True
    assert out[bad].isnan().all()
    assert torch.equal(out[~bad], good[~bad])
    kept = torch.ones(USUAL.B, dtype=torch.bool)
    kept[1:3] = False  # such rows belong to no task
    learned = [prompts, offsets]
    for one, other in zip(
        torch.autograd.grad(out.nan_to_num().sum(), learned),
        torch.autograd.grad(good[kept].sum() - good[0, USUAL.m + 1].sum(), learned),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_compiled_without_graph_breaks(device: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(placed, fullgraph=True, dynamic=True, backend="aot_eager")
    for sizes in (USUAL, Sizes(B=4, L=5, T=2, m=2, d=6, positions=9)):
        x = make_rows(sizes, device=device)
        assert_same(results(compiled, x, "triton"), results(placed, x, "reference"), CLOSE)

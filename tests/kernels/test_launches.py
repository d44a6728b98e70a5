"""How many launches an operation takes, what a frozen parameter costs, and which backend ran."""

from typing import Any
from unittest import mock

import pytest
import torch

from crosspt.functional import torch_composition, validation
from crosspt.kernels import launch
from crosspt.kernels.tiles import mixed_once
from tests.kernels.cases import (
    BY_ROW,
    BY_TASK,
    CASES,
    Case,
    Inputs,
    Sizes,
    composed,
    make_inputs,
    output_gradient,
    prepended,
    prompted,
)

Started = list[tuple[str, tuple[Any, ...]]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Kernels started, by name, with their arguments."""
    names: Started = []
    start = launch.start

    def spy(kernel: Any, grid: Any, args: tuple[Any, ...], *rest: Any) -> None:
        names.append((kernel.__name__, args))
        start(kernel, grid, args, *rest)

    monkeypatch.setattr(launch, "start", spy)
    return names


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("sizes", [BY_TASK, BY_ROW], ids=["by task", "by row"])
@pytest.mark.parametrize("dtype", [torch.bfloat16], ids=str)
def test_forward_is_one_launch_and_backward_at_most_three(
    case: Case, sizes: Sizes, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crosspt.kernels.tools.interpreter import count_launches

    monkeypatch.setattr(validation, "values_are_visible", lambda tensor: False)  # as for GPU tensors
    x = make_inputs(case, sizes, dtype)
    with count_launches() as forward:
        out = prompted(x, "triton")
    assert forward.kernels == ["prompted_embedding_kernel"]
    assert forward.torch_ops == []
    grad = output_gradient(out)
    with count_launches() as backward:
        torch.autograd.grad(out, list(x.given.values()), grad, allow_unused=True)
    summed = sizes is BY_TASK and case.mixing != "row_alpha"
    assert backward.total == len(backward.kernels) == (3 if summed else 2)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("sizes", [BY_TASK._replace(n=33), BY_ROW._replace(m=33)], ids=["by task", "by row"])
@pytest.mark.parametrize("case", ["raw", "encoded sources", "no encoder", "given, encoded sources, added"])
def test_many_sources_or_long_prompts_take_one_launch_more_forward_and_two_backward(
    case: str, sizes: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crosspt.kernels.tools.interpreter import count_launches

    monkeypatch.setattr(validation, "values_are_visible", lambda tensor: False)  # as for GPU tensors
    x = make_inputs(CASES[case], sizes, torch.bfloat16)
    summed = ["sum_task_rows_kernel"] if sizes.T <= sizes.B else []
    encode = ["compose_encode_backward_kernel"] if case != "no encoder" else []
    for operation, rows in ((prompted, summed), (composed, [])):
        with count_launches() as forward:
            out = operation(x, "triton")
        assert forward.kernels == ["compose_mixture_kernel", "compose_encode_kernel"]
        assert forward.torch_ops == []
        grad = output_gradient(out)
        with count_launches() as backward:
            torch.autograd.grad(out, list(x.given.values()), grad, allow_unused=True)
        expected = [*rows, "compose_mixture_kernel", *encode, "compose_shares_kernel", "compose_sums_kernel"]
        assert backward.kernels == expected
        assert backward.total == len(expected)


def test_what_is_mixed_once() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        assert not mixed_once(32, 32, dtype)
        assert mixed_once(33, 0, dtype)
        assert mixed_once(1, 33, dtype)
    for dtype in (torch.float32, torch.float64):
        assert not mixed_once(512, 512, dtype)


@pytest.mark.usefixtures("interpreted")
def test_launches_of_the_parts() -> None:
    from crosspt.kernels.tools.interpreter import count_launches

    x = make_inputs(Case(), BY_TASK)
    for operation, backwards in ((composed, 2), (prepended, 1)):
        with count_launches() as forward:
            out = operation(x, "triton")
        assert len(forward.kernels) == 1
        leaves = [x.given["privates"]] if operation is prepended else list(x.given.values())
        grad = output_gradient(out)
        with count_launches() as backward:
            torch.autograd.grad(out, leaves, grad)
        assert backward.total == len(backward.kernels) == backwards


FROZEN = {
    ("logits",): ["sum_task_rows_kernel", "compose_products_kernel", "compose_spread_kernel"],
    ("weight",): ["sum_task_rows_kernel", "compose_products_kernel"],
    ("bias",): ["sum_task_rows_kernel", "compose_products_kernel"],
    ("sources",): ["sum_task_rows_kernel", "compose_products_kernel", "compose_spread_kernel"],
    ("privates", "logits"): ["sum_task_rows_kernel", "compose_products_kernel", "compose_spread_kernel"],
    ("added",): ["sum_task_rows_kernel", "compose_spread_kernel"],
}


@pytest.mark.parametrize("learned", FROZEN, ids="+".join)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "encoded"])
@pytest.mark.parametrize("mixing", ["logits", "alpha"])
def test_frozen_parameters_cost_nothing(
    learned: tuple[str, ...], raw: bool, mixing: str, device: str, started: Started
) -> None:
    x = make_inputs(Case(raw_sources=raw, mixing=mixing, added=True), BY_TASK, device=device)
    names = [mixing if name == "logits" else name for name in learned]
    for name, tensor in x.given.items():
        tensor.requires_grad_(name in names)
    leaves = [x.given[name] for name in names]
    wanted = torch.autograd.grad(prompted(x, "reference").sum(), leaves)
    out = prompted(x, "triton")
    started.clear()
    got = torch.autograd.grad(out.sum(), leaves)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)
    expected = FROZEN[learned]
    if learned == ("sources",) and not raw:
        expected = [expected[0], expected[2]]  # encoded sources need no matrix product
    assert [name for name, _ in started] == expected
    shapes = [tuple(x.given[name].shape) for name in names]
    gradients = [
        argument
        for name, args in started[1:]
        for argument in args[:4]
        if isinstance(argument, torch.Tensor) and argument.dim() > 0
    ]
    temporary = {"dots", "dmixed"}
    assert len(gradients) <= len(shapes) + len(temporary)


def test_frozen_mixture_with_a_trained_table_launches_nothing_backward(device: str, started: Started) -> None:
    x = make_inputs(Case(), BY_TASK, device=device)
    for tensor in x.given.values():
        tensor.requires_grad_(False)
    table = x.table.requires_grad_()
    wanted = torch.autograd.grad(prompted(x, "reference").square().sum(), table)[0]
    out = prompted(x, "triton")
    started.clear()
    torch.testing.assert_close(torch.autograd.grad(out.square().sum(), table)[0], wanted)
    assert started == []


OPERATIONS = {"prompted_embedding": prompted, "compose_prompts": composed, "prepend_prompts": prepended}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("backend", ["auto", "torch", "triton"])
def test_which_backend_runs(
    name: str,
    backend: str,
    device: str,
    started: Started,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spy = mock.Mock(wraps=getattr(torch_composition, name))
    monkeypatch.setattr(torch_composition, name, spy)
    OPERATIONS[name](make_inputs(Case(), BY_TASK, device=device), backend)
    on_triton = backend == "triton" or (backend == "auto" and device == "cuda")
    assert [kernel for kernel, _ in started] == ([f"{name}_kernel"] if on_triton else [])
    assert spy.called != on_triton


def test_sizes_of_the_batch_are_never_compiled_in() -> None:
    """Batch, tokens, tasks and sources must not specialize a kernel: training would compile again and again."""
    from crosspt.kernels import (
        compose_encode,
        compose_encode_backward,
        compose_mixture,
        compose_products,
        compose_prompts,
        compose_shares,
        compose_spread,
        compose_sums,
        prepend_gain,
        prepend_prompts,
        prompted_embedding,
    )

    run_time = {"B", "L", "T", "n", "m", "V", "n_offsets", "n_patches", "n_splits"}
    run_time |= {"n_column_tiles", "n_position_tiles"}
    mixing_inside = (compose_products, compose_prompts, compose_spread, prepend_prompts, prompted_embedding)
    mixed_once = (compose_mixture, compose_encode, compose_encode_backward, compose_shares, compose_sums)
    kernels = {
        name: value
        for module in (*mixing_inside, *mixed_once, prepend_gain)
        for name, value in vars(module).items()
        if name.endswith("_kernel")
    }
    assert len(kernels) == 13
    for name, kernel in kernels.items():
        arguments = set(kernel.arg_names)
        options = getattr(kernel, "kwargs", None) or {"do_not_specialize": getattr(kernel, "do_not_specialize", ())}
        assert set(options["do_not_specialize"]) == arguments & run_time, name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA or ROCm device")
def test_cuda_graph() -> None:
    x = make_inputs(Case(), BY_TASK, torch.float32, "cuda")
    wanted = prompted(x, "triton")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = prompted(x, "triton")
        gradients = torch.autograd.grad(out.sum(), list(x.given.values()))
    graph.replay()
    torch.testing.assert_close(out, wanted, rtol=0, atol=0)
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA or ROCm devices")
def test_kernels_run_on_the_device_of_their_tensors() -> None:
    x = make_inputs(Case(), BY_TASK, torch.float32, "cuda:1")
    with torch.cuda.device(0):
        torch.testing.assert_close(prompted(x, "triton"), prompted(x, "torch"))


def test_inputs_are_not_changed(device: str) -> None:
    x = make_inputs(Case(mask=True), BY_TASK, device=device)
    before = [tensor.detach().clone() for tensor in (x.input_ids, x.task_ids, x.table, *x.given.values())]
    prompted(x, "triton").sum().backward()
    after: tuple[torch.Tensor, ...] = (x.input_ids, x.task_ids, x.table, *x.given.values())
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert isinstance(x, Inputs)

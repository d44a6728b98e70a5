"""The attention's torch.library operators: schemas, torch.compile, autocast, second derivatives, checks."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from crosspt import functional
from crosspt.functional import operators
from crosspt.functional.library import OPS
from tests.kernels.attention_cases import CASES, Inputs, Sizes, attended, make_inputs
from tests.kernels.cases import assert_same, output_gradient, results

TINY = Sizes(B=2, H=1, Lq=2, Lk=2, D=2, T=2, m=1)


def operands(x: Inputs) -> tuple[Any, ...]:
    query, key, value, bias, prefix_key, prefix_value = x.tensors.values()
    return query, key, value, bias, x.mask, prefix_key, prefix_value, x.task_ids, x.seed, x.causal, x.dropout


EVERY_CHECK = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


@pytest.mark.parametrize(("case", "checks"), [("all", EVERY_CHECK), ("bare", "test_faketensor")])
def test_opcheck(case: str, checks: Any, device: str) -> None:
    x = make_inputs(CASES[case], TINY, torch.float32, device)
    torch.library.opcheck(OPS.attention.default, operands(x), test_utils=checks)
    frozen = tuple(t.detach() if isinstance(t, torch.Tensor) else t for t in operands(x))
    out, stats = OPS.attention(*frozen)
    needs = [tensor is not None for tensor in x.tensors.values()]
    grad = output_gradient(out)
    torch.library.opcheck(OPS.attention_backward.default, (grad, out, stats, *frozen, needs), test_utils=checks)


def test_compiled_without_graph_breaks(device: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(attended, fullgraph=True, dynamic=True, backend="aot_eager")
    for sizes in (Sizes(), Sizes(B=2, H=2, Lq=4, Lk=9, D=6, T=3, m=2)):
        x = make_inputs(CASES["prefix, bias, mask"], sizes, device=device)
        got, wanted = results(compiled, x, "triton"), results(attended, x, "reference")
        assert_same(got, wanted, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_fakes_are_laid_out_as_what_they_stand_for(dtype: torch.dtype, device: str) -> None:
    """With a bias in float32, whose gradient is so too."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    x = make_inputs(CASES["all"], Sizes(), dtype, device)
    x = x.replaced(bias=x.tensors["bias"].float())
    frozen = tuple(t.detach() if isinstance(t, torch.Tensor) else t for t in operands(x))
    out, stats = OPS.attention(*frozen)
    real = [out, stats, *OPS.attention_backward(out, out, stats, *frozen, [True] * 6)]
    with FakeTensorMode() as mode:
        faked = tuple(mode.from_tensor(t) if isinstance(t, torch.Tensor) else t for t in frozen)
        out, stats = OPS.attention(*faked)
        fake = [out, stats, *OPS.attention_backward(out, out, stats, *faked, [True] * 6)]
    for one, other in zip(real, fake, strict=True):
        assert (one.shape, one.stride(), one.dtype) == (other.shape, other.stride(), other.dtype)


def test_autocast_changes_nothing(device: str) -> None:
    x = make_inputs(CASES["prefix"], TINY, torch.float32, device)
    wanted = results(attended, x, "triton")
    with torch.autocast(device, torch.bfloat16):
        assert_same(results(attended, x, "triton"), wanted)


def test_second_derivatives_are_refused(device: str) -> None:
    x = make_inputs(CASES["prefix"], TINY, device=device)
    out = attended(x, "triton")
    grad = output_gradient(out).requires_grad_()
    (gradient,) = torch.autograd.grad(out, x.given["key"], grad, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only; use backend='torch'"):
        torch.autograd.grad(gradient.sum(), grad)


def test_no_gradient_is_recorded_without_need(device: str) -> None:
    x = make_inputs(CASES["prefix"], TINY, device=device)
    with torch.no_grad():
        assert attended(x, "triton").grad_fn is None
    with torch.inference_mode():
        attended(x, "triton")


def test_sizes_of_the_batch_are_never_compiled_in() -> None:
    """They must not specialize a kernel: training would compile again and again."""
    from crosspt.kernels import attention, attention_bias, attention_key, attention_query

    run_time = {"B", "H", "Lq", "Lk", "T", "m", "n_splits"}
    kernels = {
        name: value
        for module in (attention, attention_bias, attention_query, attention_key)
        for name, value in vars(module).items()
        if name.endswith("_kernel")
    }
    assert len(kernels) == 5
    for name, kernel in kernels.items():
        options = getattr(kernel, "kwargs", None) or {"do_not_specialize": getattr(kernel, "do_not_specialize", ())}
        assert set(options["do_not_specialize"]) == set(kernel.arg_names) & run_time, name


def test_tf32_follows_torch() -> None:
    from crosspt.kernels.launch import precision

    matmul = torch.backends.cuda.matmul
    assert precision(torch.float32) == "ieee"
    matmul.allow_tf32 = True
    try:
        assert precision(torch.float32) == "tf32"
        assert precision(torch.float64) == precision(torch.bfloat16) == "ieee"
    finally:
        matmul.allow_tf32 = False


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA or ROCm device")
def test_cuda_graph() -> None:
    x = make_inputs(CASES["all"], Sizes(D=64), torch.bfloat16, "cuda")
    wanted = results(attended, x, "triton")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = results(attended, x, "triton", torch.ones_like(wanted["output"]))
    graph.replay()
    assert_same({"output": got["output"]}, {"output": wanted["output"]})


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(shape)


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "rank": ({"query": ones(2, 3, 4)}, ValueError, r"query must have shape \(B, H, Lq, D\), got \(2, 3, 4\)"),
    "keys": ({"key": ones(2, 1, 5, 3)}, ValueError, r"key must have shape .* = \(2, 1, 5, 4\), got \(2, 1, 5, 3\)"),
    "values": ({"value": ones(2, 1, 6, 4)}, ValueError, r"value must have shape .* = \(2, 1, 5, 4\)"),
    "no values": ({"value": None}, TypeError, r"value must be a tensor of shape \(B, H, Lk, D\), got NoneType"),
    "integers": ({"query": ones(2, 1, 3, 4).long()}, TypeError, "query must be floating-point, got torch.int64"),
    "dtype": ({"key": ones(2, 1, 5, 4).double()}, TypeError, "key must have query's dtype torch.float32"),
    "bias": ({"bias": ones(1, 9)}, ValueError, r"bias must have shape .* = \(1, 7\), got \(1, 9\)"),
    "mask": ({"mask": ones(2, 5)}, TypeError, r"mask must be a bool tensor of shape \(B, Lk\), got torch.float32"),
    "mask's size": ({"mask": ones(2, 7).bool()}, ValueError, r"mask must have shape \(B, Lk\) = \(2, 5\)"),
    "half a prefix": ({"prefix_key": ones(3, 1, 2, 4)}, ValueError, "prefix_key, prefix_value and task_ids go togeth"),
    "prefix": (
        {"prefix_key": ones(3, 2, 2, 4), "prefix_value": ones(3, 2, 2, 4), "task_ids": torch.zeros(2).long()},
        ValueError,
        r"prefix_key must have shape \(T, H, m, D\) = \(3, 1, 2, 4\), got \(3, 2, 2, 4\)",
    ),
    "task ids": (
        {"prefix_key": ones(3, 1, 2, 4), "prefix_value": ones(3, 1, 2, 4), "task_ids": torch.tensor([0, 3])},
        ValueError,
        r"task_ids must lie in \[0, 3\), got values from 0 to 3",
    ),
    "dropout": ({"dropout": 1.0}, ValueError, r"dropout must lie in \[0, 1\), got 1.0"),
    "seed without use": ({"seed": torch.zeros(1).long()}, ValueError, "seed needs a dropout above 0"),
    "seed": ({"dropout": 0.1, "seed": torch.zeros(2).long()}, ValueError, r"seed must be int64 of shape \(1,\), got"),
}


@pytest.mark.parametrize(("change", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"query": ones(2, 1, 3, 4), "key": ones(2, 1, 5, 4), "value": ones(2, 1, 5, 4)}
    with pytest.raises(error, match=f"^attention: {message}"):
        functional.attention(**{**arguments, **change})


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_task_ids_of_32_bits(backend: str, device: str) -> None:
    x = make_inputs(CASES["prefix"], TINY, device=device)
    assert x.task_ids is not None
    narrow = replace(x, task_ids=x.task_ids.int())
    assert_same(results(attended, narrow, backend), results(attended, x, backend))


@pytest.mark.parametrize("backend", ["auto", "torch", "triton"])
def test_which_backend_runs(backend: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    for module, name in ((operators, "triton"), (functional.torch_attention, "torch")):
        function = module.attention

        def spy(*arguments: Any, name: str = name, function: Any = function) -> Any:
            ran.append(name)
            return function(*arguments)

        monkeypatch.setattr(module, "attention", spy)
    attended(make_inputs(CASES["bias"], TINY, device=device), backend)
    assert ran == ["triton" if backend == "triton" or (backend == "auto" and device == "cuda") else "torch"]

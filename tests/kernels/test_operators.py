"""The torch.library operators: schemas, torch.compile, autocast, second derivatives, and what they refuse."""

import inspect
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from crosspt import functional
from crosspt.functional import library, operators
from crosspt.kernels.mixture import NUM_LEARNED, Mixture
from tests.kernels.cases import (
    BY_ROW,
    BY_TASK,
    CASES,
    PARAMETERS,
    Case,
    Operation,
    Sizes,
    assert_same,
    composed,
    make_inputs,
    output_gradient,
    prepended,
    prompted,
    results,
)

TINY = Sizes(B=2, L=2, T=2, n=2, m=2, d=4)


@pytest.mark.parametrize("operation", ["compose_prompts", "prompted_embedding"])
def test_operands_have_one_order(operation: str) -> None:
    parameters = inspect.signature(getattr(functional, operation)).parameters
    public = {name: p.default for name, p in parameters.items() if name in Mixture._fields}
    assert tuple(public) == Mixture._fields
    assert {name: value for name, value in public.items() if value is not inspect.Parameter.empty} == (
        Mixture._field_defaults
    )
    for name in (operation, f"{operation}_backward"):
        schema = getattr(operators.OPS, name).default._schema
        assert tuple(x.name for x in schema.arguments if x.name in Mixture._fields) == Mixture._fields


@pytest.mark.parametrize(
    "case",
    [
        "raw, masked",
        "encoded sources",
        "no encoder",
        "raw privates",
        "given, encoded sources, added",
        "rows, encoded privates, added",
    ],
)
@pytest.mark.parametrize("sizes", [TINY, TINY._replace(B=1, T=3)], ids=["by task", "by row"])
def test_opcheck(case: str, sizes: Sizes, device: str) -> None:
    x = make_inputs(CASES[case], sizes, torch.float32, device)
    mixture = Mixture(**x.parameters, **x.options)
    needs = [name in x.given for name in PARAMETERS]
    frozen = [None if tensor is None else tensor.detach() for tensor in x.parameters.values()]
    rows = (x.input_ids, x.task_ids, x.table)
    check = torch.library.opcheck
    check(operators.OPS.prompted_embedding.default, (*rows, *mixture))
    grad = output_gradient(prompted(x, "reference"))
    check(operators.OPS.prompted_embedding_backward.default, (grad, x.task_ids, *frozen, *mixture[NUM_LEARNED:], needs))
    if sizes is not TINY or mixture.row_alpha is not None:
        return
    check(operators.OPS.compose_prompts.default, mixture)
    check(
        operators.OPS.compose_prompts_backward.default,
        (output_gradient(composed(x, "reference")), *frozen, *mixture[NUM_LEARNED:], needs),
    )
    if x.parameters["privates"] is not None:
        prompts = x.parameters["privates"]
        offsets = x.parameters["added"]  # of the shape that they may have
        check(operators.OPS.prepend_prompts.default, (prompts, x.task_ids, x.input_ids, x.table, offsets, None, None))
        sums = (sizes.T, sizes.m, prompts.dtype, sizes.m, None if offsets is None else offsets.dtype)
        check(operators.OPS.prepend_prompts_backward.default, (grad, x.task_ids, *sums))


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("operation", [prompted, composed, prepended])
@pytest.mark.parametrize("mixing", ["logits", "row_alpha"])
def test_compiled_without_graph_breaks(mixing: str, backend: str, operation: Operation, device: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(operation, fullgraph=True, dynamic=True, backend="aot_eager")
    for sizes in (BY_TASK, BY_ROW, Sizes(B=4, L=5, T=2, n=3, m=2, d=6)):
        x = make_inputs(Case(mixing=mixing, added=mixing != "logits"), sizes, device=device)
        leaves = {"privates": x.parameters["privates"]} if operation is prepended else x.given
        out = compiled(x, backend)
        grad = output_gradient(out)
        gradients = torch.autograd.grad(out, list(leaves.values()), grad)
        expected = operation(x, "reference")
        wanted = torch.autograd.grad(expected, list(leaves.values()), grad)
        torch.testing.assert_close(out, expected)
        for one, other in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("operation", [prompted, composed, prepended])
def test_autocast_changes_nothing(operation: Operation, device: str) -> None:
    x = make_inputs(Case(), BY_TASK, torch.float32, device)
    if operation is prepended:
        x.parameters.update(logits=None, sources=None, weight=None, bias=None)
    wanted = results(operation, x, "triton")
    with torch.autocast(device, torch.bfloat16):
        got = results(operation, x, "triton")
    assert_same(got, wanted)


@pytest.mark.parametrize("operation", [prompted, composed, prepended])
def test_second_derivatives_are_refused(operation: Operation, device: str) -> None:
    x = make_inputs(Case(), TINY, device=device)
    leaf = x.given["privates"]
    out = operation(x, "triton")
    grad = output_gradient(out).requires_grad_()
    (gradient,) = torch.autograd.grad(out, leaf, grad, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only; use backend='torch'"):
        torch.autograd.grad(gradient.sum(), grad)


def test_no_gradient_is_recorded_without_need(device: str) -> None:
    x = make_inputs(Case(), TINY, device=device)
    with torch.no_grad():
        assert prompted(x, "triton").grad_fn is None
    for tensor in x.given.values():
        tensor.requires_grad_(False)
    assert prompted(x, "triton").grad_fn is None


def test_unused_encoder_gets_no_gradient(device: str) -> None:
    x = make_inputs(CASES["all encoded"], TINY, device=device)
    prompted(x, "triton").sum().backward()
    assert x.given["weight"].grad is None
    assert x.given["sources"].grad is not None


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("operation", [prompted, prepended])
def test_ids_of_32_bits(operation: Operation, backend: str, device: str) -> None:
    x = make_inputs(CASES["all encoded"], BY_TASK, torch.float32, device)
    narrow = replace(x, input_ids=x.input_ids.int(), task_ids=x.task_ids.int())
    assert_same(results(operation, narrow, backend), results(operation, x, backend))


def test_meta_tensors_give_shapes() -> None:
    x = make_inputs(Case(), BY_TASK, device="cpu").map(lambda tensor: tensor.to("meta"))
    mixture = Mixture(**x.parameters, **x.options)
    rows = (x.input_ids.to("meta"), x.task_ids.to("meta"), x.table)
    assert operators.OPS.prompted_embedding(*rows, *mixture).shape == (5, 6, 18)
    assert operators.OPS.compose_prompts(*mixture).shape == (3, 3, 18)


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match="prompted_embedding: backend must be one of auto, torch, triton, got 'cuda'"):
        prompted(make_inputs(Case(), TINY), "cuda")


def test_unsupported_dtype(device: str) -> None:
    prompts = torch.zeros((2, 1, 4), device=device).to(torch.float8_e5m2)
    ids = torch.zeros((2, 1), dtype=torch.int64, device=device)
    with pytest.raises(RuntimeError, match=r"prepend_prompts: .* got torch.float8_e5m2; cast the tensors"):
        functional.prepend_prompts(prompts, ids[:, 0], ids, prompts[0], backend="triton")


@pytest.fixture
def fresh_load() -> Iterator[None]:
    library._load.cache_clear()
    yield
    library._load.cache_clear()


@pytest.mark.usefixtures("fresh_load")
def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(RuntimeError, match=r"compose_prompts: backend 'triton' needs Triton, .*pip install triton"):
        composed(make_inputs(Case(), TINY), "triton")
    composed(make_inputs(Case(), TINY), "auto")


@pytest.mark.usefixtures("fresh_load")
def test_with_an_old_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    import triton

    monkeypatch.setattr(triton, "__version__", "3.1.0")
    with pytest.raises(RuntimeError, match=r"backend 'triton' needs Triton >= 3.5, got 3.1.0; run `pip install -U"):
        composed(make_inputs(Case(), TINY), "triton")


def test_import_needs_neither_triton_nor_a_gpu() -> None:
    """Also: without TRITON_INTERPRET, CPU tensors are refused by name of the remedy."""
    script = """
        import sys
        sys.modules["triton"] = None
        import crosspt, crosspt.functional as f, torch
        assert not torch.cuda.is_initialized()
        logits, sources = torch.zeros(1, 1), torch.ones(1, 1, 2)
        assert f.compose_prompts(logits, sources, None).tolist() == [[[1.0, 1.0]]]
        del sys.modules["triton"]
        try:
            f.compose_prompts(logits, sources, None, backend="triton")
        except RuntimeError as error:
            print(error)
    """
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("compose_prompts: backend 'triton' needs tensors on a GPU, got cpu; use")
    assert "TRITON_INTERPRET=1" in run.stdout


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("sizes", [BY_TASK, BY_ROW], ids=["by task", "by row"])
@pytest.mark.parametrize("mixing", ["logits", "row_alpha"])
def test_a_gradient_of_rows_without_a_task_is_not_looked_at(sizes: Sizes, mixing: str) -> None:
    x = make_inputs(Case(mixing=mixing, added=True), sizes)
    task_ids = x.task_ids.clone()
    task_ids[1] = sizes.T
    out = operators.prompted_embedding(x.input_ids, task_ids, x.table, *Mixture(**x.parameters, **x.options))
    grad = output_gradient(out)
    grad[1] = 0.0
    wanted = torch.autograd.grad(out, list(x.given.values()), grad, retain_graph=True)
    grad[1] = float("nan")
    got = torch.autograd.grad(out, list(x.given.values()), grad)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("sizes", [BY_TASK, BY_ROW], ids=["by task", "by row"])
@pytest.mark.parametrize("mixing", ["logits", "alpha", "row_alpha"])
def test_ids_out_of_range(sizes: Sizes, mixing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the public checks: an assert when debugging, else NaN in exactly those rows, never a silent read."""
    from triton.runtime.interpreter import interpreter_builder

    x = make_inputs(Case(mixing=mixing, added=mixing != "logits"), sizes)
    mixture = Mixture(**x.parameters, **x.options)
    good = operators.prompted_embedding(x.input_ids, x.task_ids, x.table, *mixture)
    task_ids, input_ids = x.task_ids.clone(), x.input_ids.clone()
    task_ids[1], input_ids[0, 1] = sizes.T, -1
    task_ids[2] = -3
    with monkeypatch.context() as debugging:
        debugging.setattr(interpreter_builder, "options", replace(interpreter_builder.options, debug=True))
        for ids in ((input_ids, x.task_ids), (x.input_ids, task_ids)):
            with pytest.raises(Exception, match="_ids must lie in"):
                operators.prepend_prompts(x.given["privates"], *reversed(ids), x.table, None, None, None)
            with pytest.raises(Exception, match="_ids must lie in"):
                operators.prompted_embedding(*ids, x.table, *mixture)
    monkeypatch.setattr(torch.Tensor, "new_empty", torch.Tensor.new_zeros)  # no NaN that was there before
    out = operators.prompted_embedding(input_ids, task_ids, x.table, *mixture)
    bad = torch.zeros(out.shape[:2], dtype=torch.bool)
    bad[1, : sizes.m] = bad[2, : sizes.m] = bad[0, sizes.m + 1] = True
    assert out[bad].isnan().all()
    assert torch.equal(out[~bad], good[~bad])
    prompts = x.given["privates"]
    placed = operators.prepend_prompts(prompts, task_ids, input_ids, x.table, None, None, None)
    assert placed[bad].isnan().all()
    assert placed[~bad].isfinite().all()
    # Backward: such rows belong to no task.
    kept = torch.ones(sizes.B, dtype=torch.bool)
    kept[1:3] = False
    got = torch.autograd.grad(out[:, : sizes.m].nan_to_num().sum(), list(x.given.values()))
    wanted = torch.autograd.grad(good[kept][:, : sizes.m].sum(), list(x.given.values()))
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_debug_switch_reaches_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from crosspt.kernels import launch

    seen: dict[str, object] = {}
    kernel = SimpleNamespace(run=lambda *args, **options: seen.update(options))
    monkeypatch.setattr(launch, "DEBUG", True)
    launch.start(kernel, (1,), (), 4, 2)
    assert seen["debug"] is True


def test_tf32_follows_torch() -> None:
    from crosspt.kernels.launch import Composition

    def precision(dtype: torch.dtype) -> str:
        mixture = Mixture(torch.zeros(1, 1, dtype=dtype), torch.ones(1, 1, 2, dtype=dtype), None)
        return Composition.of(mixture, dtype).precision

    matmul = torch.backends.cuda.matmul
    assert precision(torch.float32) == "ieee"
    for switch, on, off in (("allow_tf32", True, False), ("fp32_precision", "tf32", "none")):
        setattr(matmul, switch, on)
        try:
            assert precision(torch.float32) == "tf32"
            assert precision(torch.float64) == precision(torch.bfloat16) == "ieee"
        finally:
            setattr(matmul, switch, off)

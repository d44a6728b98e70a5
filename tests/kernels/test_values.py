"""Values and gradients of the kernels against the reference, in every variant, dtype and size."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crosspt.functional import operators, torch_composition
from crosspt.kernels.mixture import Mixture
from tests.kernels.cases import (
    BY_ROW,
    BY_TASK,
    CASES,
    Case,
    Inputs,
    Operation,
    Sizes,
    assert_as_accurate,
    assert_same,
    composed,
    make_inputs,
    prepended,
    prompted,
    results,
)

CLOSE = 1e-11
GROUPINGS = pytest.mark.parametrize("sizes", [BY_TASK, BY_ROW], ids=["by task", "by row"])
OPERATIONS = pytest.mark.parametrize("operation", [prompted, composed, prepended])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@GROUPINGS
def test_prompted_embedding_of_every_variant(case: Case, sizes: Sizes, device: str) -> None:
    x = make_inputs(case, sizes, device=device)
    assert_same(results(prompted, x, "triton"), results(prompted, x, "reference"), CLOSE)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_compose_prompts_of_every_variant(case: Case, device: str) -> None:
    x = make_inputs(case, BY_TASK, device=device)
    assert_same(results(composed, x, "triton"), results(composed, x, "reference"), CLOSE)


SIZES = {
    "ones": Sizes(1, 1, 1, 1, 1, 1, 1),
    "no tokens": Sizes(2, 0, 2, 1, 1, 3),
    "odd": Sizes(3, 5, 3, 3, 3, 7),
    "primes by task": Sizes(7, 11, 5, 13, 3, 37),
    "primes by row": Sizes(5, 3, 17, 2, 3, 19),
    "more tasks than a block": Sizes(18, 1, 17, 1, 2, 5),
    "more rows than a block": Sizes(17, 1, 18, 1, 1, 5),
    "many tasks, prompts of one": Sizes(2, 1, 35, 1, 1, 3),
    "more sources than a product": Sizes(2, 2, 2, 18, 2, 6),
    "more sources than a block": Sizes(2, 2, 2, 35, 2, 6),
    "more sources than a block, by row": Sizes(2, 2, 3, 67, 1, 5),
    "wider than a block": Sizes(3, 3, 2, 2, 3, 131),
    "a block exactly": Sizes(16, 8, 8, 16, 2, 64),
    "more patches than are added at a time": Sizes(2, 1, 2, 1, 131, 3),
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("mixing", ["logits", "alpha", "row_alpha"])
def test_sizes(sizes: Sizes, mixing: str, device: str) -> None:
    case = Case(mask=mixing == "logits" and sizes.n > 2, mixing=mixing, added=mixing != "logits")
    x = make_inputs(case, sizes, device=device)
    assert_same(results(prompted, x, "triton"), results(prompted, x, "reference"), CLOSE)


def test_rows_with_weights_of_their_own_in_several_blocks(device: str) -> None:
    x = make_inputs(Case(mixing="row_alpha", added=True), Sizes(70, 1, 3, 2, 2, 5), device=device)
    assert_same(results(prompted, x, "triton"), results(prompted, x, "reference"), CLOSE)


@pytest.mark.parametrize(
    "sizes", [Sizes(1, 1, 1, 1, 1, 1, 1), Sizes(5, 7, 3, 1, 3, 270), Sizes(35, 9, 4, 1, 5, 6), Sizes(3, 0, 2, 1, 2, 5)]
)
def test_prepend_prompts(sizes: Sizes, device: str) -> None:
    x = make_inputs(Case(sources=False, encoder=False, bias=False), sizes, device=device)
    x = Inputs(x.input_ids, x.task_ids, x.table.requires_grad_(), {**x.parameters, "logits": None}, x.options)
    x.parameters["table"] = x.table  # its gradient is compared as a parameter's
    assert_same(results(prepended, x, "triton"), results(prepended, x, "reference"), CLOSE)


@OPERATIONS
@pytest.mark.parametrize("mixing", ["logits", "row_alpha"])
def test_empty_batch(operation: Operation, mixing: str, device: str) -> None:
    x = make_inputs(Case(mixing=mixing, added=True), Sizes(0, 4, 2, 2, 3, 5), device=device)
    got = results(prompted, x, "triton")
    assert got.pop("output").shape == (0, 7, 5)
    assert all((gradient == 0).all() for gradient in got.values())


def test_source_group_without_sources(device: str) -> None:
    x = make_inputs(Case(), Sizes(3, 2, 2, 0, 2, 5), device=device)
    assert_same(results(prompted, x, "triton"), results(prompted, x, "reference"), CLOSE)


@pytest.mark.parametrize(
    "case",
    [
        "raw",
        "encoded sources",
        "encoded privates",
        "no encoder",
        "raw privates",
        "given, encoded sources, added",
        "rows, encoded privates, added",
        "rows, sources alone",
    ],
)
@GROUPINGS
def test_gradcheck(case: str, sizes: Sizes, device: str) -> None:
    x = make_inputs(CASES[case], sizes._replace(L=1, n=2, m=2, d=3), device=device)
    table = x.table.requires_grad_()
    names = list(x.given)

    def function(table: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        parameters = {**x.parameters, **dict(zip(names, tensors, strict=True))}
        return prompted(Inputs(x.input_ids, x.task_ids, table, parameters, x.options), "triton")

    torch.autograd.gradcheck(function, (table, *x.given.values()), fast_mode=True)


@pytest.mark.parametrize(
    "case", [Case(mask=True), Case(mixing="alpha", added=True), Case(mixing="row_alpha", added=True)], ids=str
)
def test_gradcheck_of_every_element(case: Case, device: str) -> None:
    x = make_inputs(case, Sizes(2, 1, 2, 2, 1, 2, 2), device=device)
    names = list(x.given)

    def function(*tensors: torch.Tensor) -> torch.Tensor:
        parameters = {**x.parameters, **dict(zip(names, tensors, strict=True))}
        return composed(Inputs(x.input_ids, x.task_ids, x.table, parameters, x.options), "triton")

    torch.autograd.gradcheck(function, tuple(x.given.values()))


DTYPES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)


@DTYPES
@pytest.mark.parametrize(
    "case", ["raw, masked", "encoded sources", "encoded privates", "no encoder", "given, no encoder, added", "rows"]
)
@pytest.mark.parametrize(
    "sizes", [Sizes(6, 5, 4, 3, 5, 48), Sizes(3, 2, 5, 3, 3, 80), Sizes(4, 1, 2, 20, 1, 33)], ids=str
)
def test_dtypes(case: str, dtype: torch.dtype, sizes: Sizes, device: str) -> None:
    x = make_inputs(CASES[case], sizes, dtype, device)
    assert results(prompted, x, "triton")["output"].dtype == dtype
    assert_as_accurate(x, prompted, x, dtype)


@DTYPES
def test_compose_prompts_dtypes(dtype: torch.dtype, device: str) -> None:
    x = make_inputs(Case(mask=True), Sizes(6, 5, 4, 35, 5, 70), dtype, device)
    assert_as_accurate(x, composed, x, dtype)


@pytest.mark.parametrize("table", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", ["raw", "given, encoded sources, added", "rows, encoded privates, added"])
@GROUPINGS
def test_float32_parameters_beside_a_half_precision_table(
    table: torch.dtype, case: str, sizes: Sizes, device: str
) -> None:
    x = make_inputs(CASES[case], sizes, torch.float32, device)
    x = Inputs(x.input_ids, x.task_ids, x.table.to(table), x.parameters, x.options)
    low = x.map(lambda tensor: tensor.to(table))
    assert_as_accurate(x, prompted, low, table)
    got = results(prompted, x, "triton")
    assert got.pop("output").dtype == table
    assert {gradient.dtype for gradient in got.values()} == {torch.float32}


def test_parameters_of_several_dtypes(device: str) -> None:
    x = make_inputs(Case(), BY_TASK, torch.float64, device)
    mixed = {**x.parameters, "sources": x.parameters["sources"].detach().float().requires_grad_()}
    x = Inputs(x.input_ids, x.task_ids, x.table, mixed, x.options)
    got = results(composed, x, "triton")
    assert got["output"].dtype == torch.float64
    assert got["sources"].dtype == torch.float32
    wanted = results(composed, x.map(torch.Tensor.double), "reference")
    wanted["sources"] = wanted["sources"].float()
    assert_same(got, wanted, 1e-6)


@pytest.mark.parametrize("tau", [0.01, 100.0])
def test_temperature_is_exact(tau: float, device: str) -> None:
    x = make_inputs(Case(), BY_TASK, device=device)
    x.options["temperature"] = tau
    assert_same(results(prompted, x, "triton"), results(prompted, x, "reference"), 1e-10)


def test_large_logits_do_not_overflow(device: str) -> None:
    x = make_inputs(Case(), BY_TASK, torch.float32, device)
    x.parameters["logits"] = (x.parameters["logits"] * 3e4).detach().requires_grad_()
    assert_same(results(prompted, x, "triton"), results(prompted, x, "reference"), 1e-4)


def test_task_without_candidates(device: str) -> None:
    """On a GPU such a row is not an error: its weights and gradients are zero."""
    x = make_inputs(Case(mask=True), BY_TASK, device=device)
    x.options["mask"][1] = False
    mixture = Mixture(**x.parameters, **x.options)

    def operation(x: Inputs, backend: str) -> torch.Tensor:
        if backend == "triton":
            return operators.compose_prompts(*mixture.promoted())
        return torch_composition.compose_prompts(mixture)

    got = results(operation, x, "triton")
    assert_same(got, results(operation, x, "torch"), CLOSE)
    assert (got["output"][1] == 0).all()
    assert (got["logits"][1] == 0).all()


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.builds(
        Sizes,
        B=st.integers(1, 18),
        L=st.integers(0, 9),
        T=st.integers(1, 18),
        n=st.integers(1, 34),
        m=st.integers(1, 4),
        d=st.integers(1, 40),
        V=st.integers(1, 9),
    ),
    case=st.sampled_from(list(CASES.values())),
    seed=st.integers(0, 99),
)
def test_any_shape(device: str, sizes: Sizes, case: Case, seed: int) -> None:
    x = make_inputs(case, sizes, device=device, seed=seed)
    assert_same(results(prompted, x, "triton"), results(prompted, x, "reference"), CLOSE)

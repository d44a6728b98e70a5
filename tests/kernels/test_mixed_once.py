"""Compositions that are mixed once: tests of values, memory and strides again, and what is theirs alone."""

from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from crosspt.kernels import launch, tiles
from crosspt.kernels.compose_prompts_backward import Needs
from crosspt.kernels.launch import Composition
from crosspt.kernels.mixture import Mixture
from crosspt.kernels.prompted_embedding import prompted_embedding, prompted_embedding_backward
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
    prompted,
    results,
)
from tests.kernels.test_memory import (  # noqa: F401 - collected here too, with every composition mixed once
    test_order_poison_and_masked_lanes_change_no_bit,
    test_recorded_addresses,
    test_recorded_addresses_at_odd_sizes,
    test_recorded_addresses_of_other_tiles,
    test_values_beyond_the_prompt_rows_of_a_gradient_are_not_read,
)
from tests.kernels.test_operators import (  # noqa: F401
    test_a_gradient_of_rows_without_a_task_is_not_looked_at,
    test_ids_out_of_range,
    test_opcheck,
)
from tests.kernels.test_strides import test_strided_arguments, test_strided_gradients  # noqa: F401
from tests.kernels.test_values import (  # noqa: F401
    test_compose_prompts_of_every_variant,
    test_dtypes,
    test_empty_batch,
    test_float32_parameters_beside_a_half_precision_table,
    test_gradcheck,
    test_large_logits_do_not_overflow,
    test_prompted_embedding_of_every_variant,
    test_rows_with_weights_of_their_own_in_several_blocks,
    test_source_group_without_sources,
    test_task_without_candidates,
    test_temperature_is_exact,
)

pytestmark = pytest.mark.usefixtures("interpreted")


@pytest.fixture(autouse=True)
def every_composition_is_mixed_once() -> Iterator[None]:
    with mock.patch.object(tiles, "MOST_INSIDE", 0), mock.patch.object(tiles, "MIXED_ONCE_BYTES", 8):
        yield


SIZES = {
    "ones": Sizes(1, 1, 1, 1, 1, 1, 1),
    "no tokens": Sizes(2, 0, 2, 1, 1, 3),
    "more rows than a split, more ids than are looked at together": Sizes(37, 1, 18, 3, 5, 5),
    "more splits than are added at a time": Sizes(56, 1, 55, 2, 5, 3),
    "more tasks than a block": Sizes(70, 1, 67, 1, 2, 5),
    "more rows than a block": Sizes(66, 1, 100, 1, 2, 5),
    "more sources than a block": Sizes(3, 2, 2, 131, 2, 6),
    "more shares than are added at a time": Sizes(2, 1, 2, 2, 67, 3),
    "several patches of a share": Sizes(2, 1, 3, 2, 300, 2),
    "wider than a block": Sizes(3, 3, 2, 2, 3, 131),
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("operation", [prompted, composed])
def test_sizes(sizes: Sizes, operation: Operation) -> None:
    x = make_inputs(Case(mask=sizes.n > 2, raw_privates=sizes.n != 2), sizes)
    assert_same(results(operation, x, "triton"), results(operation, x, "reference"), 1e-11)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("parameters", ["the table's", "float32"])
@pytest.mark.parametrize("sizes", [Sizes(9, 2, 4, 35, 5, 70), Sizes(3, 2, 5, 3, 40, 33)], ids=["sources", "positions"])
def test_many_sources_or_positions_of_half_precision(
    sizes: Sizes, parameters: str, dtype: torch.dtype, device: str
) -> None:
    x = low = make_inputs(Case(mask=True), sizes, dtype, device)
    if parameters == "float32":
        x = make_inputs(Case(mask=True), sizes, torch.float32, device)
        x = Inputs(x.input_ids, x.task_ids, x.table.to(dtype), x.parameters, x.options)
        low = x.map(lambda tensor: tensor.to(dtype))
    assert_as_accurate(x, prompted, low, dtype)


@pytest.mark.parametrize("sizes", [BY_TASK, BY_ROW._replace(d=530)], ids=str)
def test_recorded_addresses_beside_a_half_table(sizes: Sizes) -> None:
    """Of float32 parameters, whose encoder is rounded once."""
    from crosspt.kernels.tools.recorder import record

    x = make_inputs(Case(mask=True), sizes, torch.float32)
    x = Inputs(x.input_ids, x.task_ids, x.table.bfloat16(), x.parameters, x.options)
    with record() as recording:
        results(prompted, x, "triton")
    recording.check()
    assert {"p_rounded", "p_mixed", "p_terms"} <= {name for found in recording.launches for name in found.outputs}


SUM, MIXTURE, ENCODE = "sum_task_rows_kernel", "compose_mixture_kernel", "compose_encode_backward_kernel"
SHARES, SUMS = "compose_shares_kernel", "compose_sums_kernel"
ASKED = {
    ("logits",): [SUM, ENCODE, SHARES, SUMS],
    ("weight",): [SUM, MIXTURE, ENCODE, SUMS],
    ("bias",): [SUM, MIXTURE, ENCODE, SUMS],
    ("sources",): [SUM, MIXTURE, ENCODE, SHARES],
    ("privates", "logits"): [SUM, MIXTURE, ENCODE, SHARES, SUMS],
    ("added",): [SUM, SHARES],
}


@pytest.mark.parametrize("learned", ASKED, ids="+".join)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "encoded"])
@pytest.mark.parametrize("mixing", ["logits", "alpha"])
def test_frozen_parameters_cost_nothing(learned: tuple[str, ...], raw: bool, mixing: str) -> None:
    x = make_inputs(Case(raw_sources=raw, mixing=mixing, added=True), BY_TASK)
    names = [mixing if name == "logits" else name for name in learned]
    for name, tensor in x.given.items():
        tensor.requires_grad_(name in names)
    leaves = [x.given[name] for name in names]
    wanted = torch.autograd.grad(prompted(x, "reference").sum(), leaves)
    out = prompted(x, "triton")
    started: list[tuple[str, dict[str, Any]]] = []
    start = launch.start

    def spy(kernel: Any, grid: Any, args: tuple[Any, ...], *rest: Any) -> None:
        started.append((kernel.__name__, dict(zip(kernel.arg_names, args, strict=True))))
        start(kernel, grid, args, *rest)

    with mock.patch.object(launch, "start", spy):
        got = torch.autograd.grad(out.sum(), leaves)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)
    expected = ASKED[learned]
    if learned == ("sources",) and not raw:
        expected = [kernel for kernel in expected if kernel != ENCODE]  # encoded sources need no product with it
    if mixing == "alpha" and not {"weight", "bias"} & set(learned):
        expected = [kernel for kernel in expected if kernel != MIXTURE]  # there are no terms of a softmax
    assert [name for name, _ in started] == expected
    arguments = {name: value for _, named in started for name, value in named.items()}
    for name in {*x.given, "logits"} - {"alpha"}:
        assert (arguments.get(f"p_d{name}") is not None) == (name in learned)
    assert (arguments.get("p_dweights") is not None) == ("weight" in learned)
    assert (arguments.get("p_dbiases") is not None) == ("bias" in learned)
    assert (arguments.get("p_dots") is not None) == ("logits" in learned)


def test_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are allocated beside the results, for 256 sources of 100 positions: forward, then backward."""
    T, n, m, d = 64, 256, 100, 1024
    made: list[Tensor] = []

    class Allocations(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            made.append(result)
            return result

    def without_storage(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    def scratch(results: Iterable[Tensor | None]) -> int:
        sizes = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in made}
        kept = {tensor.untyped_storage()._cdata for tensor in results if tensor is not None}
        return sum(size for storage, size in sizes.items() if storage not in kept)

    monkeypatch.setattr(launch, "start", lambda *_: None)
    logits, sources, privates, weight, bias = map(without_storage, ((T, n + 1), (n, m, d), (T, m, d), (d, d), (d,)))
    mixture = Composition.of(Mixture(logits, sources, privates, weight, bias), torch.bfloat16)
    table, grad = (without_storage(shape, torch.bfloat16) for shape in ((99, d), (128, m + 8, d)))
    ids = without_storage((128, 8), torch.int64)
    with Allocations():
        out = prompted_embedding(ids, ids[:, 0], table, mixture)
    assert scratch([out, ids]) <= 15.3e6
    made.clear()
    with Allocations():
        gradients = prompted_embedding_backward(grad, without_storage((128,), torch.int64), mixture, Needs(*[True] * 8))
    assert scratch(gradients) <= 60.4e6


@pytest.mark.parametrize("case", ["raw, masked", "encoded privates", "no encoder"])
@pytest.mark.parametrize("sizes", [BY_TASK, BY_ROW], ids=["by task", "by row"])
def test_both_ways_give_the_same(case: str, sizes: Sizes) -> None:
    x = make_inputs(CASES[case], sizes)
    got = results(prompted, x, "triton")
    with mock.patch.object(tiles, "MIXED_ONCE_BYTES", 2):
        assert_same(got, results(prompted, x, "triton"), 1e-12)

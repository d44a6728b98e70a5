"""What the kernels do to memory, under the interpreter: addresses, races, unwritten elements, order, bytes."""

from contextlib import ExitStack

import pytest
import torch

from tests.kernels.cases import (
    BY_ROW,
    BY_TASK,
    CASES,
    Case,
    Inputs,
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

pytestmark = pytest.mark.usefixtures("interpreted")
GROUPINGS = pytest.mark.parametrize("sizes", [BY_TASK, BY_ROW], ids=["by task", "by row"])


def stressed(x: Inputs, operation: Operation, order: str | int) -> dict[str, torch.Tensor]:
    """Results with NaN in fresh memory and in masked lanes, with the programs of each launch in another order."""
    from crosspt.kernels.tools.interpreter import (
        nan_masked_lanes,
        poisoned_empty,
        program_order,
        round_to_nearest_bfloat16,
    )

    with ExitStack() as stack:
        for context in (nan_masked_lanes(), poisoned_empty(), program_order(order), round_to_nearest_bfloat16()):
            stack.enter_context(context)
        return results(operation, x, "triton")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@GROUPINGS
def test_recorded_addresses(case: Case, sizes: Sizes) -> None:
    """Addresses are own elements, outputs are written exactly once, no program reads what another writes."""
    from crosspt.kernels.tools.recorder import record

    x = make_inputs(case, sizes)
    with record() as recording:
        results(prompted, x, "triton")
    recording.check()
    outputs = {name for launch in recording.launches for name in launch.outputs}
    gradients = {"sources", "privates", "weight", "bias", "added"} & x.given.keys()
    if not (case.encoder and ((case.raw_sources and case.sources) or (case.raw_privates and case.privates))):
        gradients -= {"weight", "bias"}
    assert {"p_out", "p_dlogits", *(f"p_d{name}" for name in gradients)} <= outputs


@pytest.mark.parametrize("operation", [composed, prepended])
def test_recorded_addresses_of_the_parts(operation: Operation) -> None:
    from crosspt.kernels.tools.recorder import record

    x = make_inputs(Case(mask=True), BY_TASK)
    if operation is prepended:
        x = Inputs(x.input_ids, x.task_ids, x.table, {"privates": x.parameters["privates"]}, {})
    with record() as recording:
        results(operation, x, "triton")
    recording.check()
    assert len(recording.launches) == (2 if operation is prepended else 3)


@pytest.mark.parametrize(
    "sizes", [Sizes(1, 1, 1, 1, 1, 1, 1), Sizes(5, 3, 2, 33, 3, 70), Sizes(3, 9, 18, 2, 3, 33)], ids=str
)
@pytest.mark.parametrize("mixing", ["logits", "alpha", "row_alpha"])
def test_recorded_addresses_at_odd_sizes(sizes: Sizes, mixing: str) -> None:
    from crosspt.kernels.tools.recorder import record

    case = Case(mask=mixing == "logits", mixing=mixing, added=mixing != "logits")
    with record() as recording:
        results(prompted, make_inputs(case, sizes), "triton")
    recording.check()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_recorded_addresses_of_other_tiles(dtype: torch.dtype) -> None:
    from crosspt.kernels.tools.recorder import record

    with record() as recording:
        results(prompted, make_inputs(Case(mask=True), Sizes(5, 3, 3, 2, 5, 70), dtype), "triton")
    recording.check()


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
@GROUPINGS
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_order_poison_and_masked_lanes_change_no_bit(case: str, sizes: Sizes, dtype: torch.dtype) -> None:
    from crosspt.kernels.tools.interpreter import round_to_nearest_bfloat16

    x = make_inputs(CASES[case], sizes, dtype)
    with round_to_nearest_bfloat16():
        wanted = results(prompted, x, "triton")
        assert_same(results(prompted, x, "triton"), wanted)
    assert all(tensor.isfinite().all() for tensor in wanted.values())
    for order in ("reversed", 1):
        assert_same(stressed(x, prompted, order), wanted)


@pytest.mark.parametrize("operation", [composed, prepended])
def test_order_of_the_parts(operation: Operation) -> None:
    x = make_inputs(Case(mask=True), BY_TASK)
    if operation is prepended:
        x = Inputs(x.input_ids, x.task_ids, x.table, {"privates": x.parameters["privates"]}, {})
    assert_same(stressed(x, operation, "reversed"), results(operation, x, "triton"))


def test_values_beyond_the_prompt_rows_of_a_gradient_are_not_read() -> None:
    x = make_inputs(Case(), BY_TASK)
    grad = output_gradient(prompted(x, "reference"))
    wanted = results(prompted, x, "triton", grad)
    grad[:, x.given["sources"].shape[1] :] = float("nan")
    assert_same(results(prompted, x, "triton", grad), wanted)


FORWARD_FLOOR, BACKWARD_FLOOR = 9.64e6, 6.20e6
"""Bytes at the reference shape in float32: each input once, gathered table rows only, each output once."""


@pytest.mark.slow
def test_bytes_at_the_reference_shape() -> None:
    from crosspt.kernels.tools.recorder import record

    sizes = Sizes(B=16, L=64, T=8, n=8, m=10, d=768, V=1024)
    x = make_inputs(Case(), sizes, torch.float32)
    tokens = torch.randperm(sizes.V, generator=torch.Generator().manual_seed(0)).view(16, 64)  # no token twice
    x = Inputs(tokens, torch.arange(16) % 8, x.table, x.parameters, x.options)
    with record() as forward:
        out = prompted(x, "triton")
    with record() as backward:
        torch.autograd.grad(out, list(x.given.values()), output_gradient(out))
    forward.check()
    backward.check()
    assert forward.unique_bytes <= 1.02 * FORWARD_FLOOR
    assert forward.requested_bytes <= 5 * FORWARD_FLOOR
    assert backward.unique_bytes <= 1.3 * BACKWARD_FLOOR
    assert backward.requested_bytes <= 5 * BACKWARD_FLOOR

"""The operations against the reference, and their gradients."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from crosspt import functional, reference
from tests.mixtures import VARIANTS, make_operands, make_rows

TENSORS = ("table", "logits", "sources", "privates", "weight", "bias", "alpha", "row_alpha", "added")


def outputs_and_gradients(operation: Any, arguments: dict[str, Any], gradient: Tensor | None = None) -> list[Tensor]:
    """The output and the gradient of every floating-point argument."""
    arguments = {
        name: value.detach().clone().requires_grad_()
        if isinstance(value, Tensor) and value.is_floating_point()
        else value
        for name, value in arguments.items()
    }
    leaves = [value for value in arguments.values() if isinstance(value, Tensor) and value.requires_grad]
    output = operation(**arguments)
    gradient = (
        torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output) if gradient is None else gradient
    )
    gradients = torch.autograd.grad(output, leaves, gradient, allow_unused=True, materialize_grads=True)
    return [output, *gradients]


def assert_same(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-12) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("tokens", [0, 3])
def test_prompted_embedding_equals_the_reference(variant: str, tokens: int) -> None:
    operands = make_operands(**VARIANTS[variant])
    arguments = {**make_rows(operands, tokens=tokens), **operands}
    assert_same(
        outputs_and_gradients(functional.prompted_embedding, arguments),
        outputs_and_gradients(reference.prompted_embedding, arguments),
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_compose_prompts_equals_the_reference(variant: str) -> None:
    operands = make_operands(**VARIANTS[variant])
    if operands["row_alpha"] is not None:
        operands["task_ids"] = make_rows(operands)["task_ids"]
    assert_same(
        outputs_and_gradients(functional.compose_prompts, operands),
        outputs_and_gradients(reference.compose_prompts, operands),
    )


def test_given_weights_are_the_softmax_of_logits_when_they_are_equal() -> None:
    operands = make_operands()
    rows = make_rows(operands)
    alpha = functional.mixing_weights(operands["logits"], operands["temperature"])
    wanted = functional.prompted_embedding(**rows, **operands)
    operands.update(logits=None, temperature=1.0)
    for given in ({"alpha": alpha}, {"row_alpha": alpha[rows["task_ids"]]}):
        torch.testing.assert_close(functional.prompted_embedding(**rows, **{**operands, **given}), wanted)


def test_an_added_prompt_is_neither_weighed_nor_encoded() -> None:
    operands = make_operands(added=True)
    added = operands.pop("added")
    torch.testing.assert_close(
        functional.compose_prompts(**operands, added=added), functional.compose_prompts(**operands) + added
    )


def test_rows_of_equal_number_as_tasks_are_told_apart_by_name() -> None:
    operands = make_operands(tasks=4, mixing="alpha", added=True)
    rows = make_rows(operands)
    rows["task_ids"] = torch.tensor([3, 3, 0, 2])
    of_tasks = functional.prompted_embedding(**rows, **operands)
    alpha = operands.pop("alpha")
    of_rows = functional.prompted_embedding(**rows, **{**operands, "row_alpha": alpha})
    assert not torch.allclose(of_tasks, of_rows)
    by_hand = functional.prompted_embedding(**rows, **{**operands, "row_alpha": alpha[rows["task_ids"]]})
    torch.testing.assert_close(by_hand, of_tasks)


@pytest.mark.parametrize("module", [functional, reference])
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradcheck(module: Any, variant: str) -> None:
    operands = make_operands(**VARIANTS[variant])
    arguments = {**make_rows(operands), **operands}
    names = [name for name in TENSORS if arguments[name] is not None]

    def operation(*tensors: Tensor) -> Tensor:
        return module.prompted_embedding(**{**arguments, **dict(zip(names, tensors, strict=True))})

    assert gradcheck(operation, [arguments[name] for name in names])


@pytest.mark.parametrize("masked", [False, True])
def test_gradcheck_mixing_weights(masked: bool) -> None:
    operands = make_operands(masked=masked)
    for module in (functional, reference):
        assert gradcheck(lambda logits, m=module: m.mixing_weights(logits, 0.3, operands["mask"]), [operands["logits"]])


@pytest.mark.parametrize("positions", [0, 3, 5], ids=lambda positions: f"{positions} offsets")
def test_prepend_prompts_and_its_gradients(positions: int) -> None:
    """Against the equation, and by gradcheck; of more offsets than the 3 tokens of a row the first count."""
    operands = make_operands(length=positions or 2, added=True)
    rows = make_rows(operands)
    arguments = {"prompts": operands["privates"], "table": rows["table"]} | (
        {"offsets": operands["added"]} if positions else {}
    )

    def operation(module: Any, *tensors: Tensor) -> Tensor:
        given = dict(zip(arguments, tensors, strict=True))
        return module.prepend_prompts(task_ids=rows["task_ids"], input_ids=rows["input_ids"], **given)

    for module in (functional, reference):
        assert gradcheck(partial(operation, module), list(arguments.values()))
    found = operation(functional, *arguments.values())
    for row, (task, ids) in enumerate(zip(rows["task_ids"], rows["input_ids"], strict=True)):
        tokens = rows["table"][ids] + (operands["added"][task][:3] if positions else 0)
        torch.testing.assert_close(found[row], torch.cat((operands["privates"][task], tokens)))


def test_a_gain_scales_the_shared_prompt_by_task() -> None:
    """Against the equation, and by gradcheck."""
    operands = make_operands()
    rows = make_rows(operands)
    draw = torch.Generator().manual_seed(1)
    shared, positions, columns = (
        torch.randn(*shape, generator=draw, dtype=torch.float64, requires_grad=True)
        for shape in ((1, 2, 4), (3, 2), (3, 4))
    )

    def operation(module: Any, prompts: Tensor, *gain: Tensor) -> Tensor:
        return module.prepend_prompts(prompts, gain=gain, **rows)

    for module in (functional, reference):
        assert gradcheck(partial(operation, module), [shared, positions, columns])
    found = operation(functional, shared, positions, columns)
    for row, (task, ids) in enumerate(zip(rows["task_ids"], rows["input_ids"], strict=True)):
        own = shared[0] * torch.outer(positions[task], columns[task])
        torch.testing.assert_close(found[row], torch.cat((own, rows["table"][ids])))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_gain_is_multiplied_before_the_product_is_rounded(dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    table, part = torch.ones(1, 1, dtype=dtype), torch.full((1, 1), 1 + eps / 4)  # rounds to 1
    prompts, ids = torch.full((1, 1, 1), 1 + eps, dtype=dtype), torch.zeros(1, 1, dtype=torch.int64)
    for module in (functional, reference):
        out = module.prepend_prompts(prompts, ids[0], ids, table, gain=(part, part))
        assert out.dtype == dtype
        assert out[0, 0].item() == 1 + 2 * eps  # of 1 + 1.5 eps and a little
    gain = torch.full((1, 1), 1.5, dtype=dtype), torch.full((1, 1), 1 - eps / 16)
    out = functional.prepend_prompts(prompts, ids[0], ids, table, gain=gain)
    assert out[0, 0].item() == 1.5 + eps  # of 1.5 + 1.4 eps; prompt times u alone would round to 1.5 + 2 eps


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_offsets_are_added_before_the_sum_is_rounded(dtype: torch.dtype) -> None:
    more_than_half = torch.finfo(dtype).eps / 2 * (1 + 2**-12)  # of the last place; half of it once rounded itself
    table, offsets = torch.ones(1, 1, dtype=dtype), torch.full((1, 1, 1), more_than_half)
    ids = torch.zeros(1, 1, dtype=torch.int64)
    for module in (functional, reference):
        out = module.prepend_prompts(torch.zeros(1, 1, 1), ids[0], ids, table, offsets=offsets)
        assert out.dtype == dtype
        assert out[0, 1].item() == 1 + torch.finfo(dtype).eps


@pytest.mark.parametrize("variant", ["shared encoder", "masked", "more tasks than rows", "rows"])
def test_stride_0_gradient(variant: str) -> None:
    operands = make_operands(**VARIANTS[variant])
    arguments = {**make_rows(operands), **operands}
    shape = functional.prompted_embedding(**arguments).shape
    ones = torch.ones(1, 1, 1, dtype=torch.float64).expand(shape)
    assert_same(
        outputs_and_gradients(functional.prompted_embedding, arguments, ones),
        outputs_and_gradients(reference.prompted_embedding, arguments, ones.contiguous()),
    )


def test_non_contiguous_inputs() -> None:
    operands = make_operands(masked=True)
    arguments = {**make_rows(operands), **operands}
    strided: dict[str, Any] = {
        name: value.transpose(0, -1).contiguous().transpose(0, -1) if isinstance(value, Tensor) else value
        for name, value in arguments.items()
    }
    assert not strided["sources"].is_contiguous()
    torch.testing.assert_close(
        functional.prompted_embedding(**strided), reference.prompted_embedding(**arguments), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("frozen", ["sources", "weight", "bias", "table", "privates"])
def test_frozen_inputs_get_no_gradient(frozen: str) -> None:
    operands = make_operands()
    arguments = {**make_rows(operands), **operands}
    arguments[frozen] = arguments[frozen].detach()
    functional.prompted_embedding(**arguments).sum().backward()
    assert arguments[frozen].grad is None
    assert arguments["logits"].grad is not None


def test_masked_candidates_weigh_exactly_nothing() -> None:
    logits = torch.tensor([[50.0, 0.0, -3.0]], requires_grad=True)
    weights = functional.mixing_weights(logits, 0.5, torch.tensor([[False, True, True]]))
    assert weights[0, 0] == 0
    weights[0, 1].backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] == 0
    torch.testing.assert_close(weights[0, 1:], torch.softmax(torch.tensor([0.0, -6.0]), 0))


def test_temperature_sharpens() -> None:
    weights = functional.mixing_weights(torch.tensor([[1.0, 0.0]]), 0.25)
    torch.testing.assert_close(weights, torch.softmax(torch.tensor([[4.0, 0.0]]), -1))


@pytest.mark.parametrize("table_dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_output_has_the_dtype_of_the_table(table_dtype: torch.dtype) -> None:
    operands = make_operands(dtype=torch.float32)
    rows = make_rows(operands)
    rows["table"] = rows["table"].detach().to(table_dtype)
    output = functional.prompted_embedding(**rows, **operands)
    assert output.dtype == table_dtype
    torch.testing.assert_close(output, reference.prompted_embedding(**rows, **operands))
    output.sum().backward()
    assert operands["sources"].grad.dtype == torch.float32


def test_autocast_changes_nothing() -> None:
    operands = make_operands(dtype=torch.float32)
    plain = functional.compose_prompts(**operands)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(functional.compose_prompts(**operands), plain)


@pytest.mark.parametrize("mixing", ["logits", "alpha", "row_alpha"])
def test_nothing_as_large_as_the_encoded_candidates_is_formed(mixing: str) -> None:
    operands = make_operands(tasks=4, sources=64, length=5, width=8, mixing=mixing, added=True)
    if mixing == "row_alpha":
        operands["task_ids"] = make_rows(operands)["task_ids"]
    sizes: list[int] = []

    class Recorder(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor) and result.untyped_storage().data_ptr() not in inputs:
                sizes.append(result.numel())
            return result

    inputs = {v.untyped_storage().data_ptr() for v in operands.values() if isinstance(v, Tensor)}
    with Recorder():
        functional.compose_prompts(**operands)
    assert max(sizes) <= 4 * 65 * 5

"""Any strides in: arguments and gradients that are slices, transposes or expansions of other tensors."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.kernels.cases import (
    BY_ROW,
    BY_TASK,
    Case,
    Inputs,
    Sizes,
    assert_same,
    composed,
    make_inputs,
    output_gradient,
    prepended,
    prompted,
    results,
)


def sliced(tensor: Tensor) -> Tensor:
    """The same values, every second element of a larger tensor, at an offset."""
    wide = torch.full((*tensor.shape[:-1], 2 * tensor.shape[-1] + 1), 99, dtype=tensor.dtype, device=tensor.device)
    wide[..., 1::2] = tensor
    return wide[..., 1::2]


def transposed(tensor: Tensor) -> Tensor:
    """The same values, with the dimensions stored in reverse order."""
    axes = list(reversed(range(tensor.dim())))
    return tensor.permute(axes).contiguous().permute(axes)


def shifted(tensor: Tensor) -> Tensor:
    """The same values behind one more element, so that no pointer is aligned."""
    wide = torch.empty(tensor.numel() + 1, dtype=tensor.dtype, device=tensor.device)
    wide[1:] = tensor.flatten()
    return wide[1:].view(tensor.shape)


LAYOUTS = pytest.mark.parametrize("layout", [sliced, transposed, shifted])
GROUPINGS = pytest.mark.parametrize("sizes", [BY_TASK, BY_ROW], ids=["by task", "by row"])


@LAYOUTS
@GROUPINGS
@pytest.mark.parametrize("mixing", ["logits", "alpha", "row_alpha"])
def test_strided_arguments(layout: Callable[[Tensor], Tensor], sizes: Sizes, mixing: str, device: str) -> None:
    masked = mixing == "logits"
    x = make_inputs(Case(mask=masked, mixing=mixing, added=not masked), sizes, device=device)
    strided = replace(x.map(layout), input_ids=layout(x.input_ids), task_ids=layout(x.task_ids))
    if masked:
        strided.options["mask"] = layout(x.options["mask"])
    assert not strided.table.is_contiguous() or layout is shifted
    for operation in (prompted, composed):
        assert_same(results(operation, strided, "triton"), results(operation, x, "reference"), 1e-12)
    assert torch.equal(prepended(strided, "triton"), prepended(x, "reference"))


def test_expanded_arguments(device: str) -> None:
    x = make_inputs(Case(mask=True), BY_TASK, device=device)
    expanded = x.map(lambda tensor: tensor[:1].expand_as(tensor))
    dense = expanded.map(lambda tensor: tensor.clone())
    assert_same(results(prompted, expanded, "triton"), results(prompted, dense, "reference"), 1e-12)


def test_table_and_gradient_are_read_in_place(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A strided table is never copied as a whole, and of a gradient only the prompt rows are looked at."""
    x = make_inputs(Case(), BY_TASK, device=device)
    x = replace(x, table=transposed(x.table))
    grad = transposed(output_gradient(prompted(x, "reference")))
    contiguous = Tensor.contiguous
    copied: list[torch.Size] = []

    def spy(tensor: Tensor) -> Tensor:
        if not tensor.is_contiguous():
            copied.append(tensor.shape)
        return contiguous(tensor)

    monkeypatch.setattr(Tensor, "contiguous", spy)
    out = prompted(x, "triton")
    torch.autograd.grad(out, list(x.given.values()), grad)
    assert copied == []


GRADIENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "sliced": sliced,
    "transposed": transposed,
    "shifted": shifted,
    "one number": lambda grad: grad[:1, :1, :1].expand_as(grad),
    "one row": lambda grad: grad[:1, :1].expand_as(grad),
}


@pytest.mark.parametrize("change", GRADIENTS.values(), ids=GRADIENTS)
@GROUPINGS
@pytest.mark.parametrize("operation", [prompted, composed, prepended])
def test_strided_gradients(
    change: Callable[[Tensor], Tensor], sizes: Sizes, operation: Callable[[Inputs, str], Tensor], device: str
) -> None:
    x = make_inputs(Case(added=True), sizes, device=device)
    if operation is prepended:
        x = replace(x, parameters={"privates": x.parameters["privates"]})
    grad = change(output_gradient(operation(x, "reference")))
    assert_same(results(operation, x, "triton", grad), results(operation, x, "reference", grad.clone()), 1e-12)


def test_sum_backward(device: str) -> None:
    x = make_inputs(Case(), BY_TASK, device=device)
    leaves = list(x.given.values())
    got = torch.autograd.grad(prompted(x, "triton").sum(), leaves)
    wanted = torch.autograd.grad(prompted(x, "reference").sum(), leaves)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)

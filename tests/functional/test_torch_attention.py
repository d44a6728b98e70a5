from collections.abc import Callable

import pytest
import torch

from crosspt import functional, reference

IDS = {
    "as many of each, in order": [0, 0, 1, 1, 2, 2, 3, 3],
    "as many of each, shuffled": [3, 1, 0, 2, 0, 1, 2, 3],
    "as many of neighbours": [2, 1, 1, 2],
    "as many of others": [0, 2, 2, 0],
    "more of one": [1, 1, 3, 0, 1],
    "more of one, in order": [0, 1, 1, 1],
    "one": [3, 3, 3],
}


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS.keys())
@pytest.mark.parametrize("masked", [False, True])
def test_rows_are_multiplied_with_the_prefix_of_their_task(ids: list[int], masked: bool) -> None:
    torch.manual_seed(0)
    rows, heads, queries, keys, length, width = len(ids), 2, 3, 5, 4, 6
    shapes = [(rows, heads, queries, width), *2 * [(rows, heads, keys, width)], *2 * [(4, heads, length, width)]]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    mask = torch.arange(keys) < torch.randint(1, keys + 1, (rows, 1)) if masked else None
    bias = torch.randn(heads, queries + length + keys - 1, dtype=torch.float64, requires_grad=True)
    results = []
    for attention in (functional.attention, reference.attention):
        query, key, value, prefix_key, prefix_value = inputs
        output = attention(
            query, key, value, bias, mask, prefix_key=prefix_key, prefix_value=prefix_value, task_ids=torch.tensor(ids)
        )
        gradients = torch.autograd.grad(output, [*inputs, bias], torch.ones_like(output).cumsum(1))
        results.append((output, *gradients))
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("attention", [functional.attention, reference.attention])
def test_gradcheck(attention: Callable[..., torch.Tensor], causal: bool) -> None:
    """With a row whose keys are hidden, all of them."""
    torch.manual_seed(0)
    shapes = [(2, 2, 3, 2), (2, 2, 4, 2), (2, 2, 4, 2), (2, 6)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    mask = torch.tensor([[True, False, True, True], [False] * 4])
    assert torch.autograd.gradcheck(lambda *x: attention(*x, mask, causal=causal), inputs)


def test_the_gradient_of_the_bias_is_summed_in_float32() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 1, 700, 4, dtype=torch.bfloat16) for _ in range(3))
    bias = torch.zeros(1, 1399, dtype=torch.bfloat16, requires_grad=True)
    gradients: list[torch.Tensor] = []
    for attention, dtype in ((functional.attention, torch.bfloat16), (reference.attention, torch.float64)):
        output = attention(query.to(dtype), key.to(dtype), value.to(dtype), bias.to(dtype))
        gradients += torch.autograd.grad(output, bias, value.transpose(1, 2).to(dtype))
    assert (gradients[0] - gradients[1]).abs().max() < 0.01 * gradients[1].abs().max()

from collections.abc import Callable
from typing import Any
from unittest import mock

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


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_one_query_of_a_row(masked: bool, biased: bool, causal: bool) -> None:
    """As in decoding; a row with no key to see, and biases that hide all keys of a head, give zeros."""
    torch.manual_seed(0)
    inputs = [torch.randn(3, 2, length, 4, dtype=torch.float64, requires_grad=True) for length in (1, 5, 5)]
    mask = torch.tensor([[True, False, True, True, False], [True] * 5, [False] * 5]) if masked else None
    bias = torch.tensor([[0.5, -1, 2, 0, float("-inf")], [float("-inf")] * 5], dtype=torch.float64) if biased else None
    results = []
    for attention in (functional.attention, reference.attention):
        output = attention(inputs[0], inputs[1], inputs[2], bias, mask, causal=causal)
        results.append([output, *torch.autograd.grad(output, inputs, torch.ones_like(output).cumsum(1))])
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted)
    assert not masked or (results[0][0][2] == 0).all()
    assert not biased or (results[0][0][:, :, 1] == 0).all()


def test_one_query_takes_its_biases_as_they_are() -> None:
    """Nothing is copied before PyTorch's own attention but where a mask meets the biases."""
    query, key, bias = torch.randn(2, 2, 1, 4), torch.randn(2, 2, 5, 4), torch.randn(2, 5)
    seen: list[Any] = []
    theirs = torch.nn.functional.scaled_dot_product_attention

    def spy(*args: Any, **kwargs: Any) -> torch.Tensor:
        seen.append(args[3])
        return theirs(*args, **kwargs)

    with mock.patch.object(torch.nn.functional, "scaled_dot_product_attention", spy):
        functional.attention(query, key, key, bias, causal=True)
        mask = torch.ones(2, 5, dtype=torch.bool)
        functional.attention(query, key, key, None, mask)
    assert [tensor.data_ptr() for tensor in seen] == [bias.data_ptr(), mask.data_ptr()]


@pytest.mark.parametrize("hidden", ["later keys", "by the bias"])
def test_a_query_that_sees_no_key_of_a_prefix_either(hidden: str) -> None:
    torch.manual_seed(0)
    query = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    key, prefix = torch.randn(2, 1, 1, 4, dtype=torch.float64), torch.randn(3, 1, 1, 4, dtype=torch.float64)
    bias = torch.full((1, 5), 0.5, dtype=torch.float64)
    if hidden == "by the bias":
        bias[:, :3] = float("-inf")
    outputs = [
        attention(
            query,
            key,
            key,
            bias,
            causal=hidden == "later keys",
            prefix_key=prefix,
            prefix_value=prefix,
            task_ids=torch.tensor([2, 1]),
        )
        for attention in (functional.attention, reference.attention)
    ]
    torch.testing.assert_close(*outputs)
    assert (outputs[0] == 0).all(dim=3).any()
    assert outputs[0].isfinite().all()

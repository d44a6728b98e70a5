"""A T5 that learns as a whole, the relative position bias too, beside eager attention."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import UMT5ForConditionalGeneration

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.functional import Backend
from tests.models.test_attention import frozen, plain
from tests.models.test_families import build

Batch = Callable[..., dict[str, Tensor]]
LENGTHS = [(4, 7), (2, 19), (3, 5)]
"""Rows and tokens of the batches, one a step."""


SIZES: dict[str, dict[str, Any]] = {
    "crosspt_torch": {"num_layers": 2},
    "crosspt_triton": {"num_layers": 1, "num_decoder_layers": 2, "num_heads": 1},  # slow where it is interpreted
}


def make(kind: str, implementation: str, **size: Any) -> Any:
    """In float64 and without dropout, so that two runs end at the same numbers."""
    if kind == "umt5":
        model = build(UMT5ForConditionalGeneration, implementation, dropout_rate=0.0, **size)
    else:
        model = frozen(kind, implementation, dropout_rate=0.0, **size)
    return model.double().train().requires_grad_(True)


def trained(model: Any, batch: Batch, steps: int) -> dict[str, Tensor]:
    """The parameters after some steps."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(steps):
        rows, tokens = LENGTHS[step % len(LENGTHS)]
        inputs = batch(rows=rows, tokens=tokens, seed=step)
        optimizer.zero_grad()
        model(**plain(inputs), labels=inputs["labels"]).loss.backward()
        optimizer.step()
    after = dict(model.named_parameters())
    tables = [name for name in after if "relative_attention_bias" in name]
    assert tables
    assert all((after[name] - before[name]).abs().max() > 1e-3 for name in tables)
    return {name: parameter.detach() for name, parameter in after.items()}


@pytest.mark.parametrize(
    ("kind", "implementation", "steps"),
    [
        ("1.0", "crosspt_torch", 12),
        ("1.1", "crosspt_torch", 12),
        ("mt5", "crosspt_torch", 12),
        ("umt5", "crosspt_torch", 12),
        ("1.0", "crosspt_triton", 3),
        ("umt5", "crosspt_triton", 3),
    ],
)
def test_training_ends_where_eager_does(kind: str, implementation: str, steps: int, batch: Batch) -> None:
    wanted = trained(make(kind, "eager", **SIZES[implementation]), batch, steps)
    got = trained(make(kind, implementation, **SIZES[implementation]), batch, steps)
    for name, parameter in got.items():
        torch.testing.assert_close(parameter, wanted[name], rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(use_reentrant: bool, batch: Batch) -> None:
    gradients = []
    for checkpointing in (False, True):
        t5 = make("1.0", "crosspt")
        if checkpointing:
            t5.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
        inputs = batch()
        for _ in range(2):  # the first call forms transformers' matrix of biases, and so must its repetition
            t5.zero_grad()
            t5(**plain(inputs), labels=inputs["labels"]).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in t5.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize("implementation", ["crosspt_torch", "crosspt_triton"])
def test_a_compiled_encoder_learns_the_same(implementation: str, batch: Batch) -> None:
    gradients = []
    for compiled in (False, True):
        encoder = make("1.0", implementation, **SIZES["crosspt_triton"]).encoder
        function = torch.compile(encoder, backend="aot_eager", fullgraph=True) if compiled else encoder
        function(**plain(batch(rows=2))).last_hidden_state.square().sum().backward()
        gradients.append(encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.grad)
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0


def test_a_t5_behind_isolated_prefixes_may_learn_as_well(batch: Batch) -> None:
    """The bias of keys of a prefix and of own keys, in a table that both stacks' layers share."""
    gradients = []
    backends: tuple[Backend, ...] = ("torch", "triton")
    for backend in backends:
        t5 = make("1.0", "eager", **SIZES["crosspt_triton"])
        config = CrossPTConfig(tasks=["mrpc", "rte"], prompt_length=3, prefix_mode="isolated")
        torch.manual_seed(0)
        model = CrossPTModel(t5, config, backend=backend).double()
        model.requires_grad_(True)
        model(**batch(rows=2)).loss.backward()
        gradients.append({name: torch.as_tensor(p.grad) for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-8, atol=1e-12, msg=name)
    assert all(gradient.abs().max() > 0 for name, gradient in gradients[0].items() if "relative" in name)

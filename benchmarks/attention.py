"""The attention of one T5 layer: the ways to compute it that are compared, and the bytes that each pass must move.

All take the same queries, keys and values, (B, L, H, D) in memory as a T5 makes them, and drop nothing. What a T5 makes
once for all its layers is made beforehand, and only read by the layer that is measured: the relative position bias, a
vector per head for CrossPT and for flex attention and (1, H, Lq, m + Lk) for transformers' functions, and the mask in
the form that transformers makes for each. Only CrossPT reads a task's prefix in place; the others put it in front of
the keys and values of every row.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import flex_attention
from transformers import T5Config
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.t5.modeling_t5 import eager_attention_forward

from benchmarks.floor import INDEX_BYTES
from benchmarks.peers import PASSES, Built, Operation, Parameters, Peer, normal, require
from benchmarks.shapes import AttentionShape
from crosspt import functional, reference


class AttentionBatch(NamedTuple):
    """What no peer differentiates."""

    shape: AttentionShape
    bias: Tensor  # by distance (H, Lq + m + Lk - 1), as ``crosspt.functional.attention`` takes it
    mask: Tensor  # (B, Lk) bool, True where a key counts; the last key of every second row does not
    task_ids: Tensor  # (B,), all tasks in turn


REFERENCE = AttentionShape()
PREFIX = AttentionShape(H=8, Lq=24, Lk=24, m=100, T=8)
"""A T5-small's attention to prompts of 100 rows, kept by task."""
LEDGER = (REFERENCE.moved(B=1, H=2), PREFIX.moved(B=4, H=2, T=2))
"""Few rows and heads: a kernel's bytes grow with them as the floor does, and interpreted ones take seconds a row."""
TINY = AttentionShape(B=3, H=2, Lq=5, Lk=13, D=16, m=3, T=2, dtype="float32")


def make_attention_batch(shape: AttentionShape, device: torch.device | str = "cpu") -> AttentionBatch:
    """Bias, mask and task ids; the same in every dtype and on every device."""
    bias = normal((shape.H, shape.Lq + shape.m + shape.Lk - 1), shape.torch_dtype, device, seed=5).detach()
    mask = torch.ones(shape.B, shape.Lk, dtype=torch.bool, device=device)
    mask[::2, -1] = False
    return AttentionBatch(shape, bias, mask, torch.arange(shape.B, device=device) % shape.T)


def floors(shape: AttentionShape) -> dict[str, int]:
    """Bytes that each pass must move, from the shape alone.

    Forward reads queries, keys, values, the bias vector, the mask, and of the prefixes those of the batch's tasks; it
    writes the output, and the logarithm of each query's sum of exponentials, in float32 at least. Backward reads all of
    that and the output's gradient, and writes the gradients of queries, keys, values and prefixes.
    """
    itemsize, rows = shape.torch_dtype.itemsize, shape.B * shape.H * shape.D
    queries, keys, a_task = rows * shape.Lq, 2 * rows * shape.Lk, 2 * shape.H * shape.m * shape.D
    bias = shape.H * (shape.Lq + shape.m + shape.Lk - 1)
    indices = shape.B * shape.Lk + INDEX_BYTES * shape.B * (shape.m > 0)
    beside = indices + shape.B * shape.H * shape.Lq * max(itemsize, 4)
    read = queries + keys + shape.used_tasks * a_task + bias
    gradients = queries + keys + shape.T * a_task
    return {
        "forward": itemsize * (read + queries) + beside,
        "backward": itemsize * (read + 2 * queries + gradients) + beside,
    }


def _operands(batch: AttentionBatch) -> Parameters:
    """Leaves (B, L, H, D), and the prefixes (T, H, m, D)."""
    shape = batch.shape
    make = partial(normal, dtype=shape.torch_dtype, device=batch.bias.device)
    values = {
        # Scores of about one, as those of a trained T5, which does not scale them.
        "query": make((shape.B, shape.Lq, shape.H, shape.D), seed=0, scale=shape.D**-0.5),
        "key": make((shape.B, shape.Lk, shape.H, shape.D), seed=1),
        "value": make((shape.B, shape.Lk, shape.H, shape.D), seed=2),
    }
    if shape.m:
        values["prefix_key"] = make((shape.T, shape.H, shape.m, shape.D), seed=3)
        values["prefix_value"] = make((shape.T, shape.H, shape.m, shape.D), seed=4)
    return values


def _arguments(values: Parameters, batch: AttentionBatch) -> dict[str, Any]:
    """Arguments of CrossPT's attention."""
    heads = {name: values[name].transpose(1, 2) for name in ("query", "key", "value")}
    if "prefix_key" not in values:
        return {**heads, "mask": batch.mask}
    prefix = {name: values[name] for name in ("prefix_key", "prefix_value")}
    return {**heads, **prefix, "task_ids": batch.task_ids, "mask": batch.mask}


def _built(forward: Callable[[Parameters], Tensor], operands: Parameters, batch: AttentionBatch) -> Built:
    def literal(values: Parameters, bias: Tensor) -> Tensor:
        fixed = {name: value.detach().to(bias.dtype) for name, value in operands.items()}
        return reference.attention(bias=bias, **_arguments({**fixed, **values}, batch))

    learned = {name: value for name, value in operands.items() if value.requires_grad}
    return Built(partial(forward, operands), learned, literal, batch.bias)


def _crosspt(backend: Any, batch: AttentionBatch) -> Built:
    if backend == "triton":
        require("Triton", batch.bias.device)

    def forward(values: Parameters) -> Tensor:
        return functional.attention(bias=batch.bias, backend=backend, **_arguments(values, batch))

    return _built(forward, _operands(batch), batch)


def _concatenated(values: Parameters, batch: AttentionBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (B, H, L, D) with each row's prefix in front of its keys and values."""
    query, key, value = (values[name].transpose(1, 2) for name in ("query", "key", "value"))
    if "prefix_key" in values:
        key = torch.cat([values["prefix_key"][batch.task_ids], key], dim=2)
        value = torch.cat([values["prefix_value"][batch.task_ids], value], dim=2)
    return query, key, value


def _transformers(implementation: str, function: Callable[..., Any], batch: AttentionBatch) -> Built:
    """A function of transformers, with the mask and the matrix of biases that its T5 would hand it."""
    shape, device = batch.shape, batch.bias.device
    keys = shape.m + shape.Lk
    config = T5Config()
    config._attn_implementation = implementation
    states = torch.empty(shape.B, max(shape.Lq, keys), 1, dtype=shape.torch_dtype, device=device)
    mask = create_bidirectional_mask(
        config=config,
        inputs_embeds=states[:, : shape.Lq],
        attention_mask=nn.functional.pad(batch.mask, (shape.m, 0), value=True),
        encoder_hidden_states=states[:, :keys],
    )
    distance = torch.arange(keys, device=device) - torch.arange(shape.Lq, device=device)[:, None]
    matrix = batch.bias[:, distance + shape.Lq - 1][None]
    module: Any = nn.Module().eval()
    module.is_causal = False

    def forward(values: Parameters) -> Tensor:
        return function(module, *_concatenated(values, batch), mask, scaling=1.0, position_bias=matrix)[0]

    return _built(forward, _operands(batch), batch)


def _flex(batch: AttentionBatch) -> Built:
    """Compiled flex attention that adds the vector of biases; forward alone on a CPU, where it has no backward."""
    device = batch.bias.device
    require("a compiler", device)
    mask, bias = nn.functional.pad(batch.mask, (batch.shape.m, 0), value=True), batch.bias

    def add_bias(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return torch.where(mask[b, j], score + bias[h, j - i + batch.shape.Lq - 1], float("-inf"))

    def forward(values: Parameters) -> Tensor:
        output: Any = flex_attention(*_concatenated(values, batch), score_mod=add_bias, scale=1.0)
        return output.transpose(1, 2)

    torch._dynamo.reset()  # a shape of its own, not one more of a dynamic one
    compiled = torch.compile(forward, fullgraph=True, dynamic=False)

    operands = _operands(batch)
    if device.type != "cuda":
        operands = {name: value.detach() for name, value in operands.items()}
    return _built(compiled, operands, batch)


_COPIES = "copies prefixes for every row"
_ALL = (
    Peer("eager", _COPIES, partial(_transformers, "eager", eager_attention_forward), floors),
    Peer("sdpa", _COPIES, partial(_transformers, "sdpa", sdpa_attention_forward), floors),
    Peer("flex attention", _COPIES + "; no dropout", _flex, floors, "Inductor's scheduler"),
    Peer("torch", "", partial(_crosspt, "torch"), floors),
    Peer("triton", "", partial(_crosspt, "triton"), floors, "interpreted addresses"),
)
ATTENTION = Operation("attention", PASSES, {peer.name: peer for peer in _ALL}, make_attention_batch, "eager")

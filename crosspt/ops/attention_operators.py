"""The attention kernels as torch.library operators; see ``crosspt.ops.operators``."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from crosspt.ops.library import LIBRARY, OPS, differentiable, fake, implement, launchers, once_differentiable, spread

_ARGUMENTS = (
    "Tensor query, Tensor key, Tensor value, Tensor? bias, Tensor? mask, Tensor? prefix_key, Tensor? prefix_value, "
    "Tensor? task_ids, Tensor? seed, bool causal, float dropout"
)
LIBRARY.define(f"attention({_ARGUMENTS}) -> (Tensor, Tensor)")
LIBRARY.define(f"attention_backward(Tensor grad, Tensor out, Tensor stats, {_ARGUMENTS}, bool[5] needs) -> Tensor[]")
_LEARNED = (0, 1, 2, 5, 6)  # query, key, value, prefix_key, prefix_value


@implement("attention")
def _attention(query: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    kernels = launchers("attention", query)
    return kernels.attention(kernels.attention_arguments(query, *arguments))


@fake("attention")
def _(query: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    batch, heads, queries, width = query.shape
    accumulator = torch.float64 if query.dtype is torch.float64 else torch.float32
    stats = query.new_empty((batch, heads, 2, queries), dtype=accumulator)
    return query.new_empty((batch, queries, heads, width)), stats


@implement("attention_backward")
def _attention_backward(grad: Tensor, out: Tensor, stats: Tensor, *arguments: Any) -> list[Tensor]:
    kernels = launchers("attention", grad)
    *inputs, needs = arguments
    prepared = kernels.attention_arguments(*inputs)
    gradients = kernels.attention_backward(grad, out, stats, prepared, kernels.AttentionNeeds(*needs))
    return [gradient for gradient in gradients if gradient is not None]


@fake("attention_backward")
def _(grad: Tensor, out: Tensor, stats: Tensor, *arguments: Any) -> list[Tensor]:
    return [
        tensor.transpose(1, 2).new_empty(tensor.transpose(1, 2).shape).transpose(1, 2)
        for tensor, need in zip(_learned(arguments), arguments[-1], strict=True)
        if need
    ]


def _learned(arguments: Sequence[Any]) -> list[Any]:
    return [arguments[i] for i in _LEARNED]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            out, stats = OPS.attention(*arguments)
        ctx.save_for_backward(out, stats, *arguments[:9])
        ctx.settings = arguments[9:]
        ctx.mark_non_differentiable(stats)
        ctx.set_materialize_grads(False)  # of stats there is none, and zeros would be a launch
        return out, stats

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 11
        needs = _learned(ctx.needs_input_grad)
        gradients = OPS.attention_backward(grad, *ctx.saved_tensors, *ctx.settings, needs)
        dquery, dkey, dvalue, dprefix_key, dprefix_value = spread(gradients, needs)
        return dquery, dkey, dvalue, None, None, dprefix_key, dprefix_value, None, None, None, None


attention = differentiable("attention", _Attention)
once_differentiable("attention_backward")

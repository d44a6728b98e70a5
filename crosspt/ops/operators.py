"""The Triton kernels as torch.library operators: ``torch.ops.crosspt``.

Each operator has a schema, an implementation for every device, a fake for torch.compile and its own Autograd key, which
dispatches faster than ``torch.library.custom_op``. Operators change none of their arguments, take the parameters in one
dtype and check nothing but that the kernels can run; ``crosspt.functional`` checks the rest. Gradients are operators
too; differentiating those again raises.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from crosspt.ops.library import LIBRARY, OPS, differentiable, fake, implement, launchers, once_differentiable, spread

_MIXTURE = (
    "Tensor logits, Tensor? sources, Tensor? privates, Tensor? weight, Tensor? bias, Tensor? mask, float temperature, "
    "bool encode_sources, bool encode_privates"
)
LIBRARY.define(f"compose_prompts({_MIXTURE}) -> Tensor")
LIBRARY.define(f"compose_prompts_backward(Tensor grad, {_MIXTURE}, bool[5] needs) -> Tensor[]")
LIBRARY.define("prepend_prompts(Tensor prompts, Tensor task_ids, Tensor input_ids, Tensor table) -> Tensor")
LIBRARY.define(
    "prepend_prompts_backward(Tensor grad, Tensor task_ids, SymInt tasks, SymInt length, ScalarType dtype) -> Tensor"
)
LIBRARY.define(f"prompted_embedding(Tensor input_ids, Tensor task_ids, Tensor table, {_MIXTURE}) -> Tensor")
LIBRARY.define(f"prompted_embedding_backward(Tensor grad, Tensor task_ids, {_MIXTURE}, bool[5] needs) -> Tensor[]")


@implement("compose_prompts")
def _compose_prompts(
    logits: Tensor,
    sources: Tensor | None,
    privates: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: Tensor | None,
    temperature: float,
    encode_sources: bool,
    encode_privates: bool,
) -> Tensor:
    kernels = launchers("compose_prompts", logits)
    return kernels.compose_prompts(
        kernels.compose_arguments(
            logits, sources, privates, weight, bias, mask, temperature, encode_sources, encode_privates
        )
    )


@fake("compose_prompts")
def _(logits: Tensor, sources: Any, privates: Any, *_: object) -> Tensor:
    prompts = sources if privates is None else privates
    return logits.new_empty((logits.shape[0], *prompts.shape[1:]))


@implement("compose_prompts_backward")
def _compose_prompts_backward(grad: Tensor, *mixture: Any) -> list[Tensor]:
    kernels = launchers("compose_prompts", grad)
    *arguments, needs = mixture
    gradients = kernels.compose_prompts_backward(grad, kernels.compose_arguments(*arguments), kernels.Needs(*needs))
    return _asked(gradients, mixture, needs)


def _asked(gradients: Sequence[Tensor | None], parameters: Sequence[Tensor], needs: Sequence[bool]) -> list[Tensor]:
    """The gradients asked for; zeros where the parameter took no part, such as an encoder when nothing is raw."""
    return [
        torch.zeros_like(parameter, memory_format=torch.contiguous_format) if gradient is None else gradient
        for gradient, parameter, need in zip(gradients, parameters, needs, strict=False)
        if need
    ]


def _fake_gradients(parameters: Sequence[Tensor], needs: Sequence[bool]) -> list[Tensor]:
    return [
        torch.empty_like(parameter, memory_format=torch.contiguous_format)
        for parameter, need in zip(parameters, needs, strict=False)
        if need
    ]


@fake("compose_prompts_backward")
def _(grad: Tensor, *mixture: Any) -> list[Tensor]:
    return _fake_gradients(mixture[:5], mixture[-1])


@implement("prepend_prompts")
def _prepend_prompts(prompts: Tensor, task_ids: Tensor, input_ids: Tensor, table: Tensor) -> Tensor:
    return launchers("prepend_prompts", prompts, table).prepend_prompts(prompts, task_ids, input_ids, table)


@fake("prepend_prompts")
def _(prompts: Tensor, task_ids: Tensor, input_ids: Tensor, table: Tensor) -> Tensor:
    return table.new_empty((input_ids.shape[0], prompts.shape[1] + input_ids.shape[1], prompts.shape[2]))


@implement("prepend_prompts_backward")
def _prepend_prompts_backward(grad: Tensor, task_ids: Tensor, tasks: int, length: int, dtype: torch.dtype) -> Tensor:
    return launchers("prepend_prompts", grad).sum_task_rows(grad, task_ids, tasks, length, dtype)


@fake("prepend_prompts_backward")
def _(grad: Tensor, task_ids: Tensor, tasks: int, length: int, dtype: torch.dtype) -> Tensor:
    return grad.new_empty((tasks, length, grad.shape[2]), dtype=dtype)


@implement("prompted_embedding")
def _prompted_embedding(input_ids: Tensor, task_ids: Tensor, table: Tensor, logits: Tensor, *mixture: Any) -> Tensor:
    kernels = launchers("prompted_embedding", table, logits)
    arguments = kernels.compose_arguments(logits, *mixture, table.dtype)
    return kernels.prompted_embedding(input_ids, task_ids, table, arguments)


@fake("prompted_embedding")
def _(
    input_ids: Tensor, task_ids: Tensor, table: Tensor, logits: Tensor, sources: Tensor, privates: Tensor, *_: object
) -> Tensor:
    prompts = sources if privates is None else privates
    return table.new_empty((input_ids.shape[0], prompts.shape[1] + input_ids.shape[1], table.shape[1]))


@implement("prompted_embedding_backward")
def _prompted_embedding_backward(grad: Tensor, task_ids: Tensor, *mixture: Any) -> list[Tensor]:
    kernels = launchers("prompted_embedding", grad)
    *arguments, needs = mixture
    prepared = kernels.compose_arguments(*arguments, grad.dtype)
    gradients = kernels.prompted_embedding_backward(grad, task_ids, prepared, kernels.Needs(*needs))
    return _asked(gradients, mixture, needs)


@fake("prompted_embedding_backward")
def _(grad: Tensor, task_ids: Tensor, *mixture: Any) -> list[Tensor]:
    return _fake_gradients(mixture[:5], mixture[-1])


class _ComposePrompts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *mixture: Any) -> Tensor:
        ctx.save_for_backward(*mixture[:6])
        ctx.settings = mixture[6:]
        with torch._C._AutoDispatchBelowAutograd():
            return OPS.compose_prompts(*mixture)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        needs = ctx.needs_input_grad[:5]
        gradients = OPS.compose_prompts_backward(grad, *ctx.saved_tensors, *ctx.settings, needs)
        return (*spread(gradients, needs), None, None, None, None)


class _PrependPrompts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, prompts: Tensor, task_ids: Tensor, input_ids: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(task_ids, input_ids)
        ctx.prompts = (*prompts.shape[:2], prompts.dtype)
        ctx.vocabulary = table.shape[0]
        with torch._C._AutoDispatchBelowAutograd():
            return OPS.prepend_prompts(prompts, task_ids, input_ids, table)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        task_ids, input_ids = ctx.saved_tensors
        dprompts = OPS.prepend_prompts_backward(grad, task_ids, *ctx.prompts) if ctx.needs_input_grad[0] else None
        dtable = _table_gradient(grad, input_ids, ctx.vocabulary) if ctx.needs_input_grad[3] else None
        return dprompts, None, None, dtable


class _PromptedEmbedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input_ids: Tensor, task_ids: Tensor, table: Tensor, *mixture: Any) -> Tensor:
        ctx.save_for_backward(input_ids, task_ids, *mixture[:6])
        ctx.settings = mixture[6:]
        ctx.vocabulary = table.shape[0]
        with torch._C._AutoDispatchBelowAutograd():
            return OPS.prompted_embedding(input_ids, task_ids, table, *mixture)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        input_ids, task_ids, *mixture = ctx.saved_tensors
        needs = ctx.needs_input_grad[3:8]
        gradients: Sequence[Tensor] = ()
        if any(needs):
            gradients = OPS.prompted_embedding_backward(grad, task_ids, *mixture, *ctx.settings, needs)
        dtable = _table_gradient(grad, input_ids, ctx.vocabulary) if ctx.needs_input_grad[2] else None
        return (None, None, dtable, *spread(gradients, needs), None, None, None, None)


def _table_gradient(grad: Tensor, input_ids: Tensor, vocabulary: int) -> Tensor:
    """Gradient of the token table from the token rows of the output's gradient."""
    rows = grad[:, grad.shape[1] - input_ids.shape[1] :]
    return torch.ops.aten.embedding_dense_backward(rows, input_ids, vocabulary, -1, False)


compose_prompts = differentiable("compose_prompts", _ComposePrompts)
prepend_prompts = differentiable("prepend_prompts", _PrependPrompts)
prompted_embedding = differentiable("prompted_embedding", _PromptedEmbedding)
for _name in ("compose_prompts_backward", "prepend_prompts_backward", "prompted_embedding_backward"):
    once_differentiable(_name)

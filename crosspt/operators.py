"""The Triton kernels as torch.library operators: ``torch.ops.crosspt``.

Each operator has a schema, an implementation for every device, a fake for torch.compile and its own Autograd key, which
dispatches faster than ``torch.library.custom_op``. Operators change none of their arguments, take the parameters in one
dtype and check nothing but that the kernels can run; ``crosspt.functional`` checks the rest. Gradients are operators
too; differentiating those again raises.
"""

from collections.abc import Callable, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
MIN_TRITON = (3, 3)

LIBRARY = torch.library.Library("crosspt", "DEF")
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

OPS = torch.ops.crosspt


@cache
def _load() -> SimpleNamespace | str:
    """The launchers, or why there are none."""
    try:
        import triton
    except ImportError as error:
        return (
            f"Triton, which cannot be imported ({error}); install it with `pip install triton` or use backend='torch'"
        )
    found = tuple(int(part) for part in triton.__version__.split("+")[0].split(".")[:2])
    if found < MIN_TRITON:
        wanted = ".".join(map(str, MIN_TRITON))
        return f"Triton >= {wanted}, got {triton.__version__}; run `pip install -U triton` or use backend='torch'"
    from crosspt.kernels.compose_prompts import compose_prompts
    from crosspt.kernels.compose_prompts_backward import Needs, compose_prompts_backward
    from crosspt.kernels.launch import compose_arguments
    from crosspt.kernels.mixing import INTERPRETED
    from crosspt.kernels.prepend_prompts import prepend_prompts, sum_task_rows
    from crosspt.kernels.prompted_embedding import prompted_embedding, prompted_embedding_backward

    return SimpleNamespace(
        Needs=Needs,
        compose_arguments=compose_arguments,
        compose_prompts=compose_prompts,
        compose_prompts_backward=compose_prompts_backward,
        interpreted=INTERPRETED.value,
        prepend_prompts=prepend_prompts,
        prompted_embedding=prompted_embedding,
        prompted_embedding_backward=prompted_embedding_backward,
        sum_task_rows=sum_task_rows,
    )


def _kernels(operation: str, *tensors: Tensor) -> SimpleNamespace:
    """The launchers, or a RuntimeError that says why they cannot run on these tensors and what to do."""
    kernels = _load()
    if isinstance(kernels, str):
        raise RuntimeError(f"{operation}: backend 'triton' needs {kernels}")
    for tensor in tensors:
        if not (tensor.is_cuda or kernels.interpreted):
            raise RuntimeError(
                f"{operation}: backend 'triton' needs tensors on a GPU, got {tensor.device}; use backend='torch', or "
                "set TRITON_INTERPRET=1 before Triton is imported to interpret the kernels on the CPU"
            )
        if tensor.dtype not in DTYPES:
            raise RuntimeError(
                f"{operation}: backend 'triton' supports float16, bfloat16, float32 and float64, got {tensor.dtype}; "
                "cast the tensors or use backend='torch'"
            )
    return kernels


def _implement(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        LIBRARY.impl(name, function, "CompositeExplicitAutograd")
        return function

    return register


def _fake(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return torch.library.register_fake(f"crosspt::{name}", lib=LIBRARY)


@_implement("compose_prompts")
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
    kernels = _kernels("compose_prompts", logits)
    return kernels.compose_prompts(
        kernels.compose_arguments(
            logits, sources, privates, weight, bias, mask, temperature, encode_sources, encode_privates
        )
    )


@_fake("compose_prompts")
def _(logits: Tensor, sources: Any, privates: Any, *_: object) -> Tensor:
    prompts = sources if privates is None else privates
    return logits.new_empty((logits.shape[0], *prompts.shape[1:]))


@_implement("compose_prompts_backward")
def _compose_prompts_backward(grad: Tensor, *mixture: Any) -> list[Tensor]:
    kernels = _kernels("compose_prompts", grad)
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


@_fake("compose_prompts_backward")
def _(grad: Tensor, *mixture: Any) -> list[Tensor]:
    return _fake_gradients(mixture[:5], mixture[-1])


@_implement("prepend_prompts")
def _prepend_prompts(prompts: Tensor, task_ids: Tensor, input_ids: Tensor, table: Tensor) -> Tensor:
    return _kernels("prepend_prompts", prompts, table).prepend_prompts(prompts, task_ids, input_ids, table)


@_fake("prepend_prompts")
def _(prompts: Tensor, task_ids: Tensor, input_ids: Tensor, table: Tensor) -> Tensor:
    return table.new_empty((input_ids.shape[0], prompts.shape[1] + input_ids.shape[1], prompts.shape[2]))


@_implement("prepend_prompts_backward")
def _prepend_prompts_backward(grad: Tensor, task_ids: Tensor, tasks: int, length: int, dtype: torch.dtype) -> Tensor:
    return _kernels("prepend_prompts", grad).sum_task_rows(grad, task_ids, tasks, length, dtype)


@_fake("prepend_prompts_backward")
def _(grad: Tensor, task_ids: Tensor, tasks: int, length: int, dtype: torch.dtype) -> Tensor:
    return grad.new_empty((tasks, length, grad.shape[2]), dtype=dtype)


@_implement("prompted_embedding")
def _prompted_embedding(input_ids: Tensor, task_ids: Tensor, table: Tensor, logits: Tensor, *mixture: Any) -> Tensor:
    kernels = _kernels("prompted_embedding", table, logits)
    arguments = kernels.compose_arguments(logits, *mixture, table.dtype)
    return kernels.prompted_embedding(input_ids, task_ids, table, arguments)


@_fake("prompted_embedding")
def _(
    input_ids: Tensor, task_ids: Tensor, table: Tensor, logits: Tensor, sources: Tensor, privates: Tensor, *_: object
) -> Tensor:
    prompts = sources if privates is None else privates
    return table.new_empty((input_ids.shape[0], prompts.shape[1] + input_ids.shape[1], table.shape[1]))


@_implement("prompted_embedding_backward")
def _prompted_embedding_backward(grad: Tensor, task_ids: Tensor, *mixture: Any) -> list[Tensor]:
    kernels = _kernels("prompted_embedding", grad)
    *arguments, needs = mixture
    prepared = kernels.compose_arguments(*arguments, grad.dtype)
    gradients = kernels.prompted_embedding_backward(grad, task_ids, prepared, kernels.Needs(*needs))
    return _asked(gradients, mixture, needs)


@_fake("prompted_embedding_backward")
def _(grad: Tensor, task_ids: Tensor, *mixture: Any) -> list[Tensor]:
    return _fake_gradients(mixture[:5], mixture[-1])


def _spread(gradients: Sequence[Tensor], needs: Sequence[bool]) -> list[Tensor | None]:
    """One entry an argument: the next gradient where one was asked for, else None."""
    rest = iter(gradients)
    return [next(rest) if need else None for need in needs]


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
        return (*_spread(gradients, needs), None, None, None, None)


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
        return (None, None, dtable, *_spread(gradients, needs), None, None, None, None)


def _table_gradient(grad: Tensor, input_ids: Tensor, vocabulary: int) -> Tensor:
    """Gradient of the token table from the token rows of the output's gradient."""
    rows = grad[:, grad.shape[1] - input_ids.shape[1] :]
    return torch.ops.aten.embedding_dense_backward(rows, input_ids, vocabulary, -1, False)


class _Once(torch.autograd.Function):
    """A gradient operator: differentiating it raises instead of being silently wrong."""

    @staticmethod
    def forward(ctx: Any, operator: Any, *arguments: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            gradients = operator(*arguments)
        return tuple(gradients) if isinstance(gradients, list) else gradients

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise RuntimeError("crosspt: backend 'triton' has first derivatives only; use backend='torch' for second ones")


def _takes_gradient(arguments: Sequence[Any]) -> bool:
    if torch.is_grad_enabled():
        for argument in arguments:
            if isinstance(argument, Tensor) and argument.requires_grad:
                return True
    return False


def _differentiable(name: str, function: type[torch.autograd.Function]) -> Callable[..., Tensor]:
    """Register the Autograd key of an operator.

    Returns:
        what the public function calls: the operator, with one trip through the dispatcher instead of two where nothing
        is being traced.
    """
    operator = getattr(OPS, name)

    def autograd(*arguments: Any) -> Tensor:
        if _takes_gradient(arguments):
            return function.apply(*arguments)
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*arguments)

    def call(*arguments: Any) -> Tensor:
        return operator(*arguments) if torch.compiler.is_compiling() else autograd(*arguments)

    LIBRARY.impl(name, autograd, "Autograd")
    return call


def _once_differentiable(name: str) -> None:
    operator = getattr(OPS, name)

    def autograd(*arguments: Any) -> Any:
        if _takes_gradient(arguments):
            gradients = _Once.apply(operator, *arguments)
            return list(gradients) if isinstance(gradients, tuple) else gradients
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*arguments)

    LIBRARY.impl(name, autograd, "Autograd")


compose_prompts = _differentiable("compose_prompts", _ComposePrompts)
prepend_prompts = _differentiable("prepend_prompts", _PrependPrompts)
prompted_embedding = _differentiable("prompted_embedding", _PromptedEmbedding)
for _name in ("compose_prompts_backward", "prepend_prompts_backward", "prompted_embedding_backward"):
    _once_differentiable(_name)

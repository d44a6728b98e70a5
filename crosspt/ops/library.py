"""What every operator of ``torch.ops.crosspt`` shares: the library, the launchers behind it, its Autograd keys."""

from collections.abc import Callable, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
MIN_TRITON = (3, 3)

LIBRARY = torch.library.Library("crosspt", "DEF")
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
    from crosspt.kernels.attention import attention, attention_arguments
    from crosspt.kernels.attention_backward import AttentionNeeds, attention_backward
    from crosspt.kernels.compose_prompts import compose_prompts
    from crosspt.kernels.compose_prompts_backward import Needs, compose_prompts_backward
    from crosspt.kernels.launch import compose_arguments
    from crosspt.kernels.mixing import INTERPRETED
    from crosspt.kernels.prepend_prompts import prepend_prompts, sum_task_rows
    from crosspt.kernels.prompted_embedding import prompted_embedding, prompted_embedding_backward

    return SimpleNamespace(
        AttentionNeeds=AttentionNeeds,
        Needs=Needs,
        attention=attention,
        attention_arguments=attention_arguments,
        attention_backward=attention_backward,
        compose_arguments=compose_arguments,
        compose_prompts=compose_prompts,
        compose_prompts_backward=compose_prompts_backward,
        interpreted=INTERPRETED.value,
        prepend_prompts=prepend_prompts,
        prompted_embedding=prompted_embedding,
        prompted_embedding_backward=prompted_embedding_backward,
        sum_task_rows=sum_task_rows,
    )


def launchers(operation: str, *tensors: Tensor) -> SimpleNamespace:
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


def implement(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as what an operator does, on every device."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        LIBRARY.impl(name, function, "CompositeExplicitAutograd")
        return function

    return register


def fake(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as what an operator does while torch.compile traces."""
    return torch.library.register_fake(f"crosspt::{name}", lib=LIBRARY)


def spread(gradients: Sequence[Tensor], needs: Sequence[bool]) -> list[Tensor | None]:
    """One entry an argument: the next gradient where one was asked for, else None."""
    rest = iter(gradients)
    return [next(rest) if need else None for need in needs]


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


def differentiable(name: str, function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """Register the Autograd key of an operator.

    Args:
        name: of the operator.
        function: its derivative.

    Returns:
        what the public function calls: the operator, with one trip through the dispatcher instead of two where nothing
        is being traced.
    """
    operator = getattr(OPS, name)

    def autograd(*arguments: Any) -> Any:
        if _takes_gradient(arguments):
            return function.apply(*arguments)
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*arguments)

    def call(*arguments: Any) -> Any:
        return operator(*arguments) if torch.compiler.is_compiling() else autograd(*arguments)

    LIBRARY.impl(name, autograd, "Autograd")
    return call


def once_differentiable(name: str) -> None:
    """Register the Autograd key of a gradient operator."""
    operator = getattr(OPS, name)

    def autograd(*arguments: Any) -> Any:
        if _takes_gradient(arguments):
            gradients = _Once.apply(operator, *arguments)
            return list(gradients) if isinstance(gradients, tuple) else gradients
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*arguments)

    LIBRARY.impl(name, autograd, "Autograd")

"""How the Triton kernels become torch.library operators: ``torch.ops.crosspt``.

An operator has its own Autograd key, which dispatches faster than ``torch.library.custom_op``. It changes none of its
arguments and checks nothing but that the kernels can run.
"""

from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from crosspt.kernels.architecture import refusal

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
MIN_TRITON = (3, 5)

LIBRARY = torch.library.Library("crosspt", "DEF")
OPS = torch.ops.crosspt


def operator(
    name: str,
    schema: str,
    fake: Callable[..., Any],
    derivative: type[torch.autograd.Function] | None = None,
    checked: Sequence[int] = (0,),
) -> Callable[..., Any]:
    """Declare an operator. What it launches is in ``crosspt.functional.launchers``, under its name.

    Args:
        name: the operation's, with ``_backward`` behind it where it computes gradients.
        schema: arguments and results.
        fake: gives results of the right shapes while torch.compile traces.
        derivative: None where differentiating raises.
        checked: positions of the tensors that must be on a GPU and of a dtype in ``DTYPES``; some may be None.

    Returns:
        the operator as the public function and the derivatives call it, with one trip through the dispatcher instead of
        two where nothing is being traced.
    """
    LIBRARY.define(name + schema)
    target = getattr(OPS, name).default  # by its name alone, its overloads would be looked through in each call
    differentiate = _refuse_to_differentiate(target) if derivative is None else derivative.apply

    def launch(*arguments: Any) -> Any:
        return _launchers(name, arguments, checked)[name](*arguments)

    def autograd(*arguments: Any) -> Any:
        if _takes_gradient(arguments):
            return differentiate(*arguments)
        return below_autograd(target, *arguments)

    def call(*arguments: Any) -> Any:
        if torch.compiler.is_compiling():
            return target(*arguments)
        if _takes_gradient(arguments):
            return differentiate(*arguments)
        with torch._C._AutoDispatchBelowAutograd():
            return target(*arguments)

    LIBRARY.impl(name, launch, "CompositeExplicitAutograd")
    LIBRARY.impl(name, autograd, "Autograd")
    torch.library.register_fake(f"crosspt::{name}", fake, lib=LIBRARY)
    return call


def below_autograd(target: Callable[..., Any], *arguments: Any) -> Any:
    """Run an operator without its Autograd key."""
    with torch._C._AutoDispatchBelowAutograd():
        return target(*arguments)


def _takes_gradient(arguments: Sequence[Any]) -> bool:
    if torch.is_grad_enabled():
        for argument in arguments:
            if isinstance(argument, Tensor) and argument.requires_grad:
                return True
    return False


class _Once(torch.autograd.Function):
    """A gradient operator: differentiating it raises instead of being silently wrong."""

    @staticmethod
    def forward(ctx: Any, target: Any, *arguments: Any) -> Any:
        gradients = below_autograd(target, *arguments)
        return tuple(gradients) if isinstance(gradients, list) else gradients

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise RuntimeError("crosspt: backend 'triton' has first derivatives only; use backend='torch' for second ones")


def _refuse_to_differentiate(target: Any) -> Callable[..., Any]:
    def differentiate(*arguments: Any) -> Any:
        gradients = _Once.apply(target, *arguments)
        return list(gradients) if isinstance(gradients, tuple) else gradients

    return differentiate


@cache
def _load() -> ModuleType | str:
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
    from crosspt.functional import launchers

    return launchers


def _launchers(name: str, arguments: Sequence[Any], checked: Sequence[int]) -> dict[str, Callable[..., Any]]:
    """The launchers, or a RuntimeError that says why they cannot run on these arguments and what to do."""
    launchers = _load()
    if isinstance(launchers, str):
        raise _unusable(name, f"needs {launchers}")
    for position in checked:
        tensor = arguments[position]
        if tensor is None:
            continue
        if not (tensor.is_cuda or launchers.interpreted):
            raise _unusable(
                name,
                f"needs tensors on a GPU, got {tensor.device}; use backend='torch', or set TRITON_INTERPRET=1 before "
                "Triton is imported to interpret the kernels on the CPU",
            )
        if tensor.is_cuda and (reason := refusal(tensor.device)):
            raise _unusable(name, reason)
        if tensor.dtype not in DTYPES:
            raise _unusable(
                name,
                f"supports float16, bfloat16, float32 and float64, got {tensor.dtype}; cast the tensors or use "
                "backend='torch'",
            )
    return launchers.LAUNCHERS


def _unusable(name: str, reason: str) -> RuntimeError:
    return RuntimeError(f"{name.removesuffix('_backward')}: backend 'triton' {reason}")

"""What is compared: an operation, its peers, a peer built on a batch, and the check before anything is timed."""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.timing import Work

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}
"""Largest error, of values and of gradients, as a share of the largest entry. In half precision thrice the error of the
reference itself in that precision is allowed too: differences of almost equal terms round badly."""
PASSES = ("forward", "backward", "both")
Parameters = dict[str, Tensor]


class UnavailableError(Exception):
    """Why a peer cannot run here."""


@dataclass(frozen=True)
class Peer:
    """A way to do an operation."""

    name: str
    lacks: str  # what it does not do that CrossPT does; empty if it does all
    build: Callable[[Any], Any]  # makes it ready on a batch, as Built or a T5; raises UnavailableError
    floors: Callable[[Any], dict[str, int]] = lambda shape: {}  # bytes that each of its passes must move on a shape
    counted_by: Literal["torch dispatch", "Inductor's scheduler", "interpreted addresses"] = "torch dispatch"
    few: Callable[[Any], Any] = lambda batch: batch  # the part of a batch that it is checked on

    def checked(self, batch: Any, *during: Any) -> Any:
        """Build and check it; a wrong one is unavailable."""
        few = self.few(batch)
        built = self.build(few)
        wrong = built.check(*during)
        if wrong:
            raise UnavailableError(f"wrong: {wrong}")
        return built if few is batch else self.build(batch)


@dataclass(frozen=True, eq=False)
class Operation:
    """What peers are compared at; ratios are to the baseline, whose arithmetic stands for that of compiled ones."""

    name: str
    passes: tuple[str, ...]  # its parts, each timed alone
    peers: dict[str, Peer]
    make_batch: Callable[..., Any]  # the batch of a shape on a device
    baseline: str


@dataclass(frozen=True)
class Built:
    """A peer on a batch; its reference gives the output by plain means, in the precision of what it takes."""

    forward: Callable[[], Tensor]
    parameters: Parameters  # leaves that need a gradient
    reference: Callable[[Parameters, Tensor], Tensor]  # of the parameters and the constant
    constant: Tensor  # rows (B, L, d) of the tokens, or the bias of an attention, in the dtype that is measured

    def work(self, what: str) -> Work | None:
        """``forward``, ``backward`` or ``both``; with parameters, forward records for backward, else it is all."""
        parameters = list(self.parameters.values())
        if what == "forward":
            return Work(tuple, self.forward)
        if not parameters:
            return None
        gradient = torch.randn_like(self.forward())

        def backward(output: Tensor) -> None:
            torch.autograd.backward(output, gradient)

        def clear() -> tuple[()]:
            for parameter in parameters:
                parameter.grad = None
            return ()

        if what == "backward":
            return Work(lambda: (*clear(), self.forward()), backward)
        return Work(clear, lambda: backward(self.forward()))

    def check(self, during: Callable[[str], AbstractContextManager[Any]] = nullcontext) -> str | None:
        """None where values and gradients agree with the reference's, else what differs.

        ``during`` makes a context for the peer's ``"forward"`` and one for its ``"backward"``.
        """
        dtype, device = self.constant.dtype, self.constant.device
        generator = torch.Generator().manual_seed(1)

        def run_reference(precision: torch.dtype) -> tuple[Tensor, Parameters]:
            parameters = {name: p.detach().to(precision).requires_grad_() for name, p in self.parameters.items()}
            return self.reference(parameters, self.constant.to(precision)), parameters

        exact = run_reference(torch.float64)
        with during("forward"):
            output = self.forward()
        if output.dtype != dtype:
            return f"the output has dtype {output.dtype}, the inputs {dtype}"
        if output.shape != exact[0].shape:
            return f"the output has shape {tuple(output.shape)}, its reference {tuple(exact[0].shape)}"
        cotangent = torch.randn(output.shape, generator=generator).to(device, dtype)
        with during("backward"):
            got = _outcome(output, self.parameters, cotangent)
        rounded = _outcome(*run_reference(dtype), cotangent) if dtype.itemsize < 4 else {}
        for name, truth in _outcome(*exact, cotangent.double()).items():
            error, allowed = relative_error(got[name], truth), TOLERANCE[dtype]
            if rounded:
                allowed = max(allowed, 3 * relative_error(rounded[name], truth))
            if not error <= allowed:
                return f"{name} is off by {error:.2g} of its largest entry, allowed is {allowed:.2g}"
        return None


def _outcome(output: Tensor, parameters: Parameters, cotangent: Tensor) -> dict[str, Tensor]:
    """The output, and the gradients of the parameters, by name."""
    gradients = torch.autograd.grad(output, list(parameters.values()), cotangent) if parameters else ()
    named = zip(parameters, gradients, strict=True)
    return {"the output": output.detach(), **{f"the gradient of {name}": gradient for name, gradient in named}}


def relative_error(value: Tensor, truth: Tensor) -> float:
    """Largest error as a share of the largest entry."""
    return ((value.double() - truth).abs().max() / truth.abs().max().clamp(min=1e-30)).item()


def normal(
    sizes: Sequence[int], dtype: torch.dtype, device: torch.device | str, seed: int, scale: float = 1.0
) -> Tensor:
    """A leaf of normal values, the same in every dtype and on every device."""
    values = torch.randn(*sizes, generator=torch.Generator().manual_seed(seed)) * scale
    return values.to(device, dtype).requires_grad_()


def require(what: Literal["Triton", "a compiler"], device: torch.device) -> None:
    """Raise UnavailableError where Triton kernels, or torch.compile, cannot run."""
    if device.type == "cuda":
        return
    if what == "Triton" and os.environ.get("TRITON_INTERPRET") != "1":
        raise UnavailableError("Triton kernels need a GPU; the ledger counts them without one")
    if what == "a compiler" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise UnavailableError("torch.compile on a CPU needs a C++ compiler, and none is installed")

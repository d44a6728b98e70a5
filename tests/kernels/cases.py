"""Inputs for the kernel tests: which parts a mixture has, which sizes, and the three operations on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from crosspt import functional, reference

PARAMETERS = ("logits", "sources", "privates", "weight", "bias", "alpha", "row_alpha", "added")
Operation = Callable[["Inputs", str], Tensor]
SMALLEST = {torch.float16: 2e-4, torch.bfloat16: 1e-3, torch.float32: 1e-6}


class Differentiable(Protocol):
    """Inputs of an operation, of which the given tensors may require gradients."""

    @property
    def given(self) -> dict[str, Tensor]: ...

    def map(self: D, change: Callable[[Tensor], Tensor]) -> D: ...


D = TypeVar("D", bound=Differentiable)


class Sizes(NamedTuple):
    B: int
    L: int
    T: int
    n: int
    m: int
    d: int
    V: int = 11


@dataclass(frozen=True)
class Case:
    """Which arguments are given and which prompts are raw."""

    sources: bool = True
    privates: bool = True
    encoder: bool = True
    bias: bool = True
    raw_sources: bool = True
    raw_privates: bool = True
    mask: bool = False
    mixing: str = "logits"  # which argument says how much is mixed
    added: bool = False


CASES = {
    "raw": Case(),
    "raw, masked": Case(mask=True),
    "raw, no bias": Case(bias=False),
    "encoded sources": Case(raw_sources=False),
    "encoded sources, masked, no bias": Case(raw_sources=False, bias=False, mask=True),
    "encoded privates": Case(raw_privates=False, mask=True),
    "all encoded": Case(raw_sources=False, raw_privates=False),
    "no encoder": Case(encoder=False, bias=False, mask=True),
    "raw sources": Case(privates=False, mask=True),
    "sources, no encoder": Case(privates=False, encoder=False, bias=False),
    "raw privates": Case(sources=False),
    "privates, no encoder": Case(sources=False, encoder=False, bias=False),
    "added": Case(added=True, mask=True),
    "given": Case(mixing="alpha"),
    "given, encoded sources, added": Case(mixing="alpha", raw_sources=False, added=True),
    "given, encoded privates, no bias": Case(mixing="alpha", raw_privates=False, bias=False),
    "given, no encoder, added": Case(mixing="alpha", encoder=False, bias=False, added=True),
    "rows": Case(mixing="row_alpha"),
    "rows, encoded privates, added": Case(mixing="row_alpha", raw_privates=False, added=True),
    "rows, sources, added": Case(mixing="row_alpha", privates=False, added=True),
    "rows, sources, no encoder, added": Case(mixing="row_alpha", privates=False, encoder=False, bias=False, added=True),
    "rows, sources alone": Case(mixing="row_alpha", privates=False),
    "rows, encoded": Case(mixing="row_alpha", raw_sources=False, raw_privates=False),
}
BY_TASK = Sizes(B=5, L=3, T=3, n=3, m=3, d=18)
BY_ROW = Sizes(B=3, L=2, T=5, n=2, m=3, d=18)


@dataclass(frozen=True)
class Inputs:
    """Arguments of the operations; parameters require gradients."""

    input_ids: Tensor
    task_ids: Tensor
    table: Tensor
    parameters: dict[str, Any]
    options: dict[str, Any]

    @property
    def given(self) -> dict[str, Tensor]:
        """The parameters that are there."""
        return {name: tensor for name, tensor in self.parameters.items() if tensor is not None}

    def map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The same inputs with every parameter and the table changed; parameters become leaves."""
        parameters = {
            name: None if tensor is None else change(tensor.detach()).requires_grad_(tensor.requires_grad)
            for name, tensor in self.parameters.items()
        }
        return replace(self, table=change(self.table), parameters=parameters)


def make_inputs(
    case: Case, sizes: Sizes, dtype: torch.dtype = torch.float64, device: str = "cpu", seed: int = 0
) -> Inputs:
    """Random inputs; the last task of a mask keeps one candidate only."""
    B, L, T, n, m, d, V = sizes
    n = n if case.sources else 0
    N = n + case.privates
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
        return values.to(device, dtype).requires_grad_()

    mask = None
    if case.mask:
        mask = torch.rand((T, N), generator=generator) < 0.6
        mask[:, 0] = True
        mask[-1, 1:] = False
        mask = mask.to(device)
    weights = normal(B if case.mixing == "row_alpha" else T, N)
    return Inputs(
        torch.randint(V, (B, L), generator=generator).to(device),
        torch.randint(T, (B,), generator=generator).to(device),
        normal(V, d).detach(),
        {
            "logits": weights if case.mixing == "logits" else None,
            "sources": normal(n, m, d) if case.sources else None,
            "privates": normal(T, m, d) if case.privates else None,
            "weight": normal(d, d, scale=d**-0.5) if case.encoder else None,
            "bias": normal(d) if case.bias else None,
            "alpha": weights if case.mixing == "alpha" else None,
            "row_alpha": weights if case.mixing == "row_alpha" else None,
            "added": normal(T, m, d) if case.added else None,
        },
        {
            "temperature": 0.7 if case.mixing == "logits" else 1.0,
            "mask": mask,
            "encode_sources": case.raw_sources,
            "encode_privates": case.raw_privates,
        },
    )


def prompted(x: Inputs, backend: Any) -> Tensor:
    """prompted_embedding by a backend, or by the reference."""
    if backend == "reference":
        return reference.prompted_embedding(x.input_ids, x.task_ids, x.table, **x.parameters, **x.options)
    return functional.prompted_embedding(x.input_ids, x.task_ids, x.table, **x.parameters, **x.options, backend=backend)


def composed(x: Inputs, backend: Any) -> Tensor:
    """compose_prompts by a backend, or by the reference."""
    options = dict(x.options)
    if x.parameters["row_alpha"] is not None:
        options["task_ids"] = x.task_ids
    if backend == "reference":
        return reference.compose_prompts(**x.parameters, **options)
    return functional.compose_prompts(**x.parameters, **options, backend=backend)


def prepended(x: Inputs, backend: Any) -> Tensor:
    """prepend_prompts of the private prompts by a backend, or by the reference."""
    prompts = x.parameters["privates"]
    if backend == "reference":
        return reference.prepend_prompts(prompts, x.task_ids, x.input_ids, x.table)
    return functional.prepend_prompts(prompts, x.task_ids, x.input_ids, x.table, backend=backend)


def results(operation: Callable[[D, str], Tensor], x: D, backend: str, grad: Tensor | None = None) -> dict[str, Tensor]:
    """The output and every parameter's gradient; a parameter that took no part has gradient zero."""
    out = operation(x, backend)
    leaves = {name: tensor for name, tensor in x.given.items() if tensor.requires_grad}
    if grad is None:
        grad = output_gradient(out)
    gradients = torch.autograd.grad(out, list(leaves.values()), grad.to(out.dtype), allow_unused=True)
    named = zip(leaves, gradients, leaves.values(), strict=True)
    return {
        "output": out.detach(),
        **{name: torch.zeros_like(leaf) if gradient is None else gradient for name, gradient, leaf in named},
    }


def output_gradient(out: Tensor, seed: int = 1) -> Tensor:
    """A random gradient of the output, the same for every dtype and device."""
    values = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.to(out.device, out.dtype)


def assert_same(got: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = 0.0) -> None:
    """Equal shapes and values, within an absolute tolerance, and nothing that is not a number."""
    assert got.keys() == wanted.keys()
    for name, tensor in got.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=0.0, atol=tolerance, msg=_prefix(name))


def assert_as_accurate(x: D, operation: Callable[[D, str], Tensor], low: D, dtype: torch.dtype) -> None:
    """The rule of accuracy: an error at most twice that of the reference run in the low precision, plus a little."""
    exact = x.map(lambda tensor: tensor.double())
    grad = output_gradient(operation(low, "reference"))
    wanted = results(operation, exact, "reference", grad.double())
    own = results(operation, low, "reference", grad)
    got = results(operation, x, "triton", grad)
    for name, tensor in got.items():
        scale = wanted[name].abs().max().item() + 1e-30
        error = (tensor.double() - wanted[name]).abs().max().item()
        bound = 2 * (own[name].double() - wanted[name]).abs().max().item() + SMALLEST[dtype] * scale
        assert error <= bound, f"{name}: error {error:.3g} exceeds {bound:.3g}"


def _prefix(name: str) -> Callable[[str], str]:
    return lambda text: f"{name}: {text}"

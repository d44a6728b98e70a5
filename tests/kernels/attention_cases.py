"""Inputs for the attention's tests: which parts there are, which sizes, and the operation on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from crosspt import functional, reference
from crosspt.kernels.tools import dropped


class Sizes(NamedTuple):
    """m = 0 is no prefix."""

    B: int = 3
    H: int = 2
    Lq: int = 5
    Lk: int = 7
    D: int = 6
    T: int = 2
    m: int = 3


@dataclass(frozen=True)
class Case:
    """Which arguments are given."""

    bias: bool = True
    mask: bool = False
    prefix: bool = True
    causal: bool = False
    dropout: float = 0.0


CASES = {
    "bare": Case(bias=False, prefix=False),
    "bias": Case(prefix=False),
    "bias, mask": Case(mask=True, prefix=False),
    "causal": Case(prefix=False, causal=True),
    "prefix": Case(bias=False),
    "prefix, bias, mask": Case(mask=True),
    "prefix, mask, causal": Case(bias=False, mask=True, causal=True),
    "dropout": Case(bias=False, prefix=False, dropout=0.4),
    "all": Case(mask=True, causal=True, dropout=0.3),
}


@dataclass(frozen=True)
class Inputs:
    """Arguments of the attention; queries, keys, values and bias require gradients."""

    tensors: dict[str, Any]
    mask: Tensor | None
    task_ids: Tensor | None
    causal: bool
    dropout: float
    seed: Tensor | None
    keep: Tensor | None

    @property
    def given(self) -> dict[str, Tensor]:
        """Queries, keys, values and bias that are there."""
        return {name: tensor for name, tensor in self.tensors.items() if tensor is not None}

    def frozen(self, *names: str) -> Inputs:
        """The same inputs, of which these require no gradient."""
        return self.replaced(**{name: self.tensors[name].detach() for name in names if name in self.given})

    def replaced(self, **tensors: Tensor) -> Inputs:
        """The same inputs with other tensors."""
        return replace(self, tensors={**self.tensors, **tensors})

    def map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The same inputs with every floating-point tensor but the factors of dropout changed."""
        tensors = {
            name: None if tensor is None else change(tensor.detach()).requires_grad_(tensor.requires_grad)
            for name, tensor in self.tensors.items()
        }
        return replace(self, tensors=tensors)


def make_inputs(
    case: Case, sizes: Sizes, dtype: torch.dtype = torch.float64, device: str = "cpu", seed: int = 0
) -> Inputs:
    """Random inputs with scores of about one; a masked row sees one key at least."""
    B, H, Lq, Lk, D, T, m = sizes
    m = m if case.prefix else 0
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)

    def prefix() -> Tensor | None:
        return normal(T, H, m, D).requires_grad_() if m else None

    mask = torch.rand((B, Lk), generator=generator) < 0.6
    mask[:, :1] = True
    dropout_seed = torch.tensor([seed + 7], device=device) if case.dropout else None
    return Inputs(
        {
            "query": (normal(B, H, Lq, D) * D**-0.5).requires_grad_(),
            "key": normal(B, H, Lk, D).requires_grad_(),
            "value": normal(B, H, Lk, D).requires_grad_(),
            "bias": normal(H, max(Lq + m + Lk - 1, 0)).requires_grad_() if case.bias else None,
            "prefix_key": prefix(),
            "prefix_value": prefix(),
        },
        mask.to(device) if case.mask else None,
        (T - 1 - torch.arange(B) % T).to(device) if m else None,
        case.causal,
        case.dropout,
        dropout_seed,
        None if dropout_seed is None else keep_factors(sizes._replace(m=m), case.dropout, dropout_seed),
    )


def keep_factors(sizes: Sizes, dropout: float, seed: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """What dropout multiplies the weights with (B, H, Lq, m + Lk)."""
    B, H, Lq, Lk, _, _, m = sizes
    return dropped.keep_factors((B, H, Lq, Lk, m), dropout, seed, dtype).double()


def attended(x: Inputs, backend: Any) -> Tensor:
    """The attention by a backend, or by the reference."""
    arguments: tuple[Any, ...] = (*(x.tensors[name] for name in ("query", "key", "value", "bias")), x.mask)
    options: dict[str, Any] = {name: x.tensors[name] for name in ("prefix_key", "prefix_value")}
    options |= {"task_ids": x.task_ids, "causal": x.causal}
    if backend == "reference":
        keep = None if x.keep is None else x.keep.to(arguments[0].dtype)
        return reference.attention(*arguments, **options, keep=keep)
    seed = x.seed if backend == "triton" else None
    return functional.attention(*arguments, **options, dropout=x.dropout, seed=seed, backend=backend)

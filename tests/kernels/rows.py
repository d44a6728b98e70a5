"""Inputs of prepend_prompts with what it takes besides prompts: offsets of token rows, or a gain of a shared prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from crosspt import functional, reference

MORE = {"offsets": ("offsets",), "gain": ("positions", "columns")}
"""Names of the tensors of each."""


class Sizes(NamedTuple):
    B: int
    L: int
    T: int
    m: int
    d: int
    positions: int  # L'
    V: int = 11


USUAL = Sizes(B=5, L=3, T=3, m=3, d=18, positions=4)
SIZES = {
    "ones": Sizes(1, 1, 1, 1, 1, 1, 1),
    "no tokens": Sizes(2, 0, 2, 2, 5, 3),
    "no rows": Sizes(0, 2, 2, 2, 5, 3),
    "more positions than tokens": Sizes(3, 2, 2, 1, 7, 9),
    "more tasks than rows": Sizes(3, 4, 7, 2, 19, 4),
    "wider than a block": Sizes(3, 5, 2, 3, 270, 5),
    "longer than a block": Sizes(3, 2, 2, 35, 9, 2),
    "more rows than are looked at together": Sizes(35, 3, 2, 2, 6, 3),
}


@dataclass(frozen=True)
class Rows:
    """Arguments of prepend_prompts; prompts, table and the tensors of ``kind`` require gradients."""

    kind: str
    input_ids: Tensor
    task_ids: Tensor
    given: dict[str, Tensor]

    def map(self, change: Callable[[Tensor], Tensor]) -> Rows:
        """The same with every floating-point tensor changed, leaves again."""
        return self.learning(**{name: change(tensor.detach()) for name, tensor in self.given.items()})

    def learning(self, **changed: Tensor) -> Rows:
        """The same with some tensors in place of those of their names, leaves again."""
        given = {name: tensor.detach().requires_grad_() for name, tensor in (self.given | changed).items()}
        return replace(self, given=given)

    def without(self) -> Rows:
        """The same with prompts and table alone."""
        return replace(self, kind="", given={name: self.given[name] for name in ("prompts", "table")})

    @property
    def operands(self) -> tuple[Any, ...]:
        """In the operator's order."""
        prompts, table = self.given["prompts"], self.given["table"]
        more = (self.given.get(name) for name in ("offsets", "positions", "columns"))
        return prompts, self.task_ids, self.input_ids, table, *more


def make_rows(kind: str, sizes: Sizes, dtype: torch.dtype = torch.float64, device: str = "cpu", seed: int = 0) -> Rows:
    B, L, T, m, d, positions, V = sizes
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype).requires_grad_()

    shapes = {"offsets": (T, positions, d), "positions": (T, m), "columns": (T, d)}
    return Rows(
        kind,
        torch.randint(V, (B, L), generator=generator).to(device),
        torch.randint(T, (B,), generator=generator).to(device),
        {"prompts": normal(1 if kind == "gain" else T, m, d), "table": normal(V, d)}
        | {name: normal(*shapes[name]) for name in MORE[kind]},
    )


def placed(x: Rows, backend: Any) -> Tensor:
    """prepend_prompts by a backend, or by the reference."""
    prompts, task_ids, input_ids, table, offsets, *gain = x.operands
    more: dict[str, Any] = {"offsets": offsets, "gain": tuple(gain) if x.kind == "gain" else None}
    if backend == "reference":
        return reference.prepend_prompts(prompts, task_ids, input_ids, table, **more)
    return functional.prepend_prompts(prompts, task_ids, input_ids, table, **more, backend=backend)

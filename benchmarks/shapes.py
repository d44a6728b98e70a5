"""The sizes that are measured and counted: shapes, their batches, and the grids over them."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

Grid = Literal["small", "full"]


D = TypeVar("D", bound="Dimensions")


def label(sizes: Mapping[str, Any]) -> str:
    """The sizes of a shape in one word, such as B16-L64-float32; that of the vocabulary is left out."""
    return "-".join(f"{name}{size}" if name != "dtype" else size for name, size in sizes.items() if name != "V")


class Dimensions:
    """What the shapes of all operations have in common; they are dataclasses."""

    B: int
    T: int
    dtype: str

    def __str__(self) -> str:
        return label(self.to_json())

    @property
    def torch_dtype(self) -> torch.dtype:
        """The floating-point type."""
        return getattr(torch, self.dtype)

    @property
    def itemsize(self) -> int:
        """Bytes of a floating-point number."""
        return self.torch_dtype.itemsize

    @property
    def used_tasks(self) -> int:
        """Tasks that occur in the batch."""
        return min(self.B, self.T)

    def moved(self: D, **sizes: Any) -> D:
        """The shape with other sizes."""
        return type(self)(**{**self.to_json(), **sizes})

    def to_json(self) -> dict[str, Any]:
        """The sizes by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class Shape(Dimensions):
    """Sizes of the embedding operation.

    Attributes:
        B: rows of the batch.
        L: input tokens of a row.
        m: prompt length.
        d: model width.
        n: source prompts.
        T: target tasks, each with a private prompt.
        dtype: name of the floating-point type of the table and of every parameter.
        V: rows of the token table.
    """

    B: int = 16
    L: int = 64
    m: int = 10
    d: int = 768
    n: int = 8
    T: int = 8
    dtype: str = "float32"
    V: int = 32128


class Batch(NamedTuple):
    """A batch without padding: ``input_ids`` (B, L), ``task_ids`` (B,) and the token ``table`` (V, d)."""

    input_ids: Tensor
    task_ids: Tensor
    table: Tensor

    @property
    def constant(self) -> Tensor:
        """The rows of the tokens (B, L, d)."""
        return self.table[self.input_ids]


REFERENCE = Shape()
STEP = REFERENCE.moved(B=8, L=32)
"""Of a T5's training step and generation, where many are timed."""
TINY = Shape(B=3, L=5, m=2, d=16, n=2, T=2, V=32)
LEDGER = (REFERENCE, Shape(B=4, L=16, m=4, d=64, n=2, T=2), Shape(B=4, L=16, m=4, d=64, n=8, T=16))

# One size at a time is moved away from the reference shape.
SMALL: dict[str, tuple[Any, ...]] = {"n": (64,), "T": (64,), "m": (100,), "B": (64,), "L": (256,), "d": (512,)}
FULL: dict[str, tuple[Any, ...]] = {
    "n": (1, 8, 64, 256),
    "T": (1, 8, 64, 1024),
    "m": (1, 10, 100, 200),
    "B": (16, 64),
    "L": (64, 256),
    "d": (512, 768, 1024),
    "dtype": ("float32", "bfloat16"),
}


def shapes(grid: Grid) -> list[Shape]:
    """The shapes of a grid: ``small`` varies one size at a time, ``full`` takes all combinations."""
    if grid == "full":
        return [Shape(**dict(zip(FULL, values, strict=True))) for values in product(*FULL.values())]
    moved = [REFERENCE.moved(**{name: value}) for name, values in SMALL.items() for value in values]
    return [REFERENCE, *moved, REFERENCE.moved(dtype="bfloat16")]


def make_batch(shape: Shape, device: torch.device | str = "cpu") -> Batch:
    """A batch of all tasks in turn whose tokens are distinct as far as the table reaches."""
    generator = torch.Generator().manual_seed(0)
    count = shape.B * shape.L
    ids = torch.cat([torch.randperm(shape.V, generator=generator) for _ in range(-(-count // shape.V))])
    table = torch.randn(shape.V, shape.d, generator=generator)
    return Batch(
        ids[:count].view(shape.B, shape.L).to(device),
        (torch.arange(shape.B) % shape.T).to(device),
        table.to(device, shape.torch_dtype),
    )

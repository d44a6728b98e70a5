"""The sizes that are measured and counted, and the grids over them."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, TypeVar

import torch

Grid = Literal["small", "full"]
D = TypeVar("D", bound="Dimensions")


def label(sizes: Mapping[str, Any]) -> str:
    """The sizes of a shape in one word, such as B16-L64-float32; that of the vocabulary is left out."""
    types = sizes.get("parameters"), sizes["dtype"]
    named = [f"{name}{size}" for name, size in sizes.items() if name not in ("V", "dtype", "parameters")]
    return "-".join([*named, *(name for name in types if name)])


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
    """Sizes of the embedding operation, and of a T5 behind it."""

    B: int = 16  # rows of the batch
    L: int = 64  # input tokens of a row
    m: int = 10  # prompt length
    d: int = 768  # model width
    n: int = 8  # source prompts
    T: int = 8  # target tasks, each with a private prompt
    dtype: str = "float32"  # of the token table, and of every parameter
    V: int = 32128  # rows of the token table
    parameters: str = ""  # dtype of the parameters of CrossPT, if another

    @property
    def parameter_dtype(self) -> torch.dtype:
        """The floating-point type of CrossPT's parameters."""
        return getattr(torch, self.parameters or self.dtype)


@dataclass(frozen=True)
class AttentionShape(Dimensions):
    """Sizes of an attention."""

    B: int = 16  # rows of the batch
    H: int = 12  # heads
    Lq: int = 128  # queries of a row
    Lk: int = 128  # keys of a row, without the prefix
    D: int = 64  # width of a head
    m: int = 0  # keys of a task's prefix; 0 for no prefix
    T: int = 1  # tasks, each with a prefix
    dtype: str = "bfloat16"


REFERENCE = Shape()
SMALL_T5 = REFERENCE.moved(d=512)
STEP = SMALL_T5.moved(B=8, L=32)
"""Of a T5's training step and generation, where many are timed."""
TINY = Shape(B=3, L=5, m=2, d=16, n=2, T=2, V=64)
LEDGER = (REFERENCE, Shape(B=4, L=16, m=4, d=64, n=2, T=2), Shape(B=4, L=16, m=4, d=64, n=8, T=16))

# One size at a time is moved away from the reference shape.
SMALL: dict[str, tuple[Any, ...]] = {"n": (64,), "T": (64,), "m": (100,), "B": (64,), "L": (256,), "d": (512,)}
FULL: dict[str, tuple[Any, ...]] = {
    "n": (1, 8, 64, 256), "T": (1, 8, 64, 1024), "m": (1, 10, 100, 200), "B": (16, 64), "L": (64, 256),
    "d": (512, 768, 1024), "dtype": ("float32", "bfloat16"),
}  # fmt: skip
GROWTH: dict[str, tuple[int, ...]] = {
    "n": (1, 4, 16, 64, 256), "T": (1, 8, 64, 256, 1024), "m": (1, 10, 50, 100, 200), "B": (1, 4, 16, 64),
    "L": (16, 64, 256, 512),
}  # fmt: skip
"""The values of each size that grows while the others stay."""


def shapes(grid: Grid) -> list[Shape]:
    """The shapes of a grid: ``small`` varies one size at a time, ``full`` takes all combinations."""
    if grid == "full":
        return [Shape(**dict(zip(FULL, values, strict=True))) for values in product(*FULL.values())]
    moved = [REFERENCE.moved(**{name: value}) for name, values in SMALL.items() for value in values]
    return [REFERENCE, *moved, REFERENCE.moved(dtype="bfloat16")]

"""Tile sizes, from the prompt length, the widths, the number of sources, the dtype and the class of the GPU alone.

Batch size, input length and number of tasks never enter, so training never compiles a kernel twice.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
import triton


class Tiles(NamedTuple):
    """Block sizes of the composing programs; each name is the kernels' constexpr."""

    BG: int  # groups (tasks or batch rows) of a tile
    BI: int  # prompt positions of a tile; BG * BI rows go through the encoder together
    BN: int  # columns that a program writes
    BK: int  # columns of the inner product, a step
    BJ: int  # sources mixed in one matrix product
    num_warps: int
    num_stages: int


@lru_cache(maxsize=512)
def compose_tiles(length: int, width: int, sources: int, dtype: torch.dtype, architecture: str) -> Tiles:
    """Tiles for prompts (., m, d) mixed from n sources.

    Half precision takes 64 rows, the smallest block of the matrix units of sm_90 and sm_100. Float32 and float64
    multiply on the ordinary units, where rows that do not exist cost as much as those that do: 16 rows.

    Args:
        length: m.
        width: d.
        sources: n.
        dtype: of the operands of matrix products.
        architecture: a class of ``crosspt.kernels.architecture``.
    """
    many = 16 if sources <= 16 or architecture in ("sm_80", "sm_86") else 32
    if dtype.itemsize == 2:
        positions = fit(length, 4)
        return Tiles(
            64 // positions, positions, fit(width, 64, 16), fit(width, 32, 16), many, 8 if many == 16 else 4, 3
        )
    positions, columns = fit(length, 2), fit(width, 32, 16)
    return Tiles(16 // positions, positions, columns, columns, many, 4, 3 if dtype.itemsize == 4 else 2)


class ProductTiles(NamedTuple):
    """Block sizes of the programs behind dMixed and dW; each name is the kernels' constexpr."""

    BG: int  # groups of a tile of dMixed
    BI: int  # its prompt positions
    BN: int  # its columns
    BK: int  # columns of its inner product, a step
    BJ: int  # sources in one matrix product
    BH: int  # groups of a step of dW
    BQ: int  # prompt positions of a step of dW; BH * BQ rows are summed at a time
    BO: int  # rows of a tile of dW
    BP: int  # columns of a tile of dW
    num_warps: int
    num_stages: int


@lru_cache(maxsize=512)
def product_tiles(length: int, width: int, sources: int, dtype: torch.dtype, architecture: str) -> ProductTiles:
    """Tiles of the backward's matrix products; arguments are those of :func:`compose_tiles`, and the GPU's class."""
    stages = 1 if architecture == "gfx942" else 2  # two would spill there
    many = 16 if sources <= 16 else 32
    columns = fit(width, 64, 16)
    if dtype.itemsize == 2:
        positions = fit(length, 4)
        return ProductTiles(64 // positions, positions, columns, columns, many, 16, 1, 64, columns, 8, stages)
    positions = fit(length, 2)
    groups = 16 // positions
    step = fit(width, 32, 16)
    return ProductTiles(groups, positions, columns, step, many, groups, positions, columns, columns, 8, stages)


class SpreadTiles(NamedTuple):
    """Block sizes of the programs that spread dMixed and finish the logits; each name is the kernel's constexpr."""

    BG: int  # groups of a step
    BI: int  # prompt positions of a tile
    BN: int  # columns of a tile
    BJ: int  # sources or tasks of a tile
    BX: int  # partial sums added at a time
    num_warps: int


@lru_cache(maxsize=512)
def spread_tiles(length: int, width: int, dtype: torch.dtype, architecture: str, by_row: bool) -> SpreadTiles:
    """Tiles of the backward's last launch; the arguments are those of :func:`compose_tiles`.

    Where each row has weights of its own (``by_row``), half types would spill on sm_86 in 4 warps.
    """
    if dtype.itemsize == 2:
        # Fewer positions would spill on sm_80, and cost as much.
        return SpreadTiles(16, 4, fit(width, 64, 16), 16, 64, 8 if by_row and architecture == "sm_86" else 4)
    return SpreadTiles(16, fit(length, 2), fit(width, 32, 16), 16, 64, 4)


def fit(size: int, most: int, least: int = 1) -> int:
    """The power of two that covers ``size``, between ``least`` and ``most``."""
    return max(least, min(most, triton.next_power_of_2(size)))


MOST_INSIDE = 32
"""Sources and positions up to which a composition is mixed inside its products."""
MIXED_ONCE_BYTES = 2
"""Bytes of the widest operands for which more are mixed in a launch of their own."""


def mixed_once(length: int, sources: int, dtype: torch.dtype) -> bool:
    """Whether a composition is mixed in a launch of its own, so that its products do not mix for each of their tiles.

    That is one launch more forward and up to two more backward, for half types alone. Batch size, input length and
    number of tasks have no say here either.

    Args:
        length: m.
        sources: n.
        dtype: of the operands of matrix products.
    """
    return dtype.itemsize <= MIXED_ONCE_BYTES and max(length, sources) > MOST_INSIDE


class CopyTiles(NamedTuple):
    """Block sizes of the programs that move rows."""

    BR: int  # rows
    BC: int  # columns, a step
    num_warps: int


@lru_cache(maxsize=512)
def copy_tiles(width: int, dtype: torch.dtype, added: bool = False) -> CopyTiles:
    """Tiles for moving rows of d elements: of up to 4 bytes, four loads of 16 bytes a thread and step.

    Where rows are ``added`` to them, float32 takes half as many of each: with more it would spill on sm_120.
    """
    if dtype.itemsize == 2:
        columns = fit(width, 512, 16)
        return CopyTiles(8192 // columns, columns, 8)
    columns = fit(width, 256, 16)
    return CopyTiles((1024 if added else 2048) // columns, columns, 4)


class RowSumTiles(NamedTuple):
    """Block sizes of the programs that sum the rows of a task; each name is the kernel's constexpr."""

    BI: int  # positions
    BC: int  # columns
    num_warps: int


@lru_cache(maxsize=512)
def row_sum_tiles(length: int, width: int, dtype: torch.dtype) -> RowSumTiles:
    """Tiles for sums over batch rows of prompts (m, d): few positions, so that many programs wait for their rows."""
    columns = fit(width, 1024 // dtype.itemsize, 16)
    return RowSumTiles(fit(length, 2), columns, 4)


@lru_cache(maxsize=512)
def gain_tiles(length: int, width: int, dtype: torch.dtype) -> RowSumTiles:
    """Tiles for sums over batch rows of a prompt (m, d) and its gains: what a tile leaves for each task is BI + BC."""
    return RowSumTiles(fit(length, 16), fit(width, 128 // dtype.itemsize, 16), 4)


class AttentionTiles(NamedTuple):
    """Block sizes of an attention kernel; each name is the kernel's constexpr."""

    BM: int  # queries
    BN: int  # keys
    BD: int  # columns, those of a head or more
    num_warps: int
    num_stages: int


Tile = tuple[int, int, int, int]
"""BM, BN, warps and stages."""
_ANY: dict[str, dict[int, Tile]] = {
    "attention": {64: (64, 64, 4, 2), 128: (64, 32, 8, 2)},
    "attention_query": {64: (64, 32, 4, 1), 128: (64, 16, 8, 1)},
    "attention_key": {64: (32, 64, 8, 1), 128: (16, 64, 4, 1)},
    "attention_bias": {64: (64, 32, 4, 1), 128: (64, 16, 8, 1)},
}
_SM_80: dict[str, dict[int, Tile]] = {
    "attention": {32: (64, 16, 4, 2), 64: (64, 64, 4, 2), 128: (128, 16, 8, 2)},
    "attention_query": {64: (64, 16, 4, 1), 128: (128, 16, 8, 1)},
    "attention_key": {32: (16, 64, 4, 2), 64: (16, 64, 4, 1), 128: (16, 128, 8, 1)},
    "attention_bias": {64: (64, 32, 4, 1), 128: (64, 32, 4, 1)},
}
ATTENTION: dict[str, dict[str, dict[int, Tile]]] = {
    "any": _ANY,
    "sm_80": _SM_80,
    "sm_86": _SM_80,
    "sm_90": {
        "attention": {64: (64, 64, 4, 2), 128: (128, 64, 8, 2)},
        "attention_query": {64: (64, 32, 4, 1), 128: (128, 32, 8, 2)},
        "attention_key": {64: (64, 64, 4, 1), 128: (32, 128, 8, 2)},
        "attention_bias": {64: (64, 64, 4, 1), 128: (64, 64, 8, 1)},
    },
    "sm_100": {
        "attention": {64: (64, 64, 4, 1), 128: (64, 32, 4, 1)},
        "attention_query": {32: (128, 64, 8, 1), 64: (64, 64, 4, 2), 128: (64, 16, 4, 1)},
        "attention_key": {64: (64, 64, 8, 1), 128: (64, 64, 8, 1)},
        "attention_bias": {32: (128, 32, 4, 1), 64: (64, 64, 8, 1), 128: (64, 32, 4, 1)},
    },
    "gfx942": {
        "attention": {64: (128, 64, 4, 1), 128: (64, 16, 2, 2)},
        "attention_query": {64: (128, 16, 4, 2), 128: (64, 16, 2, 1)},
        "attention_key": {64: (16, 128, 4, 2), 128: (16, 64, 2, 1)},
        "attention_bias": {64: (64, 64, 2, 1), 128: (64, 64, 4, 1)},
    },
}
"""Tiles of half types in each class of GPU and launch, for heads of up to so many columns; by ``tools/search.py``."""
WITH_DROPOUT: dict[tuple[str, str], dict[int, Tile]] = {
    ("sm_80", "attention_key"): {128: (32, 32, 4, 3)},
    ("sm_86", "attention_key"): {64: (16, 64, 4, 2), 128: (32, 32, 4, 2)},
    ("sm_90", "attention_key"): {64: (32, 64, 4, 1), 128: (16, 128, 8, 2)},
}
"""Tiles that take the place of those which spill where weights are dropped."""
WITH_ALL: dict[tuple[str, str], dict[int, Tile]] = {("sm_86", "attention_key"): {128: (32, 32, 8, 1)}}
"""Tiles that take the place of those which spill where there are bias, mask and prefix."""


@lru_cache(maxsize=64)
def attention_tiles(
    launch: str, width: int, dtype: torch.dtype, architecture: str, dropout: bool = False, everything: bool = False
) -> AttentionTiles:
    """Tiles of a launch of the attention.

    Args:
        launch: "attention", or "attention_query", "attention_key" or "attention_bias" of the backward; the last one's
            BM is a multiple of its BN.
        width: D, of a head.
        dtype: of queries, keys and values.
        architecture: a class of ``crosspt.kernels.architecture``.
        dropout: whether weights are dropped.
        everything: whether there are bias, mask and prefix.
    """
    columns = max(16, triton.next_power_of_2(width))  # whole rows of a head
    narrow = columns <= 64
    if dtype.itemsize == 2:
        known = architecture if columns <= 128 else "any"
        tiles = ATTENTION[known][launch]
        tiles = tiles | (WITH_ALL.get((known, launch), {}) if everything else {})
        tiles = tiles | (WITH_DROPOUT.get((known, launch), {}) if dropout else {})
        rows, keys, warps, stages = tiles[min((limit for limit in tiles if columns <= limit), default=max(tiles))]
    elif launch == "attention":
        rows, keys, warps, stages = 16, 16, 4, 2
    elif launch == "attention_query":
        spills = architecture == "sm_86" and dtype.itemsize == 4
        rows, keys, warps, stages = 16, 16, 4 if narrow else 8, 1 if spills else 2
    elif launch == "attention_key":
        rows, keys, warps, stages = 16, 32, 4 if narrow else 8, 1
    else:
        rows, keys, warps, stages = 16, 16, 8, 1
    return AttentionTiles(rows, keys, columns, warps, stages)


def whole_steps_apart(columns: int, dtype: torch.dtype, architecture: str) -> bool:
    """Whether the launch of the keys goes over queries that all exist in a loop of its own.

    That takes 6 to 27 % of the loop's instructions away, and 10 to 50 registers more: with 128 columns or float32 it
    spills, and on sm_86 it does in some combinations. On gfx942 a multiprocessor would hold one program instead of two.

    Args:
        columns: of a tile, those of a head or more.
        dtype: of queries, keys and values.
        architecture: a class of ``crosspt.kernels.architecture``.
    """
    return columns <= 64 and dtype.itemsize == 2 and architecture not in ("sm_86", "gfx942")

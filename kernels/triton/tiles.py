"""Tile sizes, from the prompt length, the widths, the number of sources and the dtype alone.

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
def compose_tiles(length: int, width: int, sources: int, dtype: torch.dtype) -> Tiles:
    """Tiles for prompts (., m, d) mixed from n sources.

    Half precision takes 64 rows, the smallest block of the matrix units of sm_90 and sm_100. Float32 and float64
    multiply on the ordinary units, where rows that do not exist cost as much as those that do: 16 rows.

    Args:
        length: m.
        width: d.
        sources: n.
        dtype: of the operands of matrix products.
    """
    many = 16 if sources <= 16 else 32
    if dtype.itemsize == 2:
        positions = _fit(length, 4)
        return Tiles(
            64 // positions, positions, _fit(width, 64, 16), _fit(width, 32, 16), many, 8 if many == 16 else 4, 3
        )
    positions, columns = _fit(length, 2), _fit(width, 32, 16)
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
def product_tiles(length: int, width: int, sources: int, dtype: torch.dtype) -> ProductTiles:
    """Tiles of the backward's matrix products; the arguments are those of :func:`compose_tiles`."""
    many = 16 if sources <= 16 else 32
    columns = _fit(width, 64, 16)
    if dtype.itemsize == 2:
        positions = _fit(length, 4)
        return ProductTiles(64 // positions, positions, columns, columns, many, 16, 1, 64, columns, 8, 2)
    positions = _fit(length, 2)
    groups = 16 // positions
    step = _fit(width, 32, 16)
    return ProductTiles(groups, positions, columns, step, many, groups, positions, columns, columns, 8, 2)


class SpreadTiles(NamedTuple):
    """Block sizes of the programs that spread dMixed and finish the logits; each name is the kernel's constexpr."""

    BG: int  # groups of a step
    BI: int  # prompt positions of a tile
    BN: int  # columns of a tile
    BJ: int  # sources or tasks of a tile
    BX: int  # partial sums added at a time
    num_warps: int


@lru_cache(maxsize=512)
def spread_tiles(length: int, width: int, dtype: torch.dtype) -> SpreadTiles:
    """Tiles of the backward's last launch; the arguments are those of :func:`compose_tiles`."""
    if dtype.itemsize == 2:
        return SpreadTiles(16, _fit(length, 4), _fit(width, 64, 16), 16, 64, 4)
    return SpreadTiles(16, _fit(length, 2), _fit(width, 32, 16), 16, 64, 4)


def _fit(size: int, most: int, least: int = 1) -> int:
    """The power of two that covers ``size``, between ``least`` and ``most``."""
    return max(least, min(most, triton.next_power_of_2(size)))


class CopyTiles(NamedTuple):
    """Block sizes of the programs that move rows."""

    BR: int  # rows
    BC: int  # columns, a step
    num_warps: int


@lru_cache(maxsize=512)
def copy_tiles(width: int, dtype: torch.dtype) -> CopyTiles:
    """Tiles for moving rows of d elements: of up to 4 bytes, four loads of 16 bytes a thread and step."""
    columns = _fit(width, 256, 16)
    return CopyTiles((4096 if dtype.itemsize == 2 else 2048) // columns, columns, 4)


class AttentionTiles(NamedTuple):
    """Block sizes of an attention kernel; each name is the kernel's constexpr."""

    BM: int  # queries
    BN: int  # keys
    BD: int  # columns, those of a head or more
    num_warps: int
    num_stages: int


@lru_cache(maxsize=64)
def attention_tiles(width: int, dtype: torch.dtype) -> AttentionTiles:
    """Tiles of the attention's forward launch: 64 rows for half precision, as in :func:`compose_tiles`.

    Args:
        width: D, of a head.
        dtype: of queries, keys and values.
    """
    columns = _columns(width)
    if dtype.itemsize == 2:
        return AttentionTiles(64, 64, columns, 4, 2) if columns <= 64 else AttentionTiles(64, 32, columns, 8, 2)
    return AttentionTiles(16, 16, columns, 4, 2)


@lru_cache(maxsize=64)
def attention_query_tiles(width: int, dtype: torch.dtype) -> AttentionTiles:
    """Tiles of the launch that gives the queries' gradient; the arguments are those of :func:`attention_tiles`."""
    columns = _columns(width)
    if dtype.itemsize == 2:
        return AttentionTiles(64, 32, columns, 4, 1) if columns <= 64 else AttentionTiles(64, 16, columns, 8, 1)
    return AttentionTiles(16, 16, columns, 4 if columns <= 64 else 8, 2)


@lru_cache(maxsize=64)
def attention_key_tiles(width: int, dtype: torch.dtype) -> AttentionTiles:
    """Tiles of the launch that gives the keys' and values' gradients, likewise."""
    columns = _columns(width)
    if dtype.itemsize == 2:
        return AttentionTiles(32, 64, columns, 8, 1) if columns <= 64 else AttentionTiles(16, 64, columns, 4, 1)
    return AttentionTiles(16, 32, columns, 4 if columns <= 64 else 8, 1)


@lru_cache(maxsize=64)
def attention_bias_tiles(width: int, dtype: torch.dtype) -> AttentionTiles:
    """Tiles of the launch behind the gradient of the bias, likewise; BM is a multiple of BN."""
    if dtype.itemsize == 2:
        return attention_query_tiles(width, dtype)
    return AttentionTiles(16, 16, _columns(width), 8, 1)


def _columns(width: int) -> int:
    """Columns of a tile that holds whole rows of a head."""
    return max(16, triton.next_power_of_2(width))

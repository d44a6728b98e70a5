"""Tile sizes, from the prompt length, the width, the number of sources and the dtype alone.

Batch size, input length and number of tasks never enter, so training never compiles a kernel twice.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
import triton


class Tiles(NamedTuple):
    """Block sizes of the composing kernels; each name is the kernels' constexpr."""

    BG: int  # groups (tasks or batch rows) of a tile
    BI: int  # prompt positions of a tile; BG * BI rows go through the encoder together
    BN: int  # columns that a program writes
    BK: int  # columns of the inner product, a step
    BJ: int  # sources mixed in one matrix product
    BO: int  # rows of the encoder's gradient that a program writes
    BP: int  # columns of the encoder's gradient that a program writes
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
    columns = max(16, triton.next_power_of_2(width))
    many = 16 if sources <= 16 else 32
    if dtype.itemsize == 2:
        positions = min(4, triton.next_power_of_2(length))
        return Tiles(
            64 // positions, positions, min(64, columns), min(64, columns), many, 64, min(64, columns), 4, 3
        )
    positions = min(2, triton.next_power_of_2(length))
    return Tiles(
        16 // positions, positions, min(32, columns), min(32, columns), many, min(128, columns), min(64, columns), 4, 2
    )


class CopyTiles(NamedTuple):
    """Block sizes of the programs that move rows."""

    BR: int  # rows
    BC: int  # columns, a step
    num_warps: int


@lru_cache(maxsize=512)
def copy_tiles(width: int) -> CopyTiles:
    """Tiles for moving rows of d elements: 2048 elements a step."""
    columns = min(256, max(16, triton.next_power_of_2(width)))
    return CopyTiles(2048 // columns if columns == 256 else 8, columns, 4)

"""Tile sizes of the launches of a composition that is mixed once; see ``crosspt.kernels.tiles.mixed_once``."""

from functools import lru_cache
from typing import NamedTuple

import torch

from crosspt.kernels.tiles import fit

WANTED = 256
"""Programs that long sums are split over: some for each multiprocessor, by sizes alone and not by the device."""


class MixtureTiles(NamedTuple):
    """Block sizes of the launch that mixes once; each name is the kernel's constexpr."""

    BG: int  # groups of a tile
    BN: int  # its columns, of one position
    BJ: int  # sources mixed in one product
    num_warps: int
    num_stages: int


@lru_cache(maxsize=512)
def mixture_tiles(width: int, sources: int, dtype: torch.dtype, architecture: str, by_row: bool) -> MixtureTiles:
    """Tiles of the launch that mixes once, for n sources of a dtype and prompts of d columns.

    A program waits for each 16 sources and takes its weights anew: where they are many, few wide programs take less.
    In float32 those would spill, and on sm_86 programs of 8 warps where each row has weights of its own.
    """
    columns = fit(width, 256 if sources > 16 and dtype.itemsize == 2 else 128, 16)
    groups, warps = (32, 4) if by_row and architecture == "sm_86" else (64, 8)
    return MixtureTiles(groups, columns, 16, warps, 3)


class EncodeTiles(NamedTuple):
    """Block sizes of the products with an encoder, once prompts are mixed; each name is the kernels' constexpr."""

    BM: int  # rows of a tile
    BN: int  # its columns
    BK: int  # rows or columns of the inner product, a step
    num_warps: int
    num_stages: int


ENCODE = {
    "any": {"compose_encode": (64, 128, 32, 4, 3), "compose_encode_backward": (64, 128, 32, 4, 3)},
    "sm_80": {"compose_encode": (64, 128, 64, 4, 3), "compose_encode_backward": (64, 128, 32, 4, 3)},
    "sm_86": {"compose_encode": (64, 128, 32, 4, 3), "compose_encode_backward": (64, 128, 32, 4, 3)},
    "sm_90": {"compose_encode": (64, 128, 64, 4, 3), "compose_encode_backward": (128, 128, 64, 8, 3)},
    "sm_100": {"compose_encode": (64, 128, 64, 4, 3), "compose_encode_backward": (128, 128, 64, 8, 3)},
    "gfx942": {"compose_encode": (128, 128, 32, 8, 3), "compose_encode_backward": (128, 128, 32, 8, 3)},
}
"""BM, BN, BK, warps and stages of half types; judged by issue slots of the inner loop and resident warps."""


@lru_cache(maxsize=512)
def encode_tiles(launch: str, width: int, architecture: str) -> EncodeTiles:
    """Tiles of the products with the encoder.

    Args:
        launch: "compose_encode", or "compose_encode_backward".
        width: d.
        architecture: a class of ``crosspt.kernels.architecture``.
    """
    rows, columns, step, warps, stages = ENCODE[architecture][launch]
    return EncodeTiles(rows, fit(width, columns, 16), fit(width, step, 16), warps, stages)


class ShareTiles(NamedTuple):
    """Block sizes of the programs behind dS, dU and the shares of dalpha, once prompts are mixed."""

    BG: int  # groups of a step or tile
    BN: int  # columns of a patch, of one position
    BJ: int  # sources or tasks of a tile
    num_warps: int
    num_stages: int


@lru_cache(maxsize=512)
def share_tiles(width: int, sources: int) -> ShareTiles:
    """Tiles of that launch, for prompts of d columns and n sources."""
    return ShareTiles(64, fit(width, 128, 16), fit(sources, 32, 16), 4, 2)


class SumTiles(NamedTuple):
    """Block sizes of the programs that add up what was split; each name is the kernel's constexpr."""

    BJ: int  # candidates of a step
    BX: int  # shares added at a time
    BY: int  # parts of dW or db added at a time
    BC: int  # columns of a program
    num_warps: int


@lru_cache(maxsize=512)
def sum_tiles(width: int) -> SumTiles:
    """Tiles of the launch that adds up, for rows of d columns."""
    return SumTiles(64, 32, 4, fit(width, 512, 16), 4)

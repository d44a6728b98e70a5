"""How tiles are found and judged."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from crosspt.kernels.tools.inspection import TARGETS, Row, inspect
from crosspt.kernels.tools.search import KERNELS, Candidates, Tile, candidates, judge
from crosspt.kernels.tools.variants import Variant


def row(**facts: Any) -> Row:
    return Row("attention_kernel", "64 64 4 2", "bfloat16", "sm_90", **facts)


def test_slots_are_those_of_a_scheduler_for_64_queries_and_64_keys() -> None:
    compiled = row(loop_instructions=1000, registers=128, shared_bytes=1024)
    assert judge(Tile(64, 64, 4, 2), [compiled]).slots == (1000,)
    assert judge(Tile(64, 32, 4, 2), [compiled]).slots == (2000,)
    assert judge(Tile(64, 64, 8, 2), [compiled]).slots == (2000,)


def test_few_warps_cost_more_and_spills_are_out() -> None:
    tile = Tile(64, 64, 4, 2)
    many, few = (row(loop_instructions=1000, registers=registers, shared_bytes=1024) for registers in (160, 255))
    assert (judge(tile, [many]).programs, judge(tile, [few]).programs) == ((3,), (2,))
    assert (judge(tile, [many]).cost, judge(tile, [few]).cost) == (1000, 1500)
    assert judge(tile, [many, few]).cost == 2500
    assert judge(tile, [many, row(stack_bytes=8)]).cost == math.inf
    assert judge(tile, [many, row(shared_bytes=228 * 1024)]).cost == math.inf


def test_what_a_multiprocessor_holds() -> None:
    assert TARGETS["sm_86"].programs(4, 32, 1024) == 12  # 48 warps
    assert TARGETS["sm_86"].programs(4, 32, 49 * 1024) == 2  # 100 KiB, of which each program takes 1 more
    assert TARGETS["sm_90"].programs(8, 129, 1024) == 1  # 136 registers of 65536 / 256
    assert TARGETS["gfx942"].programs(4, 256, 1024) == 2


def test_warps_of_64_threads_issue_slower_and_hold_more_scores() -> None:
    compiled = replace(row(loop_instructions=1000, registers=256, shared_bytes=1024), target="gfx942")
    assert judge(Tile(64, 64, 4, 1), [compiled]).cost == 1000
    assert judge(Tile(64, 64, 4, 1), [replace(compiled, registers=264)]).cost == 2000
    assert Tile(128, 64, 4, 1) in candidates("attention_kernel", 64)
    assert Tile(128, 64, 4, 1) not in candidates("attention_kernel", 32)


@pytest.mark.parametrize("kernel", KERNELS)
def test_candidates_keep_what_a_program_keeps(kernel: str) -> None:
    across = {tile.BN if kernel == "attention_key_kernel" else tile.BM for tile in candidates(kernel, 32)}
    assert across == {32, 64, 128}


class Used(Candidates):
    """The tile in use alone."""

    def __call__(self) -> Iterator[Variant]:
        yield next(super().__call__())


MOST_SLOTS = {
    ("attention_kernel", 64): 700,
    ("attention_kernel", 128): 760,
    ("attention_query_kernel", 64): 700,
    ("attention_query_kernel", 128): 850,
    ("attention_key_kernel", 64): 560,
    ("attention_key_kernel", 128): 990,
    ("attention_bias_kernel", 64): 880,
    ("attention_bias_kernel", 128): 1380,
}


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "width"), MOST_SLOTS)
def test_slots_of_the_tiles_in_use(kernel: str, width: int) -> None:
    (found,) = inspect(["sm_90"], provider=Used(kernel, width, 0.0), jobs=1)
    tile = Tile(*map(int, found.variant.split()))
    judged = judge(tile, [found])
    print(kernel, width, judged)
    assert found.problem == ""
    assert judged.slots[0] <= MOST_SLOTS[kernel, width]

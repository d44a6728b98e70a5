"""Compile candidate tiles of the attention for GPUs that need not be there, and rank them.

    python -m crosspt.kernels.tools.search [--target sm_90 ...] [--kernel NAME ...] [--width 64 128] [--jobs N]

A tile is judged by issue slots: how many instructions each of a multiprocessor's four schedulers issues in the inner
loop for 64 queries and 64 keys, without dropout and with it. Where programs are so large that fewer warps are resident
than WARPS, too few to issue while others wait, slots count in proportion more. What spills or does not fit is out.
All tiles are compiled in one stage without dropout, the FINALISTS best of them in two stages too and with dropout. Only
half types are searched. The best goes into ``crosspt.kernels.tiles`` by hand, once the inspection of all variants
has passed with it.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from crosspt.kernels.tools.inspection import DEFAULT_TARGETS, TARGETS, Row, inspect
from crosspt.kernels.tools.variants import BFLOAT16, Variant, attended, record

WARPS = {32: 12, 64: 8}
"""Of 32 threads, and of 64: these take four cycles to issue an instruction, which hides what the next one waits for."""
KERNELS = ("attention_kernel", "attention_query_kernel", "attention_key_kernel", "attention_bias_kernel")
FINALISTS = 4
ACROSS, ALONG, NUM_WARPS = (32, 64, 128), (16, 32, 64), {32: (4, 8), 64: (2, 4, 8)}
"""Rows of a tile, which a program keeps, and those of a step: queries and keys, or keys and queries; warps of it."""
SCORES = (8, 32)
"""Fewest and most scores a thread: fewer repeat what a step costs, more do not fit into registers."""


class Tile(NamedTuple):
    """A candidate."""

    BM: int
    BN: int
    num_warps: int
    num_stages: int

    @classmethod
    def of(cls, variant: Variant) -> "Tile":
        """The tile that a variant is compiled with."""
        rows, keys = (int(str(variant.constexprs[name])) for name in ("BM", "BN"))
        return cls(rows, keys, variant.num_warps, variant.num_stages)


def candidates(kernel: str, lanes: int) -> list[Tile]:
    """Tiles of one stage, for warps of so many threads."""
    found = []
    for across, along, warps in product(ACROSS, ALONG, NUM_WARPS[lanes]):
        if along <= across and SCORES[0] <= across * along // (lanes * warps) <= SCORES[1]:
            block = (along, across) if kernel == "attention_key_kernel" else (across, along)
            found.append(Tile(*block, warps, 1))
    return found


@dataclass(frozen=True)
class Candidates:
    """A kernel's variant at heads of a width: with the tile in use, then with others."""

    kernel: str
    width: int
    dropout: float
    tiles: tuple[Tile, ...] = ()

    def __call__(self) -> Iterator[Variant]:
        """Record what is launched, and put other tiles into it."""
        launched = record("", BFLOAT16, attended, BFLOAT16, width=self.width, dropout=self.dropout)
        (used,) = (variant for variant in launched if variant.kernel.__name__ == self.kernel)
        for tile in dict.fromkeys([Tile.of(used), *self.tiles]):
            constexprs = {**used.constexprs, "BM": tile.BM, "BN": tile.BN}
            name = " ".join(map(str, tile))
            yield replace(used, name=name, constexprs=constexprs, num_warps=tile.num_warps, num_stages=tile.num_stages)


class Judged(NamedTuple):
    """What a tile costs; rows and numbers are without dropout and, of a finalist, with it."""

    tile: Tile
    rows: tuple[Row, ...]
    programs: tuple[int, ...]  # of a multiprocessor at a time
    slots: tuple[float, ...]  # a scheduler, for 64 queries and 64 keys

    @property
    def cost(self) -> float:
        """To be small; infinite for what spills or does not fit."""
        if any(row.problem for row in self.rows):
            return float("inf")
        warps = WARPS[TARGETS[self.rows[0].target].gpu.warp_size]
        waits = (max(warps / (programs * self.tile.num_warps), 1.0) for programs in self.programs)
        return sum(slots * wait for slots, wait in zip(self.slots, waits, strict=True))


def judge(tile: Tile, rows: Sequence[Row]) -> Judged:
    """Judge what a tile was compiled to."""
    target = TARGETS[rows[0].target]
    share = tile.num_warps / 4 * 64 * 64 / (tile.BM * tile.BN)
    return Judged(
        tile,
        tuple(rows),
        tuple(target.programs(tile.num_warps, row.registers, row.shared_bytes) for row in rows),
        tuple(row.loop_instructions * share for row in rows),
    )


def search(target: str, kernel: str, width: int, jobs: int | None = None) -> list[Judged]:
    """The tile in use on a target, then the finalists from the best on, then the other candidates, without dropout.

    Args:
        target: a name in ``TARGETS``.
        kernel: one of ``KERNELS``.
        width: of a head.
        jobs: number of processes; None takes one for each CPU.
    """

    def compiled(dropout: float, tiles: Iterable[Tile]) -> dict[Tile, Row]:
        rows = inspect([target], provider=Candidates(kernel, width, dropout, tuple(tiles)), jobs=jobs)
        return {Tile(*map(int, row.variant.split())): row for row in rows}

    def ranked(rows: Mapping[Tile, tuple[Row, ...]]) -> list[Judged]:
        return sorted((judge(tile, of) for tile, of in rows.items()), key=lambda judged: judged.cost)

    bare = compiled(0.0, candidates(kernel, TARGETS[target].gpu.warp_size))
    used = next(iter(bare))
    best = [judged.tile for judged in ranked({tile: (row,) for tile, row in bare.items()})[:FINALISTS]]
    bare |= compiled(0.0, [tile._replace(num_stages=2) for tile in best])
    finalists = [*best, *(tile._replace(num_stages=2) for tile in best)]
    both = {tile: (bare[tile], row) for tile, row in compiled(0.1, finalists).items()}
    rest = {tile: (row,) for tile, row in bare.items() if tile not in both}
    return [judge(used, both.pop(used)), *ranked(both), *ranked(rest)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Search what the command line asks for, and print a line for each tile."""
    parser = argparse.ArgumentParser(prog="python -m crosspt.kernels.tools.search", description=__doc__.split("\n")[0])
    parser.add_argument("--target", nargs="+", default=list(DEFAULT_TARGETS), choices=list(TARGETS))
    parser.add_argument("--kernel", nargs="+", default=list(KERNELS), choices=KERNELS)
    parser.add_argument("--width", nargs="+", type=int, default=[64, 128], metavar="D", help="of a head")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes; one for each CPU by default")
    options = parser.parse_args(arguments)
    for target, kernel, width in product(options.target, options.kernel, options.width):
        print(f"{target} {kernel} D={width}: BM BN warps stages; then without dropout, with it", flush=True)
        for i, judged in enumerate(search(target, kernel, width, options.jobs)):
            facts = (
                f"{slots:5.0f} slots {row.registers:3} registers {row.stack_bytes + row.local_bytes:4} spilled "
                f"{row.shared_bytes:6} shared {programs} programs"
                for row, programs, slots in zip(judged.rows, judged.programs, judged.slots, strict=True)
            )
            print("  ", f"{judged.rows[0].variant:11}", " | ".join(facts), "" if i else "in use", flush=True)


if __name__ == "__main__":
    main()

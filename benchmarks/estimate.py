"""How long a GPU that need not be there would take for our launches: the critical path, from the machine code.

Some programs of each launch are interpreted, which tells how often they run each line and what they load and store; a
process that compiles for the GPU follows a warp of each through the machine code (``crosspt.kernels.tools.schedule``).
Programs start in order wherever a multiprocessor has room. A launch takes the longest of: the last program's end, the
cycles of the busiest unit, the distinct bytes from memory, the bytes of tiles and results through the L2 cache.
"""

import heapq
import importlib
import math
import os
import pickle
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch

from benchmarks.gpus import Gpu
from crosspt.kernels import architecture, launch
from crosspt.kernels.tools.lines import KERNELS, Runs

PROGRAMS = (16, 48)
"""Fewest and most programs of a launch that are interpreted, each from the middle of as many."""
LINES = 40_000
"""Lines that they are to run, by those of the program in the middle."""


class Sampled(NamedTuple):
    """A launch of which some programs were interpreted."""

    module: str
    kernel: str
    args: tuple[Any, ...]  # a dtype for each tensor
    warps: int
    stages: int
    programs: int
    picks: list[int]  # the programs that were
    runs: list[Runs]  # how often each of them ran each line
    bytes: float  # of all programs, by those that were interpreted
    unique_bytes: float


class Followed(NamedTuple):
    """What the machine code of a launch takes."""

    resident: int  # programs on a multiprocessor
    cycles: list[float]  # of each program that was interpreted
    units: list[dict[str, float]]  # cycles of a multiprocessor's units for each, and bytes of the "cache"


@contextmanager
def sample_launches(gpu: Gpu, programs: int | None = None) -> Iterator[list[Sampled]]:
    """Interpret a few programs of each launch of the block, and no more: what it computes is not to be used.

    Args:
        gpu: whose tiles are taken.
        programs: how many of each launch at most; None: between ``PROGRAMS``, fewer where they are long.
    """
    from triton.runtime.interpreter import InterpreterBuilder

    from crosspt.kernels.tools.inspection import TARGETS
    from crosspt.kernels.tools.lines import count_lines
    from crosspt.kernels.tools.recorder import record

    found: list[Sampled] = []
    start, set_dim, set_idx = launch.start, InterpreterBuilder.set_grid_dim, InterpreterBuilder.set_grid_idx

    def sample(kernel: Any, grid: tuple[int, ...], args: tuple[Any, ...], warps: int, stages: int) -> None:
        whole = (*grid, 1, 1)[:3]
        total = math.prod(whole)
        picks: list[int] = []
        runs: list[Runs] = []

        def grid_dim(self: Any, *_: int) -> None:
            set_dim(self, *whole)

        def grid_idx(self: Any, number: int, *_: int) -> None:
            runs.append(defaultdict(Counter))
            set_idx(self, *(int(i) for i in np.unravel_index(picks[number], whole)))

        def interpret(few: int) -> None:
            picks[:] = [(2 * number + 1) * total // (2 * few) for number in range(few)]
            runs.clear()
            start(kernel, (few,), args, warps, stages)

        with (
            mock.patch.object(InterpreterBuilder, "set_grid_dim", grid_dim),
            mock.patch.object(InterpreterBuilder, "set_grid_idx", grid_idx),
            count_lines(runs),
        ):
            few = programs
            if few is None:
                interpret(1)
                recording.launches.pop()
                few = min(max(LINES // sum(times.total() for times in runs[0].values()), PROGRAMS[0]), PROGRAMS[1])
            interpret(min(few, total))
        share, done = total / len(picks), recording.launches.pop()
        unique = sum(
            min(float(np.count_nonzero(users)) * storage.unit * share, storage.size)
            for storage in done.storages
            for users in (storage.reader, storage.writer)
        )
        spec = tuple(value.dtype if isinstance(value, torch.Tensor) else value for value in args)
        name = kernel.fn.__module__, kernel.fn.__name__
        found.append(Sampled(*name, spec, warps, stages, total, picks, runs, done.requested_bytes * share, unique))

    with (
        mock.patch.object(architecture, "WITHOUT_GPU", TARGETS[gpu.target].tiles),
        record() as recording,
        mock.patch.object(launch, "start", sample),
        np.errstate(all="ignore"),
    ):
        yield found


def estimate(launches: Sequence[Sampled], gpu: Gpu) -> list[float]:
    """Seconds of each launch."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", "from benchmarks.estimate import answer; answer()"],
        input=pickle.dumps((gpu.target, list(launches))),
        stdout=subprocess.PIPE,
        env=environment,
        cwd=Path(__file__).parents[1],
        check=True,
    )
    return [_seconds(*pair, gpu) for pair in zip(launches, pickle.loads(done.stdout), strict=True)]


def _seconds(one: Sampled, followed: Followed, gpu: Gpu) -> float:
    """Time of a launch; each program takes what the one in the middle of its part of the grid takes."""
    nearest = [number * len(one.picks) // one.programs for number in range(one.programs)]
    room = [0.0] * (gpu.multiprocessors * followed.resident)
    for number in nearest:
        heapq.heappushpop(room, room[0] + followed.cycles[number])
    busy: dict[str, float] = defaultdict(float)
    for number, times in Counter(nearest).items():
        for unit, cycles in followed.units[number].items():
            busy[unit] += times * cycles
    cached = min(one.bytes, busy.pop("cache"))  # lanes that are masked move nothing
    cycles = max(*room, max(busy.values()) / gpu.multiprocessors)
    moved = max(one.unique_bytes / gpu.bytes_per_second, cached / gpu.cache_bytes_per_second)
    return gpu.launch_seconds + max(cycles / gpu.clock, moved)


def follow(one: Sampled, target: str) -> Followed:
    """Compile a launch and follow its programs; in a process that does not interpret."""
    import triton

    from crosspt.kernels.tools.assembly import read_cubin, source_of
    from crosspt.kernels.tools.inspection import TARGETS
    from crosspt.kernels.tools.sass import disassemble
    from crosspt.kernels.tools.schedule import spend
    from crosspt.kernels.tools.variants import describe, without_storage

    kernel = getattr(importlib.import_module(one.module), one.kernel)
    args = [without_storage(1, dtype=x) if isinstance(x, torch.dtype) else x for x in one.args]
    variant = describe(kernel, "", "", tuple(args), one.warps, one.stages)
    options = {"num_warps": one.warps, "num_stages": one.stages}
    compiled: Any = triton.compile(source_of(variant, TARGETS[target].gpu), target=TARGETS[target].gpu, options=options)
    facts, instructions = read_cubin(compiled.asm["cubin"]), disassemble(compiled.asm["cubin"])
    shared = max(facts["shared_bytes"], compiled.metadata.shared)
    known = {path.name for path in KERNELS.glob("*.py")}
    spent = [spend(instructions, runs, known) for runs in one.runs]
    whole = ("memory", "cache")  # not of a quarter, which takes a quarter of the warps
    units = [{u: c * one.warps / (1 if u in whole else 4) for u, c in s.units.items()} for s in spent]
    return Followed(TARGETS[target].programs(one.warps, facts["registers"], shared), [s.cycles for s in spent], units)


def answer() -> None:
    """Follow the launches that come, pickled, on the standard input."""
    target, launches = pickle.load(sys.stdin.buffer)
    pickle.dump([follow(one, target) for one in launches], sys.stdout.buffer)

"""Times works in turns: wall time, device time, peak memory.

Wall time is that of the host around one call, with the device waited for before and after it; it is no kernel time.
Works take turns (A B C A B C ...), and a ratio is the median of the ratios within each round: on a machine that
others use, times of different minutes cannot be compared.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


class Work(NamedTuple):
    """Something to time: ``prepare`` is not timed, and ``run`` takes what it returns; ``warm`` if a cache is full."""

    prepare: Callable[[], tuple[Any, ...]]
    run: Callable[..., Any]
    warm: bool = False


@dataclass
class Timing:
    """Seconds of each round; ``device`` is empty without a GPU, ``ratios`` are to the baseline of the same round."""

    wall: list[float] = field(default_factory=list)
    device: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    peak_bytes: int | None = None

    def ratios_to(self, other: "Timing") -> list[float]:
        """Ratios to another timing that took turns with this one, round by round."""
        return [mine / theirs for mine, theirs in zip(self.wall, other.wall, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """Quantiles of all that was measured."""
        return {
            "rounds": len(self.wall),
            "seconds": quantiles(self.wall),
            "device_seconds": quantiles(self.device) if self.device else None,
            "ratio": quantiles(self.ratios) if self.ratios else None,
            "peak_bytes": self.peak_bytes,
        }


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """The smallest value and the quantiles of QUANTILES, by name."""
    named = zip(QUANTILES, np.quantile(values, QUANTILES).tolist(), strict=True)
    return {"min": min(values), **{f"q{round(100 * q)}": point for q, point in named}}


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(work: Work) -> tuple[float, float | None]:
    """Wall seconds of one run, and the seconds between two CUDA events around it where there is a GPU."""
    arguments = work.prepare()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if torch.cuda.is_available() else []
    synchronize()
    start = time.perf_counter()
    if events:
        events[0].record()
    work.run(*arguments)
    if events:
        events[1].record()
    synchronize()
    wall = time.perf_counter() - start
    return wall, events[0].elapsed_time(events[1]) / 1e3 if events else None


def peak_bytes(work: Work) -> int:
    """Most memory that one run holds beyond what was held before it, as torch's allocators see it."""
    arguments = work.prepare()
    if torch.cuda.is_available():
        synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work.run(*arguments)
        synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        kept = work.run(*arguments)
    del kept
    held = peak = 0
    events = [event for event in run.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def take_turns(
    works: Mapping[Any, Work], rounds: int, baseline: Callable[[Any], Any], budget: float = math.inf
) -> dict[Any, Timing]:
    """Time every work once a round, after a run for its peak memory and one to warm up.

    After ``budget`` seconds no round but the first three starts. Ratios are to the work whose key ``baseline`` gives;
    there are none where it is not timed.
    """
    timings = {key: Timing(peak_bytes=peak_bytes(work)) for key, work in works.items()}
    for work in works.values():
        measure(work)
    keys, start = list(works), time.perf_counter()
    for number in range(rounds):
        if number >= 3 and time.perf_counter() - start > budget:
            break
        first = number % len(keys)  # nobody always runs after the same neighbour's warm caches
        for key in keys[first:] + keys[:first]:
            wall, device = measure(works[key])
            timings[key].wall.append(wall)
            if device is not None:
                timings[key].device.append(device)
    for key, timing in timings.items():
        if baseline(key) in timings:
            timing.ratios = timing.ratios_to(timings[baseline(key)])
    return timings

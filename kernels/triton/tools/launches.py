"""Which kernels a block launches: interpreted, run, or compiled for a GPU that is not there."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

from crosspt.kernels import launch
from crosspt.kernels.tools.absent_gpu import absent_gpu, parse_target


@contextmanager
def count_launches(target: str | None = None) -> Iterator[Counter[Any]]:
    """Count the launches of each kernel, a jit function, in the block.

    Args:
        target: such as ``cuda:90``: kernels are compiled for it, and none runs. Raises ValueError for anything else.
    """
    counts: Counter[Any] = Counter()
    start = launch.start

    def count(kernel: Any, *arguments: Any) -> None:
        counts[kernel] += 1
        start(kernel, *arguments)

    with absent_gpu(parse_target(target)) if target else nullcontext(), mock.patch.object(launch, "start", count):
        yield counts

"""Counts what torch.compile's Inductor plans on the device of the tensors, as its own scheduler says."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch._inductor import config
from torch._inductor.graph import GraphLowering
from torch._inductor.scheduler import NopKernelSchedulerNode

from benchmarks.counter import Count


@contextmanager
def count_compilations() -> Iterator[dict[str, Count]]:
    """Count the kernels of everything that is compiled in the block.

    Each node that is left after fusion is a launch, with the bytes of the buffers it reads and writes; Inductor has no
    other figure for requested bytes. Those of a template, such as flex attention's, are counted whole: Inductor's own
    figure takes every operand for one of the output's size.

    Yields:
        counts of ``forward`` and ``backward``.
    """
    counts = {"forward": Count(), "backward": Count()}
    compile_to_module: Callable[..., Any] = GraphLowering.compile_to_module

    def compile_and_count(self: Any) -> Any:
        module = compile_to_module(self)
        count = counts["backward" if self.is_backward else "forward"]
        for node in self.scheduler.nodes:
            if not isinstance(node, NopKernelSchedulerNode):
                moved = _template_bytes(self, node) if node.is_template() else node.get_read_write_buffers_sizes()
                count.add(node.get_name(), moved, moved)
        return module

    torch._dynamo.reset()
    with (
        mock.patch.object(GraphLowering, "compile_to_module", compile_and_count),
        config.patch(force_disable_caches=True),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "dynamo_pgo force disabled")
        yield counts


def _template_bytes(graph: GraphLowering, node: Any) -> int:
    buffers = [graph.try_get_buffer(name) for name in sorted({dep.name for dep in node.read_writes.reads_and_writes()})]
    return sum(int(buffer.get_numel()) * buffer.get_dtype().itemsize for buffer in buffers if buffer is not None)

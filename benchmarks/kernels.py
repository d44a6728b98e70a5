"""Counts kernels: those that torch.compile's Inductor plans, and Triton's, interpreted launch by launch.

Of interpreted ones, bytes are those of every address that is loaded and stored, and floating-point operations those of
the lanes that run, padding included: 2 M N K a dot, one an element of other arithmetic and of the operand of a sum.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
import triton
from torch._inductor import config
from torch._inductor.async_compile import AsyncCompile
from torch._inductor.graph import GraphLowering
from torch._inductor.scheduler import NopKernelSchedulerNode
from torch.utils._python_dispatch import _disable_current_modes
from triton.runtime import interpreter

from benchmarks.counter import Count, OperationCounter
from crosspt.kernels.tools.interpreter import count_arithmetic
from crosspt.kernels.tools.recorder import record

TEMPLATE = "template"
"""Name of a launch of one of Inductor's own kernels."""


@contextmanager
def count_compilations(*, run: bool = True) -> Iterator[dict[str, Count]]:
    """Count the kernels of everything that is compiled in the block.

    Each node that is left after fusion is a launch, with the bytes of the buffers it reads and writes; Inductor has no
    other figure for requested bytes. Those of a template, such as flex attention's, are counted whole: Inductor's own
    figure takes every operand for one of the output's size. Operations are those of library calls; Inductor counts no
    others. Yields counts of ``forward`` and ``backward``.

    Args:
        run: whether what is compiled computes; if not, Inductor's own kernels do nothing and no C++ is compiled.
    """
    counts = {"forward": Count(), "backward": Count()}
    compile_to_module: Callable[..., Any] = GraphLowering.compile_to_module

    def compile_and_count(self: Any) -> Any:
        module = compile_to_module(self)
        count = counts["backward" if self.is_backward else "forward"]
        for node in self.scheduler.nodes:
            if not isinstance(node, NopKernelSchedulerNode):
                moved = _template_bytes(self, node) if node.is_template() else node.get_read_write_buffers_sizes()
                flops = node.estimate_flops() or 0 if node.is_extern() else 0
                depth = flops // (2 * int(node.node.get_numel())) if flops else 0
                count.add(TEMPLATE if node.is_template() else node.get_name(), moved, moved, flops, depth)
        return module

    torch._dynamo.reset()
    with (
        mock.patch.object(GraphLowering, "compile_to_module", compile_and_count),
        config.patch(force_disable_caches=True),
        nullcontext() if run else mock.patch.object(AsyncCompile, "cpp_pybinding", return_value=lambda *_: None),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "dynamo_pgo force disabled")
        yield counts


def _template_bytes(graph: GraphLowering, node: Any) -> int:
    buffers = [graph.try_get_buffer(name) for name in sorted({dep.name for dep in node.read_writes.reads_and_writes()})]
    return sum(int(buffer.get_numel()) * buffer.get_dtype().itemsize for buffer in buffers if buffer is not None)


@contextmanager
def count_operations_and_kernels() -> Iterator[Count]:
    """Count the torch operations and the Triton launches of the block; needs TRITON_INTERPRET=1 from the start."""
    if not triton.knobs.runtime.interpret:
        raise RuntimeError("count_operations_and_kernels: needs TRITON_INTERPRET=1 before Triton is imported")
    count = Count()
    with record() as recording, count_arithmetic() as arithmetic, OperationCounter(count):
        run = interpreter.GridExecutor.__call__

        def launch(self: Any, *args: Any, **kwargs: Any) -> None:
            before = arithmetic[0]
            with _disable_current_modes():  # the interpreter copies arguments with torch operations of its own
                run(self, *args, **kwargs)
            done = recording.launches[-1]
            if done.out_of_bounds:
                raise RuntimeError("\n".join(done.out_of_bounds))
            count.add(done.kernel, done.requested_bytes, done.unique_bytes, arithmetic[0] - before)

        with mock.patch.object(interpreter.GridExecutor, "__call__", launch):
            yield count

"""Compile variants for real GPU targets in parallel processes; needs neither a GPU nor CUDA."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest import mock

from triton.backends.compiler import GPUTarget

from crosspt.kernels import architecture
from crosspt.kernels.tools.assembly import compile_key, compile_variant
from crosspt.kernels.tools.variants import Variant, variants

Provider = Callable[[], Iterable[Variant]]


class Target(NamedTuple):
    """A GPU to compile for, and what its multiprocessors hold."""

    gpu: GPUTarget
    tiles: str  # one of crosspt.kernels.architecture.CLASSES
    shared_limit: int  # bytes of shared memory that one program may use
    shared_reserved: int  # bytes that each program uses besides
    warps: int
    registers: int  # of 32 bits

    def programs(self, warps: int, registers: int, shared_bytes: int) -> int:
        """How many programs a multiprocessor holds at a time.

        Args:
            warps: of a program.
            registers: of a thread.
            shared_bytes: of a program.
        """
        threads = warps * self.gpu.warp_size
        shared = self.shared_limit + self.shared_reserved
        return min(
            self.registers // max(-(-registers // 8) * 8 * threads, 1),
            self.warps // warps,
            shared // max(shared_bytes + self.shared_reserved, 1),
        )


def _nvidia(capability: int, shared_limit: int, warps: int) -> Target:
    tiles = architecture.nvidia_tiles(*divmod(capability, 10))
    return Target(GPUTarget("cuda", capability, 32), tiles, shared_limit * 1024, 1024, warps, 65536)


TARGETS = {
    "sm_80": _nvidia(80, 163, 64),
    "sm_90": _nvidia(90, 227, 64),
    "sm_100": _nvidia(100, 227, 64),
    "gfx942": Target(GPUTarget("hip", "gfx942", 64), "gfx942", 64 * 1024, 0, 32, 131072),
    "sm_86": _nvidia(86, 99, 48),
    "sm_89": _nvidia(89, 99, 48),
    "sm_120": _nvidia(120, 99, 48),
}
DEFAULT_TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")


@dataclass(frozen=True)
class Row:
    """What one variant became on one target.

    Attributes:
        kernel: Name of the kernel.
        variant: Name of the variant.
        dtype: Element type of the variant.
        target: A name in ``TARGETS``.
        registers: Vector registers of a thread.
        stack_bytes: Stack of a thread.
        local_bytes: Bytes of registers spilled to memory by a thread.
        shared_bytes: Shared memory of a program.
        load_bits: Widest load from global memory, by one thread; 0 if none.
        store_bits: Widest store to global memory.
        matrix_instructions: Distinct matrix instructions.
        loads: Number of load instructions of each width in bits.
        stores: Number of store instructions of each width in bits.
        loop_instructions: Instructions of the longest loop that holds no other; 0 if nothing loops.
        scalar_spills: Scalar registers that an AMD target keeps in lanes of vector registers, which costs no memory.
        error: Why the variant did not compile; empty if it did.
        key: What decided all this, see :func:`crosspt.kernels.tools.assembly.compile_key`; empty on an error.
    """

    kernel: str
    variant: str
    dtype: str
    target: str
    registers: int = 0
    stack_bytes: int = 0
    local_bytes: int = 0
    shared_bytes: int = 0
    load_bits: int = 0
    store_bits: int = 0
    matrix_instructions: tuple[str, ...] = ()
    loads: dict[int, int] = field(default_factory=dict)
    stores: dict[int, int] = field(default_factory=dict)
    loop_instructions: int = 0
    scalar_spills: int = 0
    error: str = ""
    key: str = ""

    @property
    def problem(self) -> str:
        """Why the row fails the inspection; empty if it passes."""
        limit = TARGETS[self.target].shared_limit
        if self.error:
            return f"does not compile: {self.error}"
        if self.shared_bytes > limit:
            return f"needs {self.shared_bytes} bytes of shared memory, {self.target} has {limit}"
        if (self.stack_bytes or self.local_bytes) and self.dtype != "float64":
            return f"spills: {self.stack_bytes} bytes of stack and {self.local_bytes} of local memory a thread"
        return ""


def inspect(
    targets: Sequence[str] = DEFAULT_TARGETS,
    kernels: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    *,
    provider: Provider = variants,
    disassembled: bool = True,
    known: Mapping[str, Row] = MappingProxyType({}),
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Compile variants for targets in parallel processes, which ignore ``TRITON_INTERPRET``.

    Args:
        targets: Names in ``TARGETS``.
        kernels: Names of kernels to keep; empty keeps all.
        dtypes: Names of dtypes to keep; empty keeps all.
        provider: A function at the top of an importable module that yields the variants.
        disassembled: Whether NVIDIA's binaries are; where not, rows say registers and memory alone.
        known: Rows by their keys, which are taken as they are.
        jobs: Number of processes; None takes one for each CPU.
        progress: Called with the number of rows done and of all rows.

    Returns:
        One row for each variant and target, in the order of the variants, then of the targets.

    Raises:
        ValueError: An unknown target, kernel or dtype.
    """
    _require_known("target", targets, TARGETS)
    with _pool(jobs or os.cpu_count() or 1) as pool:
        subjects = {target: _submit(pool, _describe, provider, target).result() for target in targets}
        own = [subject for found in subjects.values() for subject in found]
        _require_known("kernel", kernels, [kernel for kernel, _, _ in own])
        _require_known("dtype", dtypes, [dtype for _, _, dtype in own])
        tasks = [
            (index, target)
            for index in range(max(map(len, subjects.values()), default=0))
            for target, found in subjects.items()  # whose tiles can tell variants apart that are one elsewhere
            if index < len(found)
            and (not kernels or found[index][0] in kernels)
            and (not dtypes or found[index][2] in dtypes)
        ]
        rows: dict[tuple[int, str], Row] = {}

        def add(task: tuple[int, str], facts: dict[str, Any]) -> None:
            kernel, variant, dtype = subjects[task[1]][task[0]]
            rows[task] = Row(kernel, variant, dtype, task[1], **facts)
            if progress is not None:
                progress(len(rows), len(tasks))

        if known:
            keys = {target: _submit(pool, _keys, provider, target).result() for target in subjects}
            rows = {task: known[key] for task in tasks if (key := keys[task[1]][task[0]]) in known}
        unknown = [task for task in tasks if task not in rows]
        for task, facts in _compile_all(pool, provider, unknown, disassembled):
            add(task, facts)
    for task in [task for task in tasks if task not in rows]:  # a crashed compiler takes all processes with it
        with _pool(1) as pool:
            add(
                task,
                dict(_compile_all(pool, provider, [task], disassembled)).get(task, {"error": "the compiler crashed"}),
            )
    return [rows[task] for task in tasks]


def describe(targets: Sequence[str], *, provider: Provider = variants) -> list[Row]:
    """What :func:`inspect` would compile for targets, one after the other: rows with names and keys alone."""
    with _pool(1) as pool:
        found = [
            (target, _submit(pool, _describe, provider, target), _submit(pool, _keys, provider, target))
            for target in targets
        ]
        return [
            Row(kernel, variant, dtype, target, key=key)
            for target, subjects, keys in found
            for (kernel, variant, dtype), key in zip(subjects.result(), keys.result(), strict=True)
        ]


def _require_known(what: str, names: Sequence[str], known: Iterable[str]) -> None:
    known = list(dict.fromkeys(known))
    for name in names:
        if name not in known:
            raise ValueError(f"inspect: {what} must be one of {', '.join(known)}, got {name}")


def _pool(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))


def _submit(pool: ProcessPoolExecutor, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Submit work; the process that may start for it does not see ``TRITON_INTERPRET``."""
    interpret = os.environ.pop("TRITON_INTERPRET", None)
    try:
        return pool.submit(function, *arguments)
    finally:
        if interpret is not None:
            os.environ["TRITON_INTERPRET"] = interpret


def _compile_all(
    pool: ProcessPoolExecutor, provider: Provider, tasks: Sequence[tuple[int, str]], disassembled: bool
) -> Iterator[tuple[tuple[int, str], dict[str, Any]]]:
    try:
        futures = {_submit(pool, _compile, provider, *task, disassembled): task for task in tasks}
    except BrokenProcessPool:
        return
    for future in as_completed(futures):
        with suppress(BrokenProcessPool):
            yield futures[future], future.result()


@lru_cache
def _provided(provider: Provider, target: str) -> list[Variant]:
    """The variants with a target's tiles."""
    with mock.patch.object(architecture, "WITHOUT_GPU", TARGETS[target].tiles):
        return list(provider())


def _describe(provider: Provider, target: str) -> list[tuple[str, str, str]]:
    return [(str(variant.kernel.__name__), variant.name, variant.dtype) for variant in _provided(provider, target)]


def _keys(provider: Provider, target: str) -> list[str]:
    return [compile_key(variant, TARGETS[target].gpu) for variant in _provided(provider, target)]


def _compile(provider: Provider, index: int, target: str, disassembled: bool) -> dict[str, Any]:
    variant, gpu = _provided(provider, target)[index], TARGETS[target].gpu
    try:
        return {"key": compile_key(variant, gpu), **compile_variant(variant, gpu, disassembled=disassembled)}
    except RuntimeError as error:
        return {"error": str(error)}

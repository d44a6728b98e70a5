"""Tools over Triton's interpreter: poisoned memory, shuffled programs, rounded casts, counted launches.

Kernels decorated with ``triton.jit`` while ``TRITON_INTERPRET=1`` run on NumPy arrays, one program after the other.
The context managers here patch that interpreter (Triton 3.7) for the length of a ``with`` block, nest in any order, and
make visible what a device would punish and the interpreter forgives. Nothing here needs pytest.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import torch
import triton.language as tl
from torch.profiler import ProfilerActivity, profile, record_function
from triton.runtime import interpreter

BUILDER = interpreter.InterpreterBuilder
LAUNCH = "triton launch: "
ALLOCATIONS = ("aten::empty", "aten::new_empty", "aten::resize_", "aten::set_")
VIEWS = re.compile(
    r"""aten::(_local_scalar_dense | _reshape_alias | alias | as_strided | can_cast | contiguous | detach | diagonal
    | expand | expand_as | flatten | is_nonzero | item | lift_fresh | mT | movedim | narrow | numpy_T | permute
    | reshape | resolve_conj | resolve_neg | result_type | select | slice | split | squeeze | t | to | transpose
    | unbind | unflatten | unsqueeze | view | view_as)""",
    re.VERBOSE,
)


@contextlib.contextmanager
def poisoned_empty() -> Iterator[None]:
    """Fill what ``torch.empty`` and its relatives allocate with NaN (integers: their maximum), on any device."""
    settings: Any = torch.utils.deterministic
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    filling = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        settings.fill_uninitialized_memory = filling


@contextlib.contextmanager
def program_order(order: str | int) -> Iterator[None]:
    """Run the programs of every launch in another order.

    Args:
        order: ``"reversed"``, or a seed from which each launch draws its own permutation.
    """
    if isinstance(order, str) and order != "reversed":
        raise ValueError(f'program_order: order must be "reversed" or an integer seed, got {order!r}')
    generator = np.random.default_rng(None if isinstance(order, str) else order)
    set_dim, set_idx = BUILDER.set_grid_dim, BUILDER.set_grid_idx
    permutation = np.empty(0, dtype=np.int64)

    def set_grid_dim(self: Any, nx: int, ny: int, nz: int) -> None:
        nonlocal permutation
        set_dim(self, nx, ny, nz)
        count = nx * ny * nz
        permutation = np.arange(count)[::-1] if order == "reversed" else generator.permutation(count)

    def set_grid_idx(self: Any, x: int, y: int, z: int) -> None:
        position = np.ravel_multi_index((x, y, z), self.grid_dim)
        set_idx(self, *(int(i) for i in np.unravel_index(permutation[position], self.grid_dim)))

    with (
        mock.patch.object(BUILDER, "set_grid_dim", set_grid_dim),
        mock.patch.object(BUILDER, "set_grid_idx", set_grid_idx),
    ):
        yield


@contextlib.contextmanager
def nan_masked_lanes() -> Iterator[None]:
    """Make loads without ``other`` give NaN (integers: a large value, bool: True) in masked lanes, instead of zero."""
    masked_load = BUILDER.create_masked_load

    def create_masked_load(self: Any, ptrs: Any, mask: Any, other: Any, *rest: Any) -> Any:
        if other is None:
            element = ptrs.get_element_ty()
            other = interpreter.TensorHandle(np.full(ptrs.data.shape, _garbage(element)), element)
        return masked_load(self, ptrs, mask, other, *rest)

    with mock.patch.object(BUILDER, "create_masked_load", create_masked_load):
        yield


def _garbage(element: Any) -> Any:
    dtype = interpreter._get_np_dtype(element)
    if element == tl.bfloat16:
        return np.uint16(0x7FC0)
    if dtype.kind == "f":
        return dtype.type(np.nan)
    return dtype.type(True) if dtype.kind == "b" else dtype.type(np.iinfo(dtype).max // 3)


@contextlib.contextmanager
def round_to_nearest_bfloat16() -> Iterator[None]:
    """Make casts to bfloat16 round to nearest even; the interpreter truncates float32 and garbles other types."""
    cast, fp_to_fp = BUILDER.cast_impl, BUILDER.create_fp_to_fp

    def convert(src: Any, dst_type: Any) -> Any | None:
        if dst_type.scalar == tl.bfloat16 and src.dtype.scalar != tl.bfloat16:
            return interpreter.TensorHandle(to_bfloat16_bits(src.data), tl.bfloat16)
        if src.dtype.scalar == tl.bfloat16 and dst_type.scalar == tl.float32:
            return interpreter.TensorHandle((src.data.astype(np.uint32) << 16).view(np.float32), tl.float32)
        return None

    def cast_impl(self: Any, src: Any, dst_type: Any) -> Any:
        converted = convert(src, dst_type)
        return cast(self, src, dst_type) if converted is None else converted

    def create_fp_to_fp(self: Any, src: Any, dst_type: Any, rounding_mode: Any) -> Any:
        converted = convert(src, dst_type)
        return fp_to_fp(self, src, dst_type, rounding_mode) if converted is None else converted

    with (
        mock.patch.object(BUILDER, "cast_impl", cast_impl),
        mock.patch.object(BUILDER, "create_fp_to_fp", create_fp_to_fp),
    ):
        yield


def to_bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """Round to bfloat16, to nearest even, and return the bits as uint16."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    bits = values.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype(np.uint16)


@contextlib.contextmanager
def fast_launches() -> Iterator[None]:
    """Make launches faster by what changes nothing.

    ``triton.language`` is patched once per launch, not at every device function call: a launch undoes its patches only
    at its end. Sums of integers are not checked for overflow, as without ``debug`` nobody is told of one.
    """
    patch, call = interpreter._patch_lang, interpreter.GridExecutor.__call__
    builder = interpreter.interpreter_builder
    find_scalar = cache(interpreter._get_np_dtype)  # which builds its table anew for every tensor
    patched: dict[frozenset[str], type] = {}  # what undoes the patches of these modules; Triton 3.5 undoes none

    def patch_lang(function: Any) -> Any:
        names = _languages(function)
        if names in patched:
            return patched[names]()
        scope = patch(function)
        patched[names] = type(scope)
        return scope

    def find_dtype(kind: Any) -> np.dtype:
        return np.dtype(np.uint64) if kind.scalar.is_ptr() else find_scalar(kind.scalar)

    def launch(self: Any, *args: Any, **kwargs: Any) -> None:
        patched.clear()
        call(self, *args, **kwargs)

    with (
        mock.patch.object(interpreter, "_patch_lang", patch_lang),
        mock.patch.object(interpreter.GridExecutor, "__call__", launch),
        mock.patch.object(interpreter, "_get_np_dtype", find_dtype),
        mock.patch.object(builder, "options", replace(builder.options, sanitize_overflow=builder.options.debug)),
    ):
        yield


@cache
def _languages(function: Any) -> frozenset[str]:
    """The modules of Triton's language that a function names, which are what its patches change."""
    found = [*function.__globals__.values()]
    return frozenset(lang.__name__ for lang in (tl, tl.core) if any(value is lang for value in found))


@dataclass
class LaunchCount:
    """What a :func:`count_launches` block would launch on a device; complete once the block has ended.

    Attributes:
        kernels: Names of the Triton kernels, in order.
        torch_ops: Names of the torch operations that touch memory (fills, copies, sums, ...), in order.
    """

    kernels: list[str] = field(default_factory=list)
    torch_ops: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Kernels and memory-touching torch operations together."""
        return len(self.kernels) + len(self.torch_ops)


@contextlib.contextmanager
def count_launches() -> Iterator[LaunchCount]:
    """Count Triton launches, and torch operations at any depth (also inside custom operators) that are no views.

    Torch operations are counted as the profiler sees them on the CPU: an operation made of others counts as those.
    """
    count = LaunchCount()
    call = interpreter.GridExecutor.__call__

    def launch(self: Any, *args: Any, **kwargs: Any) -> None:
        with record_function(LAUNCH + self.fn.__name__):
            call(self, *args, **kwargs)

    with (
        mock.patch.object(interpreter.GridExecutor, "__call__", launch),
        profile(activities=[ProfilerActivity.CPU]) as run,
    ):
        yield count
    for event in run.events() or ():
        if event.cpu_parent is None:
            _count_event(event, count)


def _count_event(event: Any, count: LaunchCount) -> bool:
    if event.name.startswith(LAUNCH):
        count.kernels.append(event.name.removeprefix(LAUNCH))
        return True
    if event.name.startswith(ALLOCATIONS):
        return False
    children = [_count_event(child, count) for child in event.cpu_children]
    if any(children):
        return True
    if event.name.startswith("aten::") and not VIEWS.fullmatch(event.name):
        count.torch_ops.append(event.name)
        return True
    return False


@contextlib.contextmanager
def count_arithmetic() -> Iterator[list[int]]:
    """Count floating-point operations into the one element of the list: those of the lanes that run, 2 M N K a dot."""
    total = [0]
    dot, reduce = BUILDER.create_dot, interpreter.ReduceOps.apply_impl

    def elementwise(name: str) -> Callable[..., Any]:
        run = getattr(BUILDER, name)

        def counted(self: Any, *args: Any) -> Any:
            result = run(self, *args)
            if np.issubdtype(result.data.dtype, np.floating):
                total[0] += result.data.size
            return result

        return counted

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        total[0] += 2 * a.data.size * b.data.shape[-1]
        return dot(self, a, b, *rest)

    def apply_impl(self: Any, operand: Any) -> Any:
        if np.issubdtype(operand[0].handle.data.dtype, np.floating):
            total[0] += operand[0].handle.data.size
        return reduce(self, operand)

    with (
        mock.patch.object(BUILDER, "binary_op", elementwise("binary_op")),
        mock.patch.object(BUILDER, "unary_op", elementwise("unary_op")),
        mock.patch.object(BUILDER, "create_dot", create_dot),
        mock.patch.object(interpreter.ReduceOps, "apply_impl", apply_impl),
    ):
        yield total

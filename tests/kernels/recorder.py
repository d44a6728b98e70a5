"""Records every address that interpreted Triton kernels load and store, and proves what must hold of them.

Needs ``TRITON_INTERPRET=1`` at the time the kernels are decorated, and CPU tensors. Needs no pytest.
"""

import contextlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import triton
from triton.runtime import interpreter

BUILDER = interpreter.InterpreterBuilder
TAG_SHIFT = np.uint64(48)  # user addresses end below bit 47, so the number of the argument fits above
ADDRESS_BITS = np.uint64((1 << 48) - 1)
SHARED = -1  # several programs; 0 is none, p + 1 is program p alone
LIBRARY = str(Path(triton.__file__).parent)


class Storage:
    """What one launch did to one torch storage. A slot is one element of the smallest argument type on that storage.

    Attributes:
        base: Address of the first byte.
        unit: Bytes of a slot.
        reader: Per slot the program that loaded it: 0 none, p + 1 program p alone, -1 several.
        writer: The same for stores.
        stores: Per slot how many times it was stored.
    """

    def __init__(self, base: int, size: int, unit: int) -> None:
        self.base, self.size, self.unit = base, size, unit

    @cached_property
    def reader(self) -> np.ndarray:
        return np.zeros(self.size // self.unit, dtype=np.int32)

    @cached_property
    def writer(self) -> np.ndarray:
        return np.zeros(self.size // self.unit, dtype=np.int32)

    @cached_property
    def stores(self) -> np.ndarray:
        return np.zeros(self.size // self.unit, dtype=np.int32)

    def races(self) -> np.ndarray:
        """Slots stored by one program and loaded or stored by another."""
        slots = np.flatnonzero(self.writer)
        reader, writer = self.reader[slots], self.writer[slots]
        return slots[(writer == SHARED) | ((reader != 0) & (reader != writer))]


@dataclass
class Argument:
    """One tensor argument of a launch; its own elements are exactly those of the strided view."""

    name: str
    tensor: torch.Tensor
    storage: Storage

    def __post_init__(self) -> None:
        self.address, self.itemsize = self.tensor.data_ptr(), self.tensor.element_size()
        shape, strides = self.tensor.shape, self.tensor.stride()
        self.span = 0 if self.tensor.numel() == 0 else 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        self.owned: np.ndarray | None = None  # None: every element of the span
        if self.span != self.tensor.numel():
            self.owned = np.zeros(self.span, dtype=bool)
            np.lib.stride_tricks.as_strided(self.owned, shape, strides)[...] = True

    def _view(self, per_slot: np.ndarray) -> np.ndarray:
        unit, start = self.storage.unit, (self.address - self.storage.base) // self.storage.unit
        factor = self.itemsize // unit
        strides = [s * factor * per_slot.itemsize for s in self.tensor.stride()]
        return np.lib.stride_tricks.as_strided(per_slot[start:], self.tensor.shape, strides, writeable=False)

    @property
    def loaded(self) -> np.ndarray:
        """Bool array of the tensor's shape: which elements the launch loaded, through this or any other argument."""
        return self._view(self.storage.reader) != 0

    @property
    def stores(self) -> np.ndarray:
        """Integer array of the tensor's shape: how many times the launch stored each element."""
        return self._view(self.storage.stores)


@dataclass
class Launch:
    """One kernel launch.

    Attributes:
        kernel: Name of the kernel.
        grid: Number of programs in x, y and z.
        arguments: The tensor arguments by parameter name (``name[i]`` inside a tuple).
        requested_load_bytes: Bytes of all unmasked lanes loaded, each time they were asked for.
        requested_store_bytes: The same for stores.
        out_of_bounds: One line for each access outside the elements of the argument its pointer came from.
    """

    kernel: str
    grid: tuple[int, ...] = ()
    arguments: dict[str, Argument] = field(default_factory=dict)
    requested_load_bytes: int = 0
    requested_store_bytes: int = 0
    out_of_bounds: list[str] = field(default_factory=list)

    @property
    def storages(self) -> list[Storage]:
        """The distinct storages behind the arguments."""
        return list({argument.storage.base: argument.storage for argument in self.arguments.values()}.values())

    @property
    def unique_load_bytes(self) -> int:
        """Distinct bytes loaded."""
        return sum(int(np.count_nonzero(s.reader)) * s.unit for s in self.storages)

    @property
    def unique_store_bytes(self) -> int:
        """Distinct bytes stored."""
        return sum(int(np.count_nonzero(s.writer)) * s.unit for s in self.storages)

    @property
    def requested_bytes(self) -> int:
        """Bytes loaded and stored, each time they were asked for."""
        return self.requested_load_bytes + self.requested_store_bytes

    @property
    def unique_bytes(self) -> int:
        """Distinct bytes loaded plus distinct bytes stored."""
        return self.unique_load_bytes + self.unique_store_bytes

    @property
    def outputs(self) -> list[str]:
        """Names of the arguments of which at least one element was stored."""
        return [name for name, argument in self.arguments.items() if (argument.stores != 0).any()]

    def faults(self, outputs: Sequence[str] | None = None) -> list[str]:
        """List what is wrong with the launch, one line each; see :meth:`check`."""
        found = list(self.out_of_bounds)
        for name in self.outputs if outputs is None else outputs:
            stores = self.arguments[name].stores
            for what, wrong in (("never", stores == 0), ("more than once", stores > 1)):
                if wrong.any():
                    first = tuple(int(i) for i in np.argwhere(wrong)[0])
                    found.append(
                        f"{self.kernel}: {int(wrong.sum())} elements of {name} are stored {what}, first {first}"
                    )
        for storage in self.storages:
            slots = storage.races()
            if slots.size:
                names = [name for name, argument in self.arguments.items() if argument.storage is storage]
                pair = f"writer {storage.writer[slots[0]] - 1}, reader {storage.reader[slots[0]] - 1}"
                found.append(
                    f"{self.kernel}: {slots.size} elements of {'/'.join(names)} race between programs ({pair})"
                )
        return found

    def check(self, outputs: Sequence[str] | None = None) -> None:
        """Raise AssertionError unless the launch is clean.

        Clean is: every unmasked address is an element of the argument its pointer came from; every element of every
        output is stored exactly once; no element is stored by one program and loaded or stored by another.

        Args:
            outputs: Names of the output arguments; None takes every argument that was stored to at all.
        """
        found = self.faults(outputs)
        if found:
            raise AssertionError("\n".join(found))


@dataclass
class Recording:
    """The launches made inside a :func:`record` block."""

    launches: list[Launch] = field(default_factory=list)

    @property
    def requested_bytes(self) -> int:
        """Requested bytes summed over launches."""
        return sum(launch.requested_bytes for launch in self.launches)

    @property
    def unique_bytes(self) -> int:
        """Unique bytes summed over launches."""
        return sum(launch.unique_bytes for launch in self.launches)

    def check(self) -> None:
        """Check every launch; see :meth:`Launch.check`."""
        found = [fault for launch in self.launches for fault in launch.faults()]
        if found:
            raise AssertionError("\n".join(found))


class _Recorder:
    """Follows one launch at a time. Pointers carry the number of their argument in their high bits.

    An address alone would not tell an element of one argument from an overrun of its neighbour in memory.
    """

    def __init__(self) -> None:
        self.recording = Recording()
        self.launch: Launch | None = None
        self.tracked: list[Argument] = []
        self.names: list[str] = []

    def begin(self, executor: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        known = set(inspect.getfullargspec(executor.fn).args)
        bound = inspect.getcallargs(executor.fn, *args, **{k: v for k, v in kwargs.items() if k in known})
        self.launch, self.tracked = Launch(executor.fn.__name__), []
        self.names = [name for key, value in bound.items() for name in _tensor_names(key, value)]
        self.recording.launches.append(self.launch)

    def end(self) -> None:
        if self.launch is not None:
            self.launch.grid = tuple(getattr(interpreter.interpreter_builder, "grid_dim", ()))
        self.launch = None

    def track(self, argument: Any, pointer: Any) -> None:
        """Tag the pointer that the interpreter made of a tensor argument."""
        tensor = interpreter._unwrap_tensor(argument)
        memory, unit = tensor.untyped_storage(), tensor.element_size()
        storage = next((s for s in self._launch().storages if s.base == memory.data_ptr()), None)
        if storage is None:
            storage = Storage(memory.data_ptr(), memory.nbytes(), unit)
        storage.unit = min(storage.unit, unit)
        name = self.names[len(self.tracked)]
        self._launch().arguments[name] = Argument(name, tensor, storage)
        self.tracked.append(self._launch().arguments[name])
        pointer.handle.data = pointer.handle.data | (np.uint64(len(self.tracked)) << TAG_SHIFT)

    def access(self, ptrs: Any, mask: Any, store: bool) -> tuple[Any, Any]:
        """Note one load or store; return true addresses and a mask without the lanes out of bounds."""
        size = max(1, ptrs.get_element_ty().primitive_bitwidth // 8)
        # Some masks arrive as integers, which NumPy would take for positions.
        active = np.broadcast_to(mask.data.astype(bool), ptrs.data.shape)
        tagged = ptrs.data[active]
        if store:
            self._launch().requested_store_bytes += tagged.size * size
        else:
            self._launch().requested_load_bytes += tagged.size * size
        tags, addresses = tagged >> TAG_SHIFT, (tagged & ADDRESS_BITS).astype(np.int64)
        inside = np.zeros(tagged.size, dtype=bool)
        same = tags.size > 0 and bool((tags == tags[0]).all())
        for tag in tags[:1] if same else np.unique(tags):
            chosen = slice(None) if same else tags == tag
            inside[chosen] = self._note(int(tag), addresses[chosen], size, store)
        if inside.all():
            allowed = mask
        else:
            lanes = active.copy()
            lanes[active] = inside
            allowed = interpreter.TensorHandle(lanes, mask.dtype)
        return interpreter.TensorHandle(ptrs.data & ADDRESS_BITS, ptrs.dtype), allowed

    def _launch(self) -> Launch:
        if self.launch is None:
            raise RuntimeError("record: memory was accessed outside a launch")
        return self.launch

    def _note(self, tag: int, addresses: np.ndarray, size: int, store: bool) -> np.ndarray:
        verb = "store" if store else "load"
        if not 1 <= tag <= len(self.tracked):
            self._complain(f"{verb} through a pointer that belongs to no argument")
            return np.zeros(addresses.size, dtype=bool)
        argument = self.tracked[tag - 1]
        if size != argument.itemsize:
            self._complain(f"{verb} of {size} bytes in {argument.name}, whose elements have {argument.itemsize}")
            return np.zeros(addresses.size, dtype=bool)
        offsets = addresses - argument.address
        elements = offsets // size
        inside = (elements >= 0) & (elements < argument.span) & (offsets % size == 0)
        if argument.owned is not None and argument.span:
            inside &= argument.owned[np.clip(elements, 0, argument.span - 1)]
        if not inside.all():
            outside = int(np.flatnonzero(~inside)[0])
            self._complain(
                f"{verb} outside {argument.name} in {int((~inside).sum())} lanes, first at element "
                f"{elements[outside]} of a span of {argument.span}"
            )
            addresses = addresses[inside]
        self._mark(argument, addresses, store)
        return inside

    def _mark(self, argument: Argument, addresses: np.ndarray, store: bool) -> None:
        storage = argument.storage
        slots = (addresses - storage.base) // storage.unit
        factor = argument.itemsize // storage.unit
        if factor > 1:
            slots = (slots[:, None] + np.arange(factor)).ravel()
        program = np.int32(self._program() + 1)
        if store:
            np.add.at(storage.stores, slots, 1)
        users = storage.writer if store else storage.reader
        before = users[slots]
        users[slots] = np.where((before == 0) | (before == program), program, np.int32(SHARED))

    def _program(self) -> int:
        builder = interpreter.interpreter_builder
        x, y, z = builder.grid_idx
        return int((x * builder.grid_dim[1] + y) * builder.grid_dim[2] + z)

    def _complain(self, what: str) -> None:
        frame: Any = sys._getframe(1)
        while frame is not None and (
            frame.f_code.co_filename == __file__ or frame.f_code.co_filename.startswith(LIBRARY)
        ):
            frame = frame.f_back
        place = "" if frame is None else f" ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"
        launch = self._launch()
        launch.out_of_bounds.append(
            f"{launch.kernel}: program {interpreter.interpreter_builder.grid_idx}: {what}{place}"
        )


def _tensor_names(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from _tensor_names(f"{name}[{i}]", item)
    elif hasattr(value, "data_ptr") or isinstance(value, interpreter.TensorDescriptor):
        yield name


@contextlib.contextmanager
def record() -> Iterator[Recording]:
    """Record the addresses of every launch in the block. Lanes that leave their argument are noted and not executed."""
    recorder = _Recorder()
    call, convert = interpreter.GridExecutor.__call__, interpreter._implicit_cvt
    masked_load, masked_store = BUILDER.create_masked_load, BUILDER.create_masked_store

    def launch(self: Any, *args: Any, **kwargs: Any) -> None:
        recorder.begin(self, args, kwargs)
        try:
            call(self, *args, **kwargs)
        finally:
            recorder.end()

    def implicit_cvt(arg: Any) -> Any:
        pointer = convert(arg)
        if hasattr(arg, "data_ptr"):
            recorder.track(arg, pointer)
        return pointer

    def create_masked_load(self: Any, ptrs: Any, mask: Any, *rest: Any) -> Any:
        return masked_load(self, *recorder.access(ptrs, mask, store=False), *rest)

    def create_masked_store(self: Any, ptrs: Any, value: Any, mask: Any, *rest: Any) -> Any:
        ptrs, mask = recorder.access(ptrs, mask, store=True)
        return masked_store(self, ptrs, value, mask, *rest)

    def refuse_atomic(self: Any, *args: Any) -> Any:
        raise RuntimeError("record: expected loads and stores only, got an atomic operation")

    with (
        mock.patch.object(interpreter.GridExecutor, "__call__", launch),
        mock.patch.object(interpreter, "_implicit_cvt", implicit_cvt),
        mock.patch.object(BUILDER, "create_masked_load", create_masked_load),
        mock.patch.object(BUILDER, "create_masked_store", create_masked_store),
        mock.patch.object(BUILDER, "create_atomic_rmw", refuse_atomic),
        mock.patch.object(BUILDER, "create_atomic_cas", refuse_atomic),
    ):
        yield recorder.recording

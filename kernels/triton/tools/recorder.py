"""Records every address that interpreted Triton kernels load and store.

Needs ``TRITON_INTERPRET=1`` at the time the kernels are decorated, and CPU tensors. Needs no pytest.
"""

import contextlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import triton
from triton.runtime import interpreter

from crosspt.kernels.tools.recording import SHARED, Argument, Launch, Recording, Storage

BUILDER = interpreter.InterpreterBuilder
TAG_SHIFT = np.uint64(48)  # user addresses end below bit 47, so the number of the argument fits above
ADDRESS_BITS = np.uint64((1 << 48) - 1)
LIBRARY = str(Path(triton.__file__).parent)


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
    patch_tensor = interpreter._patch_lang_tensor

    def patch_index(tensor: Any, *scope: Any) -> None:
        patch_tensor(tensor, *scope)
        for one in scope:  # before Triton 3.7 the interpreter asks NumPy for what NumPy 2.4 refuses
            one.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

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
        mock.patch.object(interpreter, "_patch_lang_tensor", patch_index),
        mock.patch.object(BUILDER, "create_masked_load", create_masked_load),
        mock.patch.object(BUILDER, "create_masked_store", create_masked_store),
        mock.patch.object(BUILDER, "create_atomic_rmw", refuse_atomic),
        mock.patch.object(BUILDER, "create_atomic_cas", refuse_atomic),
    ):
        yield recorder.recording

"""What interpreted launches loaded and stored, and what must hold of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

SHARED = -1  # several programs; 0 is none, p + 1 is program p alone


class Storage:
    """What one launch did to one torch storage. A slot is one element of the smallest argument type on that storage.

    Attributes:
        base: Address of the first byte.
        size: Bytes of the storage.
        unit: Bytes of a slot.
    """

    def __init__(self, base: int, size: int, unit: int) -> None:
        self.base, self.size, self.unit = base, size, unit

    @cached_property
    def reader(self) -> np.ndarray:
        """Per slot the program that loaded it: 0 none, p + 1 program p alone, -1 several."""
        return np.zeros(self.size // self.unit, dtype=np.int32)

    @cached_property
    def writer(self) -> np.ndarray:
        """The same for stores."""
        return np.zeros(self.size // self.unit, dtype=np.int32)

    @cached_property
    def stores(self) -> np.ndarray:
        """Per slot how many times it was stored."""
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

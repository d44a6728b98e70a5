"""The real compiler for a GPU that is not there: every launch compiles its kernel, and nothing runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from crosspt.kernels import architecture


class _Utilities:
    """What Triton asks of a driver when it loads what it compiled."""

    def load_binary(self, *_: Any) -> tuple[int, int, int, int, int]:
        """Module, function, registers, spills and the most threads of a block."""
        return 1, 1, 0, 0, 1024

    def get_device_properties(self, _: int) -> dict[str, int]:
        """No limit of its own: kernels are compiled, not run."""
        return {"max_shared_mem": 1 << 30, "multiprocessor_count": 1, "warpSize": 32, "max_num_regs": 1 << 16}


class _Launcher:
    """Takes a launch and does nothing."""

    def __init__(self, *_: Any) -> None: ...

    def __call__(self, *_: Any, **__: Any) -> None: ...


class _Driver:
    """A driver without a device."""

    launcher_cls = _Launcher

    def __init__(self, target: GPUTarget) -> None:
        self.target = target
        self.utils = _Utilities()

    def get_current_target(self) -> GPUTarget:
        """The GPU that is compiled for."""
        return self.target

    def get_current_device(self) -> int:
        """The only one."""
        return 0

    def get_current_stream(self, _: Any = None) -> int:
        """The only one."""
        return 0

    def get_active_torch_device(self) -> torch.device:
        """Where the tensors are."""
        return torch.device("cpu")


def parse_target(text: str) -> GPUTarget:
    """``cuda:90`` or ``hip:gfx942``. Raises ValueError for anything else."""
    backend, _, architecture = text.partition(":")
    if backend == "cuda" and architecture.isdecimal():
        return GPUTarget("cuda", int(architecture), 32)
    if backend == "hip" and architecture.startswith("gfx"):
        return GPUTarget("hip", architecture, 64 if architecture.startswith("gfx9") else 32)
    raise ValueError(f"target must be such as cuda:90 or hip:gfx942, got {text!r}")


@contextmanager
def absent_gpu(target: GPUTarget) -> Iterator[None]:
    """Compile for the target, with its tiles, what the block launches; tensors stay on the CPU and keep what they hold.

    Needs a process in which Triton does not interpret.
    """
    before = driver._active
    driver.set_active(_Driver(target))
    tiles = architecture.nvidia_tiles(*divmod(target.arch, 10)) if target.backend == "cuda" else "gfx942"
    try:
        with mock.patch.object(architecture, "WITHOUT_GPU", tiles):
            yield
    finally:
        driver._active = before

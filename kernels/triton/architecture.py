"""Which GPUs the kernels run on, and whose tiles each of them takes."""

from functools import cache
from typing import NamedTuple

import torch

CLASSES = ("any", "sm_80", "sm_86", "sm_90", "sm_100", "gfx942")
"""Classes of GPUs with tiles of their own; sm_86 are all that have 99 KiB of shared memory a program."""
WITHOUT_GPU = "any"
"""The class of tensors on no GPU, which the interpreter's results come from. Tools put another in its place."""


class Architecture(NamedTuple):
    """What the kernels make of a GPU."""

    name: str  # such as sm_90 or gfx942
    tiles: str  # one of CLASSES
    refusal: str  # why the kernels do not run, a clause that follows "backend 'triton'"; empty where they do


@cache
def architecture(device: torch.device) -> Architecture:
    """The architecture of a GPU.

    Args:
        device: of type cuda, which ROCm's are as well.
    """
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        name = str(properties.gcnArchName).partition(":")[0]
        tiles, runs = "gfx942", name == "gfx942"
    else:
        name = f"sm_{properties.major}{properties.minor}"
        tiles, runs = nvidia_tiles(properties.major, properties.minor), properties.major >= 8
    return Architecture(name, tiles, "" if runs else f"{_NEEDS}, got {name}; use backend='torch'")


_NEEDS = (
    "needs an NVIDIA GPU of compute capability 8.0 or newer or an AMD gfx942 (on others the kernels spill registers or "
    "do not compile)"
)


def nvidia_tiles(major: int, minor: int) -> str:
    """Whose tiles an NVIDIA GPU of a compute capability takes."""
    if major in (9, 10):
        return "sm_90" if major == 9 else "sm_100"
    return "sm_80" if (major, minor) == (8, 0) else "sm_86"  # newer ones than are known have no less memory


def refusal(device: torch.device) -> str:
    """Why the kernels do not run on a GPU; see :class:`Architecture`."""
    return architecture(device).refusal


# What torch.compiler.assume_constant_result does without importing the compiler, which cannot trace this.
refusal._dynamo_marked_constant = True  # type: ignore[attr-defined]


def tile_class(device: torch.device) -> str:
    """The class, of those in ``CLASSES``, whose tiles a launch on a device takes."""
    return architecture(device).tiles if device.type == "cuda" else WITHOUT_GPU

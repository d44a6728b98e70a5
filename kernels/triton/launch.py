"""What every launcher needs: the prepared arguments of a composition and the device to launch on."""

import os
from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs
from triton.compiler import CompiledKernel
from triton.runtime import driver

from crosspt.kernels.mixture import Mixture
from crosspt.kernels.tiles import Tiles

TRITON_TYPES = {
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
    torch.float32: tl.float32,
    torch.float64: tl.float64,
}


class Composition(Mixture):
    """A mixture as the kernels take it: dense tensors, None for an empty group of sources and an encoder without use.

    Attributes:
        num_sources: n.
        length: m.
        width: d.
        inv_tau: 1 / temperature.
        operand: dtype to which operands of products are rounded.
        precision: how products multiply float32 operands.
    """

    num_sources: int
    length: int
    width: int
    inv_tau: float
    operand: torch.dtype
    precision: str

    @classmethod
    def of(cls, mixture: Mixture, table: torch.dtype) -> "Composition":
        """Prepare a mixture of tensors of one dtype, with any strides, beside a token table of the dtype ``table``."""
        sources = mixture.sources
        if sources is not None and sources.shape[0] == 0:
            sources, mixture = None, mixture._replace(sources=None)
        weight, bias = mixture.encoder()
        x = cls(
            _dense(mixture.logits),
            _dense(sources),
            _dense(mixture.privates),
            _dense(weight),
            _dense(bias),
            _dense(mixture.alpha),
            _dense(mixture.row_alpha),
            _dense(mixture.added),
            mixture.temperature,
            _dense(mixture.mask),
            mixture.encode_sources,
            mixture.encode_privates,
        )
        x.num_sources = 0 if sources is None else sources.shape[0]
        _, x.length, x.width = x.prompts().shape
        x.inv_tau = 1.0 / mixture.temperature
        x.operand = torch.float64 if x.weights().dtype is torch.float64 else table
        x.precision = precision(x.operand)
        return x

    @property
    def given(self) -> bool:
        """Whether weights are given, and not logits."""
        return self.logits is None

    @property
    def by_row(self) -> bool:
        """Whether each row of a batch has weights of its own."""
        return self.row_alpha is not None

    def groups(self, batch: int) -> int:
        """G: the prompts to compose for a batch, a task's or a row's each."""
        return batch if self.by_row else min(batch, self.tasks())

    @property
    def operand_type(self) -> tl.dtype:
        """The operands' dtype in Triton's words."""
        return TRITON_TYPES[self.operand]

    def programs(self, groups: int, tiles: Tiles) -> int:
        """Number of tiles that compose ``groups`` prompts."""
        return -(-groups // tiles.BG) * -(-self.length // tiles.BI) * -(-self.width // tiles.BN)


_read_switch = torch.backends.cuda.matmul.__getattr__
"""Reads what an attribute does, without the ordinary lookup before it, which fails and takes longer."""


def precision(operand: torch.dtype) -> str:
    """How a matrix product multiplies float32 operands: exactly, unless torch's own switch is on."""
    # The older switch, allow_tf32, shows in this one and cannot be read once this one was set.
    return "tf32" if operand is torch.float32 and _read_switch("fp32_precision") == "tf32" else "ieee"


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


_NOWHERE = nullcontext()
DEBUG = os.environ.get("CROSSPT_DEBUG", "0") not in ("", "0")
"""Whether kernels check ids with device asserts. Without them a row with an id out of range comes out as NaN."""


_KEPT: dict[tuple[object, ...], CompiledKernel] = {}
"""Compiled kernels by :func:`_variant`. One that is launched by itself is not looked for by each of its arguments."""
MOST_KEPT = 4096


def start(kernel: triton.JITFunction, grid: tuple[int, ...], args: tuple[object, ...], warps: int, stages: int) -> None:
    """Hand a kernel to Triton. Tests and tools/variants.py replace this function to see what is launched."""
    variant = _variant(kernel, args, warps, stages)
    kept = _KEPT.get(variant)
    if kept is not None:
        kept[(*grid, 1, 1)](*args)
        return
    compiled = kernel.run(*args, grid=grid, warmup=False, num_warps=warps, num_stages=stages, debug=DEBUG)
    if variant and isinstance(compiled, CompiledKernel):
        if len(_KEPT) >= MOST_KEPT:
            _KEPT.clear()
        _KEPT[variant] = compiled


def _variant(kernel: triton.JITFunction, args: tuple[object, ...], warps: int, stages: int) -> tuple[object, ...]:
    """A key no coarser than Triton's own, or an empty one where a launch must be Triton's.

    Tensors, which come first, enter by dtype and are aligned; all else enters by value, though Triton tells apart only
    1, multiples of 16 and other numbers. For AMD's GPUs it also looks at the size of a tensor's storage.
    """
    if not isinstance(kernel, triton.JITFunction) or kernel.pre_run_hooks or torch.version.hip:
        return ()
    dtypes: list[torch.dtype | None] = []
    addresses = 0
    for argument in args:
        if argument is None:
            dtypes.append(None)
        elif isinstance(argument, Tensor):
            dtypes.append(argument.dtype)
            addresses |= argument.data_ptr()
        else:
            break
    if addresses % 16:
        return ()
    switches = knobs.runtime.debug, getattr(knobs.compilation, "instrumentation_mode", "")  # Triton 3.5 has one alone
    device = driver.active.get_current_device()
    return (id(kernel), device, warps, stages, DEBUG, *switches, *dtypes, args[len(dtypes) :])


def launch(
    kernel: triton.JITFunction,
    grid: tuple[int, ...],
    out: Tensor,
    *args: object,
    num_warps: int = 4,
    num_stages: int = 2,
) -> None:
    """Launch a kernel on the device of ``out``; every launch of this package goes through here.

    Args:
        kernel: the jit function.
        grid: number of programs.
        out: any of its tensors.
        args: its arguments, in order.
        num_warps: warps of a program.
        num_stages: depth of the software pipeline.
    """
    with torch.cuda.device(out.get_device()) if out.is_cuda else _NOWHERE:
        start(kernel, grid, args, num_warps, num_stages)

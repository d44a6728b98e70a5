"""What every launcher needs: the prepared arguments of a composition and the device to launch on."""

import os
from contextlib import nullcontext
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.tiles import Tiles

TRITON_TYPES = {
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
    torch.float32: tl.float32,
    torch.float64: tl.float64,
}


class Composition(NamedTuple):
    """The prepared arguments of a composition: contiguous tensors of one dtype; see ``compose_prompts_kernel``."""

    logits: Tensor  # (T, N)
    mask: Tensor | None  # (T, N) bool
    sources: Tensor | None  # (n, m, d), n > 0
    privates: Tensor | None  # (T, m, d)
    weight: Tensor | None  # (d, d), None when nothing is raw
    bias: Tensor | None  # (d,)
    inv_tau: float
    tasks: int
    num_sources: int  # n
    length: int  # m
    width: int  # d
    raw_sources: bool
    raw_privates: bool
    operand: torch.dtype
    precision: str

    @property
    def operand_type(self) -> tl.dtype:
        """The operands' dtype in Triton's words."""
        return TRITON_TYPES[self.operand]

    def programs(self, groups: int, tiles: Tiles) -> int:
        """Number of tiles that compose ``groups`` prompts."""
        return -(-groups // tiles.BG) * -(-self.length // tiles.BI) * -(-self.width // tiles.BN)


def _tf32_allowed() -> bool:
    matmul = torch.backends.cuda.matmul
    # Newer torch refuses to read the older switch once the newer one was set; the newer one reflects both.
    return matmul.fp32_precision == "tf32" if _HAS_FP32_PRECISION else matmul.allow_tf32


_HAS_FP32_PRECISION = hasattr(torch.backends.cuda.matmul, "fp32_precision")


def precision(operand: torch.dtype) -> str:
    """How a matrix product multiplies float32 operands: exactly, unless torch's own switch is on."""
    return "tf32" if operand is torch.float32 and _tf32_allowed() else "ieee"


def compose_arguments(
    logits: Tensor,
    sources: Tensor | None,
    privates: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    mask: Tensor | None,
    temperature: float,
    encode_sources: bool,
    encode_privates: bool,
    table_dtype: torch.dtype | None = None,
) -> Composition:
    """Prepare the arguments of a composition.

    Args:
        logits: A (T, N); like all tensors here of one floating dtype, with any strides.
        sources: (n, m, d), or None.
        privates: (T, m, d), or None.
        weight: W (d, d), or None.
        bias: b (d,), or None.
        mask: (T, N) bool, or None.
        temperature: tau.
        encode_sources: whether sources go through the encoder.
        encode_privates: whether private prompts do.
        table_dtype: dtype of the token table beside the prompts, to which operands of products are rounded.
    """
    if sources is not None and sources.shape[0] == 0:
        sources = None
    prompts = sources if privates is None else privates
    if prompts is None:
        raise ValueError("compose_arguments: sources or privates must be given, got neither")
    raw_sources = weight is not None and encode_sources and sources is not None
    raw_privates = weight is not None and encode_privates and privates is not None
    raw = raw_sources or raw_privates
    dtype = logits.dtype
    operand = dtype if table_dtype is None or dtype is torch.float64 else table_dtype
    _, length, width = prompts.shape
    return Composition(
        logits.contiguous(),
        None if mask is None else mask.contiguous(),
        None if sources is None else sources.contiguous(),
        None if privates is None else privates.contiguous(),
        weight.contiguous() if raw and weight is not None else None,
        bias.contiguous() if raw and bias is not None else None,
        1.0 / temperature,
        logits.shape[0],
        0 if sources is None else sources.shape[0],
        length,
        width,
        raw_sources,
        raw_privates,
        operand,
        precision(operand),
    )


_NOWHERE = nullcontext()
DEBUG = os.environ.get("CROSSPT_DEBUG", "0") not in ("", "0")
"""Whether kernels check ids with device asserts. Without them a row with an id out of range comes out as NaN."""


def start(kernel: triton.JITFunction, grid: tuple[int, ...], args: tuple[object, ...], warps: int, stages: int) -> None:
    """Hand a kernel to Triton. Tests and tools/variants.py replace this function to see what is launched."""
    kernel.run(*args, grid=grid, warmup=False, num_warps=warps, num_stages=stages, debug=DEBUG)


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
    with torch.cuda.device(out.device) if out.is_cuda else _NOWHERE:
        start(kernel, grid, args, num_warps, num_stages)

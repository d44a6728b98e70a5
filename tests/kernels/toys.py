"""Toy kernels to be inspected, some with known faults; light, as every process that compiles them imports this."""

import os

import triton
import triton.language as tl

from crosspt.kernels import architecture
from crosspt.kernels.tools.inspection import TARGETS
from crosspt.kernels.tools.variants import Variant


@triton.jit
def copy(src, dst, count, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(dst + offsets, tl.load(src + offsets, mask=offsets < count, other=0.0), mask=offsets < count)


@triton.jit
def multiply(a, b, out, width, BLOCK: tl.constexpr, ACC: tl.constexpr):
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    columns = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK, BLOCK), dtype=ACC)
    for start in range(0, width, BLOCK):
        inner = start + tl.arange(0, BLOCK)
        left = tl.load(a + rows[:, None] * width + inner[None, :])
        right = tl.load(b + columns[None, :] * width + inner[:, None])
        total = tl.dot(left, right, total, out_dtype=ACC)
    tl.store(out + rows[:, None] * width + columns[None, :], total.to(out.dtype.element_ty))


@triton.jit
def outer_products(src, dst, steps, BLOCK: tl.constexpr):
    """Far more live values than one warp has registers."""
    offsets = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK, BLOCK), dtype=src.dtype.element_ty)
    for step in range(steps):
        values = tl.load(src + step * BLOCK + offsets)
        total = total * values[:, None] + values[None, :]
    tl.store(dst + offsets[:, None] * BLOCK + offsets[None, :], total)


@triton.jit
def misspelled(src):
    tl.store(src, tl.no_such_function(src))


def variant(kernel, name, dtype, constexprs, *, aligned=True, warps=4, stages=3, pointers=2):
    """The first ``pointers`` parameters are pointers, then comes one integer, then the constexprs."""
    names = list(kernel.arg_names)
    short = {"bfloat16": "bf16", "float32": "fp32", "float64": "fp64"}[dtype]
    signature = dict.fromkeys(names[:pointers], f"*{short}")
    integer = names[pointers : pointers + 1]
    signature |= dict.fromkeys(integer, "i32") | dict.fromkeys(constexprs, "constexpr")
    aligned_names = (*names[:pointers], *integer) if aligned else ()
    return Variant(kernel, name, dtype, signature, constexprs, aligned_names, warps, stages)


def toys():
    yield variant(copy, "aligned", "bfloat16", {"BLOCK": 2048})
    yield variant(copy, "unaligned", "bfloat16", {"BLOCK": 2048}, aligned=False)
    yield variant(multiply, "tiles", "bfloat16", {"BLOCK": 64, "ACC": tl.float32}, pointers=3)


def faulty_toys():
    yield variant(outer_products, "spills", "float32", {"BLOCK": 128}, warps=1)
    yield variant(outer_products, "spills", "float64", {"BLOCK": 64}, warps=1)
    yield variant(multiply, "too much shared", "float32", {"BLOCK": 64, "ACC": tl.float32}, pointers=3, stages=8)
    yield variant(misspelled, "broken", "float32", {}, pointers=1)


def crashing_toys():
    """The first variant takes its process down, as an assertion inside LLVM would."""
    yield variant(copy, "crash", "float32", CrashWhenPassed(BLOCK=64))
    yield variant(copy, "fine", "float32", {"BLOCK": 64})


class CrashWhenPassed(dict):
    def items(self):
        os.abort()


def tiled_toys():
    """As tiles differ, one target has a variant more than another."""
    yield variant(copy, "everywhere", "float32", {"BLOCK": 64})
    if TARGETS["sm_100"].tiles == architecture.WITHOUT_GPU:
        yield variant(copy, "its own", "float32", {"BLOCK": 128})


def changed_toys():
    """Another tile, another type and another number of warps than :func:`toys`, and one that is the same."""
    yield variant(copy, "tile", "bfloat16", {"BLOCK": 1024})
    yield variant(copy, "type", "float32", {"BLOCK": 2048})
    yield variant(copy, "warps", "bfloat16", {"BLOCK": 2048}, warps=8)
    yield variant(copy, "same", "bfloat16", {"BLOCK": 2048})

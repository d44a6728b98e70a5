"""Every kernel, dtype and main variant at the reference shape, as Triton compiles them: for inspection without a GPU.

The launchers themselves are run on tensors without storage while their launches are recorded, so a variant is what
training launches and cannot drift from it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor

from crosspt.kernels import launch
from crosspt.kernels.attention import attention, attention_arguments
from crosspt.kernels.attention_backward import AttentionNeeds, attention_backward
from crosspt.kernels.compose_prompts import compose_prompts
from crosspt.kernels.compose_prompts_backward import Needs
from crosspt.kernels.launch import Composition
from crosspt.kernels.mixture import Mixture
from crosspt.kernels.prepend_gain import prepend_gain
from crosspt.kernels.prepend_prompts import prepend_prompts, sum_task_rows
from crosspt.kernels.prompted_embedding import prompted_embedding, prompted_embedding_backward

B, L, T, N_SOURCES, LENGTH, WIDTH, VOCABULARY, HEADS = 16, 64, 8, 8, 10, 768, 32128, 12
"""The reference shape: batch, tokens, tasks, sources, prompt length, width, vocabulary, heads of 64 columns."""

FLOAT16, BFLOAT16, FLOAT32, FLOAT64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
DTYPES = (FLOAT16, BFLOAT16, FLOAT32, FLOAT64)
TYPE_NAMES = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.int64: "i64",
    torch.bool: "i1",
}


@dataclass(frozen=True)
class Variant:
    """One compilation of one kernel.

    Attributes:
        kernel: the raw jit function.
        name: which case, short.
        dtype: "float16", "bfloat16", "float32" or "float64".
        signature: argument name -> Triton type ("*bf16", "i32", "fp64", "constexpr").
        constexprs: argument name -> value.
        divisible_by_16: names of pointer and integer arguments that are known to be multiples of 16.
        num_warps: warps of a program.
        num_stages: depth of the software pipeline.
    """

    kernel: triton.JITFunction
    name: str
    dtype: str
    signature: dict[str, str]
    constexprs: dict[str, object]
    divisible_by_16: tuple[str, ...]
    num_warps: int
    num_stages: int


def variants() -> Iterator[Variant]:
    """Every kernel, dtype and main variant at the reference shape.

    Raises:
        RuntimeError: under TRITON_INTERPRET=1, where Triton compiles nothing.
    """
    if not isinstance(launch_kernel(), triton.JITFunction):
        raise RuntimeError("variants: kernels must be compiled ones, got interpreted ones; unset TRITON_INTERPRET")
    yield from distinct(_launched())


def distinct(found: Iterable[Variant]) -> Iterator[Variant]:
    """Each compilation once, under the name it has first."""
    seen = set()
    for variant in found:
        key = (variant.kernel, tuple(variant.signature.items()), tuple(variant.constexprs.items()))
        if key not in seen:
            seen.add(key)
            yield variant


def _launched() -> Iterator[Variant]:
    half = BFLOAT16
    for dtype in DTYPES:
        yield from record("raw sources and privates, bias, mask", dtype, _prompted, _mixture(dtype))
    for dtype in (half, FLOAT32):
        yield from record("no encoder", dtype, _prompted, _mixture(dtype, encoder=False))
        yield from record("encoded sources, raw privates", dtype, _prompted, _mixture(dtype, raw_sources=False))
    yield from record("float32 parameters", half, _prompted, _mixture(FLOAT32, table=half), half)
    yield from record("32 sources", half, _prompted, _mixture(half, sources=32))
    yield from record(
        "32 sources, float32 parameters", half, _prompted, _mixture(FLOAT32, sources=32, table=half), half
    )
    yield from record("tf32", FLOAT32, _prompted, _mixture(FLOAT32, precision="tf32"))
    for dtype in DTYPES:
        yield from record("raw", dtype, compose_prompts, _mixture(dtype))
        yield from record("", dtype, _prepended, dtype)
        yield from record("", dtype, sum_task_rows, _rows(dtype), _ids(B), T, LENGTH, dtype)
        yield from record("raw", dtype, _backward, _mixture(dtype))
    yield from record("no encoder", half, _backward, _mixture(half, encoder=False))
    yield from record("encoded sources, rows", half, _backward, _mixture(half, raw_sources=False), 4)
    yield from record("32 sources, float32 parameters", half, _backward, _mixture(FLOAT32, sources=32, table=half))
    yield from _mixed_once()
    yield from _given()
    for dtype, table in ((half, half), (FLOAT32, half), (FLOAT32, FLOAT32)):
        name = "offsets" if dtype is table else "float32 parameters, offsets"
        yield from record(name, table, _prepended, table, dtype)
        yield from record(name, table, sum_task_rows, _rows(table), _ids(B), T, LENGTH, dtype, L, dtype)
    for table in (half, FLOAT32):
        yield from record("float32 parameters, gain", table, _scaled, table)
        yield from record(
            "float32 parameters, gain", table, prepend_gain, _rows(table), _ids(B), *_gained(), [True] * 3
        )
    for dtype in (half, FLOAT32):
        yield from record("prefix, mask, dropout", dtype, attended, dtype)
    yield from record("prefix, mask, dropout, no bias", half, attended, half, bias=False)
    yield from record("prefix, mask", FLOAT64, attended, FLOAT64, dropout=0.0)
    yield from record("causal, heads of 32", FLOAT16, attended, FLOAT16, width=32, bare=True)
    yield from record("heads of 128", half, attended, half, width=128)


def _mixed_once() -> Iterator[Variant]:
    """Many sources, and long prompts, of half types."""
    for dtype, table in ((FLOAT16, FLOAT16), (BFLOAT16, BFLOAT16), (FLOAT32, BFLOAT16)):
        name = "64 sources, float32 parameters" if dtype is FLOAT32 else "64 sources"
        yield from record(name, table, _prompted, _mixture(dtype, sources=64, table=table), table)
        yield from record(name, table, _backward, _mixture(dtype, sources=64, table=table))
    long = partial(_mixture, FLOAT32, table=BFLOAT16, length=100)
    yield from record("long prompts, encoded sources", BFLOAT16, _prompted, long(raw_sources=False), BFLOAT16)
    yield from record("long prompts, encoded sources, rows", BFLOAT16, _backward, long(raw_sources=False), 4)
    yield from record("long prompts, no encoder", BFLOAT16, _backward, long(encoder=False))


def _given() -> Iterator[Variant]:
    """Weights of tasks or rows in place of a softmax, beside an added prompt."""
    for dtype in (BFLOAT16, FLOAT32):
        for name, rows in (("given weights, added", 0), ("rows' weights, added", B)):
            yield from record(name, dtype, _prompted, _mixture(dtype, rows=rows))
            yield from record(name, dtype, _backward, _mixture(dtype, rows=rows))
    long = partial(_mixture, FLOAT32, table=BFLOAT16, length=100)
    for encoder in (True, False):
        name = "long prompts, rows' weights, added" + ("" if encoder else ", no encoder")
        yield from record(name, BFLOAT16, _prompted, long(rows=B, encoder=encoder), BFLOAT16)
        yield from record(name, BFLOAT16, _backward, long(rows=B, encoder=encoder))


def launch_kernel() -> object:
    """Any kernel of this package, to see whether Triton compiles or interprets."""
    return compose_prompts.__globals__["compose_prompts_kernel"]


def without_storage(*shape: int, dtype: torch.dtype) -> Tensor:
    """A tensor that has a shape and no memory."""
    return torch.empty(shape, dtype=dtype, device="meta")


def _ids(*shape: int) -> Tensor:
    return without_storage(*shape, dtype=torch.int64)


def _rows(dtype: torch.dtype) -> Tensor:
    return without_storage(B, LENGTH + L, WIDTH, dtype=dtype)


def _mixture(
    dtype: torch.dtype,
    *,
    encoder: bool = True,
    raw_sources: bool = True,
    sources: int = N_SOURCES,
    table: torch.dtype | None = None,
    precision: str = "ieee",
    length: int = LENGTH,
    rows: int | None = None,
) -> Composition:
    """All there is; with ``rows``, weights are given, those of so many rows or, of 0, the tasks', and prompts added."""
    mixture = Mixture(
        without_storage(T, sources + 1, dtype=dtype),
        without_storage(sources, length, WIDTH, dtype=dtype),
        without_storage(T, length, WIDTH, dtype=dtype),
        without_storage(WIDTH, WIDTH, dtype=dtype) if encoder else None,
        without_storage(WIDTH, dtype=dtype) if encoder else None,
        temperature=0.5,
        mask=without_storage(T, sources + 1, dtype=torch.bool),
        encode_sources=raw_sources,
    )
    if rows is not None:
        mixture = mixture._replace(logits=None, mask=None, temperature=1.0)
        mixture = mixture._replace(added=without_storage(T, length, WIDTH, dtype=dtype))
        given = without_storage(rows or T, sources + 1, dtype=dtype)
        mixture = mixture._replace(row_alpha=given) if rows else mixture._replace(alpha=given)
    composition = Composition.of(mixture, table or dtype)
    composition.precision = precision
    return composition


def _prompted(mixture: Composition, dtype: torch.dtype | None = None) -> None:
    table = without_storage(VOCABULARY, WIDTH, dtype=dtype or mixture.weights().dtype)
    prompted_embedding(_ids(B, L), _ids(B), table, mixture)


def _prepended(table: torch.dtype, offsets: torch.dtype | None = None) -> None:
    """With ``offsets``, prompts and offsets are of that dtype."""
    prepend_prompts(
        without_storage(T, LENGTH, WIDTH, dtype=offsets or table),
        _ids(B),
        _ids(B, L),
        without_storage(VOCABULARY, WIDTH, dtype=table),
        None if offsets is None else without_storage(T, L, WIDTH, dtype=offsets),
    )


def _gained() -> Iterator[Tensor]:
    """A prompt that all tasks share, and both parts of its gain, in float32 as they are learned."""
    return (without_storage(*shape, dtype=FLOAT32) for shape in ((1, LENGTH, WIDTH), (T, LENGTH), (T, WIDTH)))


def _scaled(table: torch.dtype) -> None:
    prompt, *gain = _gained()
    prepend_prompts(prompt, _ids(B), _ids(B, L), without_storage(VOCABULARY, WIDTH, dtype=table), None, *gain)


def _backward(mixture: Composition, rows: int | None = None) -> None:
    """With ``rows``, of a batch of fewer rows than there are tasks."""
    batch = B if rows is None else rows
    grad = without_storage(batch, mixture.length + L, WIDTH, dtype=mixture.operand)
    prompted_embedding_backward(grad, _ids(batch), mixture, Needs(*[True] * len(Needs._fields)))


def attended(
    dtype: torch.dtype, *, width: int = 64, dropout: float = 0.1, bias: bool = True, bare: bool = False
) -> None:
    """With all there is, or, without ``bias``, what cross-attention has, or, ``bare``, causal with a bias alone."""

    def rows(batch: int, length: int) -> Tensor:
        return without_storage(batch, length, HEADS, width, dtype=dtype).transpose(1, 2)

    tensors = (rows(B, L), rows(B, L), rows(B, L))
    if bare:
        vector: Tensor | None = without_storage(HEADS, 2 * L - 1, dtype=dtype)
        rest: tuple[Any, ...] = (vector, *[None] * 5, True, 0.0)
    else:
        vector = without_storage(HEADS, LENGTH + 2 * L - 1, dtype=dtype) if bias else None
        mask, seed = without_storage(B, L, dtype=torch.bool), _ids(1) if dropout else None
        rest = (vector, mask, rows(T, LENGTH), rows(T, LENGTH), _ids(B), seed, False, dropout)
    inputs = attention_arguments(*tensors, *rest)
    out, stats = attention(inputs)
    attention_backward(torch.empty_like(out), out, stats, inputs, AttentionNeeds(*[True] * 6))


def record(
    name: str, dtype: torch.dtype, launcher: Callable[..., object], *args: object, **options: object
) -> Iterator[Variant]:
    """What a launcher launches."""
    found: list[Variant] = []

    def start(kernel: triton.JITFunction, grid: object, values: tuple[object, ...], warps: int, stages: int) -> None:
        found.append(describe(kernel, name, str(dtype).removeprefix("torch."), values, warps, stages))

    with mock.patch.object(launch, "start", start):
        launcher(*args, **options)
    yield from found


def describe(
    kernel: triton.JITFunction, name: str, dtype: str, args: tuple[object, ...], warps: int, stages: int
) -> Variant:
    """Describe a launch as Triton's own specialization would."""
    signature: dict[str, str] = {}
    constexprs: dict[str, object] = {}
    divisible: list[str] = []
    for parameter, value in zip(kernel.params, args, strict=True):
        key = parameter.name
        specialized = not (parameter.is_constexpr or parameter.do_not_specialize)
        if isinstance(value, Tensor):
            signature[key] = "*" + TYPE_NAMES[value.dtype]
            divisible.append(key)
        elif parameter.is_constexpr or value is None or (specialized and type(value) is int and value == 1):
            signature[key] = "constexpr"
            constexprs[key] = value
        elif isinstance(value, float):
            signature[key] = "fp64"
        elif isinstance(value, int):
            signature[key] = "i32" if -(2**31) <= value < 2**31 else "i64"
            if specialized and value % 16 == 0:
                divisible.append(key)
        else:
            raise TypeError(f"variants: {kernel.__name__} takes no {type(value).__name__}, got one for {key}")
    return Variant(kernel, name, dtype, signature, constexprs, tuple(divisible), warps, stages)

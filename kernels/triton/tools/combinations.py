"""Every combination of present and absent arguments of every kernel, as far as Triton IR.

    python -m crosspt.kernels.tools.combinations

What is there and what is not decides which code a kernel is made of, and only the interpreter takes code whose types do
not meet. Prints how many combinations each kernel has; what does not become Triton IR raises.
"""

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice, product
from typing import Any

import torch
import triton
from torch import Tensor
from triton._C.libtriton import ir
from triton.backends.compiler import GPUTarget
from triton.compiler.compiler import make_backend

from crosspt.kernels.attention import attention, attention_arguments
from crosspt.kernels.attention_backward import AttentionNeeds, attention_backward
from crosspt.kernels.compose_prompts import compose_prompts
from crosspt.kernels.compose_prompts_backward import Needs, compose_prompts_backward
from crosspt.kernels.launch import Composition
from crosspt.kernels.mixture import Mixture
from crosspt.kernels.prepend_prompts import prepend_prompts, sum_task_rows
from crosspt.kernels.prompted_embedding import prompted_embedding
from crosspt.kernels.tools.assembly import source_of
from crosspt.kernels.tools.variants import BFLOAT16, FLOAT32, Variant, distinct, record, without_storage

B, L, T, N_SOURCES, LENGTH, WIDTH, HEADS, COLUMNS = 6, 24, 4, 3, 5, 64, 2, 32
"""Batch, tokens, tasks, sources, prompt length, width, heads and their columns: none is 1, which Triton compiles in."""
LONG = 40
"""Length of prompts that half types mix once."""

BOTH = (True, False)


def combinations() -> Iterator[Variant]:
    """What every combination of arguments launches, each compilation once."""
    yield from distinct(_launched())


def _launched() -> Iterator[Variant]:
    for dtype, table in ((FLOAT32, FLOAT32), (FLOAT32, BFLOAT16), (BFLOAT16, BFLOAT16)):
        compiled = partial(record, f"{dtype} beside {table}", dtype)
        embedding = without_storage(9, WIDTH, dtype=table)
        lengths = (LENGTH, LONG) if table is BFLOAT16 else (LENGTH,)
        for mixture in chain.from_iterable(_mixtures(dtype, length) for length in lengths):
            inputs = Composition.of(mixture, table)
            for rows in (B, T - 1):  # more batch rows than tasks, and fewer
                yield from compiled(prompted_embedding, _ids(rows, L), _ids(rows), embedding, inputs)
            yield from compiled(compose_prompts, inputs)
            for asked in product(*(BOTH if operand is not None else (False,) for operand in mixture[:5])):
                for rows, task_ids in ((T, None), (T - 1, _ids(T - 1))):
                    grad = without_storage(rows, inputs.length + L, WIDTH, dtype=inputs.operand)
                    yield from compiled(compose_prompts_backward, grad, inputs, Needs(*asked), task_ids)
        yield from compiled(sum_task_rows, without_storage(B, L, WIDTH, dtype=table), _ids(B), T, LENGTH, dtype)
        prompts = without_storage(T, LENGTH, WIDTH, dtype=dtype)
        yield from compiled(prepend_prompts, prompts, _ids(B), _ids(B, L), embedding)
    for dtype, there in product((FLOAT32, BFLOAT16), product(BOTH, repeat=5)):
        yield from record(str(dtype), dtype, _attend, dtype, *there)


def _ids(*shape: int) -> Tensor:
    return without_storage(*shape, dtype=torch.int64)


def _mixtures(dtype: torch.dtype, length: int) -> Iterator[Mixture]:
    for sources, privates, mask, encode_sources, encode_privates in product(BOTH, repeat=5):
        for weight, bias in ((True, True), (True, False), (False, False)):
            if sources or privates:
                candidates = N_SOURCES * sources + privates
                yield Mixture(
                    without_storage(T, candidates, dtype=dtype),
                    without_storage(N_SOURCES, length, WIDTH, dtype=dtype) if sources else None,
                    without_storage(T, length, WIDTH, dtype=dtype) if privates else None,
                    without_storage(WIDTH, WIDTH, dtype=dtype) if weight else None,
                    without_storage(WIDTH, dtype=dtype) if bias else None,
                    0.5,
                    without_storage(T, candidates, dtype=torch.bool) if mask else None,
                    encode_sources,
                    encode_privates,
                ).promoted()


def _attend(dtype: torch.dtype, bias: bool, mask: bool, prefix: bool, dropout: bool, causal: bool) -> None:
    """One attention, and its backward for every combination of gradients."""

    def rows(batch: int, length: int) -> Tensor:
        return without_storage(batch, length, HEADS, COLUMNS, dtype=dtype).transpose(1, 2)

    length = LENGTH * prefix
    inputs = attention_arguments(
        rows(B, L),
        rows(B, L),
        rows(B, L),
        without_storage(HEADS, length + 2 * L - 1, dtype=dtype) if bias else None,
        without_storage(B, L, dtype=torch.bool) if mask else None,
        rows(T, LENGTH) if prefix else None,
        rows(T, LENGTH) if prefix else None,
        _ids(B) if prefix else None,
        _ids(1) if dropout else None,
        causal,
        0.1 if dropout else 0.0,
    )
    out, stats = attention(inputs)
    for asked in product(BOTH, repeat=len(AttentionNeeds._fields)):
        attention_backward(torch.empty_like(out), out, stats, inputs, AttentionNeeds(*asked))


def to_triton_ir(variant: Variant, gpu: GPUTarget) -> Any:
    """The first form of a variant that has types. Raises whatever Triton raises where there is none."""
    source, backend = source_of(variant), make_backend(gpu)
    options = backend.parse_options({"num_warps": variant.num_warps, "num_stages": variant.num_stages})
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    return source.make_ir(gpu, options, backend.get_codegen_implementation(options), backend.get_module_map(), context)


def _check(share: int, of: int) -> Counter[str]:
    """Take every ``of``-th combination to Triton IR, from ``share`` on; how many there were of each kernel."""
    counts: Counter[str] = Counter()
    for variant in islice(combinations(), share, None, of):
        try:
            to_triton_ir(variant, GPUTarget("cuda", 90, 32))
        except Exception as error:
            absent = ", ".join(name for name, value in variant.constexprs.items() if value is None)
            raise RuntimeError(f"{variant.kernel.__name__} ({variant.name}) without {absent}: {error}") from None
        counts[variant.kernel.__name__] += 1
    return counts


def main() -> None:
    """Take every combination to Triton IR, in a process for each core."""
    processes = min(os.cpu_count() or 1, 8)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        counts = sum(pool.starmap(_check, [(share, processes) for share in range(processes)]), Counter())
    print(f"Triton {triton.__version__}: {counts.total()} combinations become Triton IR")
    for name, count in sorted(counts.items()):
        print(f"{count:5} {name}")


if __name__ == "__main__":
    main()

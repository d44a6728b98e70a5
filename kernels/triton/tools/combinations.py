"""Every combination of present and absent arguments of every kernel, as far as Triton IR or to machine code.

    python -m crosspt.kernels.tools.combinations [--cover N] [--jobs N]
    python -m crosspt.kernels.tools.combinations --target sm_90 [...] [--kernel NAME ...] [--dtype NAME ...]
        [--width D ...] [--cover N] [--jobs N]

What is there and what is not decides which code a kernel is made of. Only the interpreter takes code whose types do not
meet: without a target, what does not become Triton IR raises, and what each kernel has is counted. For a target the
combinations are compiled, and those that spill, do not fit or do not compile are printed; the exit status is 1 if there
are any. All of them take long: ``--cover N`` takes as few as hold every combination of any N arguments.
"""

import argparse
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby, islice, product
from itertools import combinations as subsets
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
from crosspt.kernels.prepend_gain import prepend_gain
from crosspt.kernels.prepend_prompts import prepend_prompts, sum_task_rows
from crosspt.kernels.prompted_embedding import prompted_embedding
from crosspt.kernels.tools.assembly import source_of
from crosspt.kernels.tools.inspection import TARGETS, Row, inspect
from crosspt.kernels.tools.variants import BFLOAT16, FLOAT16, FLOAT32, Variant, distinct, record, without_storage

B, L, T, N_SOURCES, LENGTH, WIDTH, HEADS, COLUMNS = 6, 24, 4, 3, 5, 64, 2, 32
"""Batch, tokens, tasks, sources, prompt length, width, heads and their columns: none is 1, which Triton compiles in."""
LONG = 40
"""Length of prompts that half types mix once."""

BOTH = (True, False)


@dataclass(frozen=True)
class Combinations:
    """What every combination of arguments launches, each compilation once, one kernel after the other.

    Attributes:
        dtypes: of tables, queries, keys and values; parameters are of the same or float32.
        widths: of a head.
        cover: 0 for all combinations, or how many arguments are to have all theirs.
        kernels: names of kernels to keep; empty keeps all.
    """

    dtypes: tuple[torch.dtype, ...] = (FLOAT32, BFLOAT16)
    widths: tuple[int, ...] = (COLUMNS,)
    cover: int = 0
    kernels: tuple[str, ...] = ()

    def __call__(self) -> Iterator[Variant]:
        """Record what is launched."""
        found = distinct(_launched(self.dtypes, self.widths))
        of_a_kernel = sorted(
            (one for one in found if not self.kernels or one.kernel.__name__ in self.kernels), key=_alike
        )
        for _, alike in groupby(of_a_kernel, _alike):
            variants = list(alike)
            for variant in covering(variants, self.cover) if self.cover else variants:
                yield replace(variant, name=_described(variant))


def _alike(variant: Variant) -> tuple[str, int]:
    """Kernel and width of a head, which a cover does not mix."""
    return variant.kernel.__name__, int(str(variant.constexprs.get("D", 0)))


def covering(variants: Sequence[Variant], cover: int) -> list[Variant]:
    """As few variants as hold every combination that ``cover`` arguments have among all of them, found greedily."""
    held = [set(subsets(_choices(variant), cover)) for variant in variants]
    missing, chosen = set[Any]().union(*held), []
    while missing:
        best = max(range(len(held)), key=lambda i: len(held[i] & missing))
        missing -= held[best]
        chosen.append(variants[best])
    return chosen


def _choices(variant: Variant) -> list[tuple[str, object]]:
    """Which arguments are absent, and the types and switches of the others."""
    values = {name: variant.constexprs.get(name, kind) for name, kind in variant.signature.items()}
    return [(name, value) for name, value in values.items() if value is None or isinstance(value, (str, bool))]


def _described(variant: Variant) -> str:
    """A variant's own name, and what distinguishes it from the others."""
    absent = [name for name, value in variant.constexprs.items() if value is None]
    switches = [f"{name} {value}" for name, value in variant.constexprs.items() if name == "D" or value is True]
    return " ".join([variant.name, *switches, *(["without", *absent] if absent else [])])


def _launched(dtypes: Sequence[torch.dtype], widths: Sequence[int]) -> Iterator[Variant]:
    tables = [(dtype, dtype) for dtype in dtypes] + [(FLOAT32, dtype) for dtype in dtypes if dtype is not FLOAT32]
    for dtype, table in tables:
        compiled = partial(record, f"{_name(dtype)} beside {_name(table)}", dtype)
        embedding = without_storage(9, WIDTH, dtype=table)
        lengths = (LENGTH, LONG) if table.itemsize == 2 else (LENGTH,)
        for mixture in chain.from_iterable(_mixtures(dtype, length) for length in lengths):
            inputs = Composition.of(mixture, table)
            for rows in (B, T - 1):  # more batch rows than tasks, and fewer
                yield from compiled(prompted_embedding, _ids(rows, L), _ids(rows), embedding, inputs)
            if mixture.row_alpha is None:
                yield from compiled(compose_prompts, inputs)
            for asked in product(*(BOTH if operand is not None else (False,) for operand in mixture.learned())):
                for rows, task_ids in ((T, None), (T - 1, _ids(T - 1)))[mixture.row_alpha is not None :]:
                    grad = without_storage(rows, inputs.length + L, WIDTH, dtype=inputs.operand)
                    yield from compiled(compose_prompts_backward, grad, inputs, Needs(*asked), task_ids)
        prompts = without_storage(T, LENGTH, WIDTH, dtype=dtype)
        grad = without_storage(B, LENGTH + L, WIDTH, dtype=table)
        for kind in (None, FLOAT32, table):
            offsets = None if kind is None else without_storage(T, L, WIDTH, dtype=kind)
            yield from compiled(prepend_prompts, prompts, _ids(B), _ids(B, L), embedding, offsets)
            for learned in (dtype,) if kind is None else (dtype, None):
                yield from compiled(sum_task_rows, grad, _ids(B), T, LENGTH, learned, L, kind)
        for kind in (FLOAT32, table):
            gain = without_storage(T, LENGTH, dtype=kind), without_storage(T, WIDTH, dtype=kind)
            yield from compiled(prepend_prompts, prompts[:1], _ids(B), _ids(B, L), embedding, None, *gain)
            for needs in product(BOTH, repeat=3):
                yield from compiled(prepend_gain, grad, _ids(B), prompts[:1], *gain, needs)
        for width, there in product(widths, product(BOTH, repeat=5)):  # the bias is a parameter, the table the rest
            yield from record(f"bias of {_name(dtype)}", table, _attend, table, dtype, width, *there)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _ids(*shape: int) -> Tensor:
    return without_storage(*shape, dtype=torch.int64)


def _mixtures(dtype: torch.dtype, length: int) -> Iterator[Mixture]:
    """All of logits; of weights that are given those with a bias or without an encoder, beside an added prompt."""
    for sources, privates, mask, encode_sources, encode_privates in product(BOTH, repeat=5):
        for weight, bias in ((True, True), (True, False), (False, False)):
            if sources or privates:
                candidates = N_SOURCES * sources + privates
                mixture = Mixture(
                    without_storage(T, candidates, dtype=dtype),
                    without_storage(N_SOURCES, length, WIDTH, dtype=dtype) if sources else None,
                    without_storage(T, length, WIDTH, dtype=dtype) if privates else None,
                    without_storage(WIDTH, WIDTH, dtype=dtype) if weight else None,
                    without_storage(WIDTH, dtype=dtype) if bias else None,
                    temperature=0.5,
                    mask=without_storage(T, candidates, dtype=torch.bool) if mask else None,
                    encode_sources=encode_sources,
                    encode_privates=encode_privates,
                ).promoted()
                yield mixture
                if weight == bias and not mask:
                    added = without_storage(T, length, WIDTH, dtype=dtype)
                    mixture = mixture._replace(logits=None, temperature=1.0, added=added)
                    yield mixture._replace(alpha=without_storage(T, candidates, dtype=dtype))
                    yield mixture._replace(row_alpha=without_storage(T - 1, candidates, dtype=dtype))


def _attend(
    dtype: torch.dtype,
    bias_dtype: torch.dtype,
    width: int,
    bias: bool,
    mask: bool,
    prefix: bool,
    dropout: bool,
    causal: bool,
) -> None:
    """One attention, and its backward for every combination of gradients."""

    def rows(batch: int, length: int) -> Tensor:
        return without_storage(batch, length, HEADS, width, dtype=dtype).transpose(1, 2)

    length = LENGTH * prefix
    inputs = attention_arguments(
        rows(B, L),
        rows(B, L),
        rows(B, L),
        without_storage(HEADS, length + 2 * L - 1, dtype=bias_dtype) if bias else None,
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
    source, backend = source_of(variant, gpu), make_backend(gpu)
    options = backend.parse_options({"num_warps": variant.num_warps, "num_stages": variant.num_stages})
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    return source.make_ir(gpu, options, backend.get_codegen_implementation(options), backend.get_module_map(), context)


def _check(cover: int, share: int, of: int) -> Counter[str]:
    """Take every ``of``-th combination to Triton IR, from ``share`` on; how many there were of each kernel.

    Where all is float32 it meets sums of float32 alone: there pairs of arguments will do.
    """
    counts: Counter[str] = Counter()
    wide, narrow = Combinations((FLOAT32,), cover=cover or 2), Combinations((BFLOAT16,), cover=cover)
    for variant in islice(chain(wide(), narrow()), share, None, of):
        try:
            to_triton_ir(variant, GPUTarget("cuda", 90, 32))
        except Exception as error:
            raise RuntimeError(f"{variant.kernel.__name__} {variant.name}: {error}") from None
        counts[variant.kernel.__name__] += 1
    return counts


def check(jobs: int, cover: int = 0) -> None:
    """Take every combination to Triton IR in parallel processes, or as few as ``cover``."""
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        counts = sum(pool.starmap(_check, [(cover, share, jobs) for share in range(jobs)]), Counter())
    print(f"Triton {triton.__version__}: {counts.total()} combinations become Triton IR")
    for name, count in sorted(counts.items()):
        print(f"{count:5} {name}")


def report(rows: Sequence[Row]) -> str:
    """A line for each compilation with a problem, one for each target and kernel, and one that counts all of them."""
    faulty = [row for row in rows if row.problem]
    lines = [f"{row.target} {row.kernel} {row.dtype} {row.variant}: {row.problem}" for row in faulty]
    most: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        most.setdefault((row.target, row.kernel), []).append(row.registers)
    lines += [f"{' '.join(names)}: {len(found)}, up to {max(found)} registers" for names, found in most.items()]
    return "\n".join([*lines, f"{len(rows)} compilations, {len(faulty)} with a problem"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m crosspt.kernels.tools.combinations", description=__doc__.split("\n")[0]
    )
    dtypes = {_name(dtype): dtype for dtype in (FLOAT16, BFLOAT16, FLOAT32)}
    parser.add_argument("--target", nargs="+", default=[], choices=list(TARGETS), help="compile for these GPUs")
    parser.add_argument("--kernel", nargs="+", default=[], metavar="NAME", help="only these kernels")
    parser.add_argument("--dtype", nargs="+", default=["bfloat16"], choices=list(dtypes), help="only these dtypes")
    parser.add_argument("--width", nargs="+", type=int, default=[64, 128], metavar="D", help="of a head")
    parser.add_argument("--cover", type=int, default=0, metavar="N", help="all combinations of any N arguments alone")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes; one for each CPU, up to 8, by default")
    options = parser.parse_args(arguments)
    jobs = options.jobs or min(os.cpu_count() or 1, 8)
    if not options.target:
        check(jobs, options.cover)
        return 0
    asked = tuple(dtypes[name] for name in options.dtype)
    provider = Combinations(asked, tuple(options.width), options.cover, tuple(options.kernel))
    try:
        rows = inspect(options.target, options.kernel, options.dtype, provider=provider, jobs=jobs)
    except ValueError as error:
        parser.error(str(error))
    print(report(rows))
    return int(any(row.problem for row in rows))


if __name__ == "__main__":
    sys.exit(main())

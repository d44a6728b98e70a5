"""The parts of ``benchmarks.on_gpu``, each in a process of its own: a launch that fails leaves CUDA unusable.

``python -m benchmarks.gpu_parts steps [cuda:90]`` prints a line of JSON a piece: {what, result or failed, ...}.
"""

import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks import attention, embedding, gpus, models, prefix_modes, shapes, suites
from benchmarks.peers import Built, Operation
from benchmarks.timing import DEVICE, Work, synchronize
from crosspt import functional, reference
from crosspt.functional import launchers, torch_attention
from crosspt.kernels.tools.dropped import keep_factors
from crosspt.kernels.tools.launches import count_launches

Row = dict[str, Any]
Pieces = Iterator[tuple[str, Callable[[], Row]]]  # what is done, and what does it and returns the rest of its row
ROUNDS, BUDGET = 5, 3.0  # of a comparison: the most rounds, and the seconds after which no further one starts
REPEATS, CACHE_BYTES = 20, 2**28  # of a profiled pass, and what is written before each to empty the caches
# Of a step's loss and of a gradient, as shares of their norms: rounding to bfloat16 alone makes 0.1 of a gradient.
TOLERANCES = {"float32": (1e-5, 1e-2), "bfloat16": (1e-2, 0.2)}
COUNTED: dict[str, tuple[Operation, Any, Any]] = {
    "embedding": (embedding.EMBEDDING, shapes.REFERENCE, shapes.REFERENCE),
    "attention": (attention.ATTENTION, attention.REFERENCE, attention.LEDGER[0]),
    "prefix attention": (attention.ATTENTION, attention.PREFIX, attention.LEDGER[1]),
}
"""Operations, the shapes that are profiled and whose time is estimated, and smaller ones that are counted."""


@contextmanager
def launched(target: str | None) -> Iterator[Counter[Any]]:
    """Count the launches of the block; for a target kernels are compiled, and none runs."""
    on_cpu = ((launchers, "interpreted"), (attention, "require"), (embedding, "require"))
    with ExitStack() as stack:
        for module, name in on_cpu if target else ():
            stack.enter_context(mock.patch.object(module, name))
        yield stack.enter_context(count_launches(target))


def _attend(own: Callable[..., Tensor], *arguments: Any) -> Tensor:
    """crosspt_torch's attention; where it drops, the reference's in float32 with what crosspt_triton's would drop."""
    *inputs, causal, dropout = arguments
    if not dropout:
        return own(*arguments)
    seed = torch.randint(2**63 - 1, (1,), device=inputs[0].device)  # as for the kernels: both steps draw alike
    length = 0 if inputs[5] is None else inputs[5].shape[2]
    keep = keep_factors((*inputs[0].shape[:3], inputs[1].shape[2], length), dropout, seed)
    wide: list[Any] = [x.float() if x is not None and x.is_floating_point() else x for x in inputs]
    prefix = dict(zip(("prefix_key", "prefix_value", "task_ids"), wide[5:], strict=True))
    return reference.attention(*wide[:5], **prefix, causal=causal, keep=keep).to(inputs[0].dtype)


def step(bench: models.Bench, backend: str, mode: str, t5_learns: bool, dropout: bool) -> dict[str, Tensor]:
    """The loss of a training step and the gradients of all that learns, by name."""
    torch.manual_seed(0)
    built = models.build_crosspt(mode, bench, backend)
    built.module.train(dropout)
    bench.t5.requires_grad_(t5_learns)
    learned = {name: p for name, p in built.module.named_parameters() if p.requires_grad}
    with mock.patch.object(torch_attention, "attention", partial(_attend, torch_attention.attention)):
        loss = built.loss()
    return {"loss": loss.detach(), **dict(zip(learned, torch.autograd.grad(loss, [*learned.values()]), strict=True))}


def compare_steps(bench: models.Bench, *case: Any) -> Row:
    """The largest errors of the loss and of the gradients of the prompts, and of the bias and all else of the T5."""
    got, wanted = (step(bench, backend, *case) for backend in ("triton", "torch"))
    errors = {}
    for group in ("loss", "embedding.", "t5.", "relative_attention_bias"):
        pairs = [(got[name].double(), truth.double()) for name, truth in wanted.items() if group in name]
        if pairs:  # torch's maximum of a NaN is NaN
            errors[group] = torch.stack([(x - y).norm() / y.norm().clamp(min=1e-30) for x, y in pairs]).max().item()
    most = {group: TOLERANCES[bench.shape.dtype][group != "loss"] for group in errors}
    right = all(error <= most[group] for group, error in errors.items())
    result = ", ".join(f"{group} off by {error:.1e} of {most[group]:g}" for group, error in errors.items())
    return {"result" if right else "failed": result, "errors": errors}


def steps(target: str | None) -> Pieces:
    """Training steps of CrossPTModel under crosspt_triton beside crosspt_torch; for a target, compiled alone."""

    def compiled(bench: models.Bench, *case: Any) -> Row:
        with launched(target) as counts:
            step(bench, "triton", *case)
        return {"result": f"compiled, {counts.total()} launches"}

    cases = (("full", False), ("isolated", False), ("full", True))
    for dtype, (mode, t5_learns), dropout in product(TOLERANCES, cases, (True, False)):
        what = f"{mode} {dtype}" + ", T5 learns" * t5_learns + ", dropout" * dropout
        bench = models.make_bench(shapes.STEP.moved(dtype=dtype, B=2 if target else 16), DEVICE)
        yield what, partial(compiled if target else compare_steps, bench, mode, t5_learns, dropout)


def timed_suites(_: str | None) -> Pieces:
    """The comparisons of the small grid, with few rounds; of the goals, what was met."""

    def measure(suite: str, one: Any) -> Row:
        outcome = replace(one, rounds=min(one.rounds, ROUNDS), budget=BUDGET).measure()
        wrong = [row["missing"] for row in outcome.missing.values() if row["missing"].startswith("wrong")]
        timed = [(f"{name} {at}", row["seconds"]["q50"]) for (at, name), row in outcome.rows.items()]
        ours = [f"{name} {1e3 * s:.3g} ms" for name, s in timed if name.startswith(("triton", "CrossPTModel"))]
        goals = prefix_modes.judge({one.operation.name: outcome}) if suite == "goals" else []
        return {"failed" if wrong else "result": "; ".join(wrong or ours), "rows": outcome.to_json(), "goals": goals}

    for suite, comparisons in suites.suites("small").items():
        yield from ((f"{suite}: {one}", partial(measure, suite, one)) for one in comparisons)


def _built(case: str) -> Built:
    operation, shape, _ = COUNTED[case.partition(",")[0]]
    batch = operation.make_batch(shape, DEVICE)
    if case == "attention, bias learns":
        batch = batch._replace(bias=batch.bias.requires_grad_())
    if case != "embedding, two calls":
        return operation.peers["triton"].build(batch)

    def embed(input_ids: Tensor, task_ids: Tensor, table: Tensor, **mixture: Any) -> Tensor:
        prompts = functional.compose_prompts(**mixture, backend="triton")
        return functional.prepend_prompts(prompts, task_ids, input_ids, table, backend="triton")

    return embedding.build_crosspt(embed, batch)


def _profiled(work: Work, kernels: Mapping[Any, int]) -> dict[str, float]:
    """Microseconds of each kernel in a pass, of each launch the median, whose operands lie in no cache."""
    flush = torch.empty(CACHE_BYTES, dtype=torch.int8, device=DEVICE)
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        for _ in range(REPEATS):
            arguments = work.prepare()
            flush.zero_()
            work.run(*arguments)
        synchronize()
    events = [(event.name(), event.duration_ns() / 1e3) for event in recorded.profiler.kineto_results.events()]
    spans = {kernel.__name__: [us for name, us in events if name == kernel.__name__] for kernel in kernels}
    if not all(spans.values()):
        raise RuntimeError(f"the profiler did not see all of {', '.join(spans)}")
    return {name: count * statistics.median(spans[name]) for name, count in zip(spans, kernels.values(), strict=True)}


def kernels(target: str | None) -> Pieces:
    """Each kernel's time under the profiler, pass by pass; for a target, compiled alone."""

    def measure(case: str, what: str) -> Row:
        with launched(target) as counts:
            work: Any = _built(case).work(what)
            arguments = work.prepare()
            counts.clear()
            work.run(*arguments)
        found = _profiled(work, counts) if not target else {kernel.__name__: None for kernel in counts}
        times = ", ".join(name if time is None else f"{name} {time:.1f} µs" for name, time in found.items())
        return {"result": times, "us": found}

    for case in (*COUNTED, "attention, bias learns", "embedding, two calls"):
        yield from ((f"{case}, {what}", partial(measure, case, what)) for what in ("forward", "backward"))


def ledger(_: str | None) -> Pieces:
    """What the ledger counts of the kernels, and estimates of their times; needs a process that interprets."""
    from benchmarks.ledger import add_estimates, peer_rows, sample

    there = torch.cuda.get_device_name() if torch.cuda.is_available() else "H100"
    gpu = next((gpu for name, gpu in gpus.GPUS.items() if name in there), gpus.GPUS["H100"])

    def estimate(operation: Operation, shape: Any, counted: Any) -> Row:
        peer, texts = operation.peers["triton"], []
        rows = peer_rows(operation, peer, counted, gpu)
        if "missing" in rows[0]:
            return {"failed": rows[0]["missing"]}
        launches = sample(peer, operation.make_batch(shape), gpu)
        for row in rows:
            row["launched"] = launches[row["pass"]]
        add_estimates(rows, gpu)
        for row in rows:
            took = 1e6 * row["estimated_seconds"]
            texts.append(
                f"{row['pass']} {took:.1f} µs, launches {row['launches']}, bytes over the floor {row['ratio']:.2f}"
            )
        return {"result": f"estimated for a {gpu.name}: {'; '.join(texts)}", "rows": rows}

    yield from ((case, partial(estimate, *counted)) for case, counted in COUNTED.items())


PARTS = {"steps": steps, "kernels": kernels, "ledger": ledger, "suites": timed_suites}


def main(part: str, target: str | None = None) -> None:
    """Run one part."""
    for what, work in PARTS[part](target):
        try:
            row = work()
        except Exception as error:
            row = {"failed": f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"}
        print(json.dumps({"what": what, **row}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

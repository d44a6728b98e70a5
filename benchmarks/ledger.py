"""The ledger: what every peer would make a GPU do, counted on any machine.

``python -m benchmarks.ledger [--json] [--gpu H100] [--shape B=4,L=16]``: launches, bytes, floating-point operations,
the floor, the ratio to it, and the time that the GPU would need at best, for forward and backward of the embedding
operation and of an attention, and for a T5's training step. Nothing here is timed.
"""

import os

# Interpreted kernels run on any machine, and tell the addresses that they load and store.
os.environ["TRITON_INTERPRET"] = "1"

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import attention, floor, shapes, steps
from benchmarks.counter import Count, count_operations
from benchmarks.operations import ATTENTION, EMBEDDING, Operation
from benchmarks.providers import Peer, UnavailableError, check
from benchmarks.shapes import Dimensions, Shape, label

Counter = Callable[[], AbstractContextManager[Count]]
COLUMNS = ("peer", "pass", "launches", "MB", "unique MB", "MFLOP", "floor MB", "ratio", "best us")


def ids_unseen() -> AbstractContextManager[Any]:
    """Leave out the check of ids, which happens on CPU tensors alone."""

    def unseen(_: Any) -> bool:  # a function, which torch.compile can trace
        return False

    return mock.patch("crosspt.ops.validation.values_are_visible", unseen)


def operation_rows(operation: Operation, peer: Peer, shape: Dimensions, gpu: floor.Gpu) -> Iterator[dict[str, Any]]:
    """Rows of an operation, one a pass; a wrong or absent peer gives one row that says so."""
    about = {"peer": peer.name, "operation": operation.name, "shape": shape.to_json()}
    batch = operation.make_batch(shape)
    try:
        with ids_unseen():
            counts, wrong = _count_peer(operation, peer, shape, batch)
    except UnavailableError as reason:
        yield {**about, "missing": str(reason)}
        return
    if wrong:
        yield {**about, "missing": f"wrong: {wrong}"}
        return
    for name, floor_bytes in peer.floors(shape).items():
        if name in counts:
            figures = _figures(name, counts[name], gpu, shape, floor_bytes)
            yield {**about, "lacks": peer.lacks, "counted_by": peer.counted_by, **figures}


def _count_peer(operation: Operation, peer: Peer, shape: Dimensions, batch: Any) -> tuple[dict[str, Count], str | None]:
    """The peer's counts by pass, and what is wrong with its values."""
    if peer.counted_by == "Inductor's scheduler":
        from benchmarks.inductor import count_compilations

        with count_compilations() as planned:
            wrong = check(peer.build(shape, batch), batch.constant)
        eager, _ = _count_peer(operation, operation.peers[operation.plain], shape, batch)
        for name, count in planned.items():
            count.flops = eager[name].flops  # Inductor counts none
        return {name: count for name, count in planned.items() if count.launches}, wrong
    counter: Counter = count_operations
    if peer.counted_by == "interpreted addresses":
        from benchmarks.interpreted import count_operations_and_kernels as counter
    counts: dict[str, Count] = {}

    @contextmanager
    def during(name: str) -> Iterator[None]:
        with counter() as count:
            yield
        counts[name] = count

    return counts, check(peer.build(shape, batch), batch.constant, during)


def step_rows(name: str, bench: steps.Bench, gpu: floor.Gpu) -> Iterator[dict[str, Any]]:
    """Rows of a T5's training step: forward, backward and optimizer. A step has no floor here."""
    about = {"peer": name, "operation": "training_step", "shape": bench.shape.to_json()}
    try:
        prompted = steps.MODELS[name](bench)
    except UnavailableError as reason:
        yield {**about, "missing": str(reason)}
        return
    counts: dict[str, Count] = {}
    with ids_unseen():
        with count_operations() as counts["forward"]:
            loss = prompted.loss()
        with count_operations() as counts["backward"]:
            loss.backward()
        if prompted.learned:
            optimizer = torch.optim.Adam(prompted.learned)
            with count_operations() as counts["optimizer"]:
                optimizer.step()
    for step, count in counts.items():
        figures = _figures(step, count, gpu, bench.shape, None)
        yield {**about, "lacks": prompted.lacks, "counted_by": "torch dispatch", **figures}


def _figures(name: str, count: Count, gpu: floor.Gpu, shape: Dimensions, floor_bytes: int | None) -> dict[str, Any]:
    return {
        "pass": name,
        "launches": count.launches,
        "bytes": count.bytes,
        "unique_bytes": count.unique_bytes,
        "flops": count.flops,
        "floor_bytes": floor_bytes,
        "ratio": count.unique_bytes / floor_bytes if floor_bytes else None,
        "best_seconds": gpu.best_seconds(count.launches, count.unique_bytes, count.flops, shape.dtype),
    }


def make_ledger(
    embedding: Sequence[Shape],
    attentions: Sequence[attention.AttentionShape],
    sizes: steps.Sizes,
    step: Shape | None,
    gpu: floor.Gpu,
) -> dict[str, Any]:
    """All rows, with what they rest on.

    Args:
        embedding: shapes of the embedding operation.
        attentions: shapes of the attention.
        sizes: the T5's.
        step: shape of the training step, or None for no such rows.
        gpu: whose time is computed.
    """
    rows: list[dict[str, Any]] = []
    jobs: list[Callable[[], Iterator[dict[str, Any]]]] = [
        partial(operation_rows, operation, peer, shape, gpu)
        for operation, operation_shapes in ((EMBEDDING, embedding), (ATTENTION, attentions))
        for shape in operation_shapes
        for peer in operation.peers.values()
    ]
    if step is not None:
        bench = steps.make_bench(sizes, step)
        jobs += [partial(step_rows, name, bench, gpu) for name in steps.MODELS]
    for job in track(jobs, "counting", transient=True, console=Console(stderr=True)):
        rows += job()
    return {
        "schema": 1,
        "gpu": {"name": gpu.name, "source": gpu.source, "bytes_per_second": gpu.bytes_per_second},
        "rows": rows,
    }


def tables(ledger: dict[str, Any]) -> Iterator[Table]:
    """One table for each operation and shape."""
    titles = {(row["operation"], label(row["shape"])): None for row in ledger["rows"]}
    for operation, shape in titles:
        table = Table(title=f"{operation} {shape}, counted; best time on a {ledger['gpu']['name']}")
        for column in COLUMNS:
            named = column in ("peer", "pass")
            table.add_column(column, justify="left" if named else "right", no_wrap=named)
        for row in ledger["rows"]:
            if (row["operation"], label(row["shape"])) == (operation, shape):
                table.add_row(*cells(row))
        yield table


def cells(row: dict[str, Any]) -> list[str]:
    """A row as text, in the order of COLUMNS."""
    if "missing" in row:
        return [row["peer"], row["missing"], *[""] * (len(COLUMNS) - 2)]
    floor_bytes, ratio = row["floor_bytes"], row["ratio"]
    return [
        row["peer"],
        row["pass"],
        str(row["launches"]),
        *(f"{row[name] / 1e6:.3g}" for name in ("bytes", "unique_bytes", "flops")),
        "" if floor_bytes is None else f"{floor_bytes / 1e6:.3g}",
        "" if ratio is None else f"{ratio:.2f}",
        f"{row['best_seconds'] * 1e6:.1f}",
    ]


def parse_shape(text: str, shape: Dimensions = shapes.REFERENCE) -> Dimensions:
    """A shape from text such as ``B=4,L=16``; what is not named is the given shape's."""
    try:
        named: dict[str, Any] = dict(part.split("=") for part in text.split(","))
        named |= {name: int(size) for name, size in named.items() if name != "dtype"}
        return shape.moved(**named)
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(f"expected sizes such as B=4,dtype=bfloat16, got {text!r}") from None


def main() -> None:
    """Print the ledger."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--gpu", choices=list(floor.GPUS), default="H100", help="whose best time is computed")
    parser.add_argument(
        "--shape",
        type=parse_shape,
        action="append",
        help="sizes of the embedding operation, such as B=4,L=16; repeatable",
    )
    parser.add_argument(
        "--attention",
        type=partial(parse_shape, shape=attention.REFERENCE),
        action="append",
        help="sizes of the attention, such as Lq=64,Lk=64,m=100,T=8; repeatable",
    )
    parser.add_argument("--no-step", action="store_true", help="leave out the T5's training step")
    options = parser.parse_args()
    step = None if options.no_step else shapes.REFERENCE
    ledger = make_ledger(
        options.shape or shapes.LEDGER,
        options.attention or attention.LEDGER,
        steps.T5_SMALL,
        step,
        floor.GPUS[options.gpu],
    )
    if options.json:
        print(json.dumps(ledger, indent=2))
        return
    console = Console(width=max(110, Console().width))
    for table in tables(ledger):
        console.print(table)
    console.print(f"{ledger['gpu']['name']}: {ledger['gpu']['source']}.")
    console.print("MB are 1e6 bytes; ratio is unique MB over floor MB.")


if __name__ == "__main__":
    main()

"""The ledger: what every peer would make a GPU do, counted on any machine.

``python -m benchmarks.ledger [--json] [--gpu H100] [--shape B=4,L=16]``: launches, bytes, floating-point operations,
the floor, the ratio to it, and an estimate of the time that the GPU would take, for forward and backward of the
embedding operation and of an attention, and for a T5's training step. Nothing here is timed.
"""

import os

# Interpreted kernels run on any machine, and tell the addresses that they load and store.
os.environ["TRITON_INTERPRET"] = "1"

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, TypeVar
from unittest import mock

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from benchmarks import attention, report, shapes
from benchmarks.attention import ATTENTION
from benchmarks.counter import Count, count_operations
from benchmarks.embedding import EMBEDDING
from benchmarks.estimate import Sampled, estimate, sample_launches
from benchmarks.gpus import GPUS, Gpu
from benchmarks.kernels import TEMPLATE
from benchmarks.models import TRAINING_STEP, Bench
from benchmarks.peers import Operation, Peer, UnavailableError
from benchmarks.shapes import Dimensions

T = TypeVar("T")
ids_unseen = partial(mock.patch, "crosspt.functional.validation.values_are_visible", new=lambda _: False)
"""Leaves out the check of ids, which happens on CPU tensors alone."""


def peer_rows(operation: Operation, peer: Peer, shape: Dimensions, gpu: Gpu) -> list[dict[str, Any]]:
    """Rows of a peer, one a pass; where it is wrong or absent, one that says so. A training step has no floor here.

    Under ``launched`` a row holds what :func:`add_estimates` takes away.
    """
    about = {"peer": peer.name, "operation": operation.name, "shape": shape.to_json()}
    batch = operation.make_batch(shape)
    try:
        with ids_unseen():
            counts = _count_step(peer, batch) if operation is TRAINING_STEP else _count_peer(operation, peer, batch)
            sampled = sample(peer, batch, gpu) if peer.counted_by == "interpreted addresses" else {}
    except UnavailableError as reason:
        return [{**about, "missing": str(reason)}]
    return [
        {
            **about,
            "lacks": peer.lacks,
            "counted_by": peer.counted_by,
            "pass": name,
            "launches": count.launches,
            "bytes": count.bytes,
            "unique_bytes": count.unique_bytes,
            "flops": count.flops,
            "floor_bytes": floor_bytes,
            "ratio": count.unique_bytes / floor_bytes if floor_bytes else None,
            "launched": sampled.get(name, count.launched),
        }
        for name, floor_bytes in (peer.floors(shape) or dict.fromkeys(counts)).items()
        if (count := counts.get(name)) is not None
    ]


def add_estimates(rows: Sequence[dict[str, Any]], gpu: Gpu) -> None:
    """Put the estimated time of all its launches into each row; ours are compiled in one process."""
    ours = [one for row in rows for one in row.get("launched", ()) if isinstance(one, Sampled)]
    seconds = iter(estimate(ours, gpu) if ours else ())
    for row in rows:
        if "launched" in row:
            row["estimated_seconds"] = sum(
                next(seconds) if isinstance(one, Sampled) else gpu.library_seconds(one, row["shape"]["dtype"])
                for one in row.pop("launched")
            )


def by_pass(watch: Callable[[], AbstractContextManager[T]], forward: Callable[[], Tensor]) -> dict[str, T]:
    """What is seen of each pass."""
    with watch() as first:
        output = forward()
    with watch() as second:
        output.backward(torch.ones_like(output))
    return {"forward": first, "backward": second}


def sample(peer: Peer, batch: Any, gpu: Gpu) -> dict[str, list[Sampled]]:
    """The launches of a peer of ours by pass."""
    return by_pass(partial(sample_launches, gpu), peer.build(batch).forward)


def _count_peer(operation: Operation, peer: Peer, batch: Any) -> dict[str, Count]:
    """The peer's counts by pass, while it is checked."""
    if peer.counted_by == "Inductor's scheduler":
        from benchmarks.kernels import count_compilations

        with count_compilations() as planned:
            peer.checked(batch)
        eager = _count_peer(operation, operation.peers[operation.baseline], batch)
        for name, count in planned.items():
            add_flops(count, eager[name].flops)
        return {name: count for name, count in planned.items() if count.launches}
    counter: Callable[[], Any] = count_operations
    if peer.counted_by == "interpreted addresses":
        from benchmarks.kernels import count_operations_and_kernels as counter
    counts: dict[str, Count] = {}

    @contextmanager
    def during(name: str) -> Iterator[None]:
        with counter() as count:
            yield
        counts[name] = count

    peer.checked(batch, during)
    return counts


def add_flops(count: Count, flops: int) -> None:
    """Give what Inductor does not count of all operations to its own kernel that moves the most, a template if any."""
    own = [number for number, launch in enumerate(count.launched) if not launch.depth]
    if own:
        most = max(own, key=lambda number: (count.launched[number].name == TEMPLATE, count.launched[number].bytes))
        count.launched[most] = count.launched[most]._replace(flops=max(flops - count.flops, 0))


def _count_step(peer: Peer, bench: Bench) -> dict[str, Count]:
    """Counts of forward, backward and the optimizer."""
    built = peer.build(bench)
    counts = by_pass(count_operations, built.loss)
    if built.learned:
        optimizer = torch.optim.Adam(built.learned)
        with count_operations() as counts["optimizer"]:
            optimizer.step()
    return counts


def make_ledger(shapes: Sequence[tuple[Operation, Sequence[Dimensions]]], gpu: Gpu) -> dict[str, Any]:
    """All rows of operations and their shapes, with what they rest on."""
    jobs = [(one, peer, shape) for one, some in shapes for shape in some for peer in one.peers.values()]
    tracked = track(jobs, "counting", transient=True, console=Console(stderr=True))
    rows = [row for job in tracked for row in peer_rows(*job, gpu)]
    add_estimates(rows, gpu)
    return {"schema": 2, "gpu": {"name": gpu.name, "assumptions": gpu.assumptions}, "rows": rows}


def parse_shape(text: str, shape: Dimensions = shapes.REFERENCE) -> Dimensions:
    """A shape from text such as ``B=4,L=16``; what is not named is the given shape's."""
    try:
        named: dict[str, Any] = dict(part.split("=") for part in text.split(","))
        named |= {name: int(size) for name, size in named.items() if name not in ("dtype", "parameters")}
        return shape.moved(**named)
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(f"expected sizes such as B=4,dtype=bfloat16, got {text!r}") from None


def main() -> None:
    """Print the ledger."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--gpu", choices=list(GPUS), default="H100", help="whose time is estimated")
    add_shapes = partial(parser.add_argument, action="append")
    described = "sizes of the embedding operation, such as B=4,L=16; repeatable"
    add_shapes("--shape", type=parse_shape, help=described)
    described = "sizes of the attention, such as Lq=64,Lk=64,m=100,T=8; repeatable"
    add_shapes("--attention", type=partial(parse_shape, shape=attention.REFERENCE), help=described)
    parser.add_argument("--no-step", action="store_true", help="leave out the T5's training step")
    options = parser.parse_args()
    gpu, step = GPUS[options.gpu], [] if options.no_step else [shapes.SMALL_T5]
    chosen = (EMBEDDING, options.shape or shapes.LEDGER), (ATTENTION, options.attention or attention.LEDGER)
    ledger = make_ledger([*chosen, (TRAINING_STEP, step)], gpu)
    if options.json:
        print(json.dumps(ledger, indent=2))
        return
    console = Console(width=max(140, Console().width))
    for operation, shape, rows in report.groups(ledger["rows"]):
        title = f"{operation} {shape}, counted; time estimated for a {gpu.name}"
        console.print(report.rich_table(title, report.COUNTS, rows))
    console.print(f"{gpu.assumptions}\nMB are 1e6 bytes; ratio is unique MB over floor MB.")


if __name__ == "__main__":
    main()

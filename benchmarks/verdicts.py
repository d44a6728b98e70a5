"""Where the kernels win, tie or lose on a GPU that need not be there: ``python -m benchmarks.verdicts [--json]``.

Estimated times at four shapes of what runs, the forward in inference and both passes in training, beside those of the
peers that compute the same: those that run eagerly, and with them those of torch.compile. What ``backend="auto"`` takes
there, eagerly and in a compiled graph. Within a tenth of the best peer is a tie.
"""

import os

# Interpreted kernels run on any machine; see benchmarks.estimate.
os.environ["TRITON_INTERPRET"] = "1"

import argparse
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from benchmarks import report
from benchmarks.attention import ATTENTION
from benchmarks.counter import Count, Launch, count_operations
from benchmarks.embedding import EMBEDDING
from benchmarks.estimate import Sampled, estimate
from benchmarks.gpus import GPUS, Gpu
from benchmarks.kernels import TEMPLATE, count_compilations
from benchmarks.ledger import add_flops, ids_unseen, sample
from benchmarks.peers import Operation, Peer
from benchmarks.shapes import REFERENCE, AttentionShape, Dimensions, Shape
from crosspt.functional.routing import suits_attention, suits_composition
from crosspt.kernels.mixture import Mixture

TIE = 0.1
USES = {"inference": ("forward",), "training": ("forward", "backward")}
LARGE = Shape(B=256, L=256, m=100, d=1024)
MANY = LARGE.moved(n=256, T=64)
HEADS = AttentionShape(B=32, H=32, Lq=512, Lk=512, m=100, T=8)
DTYPES: tuple[dict[str, str], ...] = (
    {"dtype": "bfloat16"}, {"dtype": "bfloat16", "parameters": "float32"}, {"dtype": "float32"},
)  # fmt: skip
SHAPES: dict[str, tuple[Operation, Dimensions]] = {
    **{
        f"({name}) {' in '.join(reversed(types.values()))}": (EMBEDDING, shape.moved(**types))
        for name, shape in {"a": REFERENCE, "b": LARGE, "c": MANY}.items()
        for types in DTYPES
    },
    **{
        f"(d) D={width} {dtype}": (ATTENTION, HEADS.moved(D=width, dtype=dtype))
        for width in (64, 128)
        for dtype in ("bfloat16", "float32")
    },
}
"""What is compared; float16 takes the instructions of bfloat16."""
EAGER = ("torch", "eager", "sdpa")
SAME = (*EAGER, "torch.compile", "flex attention")
"""Peers that compute the same; the literal formulation takes 7 GB at (c) and is never the fastest."""


def count(operation: Operation, peer: Peer, shape: Dimensions) -> dict[str, Count]:
    """What a peer launches, unchecked. An attention's grows with the batch by the same for every row."""
    if operation is ATTENTION:
        two, three = (_count(operation, peer, shape.moved(B=rows, T=1)) for rows in (2, 3))
        return {name: _grown(two[name], three[name], shape.B) for name in two}
    return _count(operation, peer, shape)


def _grown(two: Count, three: Count, rows: int) -> Count:
    """The count of so many rows, from those of two and of three."""

    def grow(a: Launch, b: Launch) -> Launch:
        moved, unique, flops = (x + (rows - 2) * (y - x) for x, y in zip(a[1:4], b[1:4], strict=True))
        return Launch(a.name, moved, unique, flops, a.depth)

    return Count([grow(*pair) for pair in zip(two.launched, three.launched, strict=True)])


def _count(operation: Operation, peer: Peer, shape: Dimensions) -> dict[str, Count]:
    batch = operation.make_batch(shape)
    if peer.counted_by == "Inductor's scheduler":
        with count_compilations(run=False) as planned:
            _run(peer, batch)
        eager = _count(operation, operation.peers["eager" if operation is ATTENTION else "torch"], shape)
        for name, counted in planned.items():
            add_flops(counted, eager[name].flops)
        if not planned["backward"].launches:
            planned["backward"].launched = [_backward(launch) for launch in planned["forward"].launched]
        return planned
    built = peer.build(batch)
    with count_operations() as forward:
        output = built.forward()
    with count_operations() as backward:
        output.backward(torch.ones_like(output))
    return {"forward": forward, "backward": backward}


def _backward(launch: Launch) -> Launch:
    """Of flex attention, which has no backward on a CPU: five products for two, and gradients as large as operands."""
    if launch.name != TEMPLATE:
        return launch
    return Launch(
        f"{TEMPLATE}_backward", 2 * launch.bytes, 2 * launch.unique_bytes, 5 * launch.flops // 2, launch.depth
    )


def _run(peer: Peer, batch: Any) -> None:
    output = peer.build(batch).forward()
    if output.requires_grad:
        output.backward(torch.ones_like(output))


def judge(names: Sequence[str], gpu: Gpu) -> list[dict[str, Any]]:
    """A row for each shape and use."""
    found: list[tuple[str, dict[str, list[Sampled]], dict[str, dict[str, float]]]] = []
    for name in track(names, "counting", transient=True, console=Console(stderr=True)):
        operation, shape = SHAPES[name]
        with ids_unseen():
            counts = {peer: count(operation, operation.peers[peer], shape) for peer in SAME if peer in operation.peers}
            ours = sample(operation.peers["triton"], operation.make_batch(shape), gpu)
        peers = {
            peer: {
                what: sum(gpu.library_seconds(launch, shape.dtype) for launch in counted.launched)
                for what, counted in passes.items()
            }
            for peer, passes in counts.items()
        }
        found.append((name, ours, peers))
    launches = [launch for _, ours, _ in found for passed in ours.values() for launch in passed]
    seconds = iter(estimate(launches, gpu))
    rows = []
    for name, ours, peers in found:
        times = {"triton": {what: sum(next(seconds) for _ in passed) for what, passed in ours.items()}, **peers}
        for use, passes in USES.items():
            rows.append(
                _verdict(name, use, {peer: sum(taken[what] for what in passes) for peer, taken in times.items()})
            )
    return rows


def _verdict(name: str, use: str, seconds: dict[str, float]) -> dict[str, Any]:
    operation, shape = SHAPES[name]
    ours = seconds.pop("triton")
    row = {"title": name, "shape": shape.to_json(), "use": use, "seconds": ours, "peers": seconds}
    for mode, peers in (("eager", EAGER), ("compiled", SAME)):
        ratio = ours / min(seconds[peer] for peer in peers if peer in seconds)
        verdict = "win" if ratio < 1 - TIE else "lose" if ratio > 1 + TIE else "tie"
        auto = "triton" if _suits(operation, shape, compiled=mode == "compiled") else "torch"
        row[mode] = {"ratio": ratio, "verdict": verdict, "auto": auto}
    return row


def _suits(operation: Operation, shape: Any, *, compiled: bool) -> bool:
    """Whether ``backend="auto"`` takes the kernels on a GPU that they run on."""
    if operation is ATTENTION:
        return suits_attention(shape.torch_dtype, shape.Lq, shape.D, prefixed=shape.m > 0, masked=True, seeded=False)
    make = partial(torch.empty, dtype=shape.parameter_dtype, device="meta")
    prompts = (make(shape.n, shape.m, shape.d), make(shape.T, shape.m, shape.d), make(shape.d, shape.d))
    return suits_composition(Mixture(make(shape.T, shape.n + 1), *prompts), shape.torch_dtype, compiled=compiled)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--gpu", choices=list(GPUS), default="H100", help="whose time is estimated")
    parser.add_argument("--shape", choices=list(SHAPES), action="append", help="one of the table's; repeatable")
    options = parser.parse_args()
    gpu = GPUS[options.gpu]
    rows = judge(options.shape or list(SHAPES), gpu)
    if options.json:
        print(json.dumps({"schema": 2, "assumptions": gpu.assumptions, "rows": rows}, indent=2))
        return
    console = Console(width=max(140, Console().width))
    console.print(report.rich_table(f"Estimated for a {gpu.name}, microseconds", report.VERDICTS, rows))
    console.print(gpu.assumptions)


if __name__ == "__main__":
    main()

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
from collections import defaultdict
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
from benchmarks.gpus import GPUS, Gpu
from benchmarks.kernels import TEMPLATE, count_compilations
from benchmarks.ledger import add_estimates, add_flops, by_pass, ids_unseen, sample
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


def launches(operation: Operation, peer: Peer, shape: Dimensions) -> dict[str, list[Launch]]:
    """What a peer launches in each pass, unchecked. An attention's grows with the batch by the same for every row."""
    if operation is not ATTENTION:
        return {what: counted.launched for what, counted in _count(operation, peer, shape).items()}
    two, three = (_count(operation, peer, shape.moved(B=rows, T=1)) for rows in (2, 3))
    pairs = {what: zip(two[what].launched, three[what].launched, strict=True) for what in two}
    return {what: [_grown(*pair, shape.B) for pair in some] for what, some in pairs.items()}


def _grown(two: Launch, three: Launch, rows: int) -> Launch:
    """A launch for so many rows, from those for two and for three."""
    moved, unique, flops = (x + (rows - 2) * (y - x) for x, y in zip(two[1:4], three[1:4], strict=True))
    return Launch(two.name, moved, unique, flops, two.depth)


def _count(operation: Operation, peer: Peer, shape: Dimensions) -> dict[str, Count]:
    batch = operation.make_batch(shape)
    if peer.counted_by != "Inductor's scheduler":
        return by_pass(count_operations, peer.build(batch).forward)
    with count_compilations(run=False) as planned:
        output = peer.build(batch).forward()
        if output.requires_grad:
            output.backward(torch.ones_like(output))
    eager = _count(operation, operation.peers["eager" if operation is ATTENTION else "torch"], shape)
    for name, counted in planned.items():
        add_flops(counted, eager[name].flops)
    if not planned["backward"].launches:
        planned["backward"].launched = [_backward(launch) for launch in planned["forward"].launched]
    return planned


def _backward(launch: Launch) -> Launch:
    """Of flex attention, which has no backward on a CPU: five products for two, and gradients as large as operands."""
    if launch.name != TEMPLATE:
        return launch
    return Launch(
        f"{TEMPLATE}_backward", 2 * launch.bytes, 2 * launch.unique_bytes, 5 * launch.flops // 2, launch.depth
    )


def judge(names: Sequence[str], gpu: Gpu) -> list[dict[str, Any]]:
    """A row for each shape and use."""
    rows = []
    for name in track(names, "counting", transient=True, console=Console(stderr=True)):
        operation, shape = SHAPES[name]
        with ids_unseen():
            found: dict[str, Any] = {
                p: launches(operation, operation.peers[p], shape) for p in SAME if p in operation.peers
            }
            found["triton"] = sample(operation.peers["triton"], operation.make_batch(shape), gpu)
        about = {"title": name, "shape": shape.to_json()}
        rows += [{**about, "peer": p, "pass": what, "launched": found[p][what]} for p in found for what in found[p]]
    add_estimates(rows, gpu)
    seconds: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in rows:
        seconds[row["title"], row["peer"]][row["pass"]] = row["estimated_seconds"]
    return [
        _verdict(name, use, {p: sum(taken[what] for what in passes) for (t, p), taken in seconds.items() if t == name})
        for name in names
        for use, passes in USES.items()
    ]


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

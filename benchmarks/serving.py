"""Rows per second of a server: ``python -m benchmarks.serving [--requests N] [--fuzz N] [--rounds N] [--json]``.

64 clients ask a row at a time, of 8 tasks in turn, and check every answer. Servers with batches of 32 and of one, with
prompts and of the same T5 without, take turns within a round, and the median of the ratios in each round is quoted.
Then the first one is asked 50,000 times while processes of other clients are killed, and 10,000 times with damaged
requests. The T5s are the embedded one and one of T5-small's size with random weights; prompts are random.
"""

import argparse
import asyncio
import json
import multiprocessing
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
import torch
from transformers import T5Config, T5ForConditionalGeneration
from transformers.utils import logging

from benchmarks.models import T5_SIZES
from benchmarks.serving_client import Load, ask, exchange, post
from crosspt import CrossPTConfig, CrossPTModel
from crosspt.config.data import DataConfig
from crosspt.config.run import EMBEDDED, Compute
from crosspt.config.serving import ServingConfig
from crosspt.evaluation.mixed import answer_questions
from crosspt.evaluation.prediction import BareModel
from crosspt.models.loading import load_model
from crosspt.runs.answering import AnsweringTask, make_way
from crosspt.tasks.embedded.synthetic import generate_rows
from crosspt.tasks.registry import SUITES, get_task

SMALL = "T5-small's size"
SHAPES = (EMBEDDED, SMALL)
PEERS = {"prompts": 32, "prompts, batches of one": 1, "no prompts": 32, "no prompts, batches of one": 1}
"""The batch size of each server; those in batches of one are what the others are compared with."""
CLIENTS = 64
ROWS = 16
"""Rows of each task that are asked."""
TOLERANCE = 1e-4
"""By which a probability may differ from that of the row in another batch."""


def make_tasks(shape: str, prompted: bool) -> dict[str, AnsweringTask]:
    """The embedded suite's tasks over a T5, with or without prompts; the same ones in every process."""
    logging.disable_progress_bar()  # of weights that are loaded, once for each server
    base_model, tokenizer = load_model(EMBEDDED)
    torch.manual_seed(0)
    if shape == SMALL:
        sizes: dict[str, Any] = {**T5_SIZES[512], "vocab_size": 32128, "d_model": 512, "decoder_start_token_id": 0}
        base_model = T5ForConditionalGeneration(T5Config(**sizes))
    names, data = list(SUITES[EMBEDDED]), DataConfig()
    model: Any = BareModel(base_model.eval())
    scope = ExitStack()
    if prompted:
        model = CrossPTModel(base_model, CrossPTConfig(tasks=names)).eval()
        scope.enter_context(model.keep_prompts())
    tasks = {}
    for number, name in enumerate(names):
        task = get_task(name)
        way = make_way(task, task.label_words(), tokenizer, number)
        tasks[name] = AnsweringTask(task, model, tokenizer, data, way, scope)
    return tasks


def serve(port: int, shape: str, prompted: bool, batch_size: int, threads: int) -> None:
    """Serve until the process is ended."""
    import uvicorn

    from crosspt.serving.app import make_app
    from crosspt.serving.roster import Roster

    torch.set_num_threads(threads)
    app = make_app(Roster(lambda: make_tasks(shape, prompted)), ServingConfig(batch_size=batch_size))
    uvicorn.run(app, port=port, log_level="error", access_log=False)


@contextmanager
def serving(shape: str, peer: str, threads: int) -> Iterator[int]:
    """The port of a server in a process of its own, when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = port, shape, peer.startswith("prompts"), PEERS[peer], threads
    process = multiprocessing.get_context("spawn").Process(target=serve, args=arguments, daemon=True)
    process.start()
    try:
        while True:
            with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
                break
            if not process.is_alive():
                raise RuntimeError(f"serving: the server of {peer} has ended with status {process.exitcode}")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.join(60)


class Asked:
    """What is asked, and what the answers are.

    Args:
        shape: of ``SHAPES``.
        prompted: whether prompts stand in front of the rows.
    """

    def __init__(self, shape: str, prompted: bool):
        tasks = make_tasks(shape, prompted)
        self.bodies: list[bytes] = []
        self.expected: list[tuple[str, str, float]] = []
        rows = {name: generate_rows(name, "test", ROWS) for name in tasks}
        for number in range(ROWS):
            for name, asked in tasks.items():
                row = {field: rows[name][number][field] for field in asked.task.fields}
                (question,), _ = asked.ask([row], "rank")
                (reply,) = answer_questions(asked.model, asked.tokenizer, [question], Compute(progress=False))
                self.bodies.append(json.dumps({"task": name, "rows": [row]}).encode())
                self.expected.append((name, reply.text, reply.probability or 0.0))

    def check(self, place: int, body: bytes) -> bool:
        """Whether an answer is that to the row of that place: its task, label and probability."""
        (answer,) = json.loads(body)["answers"]
        task, label, probability = self.expected[place]
        return (answer["task"], answer["label"]) == (task, label) and abs(
            answer["probability"] - probability
        ) < TOLERANCE


def measure(shape: str, rounds: int, seconds: float, threads: int) -> list[dict[str, Any]]:
    """One row a peer: rows per second, times of requests, and the median of the ratios to batches of one."""
    asked = {prompted: Asked(shape, prompted) for prompted in (True, False)}
    found: dict[str, list[Load]] = {peer: [] for peer in PEERS}
    with ExitStack() as stack:
        ports = {peer: stack.enter_context(serving(shape, peer, threads)) for peer in PEERS}
        for number in range(rounds + 1):
            for peer, port in ports.items():
                work = asked[peer.startswith("prompts")]
                load = asyncio.run(ask(port, work.bodies, work.check, CLIENTS, seconds=seconds if number else 2))
                if number:  # before the first, prompts are composed
                    found[peer].append(load)
    rates = {peer: [len(load.seconds) / load.elapsed for load in loads] for peer, loads in found.items()}
    rows = []
    for peer, loads in found.items():
        ones = rates[peer if PEERS[peer] == 1 else f"{peer}, batches of one"]
        times = [each for load in loads for each in load.seconds]
        rows.append(
            {
                "shape": shape,
                "server": peer,
                "batch_size": PEERS[peer],
                "rows_per_second": median(rates[peer]),
                "p50_seconds": median(times),
                "p99_seconds": quantiles(times, n=100)[98],
                "ratio": median(mine / one for mine, one in zip(rates[peer], ones, strict=True)),
                "requests": len(times),
                "wrong": sum(load.wrong for load in loads),
            }
        )
    return rows


def endure(requests: int, fuzz: int, threads: int) -> dict[str, int]:
    """Ask the embedded T5's server many times while other clients are killed, then with damaged requests."""
    asked = Asked(EMBEDDED, True)
    with serving(EMBEDDED, "prompts", threads) as port, tempfile.TemporaryDirectory() as folder:
        bodies = Path(folder, "bodies")
        bodies.write_bytes(b"\n".join(asked.bodies))
        killed = 0

        async def kill() -> None:
            nonlocal killed
            while True:
                other = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "benchmarks.serving_client", str(port), str(bodies)
                )
                try:
                    await asyncio.sleep(5)
                finally:
                    other.kill()
                    await other.wait()
                killed += 1
                await asyncio.sleep(15)

        async def all_of() -> Load:
            killing = asyncio.create_task(kill())
            load = await ask(port, asked.bodies, asked.check, CLIENTS, requests=requests)
            killing.cancel()
            with suppress(asyncio.CancelledError):
                await killing
            return load

        load = asyncio.run(all_of())
        statuses = asyncio.run(damage(port, asked.bodies, fuzz))
        last = asyncio.run(ask(port, asked.bodies, asked.check, 1, requests=len(asked.bodies)))
    return {
        "requests": requests,
        "answered": len(load.seconds),
        "wrong": load.wrong + last.wrong,
        "killed_clients": killed,
        "damaged": fuzz,
        **{f"status_{status}": count for status, count in sorted(statuses.items())},
    }


async def damage(port: int, bodies: Sequence[bytes], count: int) -> Counter[str]:
    """The statuses of requests with bytes changed, a tenth of them in their heads, and a tenth left halfway."""
    statuses: Counter[str] = Counter()
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            request = damaged(bodies[number % len(bodies)], number)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            status = "left"
            with suppress(TimeoutError, asyncio.IncompleteReadError, ConnectionError):
                if number % 10 == 1:
                    writer.write(request[: len(request) // 2])
                    await writer.drain()
                else:
                    async with asyncio.timeout(5):  # a damaged head may announce more than comes
                        status = str((await exchange(reader, writer, request))[0])
            writer.transport.abort()
            statuses[status] += 1

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return statuses


def damaged(body: bytes, number: int) -> bytes:
    """A request with bytes deleted, repeated or changed, of every tenth anywhere, else in its body."""
    generator = np.random.default_rng(number)
    changed = bytearray(post(body) if number % 10 == 0 else body)
    for _ in range(generator.integers(1, 4)):
        low, high = sorted(generator.integers(0, len(changed) or 1, 2))
        match generator.integers(0, 3):
            case 0:
                del changed[low:high]
            case 1:
                changed[low:low] = changed[low:high]
            case _:
                changed[low : low + 1] = bytes([generator.integers(0, 256)])
    return bytes(changed) if number % 10 == 0 else post(bytes(changed))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=50_000, help="of the endurance run; 0 leaves it out")
    parser.add_argument("--fuzz", type=int, default=10_000, help="damaged requests")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each server in a round")
    parser.add_argument("--threads", type=int, default=2, help="that a server computes in")
    parser.add_argument("--shapes", choices=SHAPES, nargs="*", default=SHAPES, help="that are measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)  # of this process, which is the clients'
    if not options.json:
        heads = f"{'rows/s':>7} {'p50 ms':>7} {'p99 ms':>7} {'ratio':>6} {'asked':>7} {'wrong':>5}"
        print(f"{'T5':15} {'server':28} {heads}", flush=True)
    rows = []
    for shape in options.shapes:
        rows += measure(shape, options.rounds, options.seconds, options.threads)
        for row in [] if options.json else rows[-len(PEERS) :]:
            times = f"{1000 * row['p50_seconds']:7.0f} {1000 * row['p99_seconds']:7.0f}"
            rate, counts = f"{row['rows_per_second']:7.1f}", f"{row['requests']:7} {row['wrong']:5}"
            print(f"{row['shape']:15} {row['server']:28} {rate} {times} {row['ratio']:6.2f} {counts}", flush=True)
    endured = endure(options.requests, options.fuzz, options.threads) if options.requests else {}
    if options.json:
        print(json.dumps({"schema": 1, "rows": rows, "endured": endured}, indent=2))
    else:
        print(", ".join(f"{name} {value}" for name, value in endured.items()))


if __name__ == "__main__":
    main()

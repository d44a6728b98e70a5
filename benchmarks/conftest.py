"""Options and shared builders of the pytest-benchmark suites."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
import torch

from benchmarks import steps
from benchmarks.peers import PEERS
from benchmarks.providers import Provider, UnavailableError, check
from benchmarks.shapes import REFERENCE, STEP, TINY, Shape, make_batch, shapes
from benchmarks.timing import Work, peak_bytes, synchronize

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
STEP_GRIDS = {
    "small": [STEP],
    "full": [Shape(B=B, L=L, n=n) for B in (16, 64) for L in (64, 256) for n in (8, 64)],
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--grid``."""
    parser.addoption(
        "--grid",
        choices=("small", "full"),
        default="small",
        help="sizes to time: small moves one size at a time, full takes all combinations",
    )
    parser.addoption("--rounds", type=int, default=7, help="timed calls of each benchmark")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize by the grid. With --benchmark-disable the calls are only checked, on the smallest sizes."""
    grid = metafunc.config.getoption("--grid")
    checked_only = metafunc.config.getoption("--benchmark-disable")
    if "peer" in metafunc.fixturenames:
        cases = [
            (peer, shape)
            for shape in ([TINY] if checked_only else shapes(grid))
            for peer in PEERS
            # Each shape takes torch.compile many seconds.
            if peer != "torch.compile" or grid == "full" or shape in (REFERENCE, TINY)
        ]
        metafunc.parametrize(("peer", "shape"), cases, ids=[f"{p.replace(' ', '-')}-{s}" for p, s in cases])
    if "model" in metafunc.fixturenames:
        names = getattr(metafunc.module, "MODELS", list(steps.MODELS))
        step_shapes = [TINY] if checked_only else getattr(metafunc.module, "GRIDS", STEP_GRIDS)[grid]
        metafunc.parametrize("shape", step_shapes, ids=map(str, step_shapes), scope="module")
        metafunc.parametrize("model", names, ids=lambda name: name.replace(" ", "-"))


@lru_cache(maxsize=1)
def _provider(peer: str, shape: Shape) -> Provider | str:
    """A checked provider, or why there is none."""
    batch = make_batch(shape, DEVICE)
    try:
        provider = PEERS[peer].build(shape, batch)
    except UnavailableError as reason:
        return str(reason)
    wrong = check(provider, batch.constant)
    if wrong:
        raise AssertionError(f"{peer} is wrong and is not timed: {wrong}")
    return provider


@pytest.fixture
def provider(peer: str, shape: Shape) -> Provider:
    """The peer's provider, checked against its own reference."""
    made = _provider(peer, shape)
    if isinstance(made, str):
        pytest.skip(made)
    return made


@lru_cache(maxsize=1)
def _bench(shape: Shape) -> steps.Bench:
    return steps.make_bench(steps.T5_TINY if shape == TINY else steps.T5_SMALL, shape, DEVICE)


@pytest.fixture
def bench(shape: Shape) -> steps.Bench:
    """The T5 and the batch that all kinds of prompt share."""
    return _bench(shape)


@lru_cache(maxsize=1)
def _prompted(model: str, shape: Shape) -> steps.Prompted | str:
    bench = _bench(shape)
    try:
        prompted = steps.MODELS[model](bench)
    except UnavailableError as reason:
        return str(reason)
    wrong = steps.check(prompted, bench)
    if wrong:
        raise AssertionError(f"{model} is wrong and is not timed: {wrong}")
    return prompted


@pytest.fixture
def prompted(model: str, shape: Shape) -> steps.Prompted:
    """The T5 with one kind of prompt, checked against its own reference."""
    made = _prompted(model, shape)
    if isinstance(made, str):
        pytest.skip(made)
    return made


@pytest.fixture
def timed(benchmark: Any, request: pytest.FixtureRequest) -> Callable[..., None]:
    """Times a work: wall time until the device is done, with peak memory and facts beside it."""

    def run(work: Work, shape: Shape, **facts: Any) -> None:
        rounds = 1 if benchmark.disabled else request.config.getoption("--rounds")
        benchmark.extra_info |= {
            "shape": shape.to_json(),
            "device": str(DEVICE),
            "peak_bytes": peak_bytes(work),
            **facts,
        }
        starts, ends = [], []

        def call(*arguments: Any) -> None:
            if DEVICE.type == "cuda":
                starts.append(torch.cuda.Event(enable_timing=True))
                ends.append(torch.cuda.Event(enable_timing=True))
                starts[-1].record()
            work.run(*arguments)
            if DEVICE.type == "cuda":
                ends[-1].record()
            synchronize()

        def prepare() -> tuple[tuple[Any, ...], dict[str, Any]]:
            arguments = work.prepare()
            synchronize()
            return arguments, {}

        benchmark.pedantic(call, setup=prepare, rounds=rounds, warmup_rounds=0 if benchmark.disabled else 2)
        milliseconds = [start.elapsed_time(end) for start, end in zip(starts, ends, strict=True)][-rounds:]
        if milliseconds:
            benchmark.extra_info["device_seconds"] = sorted(milliseconds)[len(milliseconds) // 2] / 1e3

    return run

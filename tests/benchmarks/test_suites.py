from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import test_suites as suites
from benchmarks.comparisons import Comparison, Outcome
from benchmarks.embedding import EMBEDDING
from benchmarks.shapes import TINY
from benchmarks.timing import Timing

COMPARISON = Comparison(EMBEDDING, TINY, rounds=3)
KEY = ("forward", "torch")


class Stopwatch:
    """Times calls as pytest-benchmark does."""

    def __init__(self) -> None:
        self.extra_info: dict[str, str] = {}
        self.group = ""
        self.seconds: list[float] = []

    def pedantic(self, call: Callable[[], None], rounds: int) -> None:
        for _ in range(rounds):
            start = suites.read_clock()
            call()
            self.seconds.append(suites.read_clock() - start)


def test_pytest_benchmark_reports_the_rounds_of_the_harness() -> None:
    marks: Any = getattr(suites.test_suite, "pytestmark", [])
    assert marks[0].kwargs["timer"] is suites.read_clock
    stopwatch = Stopwatch()
    outcome = Outcome({KEY: Timing(wall=[0.5, 0.25, 2.0])}, {KEY: {"peer": "torch"}})
    suites.test_suite(stopwatch, COMPARISON, KEY, outcome)
    assert stopwatch.seconds == [0.5, 0.25, 2.0]
    assert stopwatch.extra_info == {"peer": "torch"}
    assert stopwatch.group == f"embedding {TINY}, forward"


def test_a_wrong_peer_fails_and_an_absent_one_is_skipped() -> None:
    for reason, outcome in (("wrong: the output is off", "Failed"), ("needs a GPU", "Skipped")):
        with pytest.raises(BaseException, match=reason) as stopped:
            suites.test_suite(Stopwatch(), COMPARISON, KEY, Outcome(missing={"torch": {"missing": reason}}))
        assert stopped.typename == outcome

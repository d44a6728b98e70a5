"""The suites of pytest-benchmark. Peers take turns, and each reports its own rounds: ``-k "growth and literal"``."""

from typing import Any

import pytest

from benchmarks.comparisons import Comparison, Key, Outcome

_clock = [0.0]


def read_clock() -> float:
    """The time on a clock that only recorded seconds move; pytest-benchmark reads it instead of the machine's."""
    return _clock[0]


@pytest.mark.benchmark(timer=read_clock)
def test_suite(benchmark: Any, comparison: Comparison, key: Key, outcome: Outcome) -> None:
    """Wall time of one peer, at one pass or at one value of a size that grows."""
    if key not in outcome.timings:
        row = outcome.missing.get(key[1], {"missing": "nothing to differentiate"})
        (pytest.fail if row["missing"].startswith("wrong") else pytest.skip)(f"{key[1]}: {row['missing']}")
    seconds = iter(outcome.timings[key].wall)

    def replay() -> None:
        _clock[0] += next(seconds)

    benchmark.group = f"{comparison}, {key[1] if comparison.size else key[0]}"
    benchmark.extra_info |= outcome.rows[key]
    benchmark.pedantic(replay, rounds=len(outcome.timings[key].wall))

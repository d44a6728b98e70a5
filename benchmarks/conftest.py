"""The glue between the one harness and pytest-benchmark, which reports what ``timing.take_turns`` measured."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import prefix_modes
from benchmarks.comparisons import Comparison, Outcome
from benchmarks.suites import suites, tiny_suites

OUTCOMES: dict[tuple[str, Comparison], Outcome] = {}
"""What was measured in this session, by suite and comparison."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--grid`` and ``--rounds``."""
    described = "sizes to time: small moves one size at a time, full takes all combinations"
    parser.addoption("--grid", choices=("small", "full"), default="small", help=described)
    parser.addoption("--rounds", type=int, help="most timed calls of each benchmark; every suite has its own default")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize by the grid. With --benchmark-disable the calls are only checked, on the smallest sizes."""
    if "outcome" not in metafunc.fixturenames:
        return
    option, cases = metafunc.config.getoption, []
    rounds = option("--rounds")
    for suite, comparisons in (tiny_suites() if option("--benchmark-disable") else suites(option("--grid"))).items():
        for one in comparisons:
            chosen = replace(one, rounds=rounds) if rounds else one
            title = f"{one}" if f"{one}".startswith(suite) else f"{suite} {one}"
            cases += [(suite, chosen, key, f"{title} {key[0]} {key[1]}".replace(" ", "-")) for key in one.keys]
    metafunc.parametrize("suite, comparison, key", [case[:3] for case in cases], ids=[case[3] for case in cases])


@pytest.fixture
def outcome(suite: str, comparison: Comparison) -> Outcome:
    """All that takes turns is timed when the first of it asks."""
    if (suite, comparison) not in OUTCOMES:
        OUTCOMES[suite, comparison] = comparison.measure()
    return OUTCOMES[suite, comparison]


def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """Add the rows of all comparisons, those of missing peers too, of growth, and the goals."""
    compared = [outcome for (suite, _), outcome in OUTCOMES.items() if suite != "growth"]
    output_json["comparisons"] = [row for outcome in compared for row in outcome.to_json()]
    output_json["growth"] = [r for (suite, _), o in OUTCOMES.items() if suite == "growth" for r in o.rows.values()]
    output_json["goals"] = prefix_modes.judge({c.operation.name: o for (s, c), o in OUTCOMES.items() if s == "goals"})

import math
from pathlib import Path

import pytest
import torch

from benchmarks import comparisons, report, timing
from benchmarks.comparisons import Comparison
from benchmarks.embedding import make_batch
from benchmarks.models import TRAINING_STEP
from benchmarks.shapes import REFERENCE, TINY, shapes


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_slope_of_a_power_is_its_exponent(exponent: float) -> None:
    values = [1, 4, 16, 64]
    assert comparisons.slope(values, [3 * value**exponent for value in values]) == pytest.approx(exponent, abs=1e-12)


def test_slopes_rest_on_ratios_within_rounds() -> None:
    def row(value: int, ratio: float, memory: int) -> dict:
        about = {"operation": "embedding", "size": "n", "peer": "torch", "value": value}
        return {**about, "ratio": {"q50": ratio}, "seconds": {"q50": math.nan}, "peak_bytes": memory}

    (found,) = comparisons.slopes([row(1, 1.0, 10), row(10, 10.0, 10), row(100, 100.0, 10)])
    assert found["slope"] == pytest.approx(1.0)
    assert found["memory_slope"] == pytest.approx(0.0, abs=1e-12)
    assert (found["from"], found["to"], found["ratio"]) == (1, 100, 100.0)


def test_taking_turns_rotates_and_divides_within_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    clock = iter(range(10_000))

    def measured(work: timing.Work) -> tuple[float, None]:
        name = work.run()
        order.append(name)
        # The machine gets slower with every call; a costs 1 and b costs 3.
        return {"a": 1.0, "b": 3.0}[name] * (1 + next(clock) // 2), None

    monkeypatch.setattr(timing, "measure", measured)
    works = {name: timing.Work(tuple, lambda name=name: name) for name in "ab"}
    timings = timing.take_turns(works, 4, baseline=lambda _: "a")
    assert "".join(order) == "ab" + "ab" + "ba" + "ab" + "ba"
    assert timings["b"].ratios == [3.0] * 4
    assert timings["a"].ratios == [1.0] * 4


def test_a_budget_ends_the_rounds() -> None:
    timings = timing.take_turns({"a": timing.Work(tuple, lambda: None)}, 50, lambda _: "a", budget=0.0)
    assert len(timings["a"].wall) == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="measures the CPU's allocator")
def test_peak_memory() -> None:
    def run() -> torch.Tensor:
        first = torch.zeros(1000)
        second = first + first
        del first
        return second.view(10, 100).sum(1)

    assert 8000 <= timing.peak_bytes(timing.Work(tuple, run)) <= 8100


def test_quantiles() -> None:
    found = timing.quantiles([3.0, 1.0, 2.0])
    assert (found["min"], found["q50"]) == (1.0, 2.0)
    assert found["q90"] == pytest.approx(2.8)


def test_grids() -> None:
    small, full = shapes("small"), shapes("full")
    assert small[0] == REFERENCE
    assert len(set(small)) == len(small)
    assert len(set(full)) == len(full) > 100
    batch = make_batch(REFERENCE)
    assert batch.input_ids.unique().numel() == 16 * 64


def test_results_are_rendered(tmp_path: Path) -> None:
    peers = ("CrossPTModel", "literal")
    growth = Comparison(TRAINING_STEP, TINY, 3, budget=0.0, peers=peers, size="n", values=(1, 2))
    rows = growth.measure("cpu").to_json()
    assert [(row["peer"], row["value"]) for row in rows] == [(name, value) for name in peers for value in (1, 2)]
    assert [row["ratio"]["q50"] for row in rows if row["value"] == 1] == [1.0, 1.0]
    compared = Comparison(TRAINING_STEP, TINY, 3, peers=("CrossPTModel", "bare prompt")).measure("cpu").to_json()
    assert [row["peer"] for row in compared] == ["CrossPTModel", "bare prompt"]
    assert compared[1]["ratio"]["q50"] == 1.0
    missing = {name: compared[0][name] for name in ("operation", "shape", "baseline", "peer")}
    missing["missing"] = "wrong: the output is off"
    count = {
        "launches": 3,
        "bytes": 4_000_000,
        "unique_bytes": 2_000_000,
        "flops": 0,
        "floor_bytes": 1_000_000,
        "ratio": 2.0,
    }
    about = {"operation": "embedding", "shape": TINY.to_json(), "counted_by": "torch dispatch"}
    results = {
        "machine": {"cpu": "a processor"},
        "gpu": None,
        "environment": {"torch_threads": 2},
        "versions": {"torch": "2"},
        "commit": "abc",
        "date": "today",
        "load_average": [0.1, 2.0],
        "comparisons": [*compared, missing],
        "ledger": {
            "gpu": {"name": "a GPU", "assumptions": "its makers."},
            "rows": [
                {**about, "peer": "torch", "pass": "forward", "estimated_seconds": 1e-5, **count},
                {**about, "peer": "triton", "missing": "not here"},
            ],
        },
        "growth": rows,
        "slopes": comparisons.slopes(rows),
        "goals": [
            {
                "operation": "answers",
                "model": "a",
                "beside": "b",
                "at_most": 1.25,
                "ratio": 1.2,
                "rounds": 7,
                "met": True,
            },
            {"operation": "answers", "model": "a", "beside": "c", "at_most": 1.03, "missing": "c did not run"},
        ],
    }
    text = report.markdown(results)
    assert "| torch | forward | 3 | 4 | 2 | 0 | 1 | 2.00 | 10.0 | torch dispatch |" in text
    assert "| CrossPTModel | wrong: the output is off |" in text
    assert "| triton | not here |" in text
    assert "| answers | a | b | 1.200 | 1.25 | 7 |" in text
    assert "| answers | a | c | c did not run | 1.03 |  |" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.count("|") in {7, 8, 11}
    report.figure(results, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")

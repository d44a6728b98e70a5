"""Which condition is said to be best, and whether that is sure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from crosspt.report.summary import summarize
from crosspt.report.verdict import judge_best
from crosspt.runs.experiments.read import read_experiment
from tests.report.made_up import make_experiment

TASKS = ["syn_sst2", "syn_rte"]
FAR, NEAR = [80.0, 81.0, 80.0, 79.0, 80.0, 80.0], [79.0, 82.0, 79.0, 81.0, 78.0, 80.0]


def judge(
    folder: Path, means: Mapping[str, Sequence[float]], seeds: int = 6, **axes: Sequence[Any]
) -> list[dict[str, Any]]:
    known = {"scheme": list(means), **axes}
    made = make_experiment(folder, tasks=TASKS, axes=known, seeds=range(seeds), means=means)
    return judge_best(summarize(read_experiment(made)))


def test_one_that_is_best(tmp_path: Path) -> None:
    (one,) = judge(tmp_path, {"SL": [50.0, 51.0], "SLPN": FAR})
    assert (one["best"], one["sure"], one["where"]) == ("SLPN", True, "")
    assert one["headline"] == "SLPN is best."
    assert one["mean"] == pytest.approx(80.0)
    (compared,) = one["comparisons"]
    assert (compared["to"], compared["more_seeds"]) == ("SL", None)
    assert compared["mean"] == pytest.approx(29.5)
    assert compared["p"] == pytest.approx(2 / 2**6)
    assert one["text"].startswith(f"Mean over tasks 80.0 % [{one['low']:.1f}, {one['high']:.1f}], 29.5 points [")
    assert one["text"].endswith("ahead of the next, SL. The difference to SL is resolved.")


def test_one_that_may_be_beaten(tmp_path: Path) -> None:
    (one,) = judge(tmp_path, {"SLP": FAR, "PI": NEAR, "P": [70.0, 71.0]})
    assert not one["sure"]
    assert [(each["to"], each["resolved"]) for each in one["comparisons"]] == [("PI", False), ("P", False)]
    assert one["comparisons"][1]["p"] == pytest.approx(2 * 2 / 2**6), "of six seeds one test is resolved, two are not"
    assert one["headline"] == "SLP is ahead, but PI or P may be as good or better."
    assert "points [" in one["text"]
    assert "ahead of P." in one["text"]
    assert "The difference to PI is not resolved; about" in one["text"]
    assert "The difference to P is not resolved; about 1 more seeds would be needed." in one["text"]
    assert one["text"].endswith("6 seeds can resolve nothing: 7 or more are needed.")


def test_more_seeds_resolve_it(tmp_path: Path) -> None:
    (one,) = judge(tmp_path, {"SLP": FAR, "PI": NEAR, "P": [70.0, 71.0]}, seeds=8)
    assert [(each["to"], each["resolved"]) for each in one["comparisons"]] == [("PI", False), ("P", True)]
    assert one["headline"] == "SLP is ahead, but PI may be as good or better."


def test_every_set_of_conditions_has_its_best_and_all_are_one_family(tmp_path: Path) -> None:
    means = {"SL": [50.0, 51.0], "SLPN": FAR}
    both = judge(tmp_path, means, shots=[8, 32])
    assert [one["where"] for one in both] == ["shots 8", "shots 32"]
    assert both[1]["headline"] == "shots 32: SLPN is ahead, but SL may be as good or better."
    assert all(one["comparisons"][0]["p"] == pytest.approx(2 * 2 / 2**6) for one in both)


def test_one_seed_leaves_it_open(tmp_path: Path) -> None:
    (one,) = judge(tmp_path, {"SL": [50.0], "SLPN": [80.0]}, seeds=1)
    assert not one["sure"]
    first, last = "Mean over tasks 80.0 %, 30.0 points ahead of the next, SL.", "One seed leaves all of it open"
    assert one["text"] == f"{first} {last}: 6 or more are needed."


def test_settings_of_one_scheme_are_one_set(tmp_path: Path) -> None:
    (one,) = judge(tmp_path, {"SLP": NEAR}, source_learning_rate=[0.1, 0.3], shots=[8])
    assert one["where"] == ""
    assert {one["best"], one["comparisons"][0]["to"]} == {"source learning rate 0.1", "source learning rate 0.3"}
    assert "The difference to source learning rate 0.3 is none." in one["text"]


def test_one_condition_is_no_question(tmp_path: Path) -> None:
    assert judge(tmp_path, {"P": FAR}) == []

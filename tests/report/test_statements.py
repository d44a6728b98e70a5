from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from crosspt.report.paper import table_of, tables_of
from crosspt.report.statements import check_statements
from crosspt.report.summary import summarize
from crosspt.runs.experiments.read import read_experiment
from tests.report.made_up import edit, finish_again, make_experiment

BEAT, LOWEST, VARIES, RELIEVE, SLIGHTLY, POINTS = range(6)  # the statements of figure 2


def judge(folder: Path, levels: Mapping[str, Sequence[float]], seeds: int) -> list[dict[str, Any]]:
    """The statements of figure 2 where the seeds of each scheme have these means, again and again."""
    axes: dict[str, list[Any]] = {"scheme": list(levels), "shots": [32]}
    make_experiment(folder, tasks=["syn_rte"], axes=axes, seeds=range(seeds), means=levels)
    return check_statements(summarize(read_experiment(folder)))


def test_isolated_prefixes_are_not_the_papers(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"scheme": ["SL", "SLPN", "SILP"], "shots": [32], "prefix_mode": ["full", "isolated"]}
    folder = make_experiment(tmp_path / "both", axes=axes, seeds=[0])
    for cell in (folder / "cells").iterdir():
        finish_again(folder, cell.name, 50.0 if "isolated" in cell.name else 70.0)
    summary = summarize(read_experiment(folder))
    beside = {
        (condition.scheme, condition.settings["prefix_mode"])
        for condition in summary.conditions
        if table_of(summary, condition)
    }
    assert beside == {(scheme, "full") for scheme in axes["scheme"]}
    ours = next(one["ours"] for one in check_statements(summary) if one["text"].startswith("SLPN is slightly"))
    assert ours == "SLPN 70.0 / SILP 70.0"
    folder = make_experiment(tmp_path / "one", axes={"scheme": ["SLPN"], "shots": [32]}, seeds=[0])
    with edit(folder / "experiment.json") as content:
        content["definition"]["settings"] = {"prefix_mode": "isolated"}
    summary = summarize(read_experiment(folder))
    assert (tables_of(summary), check_statements(summary)) == ([], [])


def find_statement(statements: Sequence[Mapping[str, Any]], number: int) -> tuple[str, str]:
    return statements[number]["verdict"], statements[number]["reason"]


def test_verdicts_of_resolved_statements(tmp_path: Path) -> None:
    """Ten seeds that never differ by much: every direction is clear, but where nothing was run."""
    levels = {"P": [60.0, 61.0], "SL": [50.0, 52.0], "SLPN": [70.0, 72.0], "SILP": [80.0, 81.0], "SIL": [40.0, 41.0]}
    statements = judge(tmp_path / "x", levels, seeds=10)
    assert find_statement(statements, BEAT) == ("not resolved", "no value of PI")
    assert find_statement(statements, SLIGHTLY) == ("differs", "interval and p")
    assert find_statement(statements, POINTS) == ("agrees", "interval and p")
    assert statements[POINTS]["p"] == pytest.approx(2 * 2 / 2**10), "of two that are tested"
    assert statements[POINTS]["more_seeds"] is None
    decisive = statements[POINTS]["decisive"]
    assert (decisive["higher"], decisive["lower"], decisive["seeds"]) == ("SLPN", "P", 10)
    assert decisive["difference"] == pytest.approx(10.5)
    assert 6 < decisive["low"] < 10.5 < decisive["high"] < 15
    assert statements[POINTS]["ours"] == "SLPN 71.0 / P 60.5"


ALL = {name: [60.0, 61.0] for name in ("P", "PI", "SLP", "SLPN", "SILP", "SIP", "SLN", "SIL")}


@pytest.mark.parametrize(
    ("others", "lowest", "verdict", "decided"),
    [
        ({}, [50.0, 51.0], "agrees", None),
        ({"SIP": [40.0, 40.0]}, [50.0, 51.0], "differs", "SIP"),
        ({"SIP": [50.0, 51.0]}, [50.0, 51.0], "not resolved", "SIP"),
        ({"SIP": [30.0, 80.0], "P": [40.0, 40.0]}, [50.0, 51.0], "differs", "P"),
    ],
)
def test_a_statement_of_several_comparisons(
    others: dict[str, list[float]], lowest: list[float], verdict: str, decided: str | None, tmp_path: Path
) -> None:
    """All must be right for it to agree; one that is wrong is enough for it to differ."""
    statement = judge(tmp_path / "x", {**ALL, "SL": lowest, **others}, seeds=10)[LOWEST]
    assert statement["verdict"] == verdict
    assert len(statement["comparisons"]) == 8
    assert statement["decisive"]["lower"] == "SL"
    assert decided in (None, statement["decisive"]["higher"])


def test_a_statement_that_is_refuted_needs_no_seeds_for_its_other_comparisons(tmp_path: Path) -> None:
    levels = {**ALL, "SL": [50.0, 50.0, 52.0], "SIP": [51.0, 52.0, 50.0], "P": [40.0, 40.0]}
    statement = judge(tmp_path / "x", levels, seeds=3)[LOWEST]
    assert (statement["verdict"], statement["decisive"]["higher"]) == ("not resolved", "P")
    assert statement["more_seeds"] == 8 - 3, "for five statements"


def test_what_is_not_resolved_and_why(tmp_path: Path) -> None:
    near = {"P": [60.0, 61.0], "SLPN": [64.0, 65.0], "SILP": [62.0, 68.0, 66.0]}
    few = judge(tmp_path / "few", near, seeds=3)
    assert find_statement(few, POINTS) == ("not resolved", "3 seeds, of 7 or more that the test needs")
    assert find_statement(few, SLIGHTLY)[0] == "not resolved"
    assert few[POINTS]["more_seeds"] >= 4
    many = judge(tmp_path / "many", near, seeds=8)
    assert find_statement(many, SLIGHTLY) == ("not resolved", "the interval contains 0")
    assert find_statement(many, POINTS) == ("not resolved", "the interval contains 3")
    assert many[SLIGHTLY]["more_seeds"] > 5
    assert find_statement(many, VARIES)[1].startswith("a deviation over seeds has no value of a single seed")
    alone = judge(tmp_path / "alone", near, seeds=1)
    assert find_statement(alone, POINTS) == ("not resolved", "1 seed, of 7 or more that the test needs")
    assert alone[POINTS]["more_seeds"] == 6


def test_answers_that_are_missing_leave_a_statement_open(tmp_path: Path) -> None:
    judge(tmp_path / "x", {"P": [60.0], "SLPN": [80.0], "SILP": [70.0]}, seeds=7)
    (tmp_path / "x" / "cells" / "P-shots32-seed2" / "predictions.parquet").unlink()
    statements = check_statements(summarize(read_experiment(tmp_path / "x")))
    assert find_statement(statements, POINTS) == ("not resolved", "no interval, as answers are missing")
    assert statements[POINTS]["decisive"]["low"] is None
    assert find_statement(statements, SLIGHTLY) == ("agrees", "interval and p")


def test_answers_that_do_not_come_to_the_results(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    judge(folder, {"P": [60.0], "SLPN": [80.0]}, seeds=7)
    with edit(folder / "cells" / "P-shots32-seed1" / "results.json") as content:
        for row in content["results"]:
            row["value"] = 10.0 if row["scheme"] == "P" and row["task"] == "syn_rte" else row["value"]
    summary = summarize(read_experiment(folder))
    assert find_statement(check_statements(summary), POINTS)[1] == "no interval, as answers are missing"
    assert summary.experiment.warnings == [
        "cells/P-shots32-seed1: its answers (generate) to task 'syn_rte' come to 60, its results say 10; "
        "used by the results alone"
    ]


def test_seeds_are_those_that_all_have(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    judge(folder, {"P": [60.0, 61.0], "SLPN": [80.0, 82.0]}, seeds=9)
    for name in ("P-shots32-seed0", "SLPN-shots32-seed3"):
        (folder / "cells" / name / "results.json").unlink()
    statement = check_statements(summarize(read_experiment(folder)))[POINTS]
    assert (statement["decisive"]["seeds"], statement["verdict"]) == (7, "agrees")


@pytest.mark.parametrize(
    ("lower", "verdict", "low"), [(10.0, "agrees", 50.0), (60.0 - 1e-12, "not resolved", 0.0)], ids=["less", "equal"]
)
def test_similarity_has_seeds_alone(lower: float, verdict: str, low: float, tmp_path: Path) -> None:
    """That it differs in how a sum is rounded says nothing."""
    axes: dict[str, list[Any]] = {"scheme": ["SL", "SIL", "SLN", "SILP", "SLPN", "SLP", "SIP"], "shots": [32]}
    folder = make_experiment(tmp_path / "x", name="figure-8", tasks=["syn_rte"], axes=axes, seeds=range(7))
    for cell in (folder / "cells").iterdir():
        (cell / "predictions.parquet").unlink()
        with edit(cell / "results.json") as content:
            content["analysis"][0]["wssp"] = (lower if cell.name[:4] in ("SLP-", "SIP-") else 60.0) + int(cell.name[-1])
    first, second = check_statements(summarize(read_experiment(folder)))
    assert (first["verdict"], first["decisive"]["low"]) == (verdict, low)
    assert second["reason"] == "no interval, as answers are missing"

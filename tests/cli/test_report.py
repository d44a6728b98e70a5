import json
import re
import shlex
from pathlib import Path

import pytest

from crosspt.evaluation.answers import read_predictions, write_predictions
from crosspt.runs.experiments.read import read_experiment
from tests.report.made_up import edit, make_experiment, write
from tests.workspace import crosspt, mistake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_experiment(
        tmp_path / "x", tasks=["syn_rte", "syn_mrpc"], axes={"scheme": ["P", "SL"], "shots": [32]}, seeds=[0, 1]
    )


def test_a_report_and_its_summary(folder: Path, tmp_path: Path) -> None:
    outcome = crosspt("report", folder, "--output", tmp_path / "there", "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    content = outcome.json()
    assert (content["schema"], content["cells"], content["finished"], content["warnings"]) == (1, 4, 4, [])
    assert [condition["settings"]["scheme"] for condition in content["conditions"]] == ["P", "SL"]
    made = {str(path.relative_to(tmp_path / "there")) for path in (tmp_path / "there").rglob("*") if path.is_file()}
    assert made == set(content["files"])
    assert {"report.html", "tables/means.csv", "tables/means.md", "figures/means.png", "figures/means.svg"} <= made
    assert {path.name for path in folder.iterdir()} == {"cells", "experiment.json"}, "only read"


def test_it_shows_the_means_and_where_the_page_is(folder: Path) -> None:
    outcome = crosspt("report", folder)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "Mean over tasks" in outcome.stdout
    assert "What the paper says in words" in outcome.stdout
    assert "not resolved" in outcome.stdout
    assert f"4 of 4 cells; {folder / 'report.html'}" in outcome.stdout
    page = (folder / "report.html").read_bytes()
    assert crosspt("report", folder).status == 0
    assert (folder / "report.html").read_bytes() == page, "the same cells make the same page"


def spoil(folder: Path) -> list[str]:
    """Spoil a file of every cell, and add a cell of something else; the warnings that are due."""
    places = [folder / "cells" / f"{scheme}-shots32-seed{seed}" for scheme in ("P", "SL") for seed in (0, 1)]
    text = (places[0] / "results.json").read_text()
    (places[0] / "results.json").write_text(text[: len(text) // 2])
    with edit(places[1] / "results.json") as content:
        content["schema"] = 2
    with edit(places[2] / "results.json") as content:
        content["results"][0]["cell"] = "another"
    (folder / "cells" / "other").mkdir()
    return [
        "cells/P-shots32-seed0/results.json",
        "cells/P-shots32-seed1/results.json is not of this version: its schema must be 1, got 2, left out",
        "cells/SL-shots32-seed0/results.json: results of another cell, 'another', left out",
        "cells/other: no cell of this experiment, left out",
        "1 seed with a finished cell: intervals and verdicts need two seeds or more",
    ]


def test_a_file_that_cannot_be_used_costs_its_cell_alone(folder: Path) -> None:
    warnings = spoil(folder)
    outcome = crosspt("report", folder, "--json")
    assert outcome.status == 0
    assert [line.split(" is not JSON")[0] for line in outcome.stderr.splitlines()] == [
        f"crosspt report: {warning}" for warning in warnings
    ]
    assert outcome.json()["finished"] == 1
    page = (folder / "report.html").read_text()
    assert "no cell of this experiment" in page
    assert "no result" in (folder / "tables" / "means.md").read_text()


def test_answers_that_cannot_be_used_cost_their_intervals_alone(folder: Path) -> None:
    """Cut off, missing, of other rows: the report is made from the results, and says why intervals are missing."""
    answers = [folder / "cells" / f"{name}-seed1" / "predictions.parquet" for name in ("P-shots32", "SL-shots32")]
    whole = answers[0].read_bytes()
    answers[0].write_bytes(whole[: len(whole) // 2])
    answers[1].unlink()
    outcome = crosspt("report", folder, "--json")
    assert outcome.status == 0
    cut, missing = outcome.stderr.splitlines()
    assert cut.startswith("crosspt report: cells/P-shots32-seed1/predictions.parquet is not a readable Parquet file")
    assert missing.startswith("crosspt report: cells/SL-shots32-seed1: no predictions.parquet")
    assert outcome.json()["finished"] == 4
    for condition in outcome.json()["conditions"]:
        assert condition["mean"]["mean"] is not None
        assert condition["mean"]["low"] is None
    page = (folder / "report.html").read_text()
    assert "no predictions.parquet" in page
    assert "not a readable Parquet file" in page
    assert "difference low" not in (folder / "tables" / "differences.csv").read_text()


def test_other_rows_cost_the_intervals_beside_them(folder: Path) -> None:
    path = folder / "cells" / "SL-shots32-seed1" / "predictions.parquet"
    kept = read_predictions(path)
    kept.rows["reference"] = kept.rows["reference"].map({"yes": "no", "no": "yes"})
    kept.rows["answer"] = kept.rows["answer"].map({"yes": "no", "no": "yes", "maybe": "maybe"})
    write_predictions(path, kept)
    outcome = crosspt("report", folder, "--json")
    assert outcome.stderr == (
        "crosspt report: cells/SL-shots32-seed1: evaluated on other rows than cells/P-shots32-seed1 of the same seed; "
        "used by the results alone\n"
    )
    known = {one["settings"]["scheme"]: one["mean"]["low"] is not None for one in outcome.json()["conditions"]}
    assert known == {"P": True, "SL": False}


def test_one_seed_is_said_to_be_too_few(tmp_path: Path) -> None:
    folder = make_experiment(tmp_path / "one", tasks=["syn_rte"], axes={"scheme": ["P", "SLPN"]}, seeds=[3])
    outcome = crosspt("report", folder)
    assert outcome.status == 0
    assert outcome.stderr == (
        "crosspt report: 1 seed with a finished cell: intervals and verdicts need two seeds or more\n"
    )
    assert "need two seeds or more" in (folder / "report.html").read_text()


def test_several_experiments_in_one_document(folder: Path, tmp_path: Path) -> None:
    other = make_experiment(
        tmp_path / "other", name="figure-10", tasks=["syn_rte"], axes={"scheme": ["SL", "SL2"], "shots": [32]}
    )
    with edit(other / "cells" / "SL2-shots32-seed2" / "results.json") as content:
        content["environment"]["command"] = shlex.split("main.py experiment figure-10 --shard 2/2 --init-texts 'a b'")
    document = tmp_path / "docs" / "all.md"
    outcome = crosspt("report", folder, other, "--markdown", document, "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert [one["experiment"] for one in outcome.json()["reports"]] == ["figure-2", "figure-10"]
    text = document.read_text()
    assert text.startswith("# Experiments\n")
    assert text.count("\n## ") == 2
    assert "\n    crosspt experiment figure-10 --init-texts 'a b'\n" in text
    images = re.findall(r"\]\((.*\.png)\)", text)
    assert {"figure-2-means.png", "figure-10-means.png"} <= set(images)
    assert {path.name for path in document.parent.iterdir()} == {"all.md", *images}
    for table in ("means", "statements"):
        for place in (folder, other):
            assert (place / "tables" / f"{table}.md").read_text() in text
    assert "not resolved | 3 seeds, of 6 or more that the test needs | " in text
    assert "one experiment, got 2" in mistake(crosspt("report", folder, other, "--output", tmp_path / "there"))


def test_failed_and_unfinished_cells_are_listed(folder: Path) -> None:
    failed, waiting = (folder / "cells" / f"P-shots32-seed{seed}" for seed in (0, 1))
    for place in (failed, waiting):
        (place / "results.json").unlink()
    write(failed / "error.json", {"schema": 1, "cell": failed.name, "error": "loss is <nan>", "type": "RuntimeError"})
    outcome = crosspt("report", folder, "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.json()["unfinished"] == [
        {"cell": failed.name, "reason": "RuntimeError: loss is <nan>"},
        {"cell": waiting.name, "reason": "not run yet"},
    ]
    assert "RuntimeError: loss is &lt;nan&gt;" in (folder / "report.html").read_text()


def test_nothing_has_finished(folder: Path) -> None:
    for path in folder.glob("cells/*/results.json"):
        path.unlink()
    outcome = crosspt("report", folder, "--json")
    assert (outcome.status, outcome.json()["finished"]) == (0, 0)
    assert (folder / "report.html").is_file()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["results", 0, "value"], "high", ": row 1 of results: value must be float or null, got 'high'"),
        (["results", 0, "value"], float("inf"), " is not JSON: it holds Infinity"),
        (["results", 0], 3, ": row 1 of results: must hold keys and values, got 3"),
        (["results"], [], ": no rows of results"),
        (["seconds"], None, ": seconds must be dict[str, float], got None"),
        (["seconds", "train"], "long", ": seconds must be dict[str, float], got {'train': 'long', 'evaluate': 2.5}"),
        (["analysis", 0, "weights"], [[1.0]], ": bank 1 of analysis: weights must be of shape (2, 1)"),
        (["analysis", 0, "weights"], [[1.0], []], ": bank 1 of analysis: weights must be of shape (2, 1)"),
        (
            ["analysis", 0, "weights", 0, 0],
            "x",
            ": bank 1 of analysis: weights must be list[list[float | None]], got [['x'], [1.0]]",
        ),
        (["analysis", 0, "tasks", 0], 3, ": bank 1 of analysis: tasks must be list[str], got [3, 'syn_mrpc']"),
    ],
)
def test_foreign_content(folder: Path, path: list[str | int], value: object, message: str) -> None:
    name = "SL-shots32-seed0"
    file = folder / "cells" / name / "results.json"
    content = json.loads(file.read_text())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file.write_text(json.dumps(content))
    assert read_experiment(folder).warnings == [f"cells/{name}/results.json{message}, left out"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "experiment.json is not of this version: its schema must be 1, got 2"),
        ({"axes": [["scheme"]]}, "experiment.json: axes must be list[str], got [['scheme']]"),
        ({"seeds": None}, "experiment.json: seeds must be list, got None"),
        ({"cells": [{"cell": "../x", "scheme": "P", "seed": 0, "settings": {}}]}, "must be that of a folder"),
        ({"cells": [{"cell": "x", "scheme": "P", "seed": 0, "settings": {}}]}, "cell x lacks a value for scheme_"),
    ],
)
def test_an_experiment_of_another_kind(folder: Path, change: dict[str, object], message: str) -> None:
    with edit(folder / "experiment.json") as content:
        content.update({"axes": ["scheme_"]} if "lacks" in message else {})
        content.update(change)
    assert message in mistake(crosspt("report", folder))
    assert not (folder / "report.html").exists()


def test_no_experiment(tmp_path: Path, folder: Path) -> None:
    assert "holds no experiment.json" in mistake(crosspt("report", tmp_path / "none"))
    (folder / "experiment.json").write_text("{")
    assert "experiment.json is not JSON" in mistake(crosspt("report", folder))
    assert "required" in mistake(crosspt("report"))
    assert "unrecognized" in mistake(crosspt("report", folder, "--figure", "2"))

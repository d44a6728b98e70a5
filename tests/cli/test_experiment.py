import json
from pathlib import Path

import pytest

from crosspt.runs.experiments.definition import load_definitions
from tests.workspace import Workspace, crosspt, mistake


def quick(workspace: Workspace, output: Path) -> list[object]:
    few = ["--tasks", "mrpc,rte", "--scheme", "SL,PI", "--seeds", 1, "--jobs", 1]
    return ["figure-3", "--suite", "glue", *workspace.settings(), *few, "--output", output]


@pytest.mark.filterwarnings("error")
def test_list() -> None:
    outcome = crosspt("experiment", "--list")
    assert outcome.status == 0
    for name in load_definitions():
        assert f"\n{name}" in outcome.stdout
    content = crosspt("experiment", "--list", "--json").json()
    assert [row["name"] for row in content["experiments"]] == list(load_definitions())
    assert content["experiments"][0]["cells"] == {"embedded": 18, "glue": 18, "group2": 18, "plain": 18}


def test_dry_run_writes_nothing(workspace: Workspace, tmp_path: Path) -> None:
    arguments = ["experiment", *quick(workspace, tmp_path / "grid"), "--shots", "2,4", "--dry-run"]
    content = crosspt(*arguments, "--json").json()
    assert list(tmp_path.iterdir()) == []
    assert [cell["cell"] for cell in content["cells"]] == [
        "SL-shots2-seed0",
        "SL-shots4-seed0",
        "PI-shots2-seed0",
        "PI-shots4-seed0",
    ]
    seconds = content["estimated_seconds"]
    assert all(value > 0 for name, value in seconds.items() if name != "batch")
    # Batches of 4 rows in 1 epoch: 2 rows a task need 1 and 4 need 2, in each scheme; each task of stage 1 needs 1.
    # Each of the 4 cells answers the 6 test rows of 2 tasks; there are 2 trainings of stage-1 prompts.
    total = 6 * seconds["load"] + (2 * (1 + 2) + 2 * 2) * seconds["batch"] + 4 * 12 * seconds["answer"]
    assert seconds["total"] == pytest.approx(total)
    assert "SL-shots2-seed0" in crosspt(*arguments).stdout


def test_rates_chosen_by_development_rows(workspace: Workspace, tmp_path: Path) -> None:
    arguments = ["experiment", *quick(workspace, tmp_path / "grid"), "--scheme", "SL", "--shots", 4]
    arguments += ["--source-learning-rate", "0.1,0.3", "--choose", "source-learning-rate"]
    content = crosspt(*arguments, "--json").json()
    (choice,) = content["choices"]
    scores = {}
    for cell in content["cells"]:
        results = json.loads((tmp_path / "grid/cells" / cell["cell"] / "results.json").read_text())
        (bank,) = results["selection"]
        scores[cell["cell"]] = bank["score"]
    assert len(scores) == choice["tried"] == 2
    assert choice["cell"] == max(scores, key=lambda name: scores[name])
    assert choice["score"] == pytest.approx(scores[choice["cell"]])
    report = crosspt("report", tmp_path / "grid", "--json").json()
    assert report["choices"] == content["choices"]
    table = (tmp_path / "grid/tables/choices.md").read_text()
    assert f"{choice['chosen']['source_learning_rate']:g}" in table
    (condition,) = report["conditions"]
    assert condition["settings"] == {"scheme": "SL", "shots": 4}


def test_failed_cells(workspace: Workspace, tmp_path: Path) -> None:
    arguments = ["--scheme", "SL", "--source-learning-rate", "1e30", "--epochs", 3]
    outcome = crosspt("experiment", *quick(workspace, tmp_path / "grid"), *arguments)
    line = mistake(outcome, status=1)
    assert line.startswith("crosspt experiment: 1 of 1 cells failed, such as SL-seed0: training: the loss must be")
    assert line.endswith("; the same command runs them again")


def test_an_estimate_counts_the_answers_of_selections(workspace: Workspace, tmp_path: Path) -> None:
    arguments = ["experiment", *quick(workspace, tmp_path / "grid"), "--shots", 4, "--select", "last,best", "--dry-run"]
    content = crosspt(*arguments, "--json").json()
    assert [cell["cell"] for cell in content["cells"]] == [
        "SL-last-seed0",
        "SL-best-seed0",
        "PI-last-seed0",
        "PI-best-seed0",
    ]
    seconds = content["estimated_seconds"]
    # As above; an epoch of each of 2 targets' trainings and of each of 2 of stage 1 ends with 4 answers a task.
    answers = 4 * 12 + 2 * 8 + 2 * 4
    total = 6 * seconds["load"] + (4 * 2 + 4 * 1) * seconds["batch"] + answers * seconds["answer"]
    assert seconds["total"] == pytest.approx(total)


def test_settings_from_yaml(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("shots: [2, null]\nepochs: 3\nscheme: SLP\ntasks: [sst2]\n")
    few = ["--config", tmp_path / "settings.yaml", "--suite", "glue", "--seeds", 2, "--seed", 5, "--dry-run", "--json"]
    places = ["--model", workspace.model, "--data-dir", workspace.data, "--output", tmp_path / "new"]
    content = crosspt("experiment", "figure-2", *few, *places).json()
    assert [cell["cell"] for cell in content["cells"]] == [
        "SLP-shots2-seed5",
        "SLP-shots_all-seed5",
        "SLP-shots2-seed6",
        "SLP-shots_all-seed6",
    ]
    assert content["definition"]["settings"] == {"tasks": ["sst2"], "epochs": 3, "data_dir": str(workspace.data)}


def test_one_of_ones_own_grows_and_is_reported(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = "title: Mine\naxes: {scheme: [P, SL]}\nsettings: {tasks: [mrpc, rte], shots: 4}\n"
    own += "statements:\n- {text: SL wins., higher: [SL], lower: [P]}\n"
    own += "- {text: P on rte., at: {task: rte}, quantity: task, higher: [{scheme: P}], lower: [SL], above: 0.5}\n"
    (tmp_path / "mine.yaml").write_text(own)
    few = [*workspace.settings(), "--seeds", 2, "--jobs", 1]
    outcome = crosspt("experiment", "mine.yaml", *few)
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout == f"4 cells are finished in {Path('runs', 'mine', 'cells')}\n"
    before = {path: path.stat().st_mtime_ns for path in Path("runs", "mine", "cells").rglob("results.json")}
    outcome = crosspt("experiment", "mine.yaml", *few, "--scheme", "P,SL,SLP", "--json")
    assert outcome.status == 0, outcome.stderr
    assert [cell["scheme"] for cell in outcome.json()["cells"]] == ["P", "SL", "SLP"] * 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (tmp_path / "mine.yaml").write_text(own.replace("shots: 4", "shots: 4, prefix: true"))
    line = mistake(crosspt("experiment", "mine.yaml", *few, "--scheme", "P,SL,SLP"))
    assert "runs/mine holds an experiment with other settings: prefix (there None, here True)" in line
    reported = crosspt("report", "runs/mine")
    assert reported.status == 0, reported.stderr
    page = (tmp_path / "runs" / "mine" / "report.html").read_text()
    assert "Mine" in page
    assert "suite own tasks" in page
    assert "Small numbers are the paper's" not in page
    assert "SL wins." in page
    assert "2 statements are tested" in page
    assert "arXiv" not in page[page.index('<section id="stated">') : page.index('<section id="differences">')]
    statements = crosspt("report", "runs/mine", "--json").json()["statements"]
    assert [one["text"] for one in statements] == ["SL wins.", "P on rte."]
    assert all(one["comparisons"] for one in statements)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.yaml"], "none.yaml cannot be read: No such file or directory"),
        ([], "name an experiment; --list shows them"),
        (["figure-33"], "unknown experiment 'figure-33'; did you mean 'figure-3'?"),
        (["figure-3", "--suite", "group2"], "figure-3 is for the suites embedded, glue, got 'group2'"),
        (["figure-3", "--suite", "super"], "--suite must be embedded or glue or group2 or plain, got super"),
        (["figure-3", "--scheme", "SL,ZZ"], "scheme: expected S[I][L][P[I]][number or N] or P[I]"),
        (["figure-3", "--tasks", "syn_mrpcc"], "unknown task 'syn_mrpcc', did you mean syn_mrpc"),
        (["figure-3", "--shots", "8,x"], "figure-3: shots must be int or null, got 'x'"),
        (["figure-3", "--shots", "[8"], "--shots must have commas between its values, got '[8'"),
        (["figure-3", "--shots", "9999"], "few_shot_indices: shots must be from 1 to the 2000 rows, got 9999"),
        (["figure-3", "--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["figure-3", "--choose", "epochs"], "figure-3: choose: epochs must be an axis, of several values"),
        (["figure-3", "--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["figure-3", "--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["figure-3", "--data-dir", "none"], "the data directory none does not exist"),
        (["figure-3", "--model", "none"], "model 'none' is no folder, nor to be had from the hub"),
    ],
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path) -> None:
    assert message in mistake(crosspt("experiment", *arguments, "--output", tmp_path / "grid"))
    assert not (tmp_path / "grid").exists()

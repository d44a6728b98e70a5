"""What ``crosspt train --select best`` writes and shows, and the logs that ``--report-to`` asks for."""

import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from crosspt.config.run import Compute, RunConfig
from crosspt.evaluation.results import score_predictions
from crosspt.models.loading import load_model
from crosspt.runs.evaluate import evaluate_prompts
from crosspt.storage import load_prompts
from crosspt.tasks.registry import get_task
from crosspt.tasks.rows import load_rows
from tests.workspace import Workspace, crosspt, mistake

SETTINGS = ("--tasks", "mrpc,rte", "--label-set", "synthetic", "--epochs", 4, "--select", "best", "--eval-steps", 1)


def read(folder: Path, name: str = "results.json") -> Any:
    return json.loads((folder / name).read_text())


@pytest.fixture(scope="module")
def selecting_run(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("selecting") / "run"
    outcome = workspace.train(folder, *SETTINGS)
    assert outcome.status == 0, outcome.stderr
    (chosen,) = read(folder)["selection"]
    said = f".: the prompts of step {chosen['step']}, of 8, score {chosen['score']:.1f} on development rows\n"
    assert said in outcome.stdout
    return folder


def test_what_was_selected(selecting_run: Path) -> None:
    (chosen,) = read(selecting_run)["selection"]
    kept = read(selecting_run, "selection.json")
    assert chosen == {"folder": ".", "decode": "generate", **{key: kept[key] for key in ("step", "score", "history")}}
    scores = {entry["step"]: entry["score"] for entry in chosen["history"]}
    assert list(scores) == list(range(1, 9))
    assert chosen["score"] == max(scores.values()) == scores[chosen["step"]]
    assert all(score < chosen["score"] for step, score in scores.items() if step < chosen["step"])
    for entry in chosen["history"]:
        assert list(entry["tasks"]) == ["mrpc", "rte"]
        assert entry["score"] == sum(entry["tasks"].values()) / 2
    assert len(set(scores.values())) > 1, "scores must vary for this to say anything"
    assert not list(selecting_run.rglob("checkpoint*"))


@pytest.mark.parametrize("decode", ["generate", "rank"])
def test_the_score_is_what_an_evaluation_reports(decode: str, workspace: Workspace, tmp_path: Path) -> None:
    run_folder = tmp_path / "run"
    assert workspace.train(run_folder, *SETTINGS, "--decode", decode).status == 0
    (chosen,) = read(run_folder)["selection"]
    assert chosen["decode"] == decode
    run = RunConfig.load(run_folder)
    rows = load_rows({0: get_task("mrpc"), 1: get_task("rte")}, run.data, dev=True)
    for part in rows.values():
        part.test = part.dev
    t5, tokenizer = load_model(str(workspace.model))
    compute = Compute(device="cpu", progress=False)
    answers = evaluate_prompts(run_folder, t5, tokenizer, rows, run, compute)
    found = score_predictions(answers, cell="", seed=0, shots=4)
    primary = {row["task"]: row["value"] for row in found if row["primary"] and row["scheme"] == "SLPN"}
    (best,) = [entry for entry in chosen["history"] if entry["step"] == chosen["step"]]
    assert best["tasks"] == primary


def test_a_run_of_both_stages_selects_in_each(workspace: Workspace, tmp_path: Path) -> None:
    scheme = ["--scheme", "SILP", "--tasks", "mrpc", "--source-tasks", "mrpc,qnli", "--stage2", "per_target"]
    assert workspace.train(tmp_path / "run", *scheme, "--select", "best", "--dev-rows", 2).status == 0
    folders = ["stage1/mrpc", "stage1/qnli", "targets/mrpc"]
    chosen = read(tmp_path / "run")["selection"]
    assert [bank["folder"] for bank in chosen] == folders
    assert [list(bank["history"][0]["tasks"]) for bank in chosen] == [["mrpc"], ["qnli"], ["mrpc"]]
    assert all((tmp_path / "run" / folder / "selection.json").is_file() for folder in folders)


def test_dry_run_tells_of_development_rows(workspace: Workspace, tmp_path: Path) -> None:
    jobs = workspace.train(tmp_path / "run", *SETTINGS, "--dev-rows", 2, "--dry-run", "--json").json()["jobs"]
    assert [(job["rows"], job["dev_rows"], job["steps"]) for job in jobs] == [(8, 4, 8)]


def test_a_damaged_selection(selecting_run: Path, workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(selecting_run, folder)
    (folder / "results.json").unlink()
    (folder / "selection.json").write_text('{"schema": 1, "step": 3}')
    said = mistake(workspace.train(folder, *SETTINGS, "--resume"))
    assert f"{folder / 'selection.json'}: the key 'score' is missing" in said


def test_logs_need_their_package(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("crosspt.training.reporting.version", missing)
    for package in ("tensorboard", "wandb"):
        said = mistake(workspace.train(tmp_path / "run", *SETTINGS, "--report-to", package))
        assert said == f"crosspt train: report_to {package} needs the package {package}, which is not installed"
        grid = ["experiment", "figure-2", "--report-to", package, "--output", tmp_path / "run"]
        assert mistake(crosspt(*grid)).endswith(f"needs the package {package}, which is not installed")
    assert not (tmp_path / "run").exists()


def test_curves_for_tensorboard(selecting_run: Path, workspace: Workspace, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    assert workspace.train(folder, *SETTINGS, "--report-to", "tensorboard").status == 0
    events = EventAccumulator(str(folder / "logs"))
    events.Reload()
    (chosen,) = read(folder)["selection"]
    assert {"train/loss", "eval/score", "eval/score_mrpc"} <= set(events.Tags()["scalars"])
    drawn = [(event.step, event.value) for event in events.Scalars("eval/score")]
    assert drawn == [(entry["step"], pytest.approx(entry["score"])) for entry in chosen["history"]]
    assert load_prompts(folder).prompts.equal(load_prompts(selecting_run).prompts)
    (folder / "results.json").unlink()
    assert workspace.train(folder, *SETTINGS, "--resume").status == 0, "logs are no setting of a run"


def test_curves_for_wandb(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "run"
    settings = ["--scheme", "PI", "--tasks", "mrpc", "--select", "best"]
    outcome = workspace.train(folder, *settings, "--report-to", "wandb")
    assert outcome.status == 0, outcome.stderr
    assert wandb.run is None
    for place in (folder / "logs", folder / "logs" / "stage1" / "mrpc"):
        assert list((place / "wandb").glob("offline-run-*/run-*.wandb"))

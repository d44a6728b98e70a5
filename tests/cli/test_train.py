import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from crosspt.evaluation.answers import read_predictions
from crosspt.evaluation.results import score_predictions
from crosspt.storage import CONFIG_NAME, load_prompts
from crosspt.training.trainer import PromptTrainer
from tests.workspace import Workspace, crosspt, make_rows, mistake, write_jsonl


def read_results(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())


def files_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("run", ["slpn_run", "silp_run", "per_target_run"])
def test_the_answers_of_a_run_come_to_its_results(run: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(run)
    results = read_results(folder)["results"]
    kept = read_predictions(folder / "predictions.parquet", results)
    assert list(score_predictions(kept, cell=folder.name, seed=0, shots=4)) == results
    ranked = kept.rows[kept.rows["decode"] == "rank"]
    for task, rows in ranked.groupby("task", observed=True):
        answers = [kept.tasks[task].answers[max(range(2), key=list(row).__getitem__)] for row in rows.log_probabilities]
        assert answers == list(rows["answer"])


def test_a_run_and_its_results(slpn_run: Path) -> None:
    files = {path.name for path in slpn_run.iterdir()} - {"evaluation"}
    assert files - {".lock"} == {
        "crosspt_config.json",
        "crosspt_model.safetensors",
        "predictions.parquet",
        "results.json",
        "run.json",
    }
    content = read_results(slpn_run)
    assert list(content) == [
        "schema",
        "config",
        "versions",
        "environment",
        "seconds",
        "results",
        "analysis",
        "method",
        "selection",
    ]
    assert content["selection"] == []
    assert content["schema"] == 1
    assert content["config"] == json.loads((slpn_run / "run.json").read_text())
    assert content["config"]["temperature_value"] == pytest.approx(0.6309297535714575)
    assert content["config"]["prompts"]["scheme"] == "SLPN"
    assert content["config"]["data"]["label_set"] == "synthetic"
    assert {"python", "crosspt", "torch", "transformers"} <= content["versions"].keys()
    assert set(content["seconds"]) == {"load", "train", "evaluate"}
    fields = [
        "cell",
        "scheme",
        "seed",
        "shots",
        "task",
        "metric",
        "primary",
        "value",
        "count",
        "invalid_rate",
        "decode",
    ]
    assert all(list(row) == fields for row in content["results"])
    assert {row["decode"] for row in content["results"]} == {"generate", "rank"}
    rows = [row for row in content["results"] if row["decode"] == "rank"]
    assert all(row["invalid_rate"] == 0 for row in rows)
    assert [(row["scheme"], row["task"], row["metric"], row["primary"]) for row in rows] == [
        ("SLPN", "mrpc", "accuracy", True),
        ("SLPN", "mrpc", "f1", False),
        ("majority", "mrpc", "accuracy", True),
        ("majority", "mrpc", "f1", False),
        ("SLPN", "rte", "accuracy", True),
        ("majority", "rte", "accuracy", True),
    ]
    assert {(row["cell"], row["seed"], row["shots"], row["count"]) for row in content["results"]} == {("slpn", 0, 4, 6)}
    majority = [row for row in content["results"] if row["scheme"] == "majority"]
    assert all(row["value"] >= 50 and row["invalid_rate"] == 0 for row in majority if row["metric"] == "accuracy")
    trained = [row for row in content["results"] if row["scheme"] == "SLPN"]
    assert any(0 < row["value"] < 100 for row in trained), "answers must vary for the other tests to say anything"


def test_source_tasks_besides_the_targets(silp_run: Path, workspace: Workspace, tmp_path: Path) -> None:
    joint = load_prompts(silp_run / "stage1" / "joint")
    assert (joint.config.scheme, joint.config.tasks) == ("P", ["mrpc", "rte", "qnli"])
    saved = load_prompts(silp_run)
    assert saved.state["sources"].shape == (3, 2, 16)
    assert saved.state["privates"].shape == (2, 2, 16)
    assert {row["task"] for row in read_results(silp_run)["results"]} == {"mrpc", "rte"}

    given = ["--source-tasks", "mrpc,rte,qnli", "--source-prompts", silp_run / "stage1" / "joint"]
    outcome = workspace.train(tmp_path / "sip", "--scheme", "SIP", "--tasks", "mrpc,rte", *given)
    assert outcome.status == 0, outcome.stderr
    assert not (tmp_path / "sip" / "stage1").exists()
    frozen = load_prompts(tmp_path / "sip").state["sources"]
    assert frozen.equal(joint.prompts), "given source prompts must be the ones used"


def test_stage_1_trains_what_is_not_given(silp_run: Path, workspace: Workspace, tmp_path: Path) -> None:
    settings = ["--scheme", "PI", "--tasks", "mrpc,sst2", "--source-prompts", silp_run / "stage1" / "joint"]
    outcome = workspace.train(tmp_path / "pi", *settings)
    assert outcome.status == 0, outcome.stderr
    assert [path.name for path in (tmp_path / "pi" / "stage1").iterdir()] == ["sst2"]


def test_a_bank_for_every_target(per_target_run: Path) -> None:
    assert not (per_target_run / CONFIG_NAME).exists()
    assert sorted(path.name for path in (per_target_run / "targets").iterdir()) == ["mrpc", "rte"]
    assert load_prompts(per_target_run / "targets" / "rte").config.tasks == ["rte"]
    content = read_results(per_target_run)
    assert {row["task"] for row in content["results"]} == {"mrpc", "rte"}
    # N is one source for every task of a bank, and a bank has one.
    assert content["config"]["temperature_value"] == 1
    assert [(bank["folder"], bank["tasks"]) for bank in content["analysis"]] == [
        ("targets/mrpc", ["mrpc"]),
        ("targets/rte", ["rte"]),
    ]


def test_json_is_all_there_is_on_stdout(workspace: Workspace, tmp_path: Path) -> None:
    few = [str(value) for value in workspace.settings()]
    command = [sys.executable, "-m", "crosspt.cli.main", "train", "--tasks", "sst2", "--output", str(tmp_path / "run")]
    done = subprocess.run([*command, *few, "--json"], capture_output=True, text=True, timeout=200, check=True)
    assert json.loads(done.stdout) == read_results(tmp_path / "run")
    assert "Loading weights" not in done.stderr
    assert "Warning" not in done.stderr


def test_tables(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / "run [bold]"
    outcome = workspace.train(folder, "--tasks", "sst2", "--temperature", "0.5")
    assert outcome.status == 0, outcome.stderr
    assert "SLPN, 4 shots" in outcome.stdout
    assert "majority" in outcome.stdout
    assert f"temperature 0.5; results in {folder}/results.json\n" in outcome.stdout
    assert read_results(folder)["config"]["prompts"]["temperature"] == 0.5


def test_dry_run_writes_nothing(workspace: Workspace, tmp_path: Path) -> None:
    arguments = ["--scheme", "SILP", "--tasks", "mrpc,rte", "--source-tasks", "mrpc,qnli", "--dry-run"]
    outcome = workspace.train(tmp_path / "run", *arguments, "--json")
    content = outcome.json()
    assert list(tmp_path.iterdir()) == []
    assert content["schema"] == 1
    assert [(job["folder"], job["scheme"], job["tasks"], job["rows"], job["steps"]) for job in content["jobs"]] == [
        ("stage1/mrpc", "P", ["mrpc"], 4, 1),
        ("stage1/qnli", "P", ["qnli"], 4, 1),
        (".", "SILP", ["mrpc", "rte"], 8, 2),
    ]
    # (n + T) m d + d d + d + T N with n = T = m = 2, d = 16, N = 3
    assert content["jobs"][2]["trainable_parameters"] == 4 * 2 * 16 + 16 * 16 + 16 + 2 * 3
    assert content["jobs"][2]["learning_rates"] == {"sources": 0.05, "privates": 0.02, "logits": 0.1, "encoder": 0.05}
    assert "nothing is trained" in workspace.train(tmp_path / "run", *arguments).stdout


def test_a_task_of_the_users_own(workspace: Workspace, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        write_jsonl(tmp_path / f"{split}.jsonl", make_rows(("text",), 8))
    (tmp_path / "mood.YAML").write_text(
        yaml.safe_dump(
            {
                "name": "mood",
                "fields": ["text"],
                "labels": ["bad", "good"],
                "data_files": {"train": "train.jsonl", "validation": "validation.jsonl"},
            }
        )
    )
    run = tmp_path / "run"
    outcome = workspace.train(run, "--tasks", f"mrpc,{tmp_path / 'mood.YAML'}")
    assert outcome.status == 0, outcome.stderr
    assert load_prompts(run).config.tasks == ["mrpc", "mood"]
    evaluated = crosspt("evaluate", "--checkpoint", run, "--tasks", "mood", "--json").json()
    assert evaluated["results"] == [
        {**row, "cell": "run"} for row in read_results(run)["results"] if row["task"] == "mood"
    ]
    assert crosspt("predict", "--checkpoint", run, "--task", "mood", "--field", "text=w1").status == 0
    (tmp_path / "moved").mkdir()
    for file in ("mood.YAML", "train.jsonl", "validation.jsonl"):
        (tmp_path / file).rename(tmp_path / "moved" / file)
    gone = mistake(crosspt("evaluate", "--checkpoint", run, "--tasks", "mood"))
    assert f"{tmp_path / 'validation.jsonl'}: no such file; if it has moved, give --data-dir, or --tasks with" in gone
    moved = crosspt("evaluate", "--checkpoint", run, "--tasks", tmp_path / "moved" / "mood.YAML", "--json").json()
    assert moved["results"] == evaluated["results"]


def test_a_flag_overrides_the_yaml_file(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        "tasks: [mrpc, rte]\nprompt_length: 5\nepochs: 3\nbatch_size: null\ntemperature: sqrt\nbf16: false\n"
    )
    few = ["--model", workspace.model, "--data-dir", workspace.data, "--output", tmp_path / "run", "--dry-run"]
    config = crosspt("train", "--config", file, *few, "--epochs", "4", "--json").json()["config"]
    assert config["prompts"]["tasks"] == ["mrpc", "rte"]
    assert config["prompts"]["prompt_length"] == 5
    assert config["prompts"]["temperature"] == "sqrt"
    assert config["training"]["epochs"] == 4
    assert config["training"]["batch_size"] == 16, "null is the default"


def test_init_texts(workspace: Workspace, tmp_path: Path) -> None:
    for texts, read in (("w1 w2", ["w1 w2"]), ("[w1, 'w2, w3']", ["w1", "w2, w3"])):
        arguments = ["--scheme", "SLP", "--tasks", "sst2", "--initialization", "text", "--init-texts", texts]
        outcome = workspace.train(tmp_path / "run", *arguments, "--dry-run", "--json")
        assert outcome.json()["config"]["prompts"]["init_texts"] == read


def test_a_finished_run_is_left_as_it_is(slpn_run: Path, workspace: Workspace) -> None:
    settings = ["--tasks", "mrpc,rte", "--label-set", "synthetic", "--epochs", 5]
    before = files_of(slpn_run)
    outcome = workspace.train(slpn_run, *settings, "--resume", "--json")
    assert files_of(slpn_run) == before
    assert outcome.json() == read_results(slpn_run)
    assert "holds a run already; --resume continues it" in mistake(workspace.train(slpn_run, *settings))
    other = mistake(workspace.train(slpn_run, *settings, "--resume", "--seed", 3, "--shots", 2))
    assert other.endswith("holds a run with other settings: seed (there 0, here 3), shots (there 4, here 2)")
    assert files_of(slpn_run) == before


def test_ctrl_c_and_resume(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    settings = ["--scheme", "PI", "--tasks", "mrpc,sst2"]
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # may be ignored in the background
    with monkeypatch.context() as patch:
        steps: list[int] = []
        compute_loss = PromptTrainer.compute_loss

        def interrupted(trainer: PromptTrainer, *arguments: Any, **options: Any) -> Any:
            steps.append(trainer.state.global_step)
            if len(steps) == 2:
                signal.raise_signal(signal.SIGINT)
            return compute_loss(trainer, *arguments, **options)

        patch.setattr(PromptTrainer, "compute_loss", interrupted)
        line = mistake(workspace.train(run, *settings), status=130)
        assert line == "crosspt train: interrupted; the same command with --resume goes on"
    signal.signal(signal.SIGINT, inherited)
    unfinished = mistake(crosspt("evaluate", "--checkpoint", run))
    assert "holds no prompts for task 'mrpc' yet: its training is not finished" in unfinished
    assert workspace.train(run, *settings, "--resume").status == 0
    assert workspace.train(whole, *settings).status == 0
    assert load_prompts(run).prompts.equal(load_prompts(whole).prompts)
    assert [row["value"] for row in read_results(run)["results"]] == [
        row["value"] for row in read_results(whole)["results"]
    ]

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from crosspt.evaluation.answers import read_predictions
from crosspt.evaluation.results import score_predictions
from tests.workspace import Workspace, crosspt, mistake


def trained_rows(folder: Path, task: str | None = None) -> list[dict[str, Any]]:
    rows = json.loads((folder / "results.json").read_text())["results"]
    return [row for row in rows if task in (None, row["task"])]


@pytest.mark.parametrize("run", ["slpn_run", "silp_run", "per_target_run"])
def test_a_run_evaluates_to_its_results(run: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(run)
    before = (folder / "results.json").read_bytes()
    content = crosspt("evaluate", "--checkpoint", folder, "--json").json()
    assert content["results"] == trained_rows(folder)
    assert list(content) == ["schema", "config", "versions", "environment", "seconds", "results", "analysis", "method"]
    assert content["analysis"] == json.loads(before)["analysis"]
    assert {task for bank in content["analysis"] for task in bank["tasks"]} == {"mrpc", "rte"}
    assert json.loads((folder / "evaluation" / "results.json").read_text()) == content
    assert (folder / "results.json").read_bytes() == before
    kept = read_predictions(folder / "evaluation" / "predictions.parquet", content["results"])
    assert list(score_predictions(kept, cell=folder.name, seed=0, shots=4)) == content["results"]
    assert kept.rows.equals(read_predictions(folder / "predictions.parquet").rows)


@pytest.mark.parametrize("run", ["slpn_run", "per_target_run"])
def test_a_subset_keeps_its_synthetic_letters(run: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = request.getfixturevalue(run)
    outcome = crosspt("evaluate", "--checkpoint", folder, "--tasks", "RTE", "--output", tmp_path, "--json")
    assert outcome.json()["results"] == trained_rows(folder, "rte")


@pytest.mark.parametrize("decode", ["generate", "rank"])
def test_one_way_of_decoding(slpn_run: Path, tmp_path: Path, decode: str) -> None:
    command = ["evaluate", "--checkpoint", slpn_run, "--decode", decode, "--output", tmp_path]
    content = crosspt(*command, "--json").json()
    assert content["results"] == [row for row in trained_rows(slpn_run) if row["decode"] == decode]
    assert content["config"]["decode"] == decode


def test_a_folder_of_save_pretrained(slpn_run: Path, workspace: Workspace, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    saved.mkdir()
    for file in slpn_run.glob("crosspt_*"):
        shutil.copy(file, saved)
    data = ["--data-dir", workspace.data, "--label-set", "synthetic", "--test-rows", 6]
    content = crosspt("evaluate", "--checkpoint", saved, *data, "--json").json()
    values = [(row["task"], row["metric"], row["value"], row["invalid_rate"]) for row in content["results"]]
    assert values == [(row["task"], row["metric"], row["value"], row["invalid_rate"]) for row in trained_rows(slpn_run)]
    assert content["config"]["model"] == str(workspace.model)
    assert {row["cell"] for row in content["results"]} == {"saved"}


def test_a_run_whose_model_and_rows_have_moved(slpn_run: Path, workspace: Workspace, tmp_path: Path) -> None:
    run = tmp_path / "slpn"
    shutil.copytree(slpn_run, run)
    content = json.loads((run / "run.json").read_text())
    content["model"], content["data"]["data_dir"] = "/gone/t5", "/gone/data"
    (run / "run.json").write_text(json.dumps(content))
    rows = ("--data-dir", workspace.data)
    gone = mistake(crosspt("evaluate", "--checkpoint", run))
    assert "the data directory /gone/data does not exist; if it has moved, give --data-dir, or --tasks with" in gone
    for command in (("evaluate", *rows), ("predict", "--task", "rte", "--text", "w1")):
        gone = mistake(crosspt(*command, "--checkpoint", run))
        assert gone.endswith(": the model of the prompts, /gone/t5, is not there; if it has moved, give --model")
        assert crosspt(*command, "--checkpoint", run, "--model", workspace.model).status == 0


def test_overrides(slpn_run: Path, workspace: Workspace, tmp_path: Path) -> None:
    model = tmp_path / "copy"
    shutil.copytree(workspace.model, model)
    more = [
        "--test-rows",
        10,
        "--seed",
        5,
        "--prefix",
        "--batch-size",
        3,
        "--max-length",
        9,
        "--model",
        model,
        "--bf16",
    ]
    content = crosspt("evaluate", "--checkpoint", slpn_run, *more, "--output", tmp_path / "out", "--json").json()
    assert {row["count"] for row in content["results"]} == {10}
    data = content["config"]["data"]
    assert (data["test_rows"], data["data_seed"], data["prefix"], data["max_length"]) == (10, 5, True, 9)
    assert data["label_set"] == "synthetic", "what is not given stays as the run had it"
    assert content["config"]["model"] == str(model)


def test_the_table(per_target_run: Path, tmp_path: Path) -> None:
    outcome = crosspt("evaluate", "--checkpoint", per_target_run, "--output", tmp_path / "out")
    assert outcome.status == 0
    assert outcome.stdout.endswith(f"results in {tmp_path}/out/results.json\n")
    assert "accuracy *" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "qnli"], "the checkpoint has no prompt for task 'qnli'; known: mrpc, rte"),
        (["--tasks", "mrpcc"], "the checkpoint has no prompt for task 'mrpcc'; did you mean 'mrpc'?"),
        (["--batch-size", 0], "batch_size must be at least 1, got 0"),
        (["--batch-size", -4], "batch_size must be at least 1, got -4"),
        (["--test-rows", 0], "test_rows must be at least 1, got 0"),
        (["--data-dir", "missing"], "the data directory missing does not exist"),
        (["--model", "missing/folder/t5"], "model 'missing/folder/t5' is no folder, nor to be had from the hub"),
        (["--seed", 1, "--data-seed", 2], "--seed and --data-seed are one setting, got 1 and 2"),
        (["--shots", 3], "unrecognized arguments: --shots"),
        (["--decode", "beam"], "--decode must be generate or rank or both, got beam"),
    ],
)
def test_mistakes(slpn_run: Path, tmp_path: Path, arguments: list[object], message: str) -> None:
    outcome = crosspt("evaluate", "--checkpoint", slpn_run, "--output", tmp_path / "out", *arguments)
    assert message in mistake(outcome)


def test_no_checkpoint(workspace: Workspace, tmp_path: Path) -> None:
    assert f"{tmp_path}/none: no such folder" in mistake(crosspt("evaluate", "--checkpoint", tmp_path / "none"))
    assert "holds no crosspt_model.safetensors" in mistake(crosspt("evaluate", "--checkpoint", workspace.data))


def test_the_results_of_a_run_are_not_lost(slpn_run: Path) -> None:
    line = mistake(crosspt("evaluate", "--checkpoint", slpn_run, "--output", slpn_run))
    assert "is the folder of a run, whose results.json would be lost" in line


def test_prompts_for_another_width(slpn_run: Path, workspace: Workspace, tmp_path: Path) -> None:
    from tests.conftest import make_t5

    other = tmp_path / "wide"
    shutil.copytree(workspace.model, other)
    make_t5(d_model=24, num_layers=1).save_pretrained(other)
    line = mistake(crosspt("evaluate", "--checkpoint", slpn_run, "--model", other, "--output", tmp_path / "out"))
    assert "have width 16" in line
    assert "the model has d_model 24" in line


def test_the_t5_alone(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["--model", workspace.model, "--data-dir", workspace.data, "--tasks", "mrpc,sst2", "--test-rows", 6]
    bare = crosspt("evaluate", "--no-prompt", *settings, "--json").json()
    assert {row["scheme"] for row in bare["results"]} == {"bare", "majority"}
    first = tmp_path / "runs" / "no-prompt" / "results.json"
    assert json.loads(first.read_text()) == bare
    kept = read_predictions(first.with_name("predictions.parquet"), bare["results"])
    assert list(score_predictions(kept, cell="bare", seed=None, shots=None)) == bare["results"]
    prefixed = crosspt("evaluate", "--no-prompt", "--prefix", *settings, "--output", "there", "--json").json()
    assert {row["scheme"] for row in prefixed["results"]} == {"prefix", "majority"}
    assert (tmp_path / "there" / "results.json").is_file()
    ranked = crosspt("evaluate", "--no-prompt", *settings, "--decode", "rank", "--json").json()
    assert ranked["results"] == [row for row in bare["results"] if row["decode"] == "rank"]
    assert json.loads((tmp_path / "runs" / "no-prompt-2" / "results.json").read_text()) == ranked
    assert json.loads(first.read_text()) == bare, "what is saved is kept"


def test_either_prompts_or_none(slpn_run: Path) -> None:
    assert "give either --checkpoint" in mistake(crosspt("evaluate"))
    assert "give either --checkpoint" in mistake(crosspt("evaluate", "--checkpoint", slpn_run, "--no-prompt"))


def test_no_generated_answer_is_a_label(slpn_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "task 'rte': none of the 6 generated answers is one that it has, most are 'w1'; train longer or with higher"
    command = ["evaluate", "--checkpoint", slpn_run, "--tasks", "rte"]
    for texts, warned in ((["w1"] * 5 + ["w2"], True), (["w1"] * 5 + ["B0"], False)):
        monkeypatch.setattr(PreTrainedTokenizerFast, "batch_decode", lambda *_, texts=texts, **__: texts)
        with warnings.catch_warnings(record=True) as caught:
            assert crosspt(*command, "--output", tmp_path / str(warned)).status == 0
        assert [str(warning.message)[: len(said)] for warning in caught].count(said) == warned

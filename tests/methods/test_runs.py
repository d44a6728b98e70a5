"""Every method through train, resume, evaluate and predict; a new one through an experiment as well."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from crosspt.config.layout import PREDICTIONS_NAME
from crosspt.methods import METHODS
from crosspt.methods.saved import WEIGHTS_NAME
from crosspt.report.summary import summarize
from crosspt.runs.experiments import pool
from crosspt.runs.experiments.estimate import estimate_seconds
from crosspt.runs.experiments.read import read_experiment
from crosspt.training.trainer import PromptTrainer
from tests.methods.toy import LINE, start_worker
from tests.runs.experiments.support import run as run_grid
from tests.runs.experiments.support import tiny_grid
from tests.training.killed import die_at_call, in_a_process
from tests.workspace import Workspace, crosspt, mistake

pytest.importorskip("peft")
OTHERS = [name for name in METHODS if name != "crosspt"]
TASKS = ["mrpc", "rte"]
PRETRAINED = ("spot", "attempt", "mpt", "mpt-source")
SETTINGS = ("--tasks", ",".join(TASKS), "--label-set", "synthetic", "--epochs", 3)
PER_TARGET = ("lora", "ia3", "prompt-tuning", "p-tuning")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, *next(iter(LINE.items())))


def settings_of(name: str) -> tuple[object, ...]:
    # The workspace's short prompt is a setting that not every method has.
    return ("--method", name, *SETTINGS)


def train(space: Workspace, folder: Path, name: str, *settings: object) -> Any:
    few = ["--shots", 4, "--test-rows", 6, "--batch-size", 4, "--learning-rate", 0.05]
    places = ["--model", space.model, "--data-dir", space.data, "--device", "cpu", "--output", folder]
    return crosspt("train", *places, *few, *settings_of(name), *settings)


def outcome_of(folder: Path) -> tuple[dict[str, bytes], bytes, Any]:
    weights = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob(WEIGHTS_NAME)}
    rows = [{**row, "cell": ""} for row in json.loads((folder / "results.json").read_text())["results"]]
    return weights, (folder / PREDICTIONS_NAME).read_bytes(), rows


def interrupt_at(step: int, patch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    compute_loss = PromptTrainer.compute_loss

    def counted(trainer: PromptTrainer, *arguments: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == step:
            raise KeyboardInterrupt
        return compute_loss(trainer, *arguments, **options)

    patch.setattr(PromptTrainer, "compute_loss", counted)


@pytest.mark.parametrize("name", OTHERS)
def test_train_resume_evaluate_predict(
    name: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = train(workspace, whole, name, "--json")
    assert done.status == 0, done.stderr
    content = done.json()
    assert {row["scheme"] for row in content["results"]} == {name, "majority"}
    assert content["analysis"] == []
    fair = content["method"]
    assert (fair["name"], fair["pretrained_on"], fair["selection"]) == (name, TASKS * (name in PRETRAINED), "last")
    assert {"learning_rate", "epochs"} <= set(fair["settings_given"])
    folders = ["targets/mrpc", "targets/rte"] if name in PER_TARGET else ["."]
    written = [*folders, *["stage1/mpt-source"] * (name == "mpt")]
    assert sorted(outcome_of(whole)[0]) == sorted(str(Path(folder, WEIGHTS_NAME)) for folder in written)

    with monkeypatch.context() as patch:
        interrupt_at(5, patch)
        assert train(workspace, broken, name).status == 130
    assert not (broken / "results.json").exists()
    assert train(workspace, broken, name, "--resume").status == 0
    assert outcome_of(broken) == outcome_of(whole)
    assert not list(broken.rglob("checkpoint*"))
    other = next(known for known in OTHERS if known != name)
    assert f"method (there {name!r}, here {other!r})" in mistake(train(workspace, whole, other, "--resume"))

    again = crosspt("evaluate", "--checkpoint", whole, "--output", tmp_path / "again", "--device", "cpu", "--json")
    assert again.status == 0, again.stderr
    assert again.json()["results"] == content["results"]
    alone = crosspt("evaluate", "--checkpoint", whole / folders[-1], "--tasks", "rte", "--device", "cpu", "--json",
                    "--data-dir", workspace.data, "--label-set", "synthetic")  # fmt: skip
    assert alone.status == 0, alone.stderr
    for decode in ("generate", "rank"):
        said = crosspt("predict", "--checkpoint", whole, "--task", "rte", "--text", "w1 w2", "--decode", decode)
        assert said.status == 0, said.stderr
        assert decode == "generate" or said.stdout.strip() in ("B0", "B1")


def test_the_dry_run_says_what_is_learned_and_what_it_takes(workspace: Workspace, tmp_path: Path) -> None:
    whole = train(workspace, tmp_path / "run", "fine-tuning", "--dry-run", "--json").json()
    (job,) = whole["jobs"]
    assert (job["scheme"], job["learning_rates"]) == ("fine-tuning", {"all": 0.05})
    assert job["added_bytes"] == 4 * 4 * job["trainable_parameters"], "weights, gradients and two moments"
    small = train(workspace, tmp_path / "run", "bitfit", "--stage2", "per_target", "--dry-run", "--json").json()
    assert [job["folder"] for job in small["jobs"]] == ["targets/mrpc", "targets/rte"]
    assert all(job["added_bytes"] == 4 * 4 * job["trainable_parameters"] for job in small["jobs"])
    assert not (tmp_path / "run").exists()


def test_a_method_that_sees_no_tasks_warns(workspace: Workspace, tmp_path: Path, recwarn: Any) -> None:
    said = "method {} learns 2 tasks together and does not see which one a row is of; give --prefix, or"
    for name, settings in (("bitfit", ()), ("bitfit", ("--prefix",)), ("bitfit", ("--stage2", "per_target")),
                           ("hyperdecoder", ()), ("hyperformer", ()), ("mpt-scratch", ())):  # fmt: skip
        assert train(workspace, tmp_path / "run", name, *settings, "--dry-run").status == 0
        warned = any(said.format(name) in str(warning.message) for warning in recwarn)
        recwarn.clear()
        assert warned == (name in ("bitfit", "hyperdecoder") and not settings), (name, settings)


def test_defaults_of_a_method_are_written_down(workspace: Workspace, tmp_path: Path) -> None:
    places = ["--model", workspace.model, "--data-dir", workspace.data, "--tasks", "rte", "--output", tmp_path / "run"]
    few = ["--shots", 4, "--test-rows", 6, "--dry-run", "--json"]
    config = crosspt("train", "--method", "prompt-tuning", *places, *few).json()["config"]
    training = config["training"]
    assert (config["method"], config["prompts"]["prompt_length"]) == ("prompt-tuning", 100)
    assert (training["learning_rate"], training["epochs"], training["stage2"]) == (0.3, 20, "per_target")
    assert config["temperature_value"] is None
    (tmp_path / "run.yaml").write_text(crosspt("train", "--method", "prompt-tuning", "--print_config").stdout)
    assert crosspt("train", "--config", tmp_path / "run.yaml", *places, *few).json()["config"] == config
    given = ["--prompt-length", 10, "--stage2", "joint", "--epochs", 3, "--learning-rate", 1]
    config = crosspt("train", "--method", "prompt-tuning", *places, *few, *given).json()["config"]
    training = config["training"]
    assert config["prompts"]["prompt_length"] == 10
    assert (training["learning_rate"], training["epochs"], training["stage2"]) == (1, 3, "joint")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("--method", "bitfti"), "unknown method 'bitfti'; did you mean 'bitfit'? (crosspt train --help explains)"),
        (
            ("--method", "zzz"),
            f"unknown method 'zzz'; known: {', '.join(METHODS)} (crosspt train --help explains)",
        ),
        (("--method", "bitfit", "--scheme", "SLP"), "method bitfit has no use for scheme, got 'SLP'"),
        (("--method", "lora", "--prompt-length", 5), "method lora has no use for prompt_length, got 5"),
        (("--method", "lora", "--source-tasks", "qnli"), "method lora has no use for source_tasks, got ['qnli']"),
        (("--method", "adapter", "--source-prompts", "x"), "method adapter starts from no source prompts, got x"),
        (("--method", "ia3", "--encoder-learning-rate", 1), "method ia3 has no use for encoder_learning_rate, got 1.0"),
        (("--learning-rate", 1), "method crosspt has no use for learning_rate, got 1.0"),
    ],
)
def test_what_a_method_has_no_use_for(
    settings: tuple[object, ...], said: str, workspace: Workspace, tmp_path: Path
) -> None:
    places = ["--model", workspace.model, "--data-dir", workspace.data, "--output", tmp_path / "run"]
    assert mistake(crosspt("train", *places, "--tasks", "mrpc", *settings)) == f"crosspt train: {said}"
    assert not (tmp_path / "run").exists()


def test_a_folder_of_a_method_that_is_not_there(workspace: Workspace, tmp_path: Path) -> None:
    assert train(workspace, tmp_path, "bitfit").status == 0
    for name in ("run.json", "method_config.json"):
        path = tmp_path / name
        path.write_text(path.read_text().replace('"bitfit"', '"bitfat"'))
        said = mistake(crosspt("predict", "--checkpoint", tmp_path, "--task", "rte", "--text", "w1"))
        assert said == f"crosspt predict: {path}: unknown method 'bitfat'; did you mean 'bitfit'?"
        path.unlink()


def test_peft_is_missing(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train(workspace, tmp_path / "run", "lora").status == 0
    monkeypatch.setattr("crosspt.methods.peft.find_spec", lambda name: None)
    said = "method lora needs the package peft, which is not installed: crosspt[peft] has it"
    assert mistake(train(workspace, tmp_path / "other", "lora")) == f"crosspt train: {said}"
    asked = ("predict", "--checkpoint", tmp_path / "run", "--task", "rte", "--text", "w1")
    assert mistake(crosspt(*asked)) == f"crosspt predict: {said}"


def test_crosspts_settings_are_written_as_before(slpn_run: Path) -> None:
    run = json.loads((slpn_run / "run.json").read_text())
    assert "method" not in run
    assert "learning_rate" not in run["training"]
    method = json.loads((slpn_run / "results.json").read_text())["method"]
    assert method.pop("seconds_per_step") > 0
    assert method == {
        "name": "crosspt",
        "settings_source": "CrossPT (arXiv 2509.14253), section 3.2",
        "settings_given": ["prompt_length", "epochs", "batch_size"],
        "tuning_budget": "none: one setting",
        "selection": "last",
        "pretrained_on": [],
        "changes_backbone": False,
        "trainable_parameters": 4 * 2 * 16 + 16 * 16 + 16 + 2 * 3,
    }


def run_toy(space: Workspace, folder: Path, call: int | None) -> None:
    torch.set_num_threads(1)
    METHODS.update(LINE)
    if call is not None:
        die_at_call(torch.Tensor, "backward", call)
    outcome = train(space, folder, "toy", "--resume")
    assert outcome.status == 0, outcome.stderr


def test_a_new_method_is_killed_and_resumed(workspace: Workspace, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert in_a_process(run_toy, workspace, whole, None) == 0
    assert in_a_process(run_toy, workspace, broken, 4) == -signal.SIGKILL
    assert not (broken / "results.json").exists()
    assert in_a_process(run_toy, workspace, broken, None) == 0
    assert outcome_of(broken) == outcome_of(whole)


@pytest.mark.usefixtures("toy")
def test_a_new_method_is_trained_selected_evaluated_and_asked(workspace: Workspace, tmp_path: Path) -> None:
    done = train(workspace, tmp_path / "run", "toy", "--select", "best", "--json")
    assert done.status == 0, done.stderr
    assert done.json()["selection"][0]["folder"] == "."
    again = crosspt("evaluate", "--checkpoint", tmp_path / "run", "--device", "cpu", "--json").json()
    assert again["results"] == done.json()["results"]
    assert crosspt("predict", "--checkpoint", tmp_path / "run", "--task", "rte", "--text", "w1").status == 0


@pytest.mark.usefixtures("toy")
def test_a_new_method_in_an_experiment(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "start_worker", start_worker)  # of a process that knows the toy
    grid = tiny_grid(workspace, ("P", "SLPN"), method=["crosspt", "toy"], epochs=2, prompt_length=10)
    assert [cell.name for cell in grid.cells] == ["P-seed0", "toy-seed0", "SLPN-seed0"]
    assert [cell.run.training.learning_rate for cell in grid.cells] == [None, 0.5, None]
    assert run_grid(grid, tmp_path / "grid") == {}
    experiment = read_experiment(tmp_path / "grid")
    assert experiment.warnings == []
    assert [cell.settings["scheme"] for cell in experiment.finished] == ["P", "toy", "SLPN"]
    report = crosspt("report", tmp_path / "grid", "--output", tmp_path / "report")
    assert report.status == 0, report.stderr
    summary = summarize(experiment)
    assert [condition.facts["parameters"] for condition in summary.conditions][1] == 16
    assert [condition.scheme for condition in summary.find(method="toy")] == ["toy"]
    assert all(condition.facts["seconds a step"] > 0 for condition in summary.conditions)
    assert "method" not in summary.varying, "what a condition's scheme says already"
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "How each was trained" in page
    assert "<td>made up</td>" in "".join(page.split("\n"))


def test_the_time_of_a_grid_of_a_method_with_sources_is_estimated(workspace: Workspace, tmp_path: Path) -> None:
    grid = tiny_grid(workspace, ("P",), method=["attempt"], prompt_length=10)
    assert estimate_seconds(grid, jobs=1, device="cpu")["total"] > 0

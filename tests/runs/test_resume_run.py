"""A run of both stages killed with SIGKILL at any moment and resumed ends like an unbroken one."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from crosspt.config.layout import PREDICTIONS_NAME
from crosspt.evaluation import results
from crosspt.runs import select
from crosspt.storage import WEIGHTS_NAME
from crosspt.training import stages
from crosspt.training.trainer import PromptTrainer
from tests.training.killed import die_at_call, in_a_process
from tests.workspace import Workspace, make_workspace, mistake

SILP = ("--scheme", "SILP", "--tasks", "mrpc,rte", "--source-tasks", "rte,sst2", "--epochs", 2)

# Path.replace puts a finished file in its place: 1 run.json, then two files for every checkpoint and finished job.
MOMENTS: dict[str, Callable[[], None]] = {
    "before the first file": lambda: die_at_call(Path, "replace", 1),
    "in the first source prompt": lambda: die_at_call(torch.Tensor, "backward", 2),
    "between the files of a finished source prompt": lambda: die_at_call(Path, "replace", 7),
    "between two source prompts": lambda: die_at_call(Path, "replace", 7, after=True),
    "in the second source prompt": lambda: die_at_call(torch.Tensor, "backward", 3),
    "in the target prompts": lambda: die_at_call(torch.Tensor, "backward", 7),
    "between the files of the target prompts": lambda: die_at_call(Path, "replace", 19),
    "in the evaluation": lambda: die_at_call(results, "compute_metrics", 2),
    "before the answers": lambda: die_at_call(Path, "replace", 20),
    "between the answers and the results": lambda: die_at_call(Path, "replace", 21),
}

SELECTING = ("--select", "best", "--eval-steps", 1, "--patience", 2)
# As above, but for one more file, selection.json, of every finished job, and a checkpoint for every step.
SELECTING_MOMENTS: dict[str, Callable[[], None]] = {
    "before what was selected is written": lambda: die_at_call(stages, "write_json", 1),
    "after what was selected was written": lambda: die_at_call(stages, "write_json", 2, after=True),
    "in an evaluation of the target prompts": lambda: die_at_call(select, "compute_metrics", 8),
    "before the checkpoint of an evaluation": lambda: die_at_call(PromptTrainer, "_save_checkpoint", 6),
    "before the best target prompts are taken": lambda: die_at_call(PromptTrainer, "_load_from_checkpoint", 3),
}


def run(space: Workspace, folder: Path, moment: str | None, *settings: object) -> None:
    torch.set_num_threads(1)
    if moment is not None:
        {**MOMENTS, **SELECTING_MOMENTS}[moment]()
    outcome = space.train(folder, *SILP, *settings, "--resume")
    assert outcome.status == 0, outcome.stderr


def outcome_of(folder: Path) -> tuple[list[bytes], Any, Any]:
    content = json.loads((folder / "results.json").read_text())
    files = [*(folder / name / WEIGHTS_NAME for name in ("stage1/rte", "stage1/sst2", ".")), folder / PREDICTIONS_NAME]
    rows = [{**row, "cell": ""} for row in content["results"]]
    return [path.read_bytes() for path in files], rows, content["selection"]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def unbroken(space: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], Any, Any]:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    assert in_a_process(run, space, folder, None) == 0
    return outcome_of(folder)


@pytest.fixture(scope="module")
def selected(space: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], Any, Any]:
    folder = tmp_path_factory.mktemp("selected") / "run"
    assert in_a_process(run, space, folder, None, *SELECTING) == 0
    assert [chosen["folder"] for chosen in outcome_of(folder)[2]] == ["stage1/rte", "stage1/sst2", "."]
    return outcome_of(folder)


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(
    moment: str, space: Workspace, tmp_path: Path, unbroken: tuple[list[bytes], Any, Any]
) -> None:
    folder = tmp_path / "run"
    assert in_a_process(run, space, folder, moment) == -signal.SIGKILL
    assert not (folder / "results.json").exists()
    assert in_a_process(run, space, folder, None) == 0
    assert outcome_of(folder) == unbroken
    assert not list(folder.rglob("checkpoint*"))


@pytest.mark.parametrize("moment", SELECTING_MOMENTS)
def test_killed_and_resumed_while_selecting(
    moment: str, space: Workspace, tmp_path: Path, selected: tuple[list[bytes], Any, Any]
) -> None:
    folder = tmp_path / "run"
    assert in_a_process(run, space, folder, moment, *SELECTING) == -signal.SIGKILL
    assert not (folder / "results.json").exists()
    assert in_a_process(run, space, folder, None, *SELECTING) == 0
    assert outcome_of(folder) == selected
    assert not list(folder.rglob("checkpoint*"))


def test_a_finished_run_whose_results_are_damaged(space: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert space.train(folder, "--scheme", "SL", "--tasks", "mrpc").status == 0
    file = folder / "results.json"
    content = json.loads(file.read_text())
    for damaged in (b"\xff\xfe", b"{", json.dumps({**content, "results": [{"cell": "run"}]}).encode()):
        file.write_bytes(damaged)
        said = mistake(space.train(folder, "--scheme", "SL", "--tasks", "mrpc", "--resume"))
        assert said.startswith(f"crosspt train: {file}"), said
        assert file.read_bytes() == damaged

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
from crosspt.storage import WEIGHTS_NAME
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


def run(space: Workspace, folder: Path, moment: str | None) -> None:
    torch.set_num_threads(1)
    if moment is not None:
        MOMENTS[moment]()
    outcome = space.train(folder, *SILP, "--resume")
    assert outcome.status == 0, outcome.stderr


def outcome_of(folder: Path) -> tuple[list[bytes], Any]:
    rows = json.loads((folder / "results.json").read_text())["results"]
    files = [*(folder / name / WEIGHTS_NAME for name in ("stage1/rte", "stage1/sst2", ".")), folder / PREDICTIONS_NAME]
    return [path.read_bytes() for path in files], [{**row, "cell": ""} for row in rows]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def unbroken(space: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], Any]:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    assert in_a_process(run, space, folder, None) == 0
    return outcome_of(folder)


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(moment: str, space: Workspace, tmp_path: Path, unbroken: tuple[list[bytes], Any]) -> None:
    folder = tmp_path / "run"
    assert in_a_process(run, space, folder, moment) == -signal.SIGKILL
    assert not (folder / "results.json").exists()
    assert in_a_process(run, space, folder, None) == 0
    assert outcome_of(folder) == unbroken
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

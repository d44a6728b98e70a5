from pathlib import Path

import pytest

from tests.workspace import Workspace


@pytest.fixture(scope="session")
def silp_run(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a source task besides the targets, its stage 1 in mixed batches."""
    folder = tmp_path_factory.mktemp("runs") / "silp"
    settings = ["--scheme", "SILP", "--tasks", "mrpc,rte", "--source-tasks", "mrpc,rte,qnli", "--stage1", "joint"]
    assert workspace.train(folder, *settings).status == 0
    return folder


@pytest.fixture(scope="session")
def per_target_run(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose targets have a bank each."""
    folder = tmp_path_factory.mktemp("runs") / "per_target"
    settings = ["--scheme", "SLPN", "--tasks", "mrpc,rte", "--stage2", "per_target", "--label-set", "synthetic"]
    assert workspace.train(folder, *settings).status == 0
    return folder

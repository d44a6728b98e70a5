"""Grids on a Ray cluster of two machines, of which one ends while it works."""

import os
import signal
import threading
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from crosspt.runs.experiments.cluster import Cluster
from crosspt.runs.experiments.grid import Grid, cell_folder, source_folder
from crosspt.runs.experiments.runner import run_grid
from tests.runs.experiments.support import outcome_of, run, tiny_grid
from tests.runs.experiments.test_runner import wait_for
from tests.workspace import Workspace, crosspt, mistake

ray = pytest.importorskip("ray")
OPTIONS: dict[str, Any] = {"jobs": 1, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    """Ray's own imitation of a cluster: every machine is a process group of its own."""
    from ray.cluster_utils import Cluster as Machines

    made = Machines(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    made.shutdown()


def works_on(machine: Any) -> set[int]:
    """The processes that a machine has started for tasks."""
    raylet = machine.all_processes["raylet"][0].process.pid
    children = Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()
    return {int(child) for child in children}


def holder_of(folder: Path) -> int:
    lock = folder / ".lock"
    text = lock.read_text() if lock.is_file() else ""
    return int(text.split()[1]) if text else 0


@pytest.mark.timeout(900)
def test_a_machine_that_ends(machines: Any, workspace: Workspace, tmp_path: Path) -> None:
    """Its cell, or the stage-1 prompts of one, goes on from the last checkpoint on the other machine."""
    grid = tiny_grid(workspace, ("SL", "SILP"), stage1="joint")
    victim = machines.add_node(num_cpus=1)
    runs = [
        *(cell_folder(tmp_path / "ray", cell.name) for cell in grid.cells),
        source_folder(tmp_path / "ray", "seed0"),
    ]
    lost: list[Path] = []

    def in_work(folder: Path) -> bool:
        # Unlike rglob, walk takes folders that go meanwhile; of the checkpoints the last may not be whole.
        saved = [name for _, names, _ in os.walk(folder) for name in names if name.startswith("checkpoint-")]
        return len(saved) > 1 and holder_of(folder) in works_on(victim)

    def end() -> None:
        wait_for(lambda: any(map(in_work, runs)))
        lost.extend(filter(in_work, runs))
        worker = holder_of(lost[0])
        os.kill(worker, signal.SIGSTOP)  # so that it is not finished before it ends
        machines.remove_node(victim, allow_graceful=False)
        os.kill(worker, signal.SIGKILL)

    ending = threading.Thread(target=end)
    ending.start()
    errors = run_grid(grid, tmp_path / "ray", cluster=Cluster(machines.address, device="cpu"), **OPTIONS)
    ending.join()
    assert errors == {}
    assert len(lost) == 1
    assert run(grid, tmp_path / "local", jobs=2) == {}
    for cell in grid.cells:
        assert outcome_of(cell_folder(tmp_path / "ray", cell.name)) == outcome_of(
            cell_folder(tmp_path / "local", cell.name)
        )
    log = (lost[0] / "log.txt").read_text()
    assert log.count(": finished ") == 1, "it ended once, elsewhere"
    assert log.count(": goes on at step ") == 1, "and did not begin again"


def test_cells_that_fail(machines: Any, workspace: Workspace, tmp_path: Path) -> None:
    grid: Grid = tiny_grid(workspace, ("SIL", "SL"), tasks=["sst2"], epochs=2)
    blocked = source_folder(tmp_path / "grid", "seed0")
    run_grid(grid, tmp_path / "grid", shard=(3, 3), **OPTIONS)  # no cell: only the folder is made
    blocked.parent.mkdir()
    blocked.write_text("in the way")
    errors = run_grid(grid, tmp_path / "grid", cluster=Cluster(machines.address), **OPTIONS)
    (name,) = errors
    assert name == "SIL-seed0"
    assert errors[name].startswith(f"the stage-1 prompts {blocked.name} that it starts from failed: {blocked}")
    assert (cell_folder(tmp_path / "grid", "SL-seed0") / "results.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "ray", "--address", "127.0.0.1:1"], "--address 127.0.0.1:1: no Ray cluster answers there"),
        (["--engine", "ray", "--jobs", 2], "--jobs goes with --engine local"),
        (["--engine", "ray", "--gpus-per-run", -1], "--gpus-per-run must be 0 or more, got -1"),
        (["--engine", "ray", "--gpus-per-run", 0.5, "--device", "cpu"], "--gpus-per-run goes with --device cuda"),
        (["--engine", "ray", "--cpus-per-run", -2], "--cpus-per-run must be positive, got -2"),
        (["--address", "auto"], "--address goes with --engine ray"),
        (["--shard", "3/2"], "--shard must be i/n with i from 1 to n, got 3/2"),
        (["--shard", "1"], "--shard must be i/n with i from 1 to n, got 1"),
    ],
)
def test_mistakes(arguments: list[object], message: str, workspace: Workspace, tmp_path: Path) -> None:
    few = [
        "--suite",
        "glue",
        *workspace.settings()[:4],
        "--tasks",
        "mrpc",
        "--scheme",
        "SL",
        "--shots",
        2,
        "--seeds",
        1,
    ]
    given = ["experiment", "figure-3", *few, "--output", tmp_path / "grid", *arguments]
    assert message in mistake(crosspt(*given))
    assert not (tmp_path / "grid").exists()


def test_without_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("crosspt.runs.experiments.cluster.version", missing)
    outcome = crosspt("experiment", "figure-3", "--engine", "ray", "--output", tmp_path / "grid")
    assert mistake(outcome).endswith("--engine ray needs the package ray, which is not installed: crosspt[ray] has it")

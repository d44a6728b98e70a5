import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from crosspt.config.files import write_json
from crosspt.evaluation.answers import read_predictions
from crosspt.evaluation.results import score_predictions
from crosspt.runs.experiments.grid import Grid
from crosspt.runs.experiments.pool import Pool
from crosspt.runs.experiments.read import read_experiment
from crosspt.runs.experiments.runner import default_jobs, run_grid
from crosspt.runs.experiments.worker import Work
from crosspt.runs.train import train
from crosspt.training.progress import Steps
from tests.runs.experiments.support import SETTINGS, outcome_of, run, times_of, tiny_grid
from tests.runs.test_lock import holder
from tests.workspace import Workspace

SCHEMES = ("SL", "SILP", "P", "PI")
WHOLE = '{"schema": 1, "config": {}, "versions": {}, "environment": {}, "seconds": {}, "analysis": [], "results": '


@pytest.fixture(scope="module")
def grid(workspace: Workspace) -> Grid:
    return tiny_grid(workspace, SCHEMES)


@pytest.fixture(scope="module")
def unbroken(grid: Grid, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished grid, run by two processes."""
    folder = tmp_path_factory.mktemp("grids") / "unbroken"
    assert run(grid, folder, jobs=2) == {}
    return folder


def cells_of(folder: Path) -> dict[str, object]:
    return {cell.name: outcome_of(cell) for cell in (folder / "cells").iterdir()}


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_what_lies_on_disk(grid: Grid, unbroken: Path) -> None:
    experiment = json.loads((unbroken / "experiment.json").read_text())
    assert experiment == grid.to_dict()
    assert [cell["cell"] for cell in experiment["cells"]] == [f"{scheme}-seed0" for scheme in SCHEMES]
    assert sorted(path.name for path in (unbroken / "stage1").iterdir()) == ["seed0"]
    for entry, cell in zip(experiment["cells"], grid.cells, strict=True):
        folder = unbroken / "cells" / cell.name
        content = json.loads((folder / "cell.json").read_text())
        assert content == {"schema": 1, **entry, "config": cell.run.to_dict()}
        rows = json.loads((folder / "results.json").read_text())["results"]
        assert {row["cell"] for row in rows} == {cell.name}
        kept = read_predictions(folder / "predictions.parquet", rows)
        assert list(score_predictions(kept, cell=cell.name, seed=0, shots=4)) == rows
        assert not (folder / "stage1").exists()
        assert not (folder / "error.json").exists()
        assert "2 tasks: finished " in (folder / "log.txt").read_text()


def test_all_cells_of_a_seed_answered_the_same_rows(unbroken: Path) -> None:
    experiment = read_experiment(unbroken)
    assert experiment.warnings == []
    assert [cell.predictions is not None for cell in experiment.cells] == [True] * len(SCHEMES)


def test_cells_are_the_runs_that_train_makes(grid: Grid, unbroken: Path, tmp_path: Path) -> None:
    for cell in grid.cells[:2]:
        train(cell.run, tmp_path / cell.name, device="cpu", progress=False)
        assert outcome_of(tmp_path / cell.name) == outcome_of(unbroken / "cells" / cell.name)
    assert (tmp_path / "SILP-seed0" / "stage1" / "mrpc").is_dir(), "the cell's own stage 1, where none is shared"


def test_a_finished_grid_is_left_as_it_is(grid: Grid, unbroken: Path) -> None:
    before = times_of(unbroken)
    assert run(grid, unbroken) == {}
    assert times_of(unbroken) == before


@pytest.mark.slow
def test_killed_and_run_again(workspace: Workspace, grid: Grid, unbroken: Path, tmp_path: Path) -> None:
    """The whole command is killed with SIGKILL in its second cell: its processes end too, and it can be run again."""
    axes = {"--scheme": ",".join(SCHEMES), "--tasks": "mrpc,rte", "--seeds": 1, "--jobs": 1, "--device": "cpu"}
    flags = {"--" + name.replace("_", "-"): value for name, value in SETTINGS.items()}
    places = {"--model": workspace.model, "--data-dir": workspace.data, "--output": tmp_path / "grid"}
    given = {**axes, **flags, **places, "--suite": "glue"}
    command = ["experiment", "figure-3", *(str(word) for pair in given.items() for word in pair)]
    process = subprocess.Popen([sys.executable, "-m", "crosspt.cli.main", *command])
    second = tmp_path / "grid" / "cells" / "SILP-seed0"
    try:
        wait_for(lambda: any(second.glob("checkpoints/checkpoint-*")))
    finally:
        process.kill()
        process.wait()
    with FileLock(second / ".lock", timeout=20):
        before = times_of(second)
        time.sleep(0.5)
        assert times_of(second) == before, "the process that worked on the cell has ended too"
    first = times_of(tmp_path / "grid" / "cells" / "SL-seed0")
    assert (tmp_path / "grid" / "cells" / "SL-seed0" / "results.json") in first
    assert not (second / "results.json").exists()
    assert run(grid, tmp_path / "grid") == {}
    assert times_of(tmp_path / "grid" / "cells" / "SL-seed0") == first
    assert cells_of(tmp_path / "grid") == cells_of(unbroken)


def test_a_killed_process_and_cut_off_results(
    workspace: Workspace, unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "grid"
    victim, other = folder / "cells" / "P-seed0", folder / "cells" / "SL-seed0"
    grid = tiny_grid(workspace, ("P", "SL"))

    def kill() -> None:
        wait_for(lambda: any(victim.glob("checkpoints/checkpoint-*")))
        for child in multiprocessing.active_children():
            child.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    errors = run(grid, folder)
    killer.join()
    assert errors == {"P-seed0": "its process was killed, or ran out of memory"}
    error = json.loads((victim / "error.json").read_text())
    assert error == {"schema": 1, "cell": "P-seed0", "error": errors["P-seed0"], "type": "BrokenProcessPool"}

    results = other / "results.json"
    results.write_text(results.read_text()[:200])
    capsys.readouterr()
    assert run(grid, folder) == {}
    assert f"warning: {results} is not JSON" in capsys.readouterr().err
    assert not (victim / "error.json").exists()
    for cell in (victim, other):
        assert outcome_of(cell) == outcome_of(unbroken / "cells" / cell.name)


def test_cells_that_fail(workspace: Workspace, tmp_path: Path) -> None:
    grid = tiny_grid(workspace, ("SIL", "SL"), tasks=["sst2"], epochs=2, source_learning_rate=[0.1, 1e30])
    write_json(tmp_path / "experiment.json", grid.to_dict())
    (tmp_path / "stage1").mkdir()
    blocked = tmp_path / "stage1" / "source_learning_rate0.1-seed0"
    blocked.write_text("in the way")
    errors = run(grid, tmp_path)
    reasons = {
        "SIL-source_learning_rate0.1-seed0": f"stage-1 prompts {blocked.name} that it starts from failed: {blocked}",
        "SIL-source_learning_rate1e+30-seed0": f"stage-1 prompts {blocked.name} that it starts from failed: {blocked}",
        "SL-source_learning_rate1e+30-seed0": "training: the loss must be finite, got nan in step",
    }
    assert errors.keys() == reasons.keys()
    for name, reason in reasons.items():
        error = json.loads((tmp_path / "cells" / name / "error.json").read_text())
        assert error["error"] == errors[name]
        assert reason in error["error"]
        assert error["type"] == ("RuntimeError" if name.startswith("SL") else "ValueError")
    assert (tmp_path / "cells" / "SL-source_learning_rate0.1-seed0" / "results.json").is_file()
    blocked.unlink()
    assert run(grid, tmp_path).keys() == {name for name in reasons if "1e+30" in name}, "what failed is run again"


def test_two_at_once(workspace: Workspace, grid: Grid, unbroken: Path, tmp_path: Path) -> None:
    """A process of another grid works on the first cell: the rest is done and, once that has ended, this one too."""
    folder = tmp_path / "grid"
    held, last = (folder / "cells" / f"{scheme}-seed0" for scheme in ("SL", "PI"))
    held.mkdir(parents=True)
    write_json(folder / "experiment.json", grid.to_dict())
    with ThreadPoolExecutor(2) as others, holder(held) as process:
        runs = [others.submit(run, grid, folder) for _ in range(2)]
        wait_for(lambda: (last / "results.json").is_file())
        assert not (held / "results.json").exists()
        assert process is not None
        os.kill(process, signal.SIGKILL)
        assert [each.result() for each in runs] == [{}, {}]
    assert cells_of(folder) == cells_of(unbroken)
    for cell in (folder / "cells").iterdir():
        assert (cell / "log.txt").read_text().count(": finished ") == 1, "one of them has trained it"


def test_parts(workspace: Workspace, grid: Grid, unbroken: Path, tmp_path: Path) -> None:
    for part, names in ((1, {"SL-seed0", "P-seed0"}), (2, {"SL-seed0", "SILP-seed0", "P-seed0", "PI-seed0"})):
        options: dict[str, Any] = {"jobs": 1, "device": "cpu", "progress": False}
        assert run_grid(grid, tmp_path / "grid", shard=(part, 2), **options) == {}
        assert cells_of(tmp_path / "grid").keys() == names
    assert cells_of(tmp_path / "grid") == cells_of(unbroken)


def test_every_process_has_a_gpu(grid: Grid, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert default_jobs("cuda") == 2
    waiting = [Work(cell.name, cell.run, tmp_path) for cell in grid.cells]
    pool = Pool(waiting, 3, "none", "cuda", Steps("cells", shown=False))
    for process in pool.idle:
        with process:
            assert process.submit(os.getenv, "CUDA_VISIBLE_DEVICES").result() == pool.gpus[process]
    assert list(pool.gpus.values()) == ["3", "GPU-5", "3"]


def test_other_settings(workspace: Workspace, unbroken: Path) -> None:
    before = times_of(unbroken)
    other = tiny_grid(workspace, SCHEMES, epochs=3, prefix=True)
    message = "holds an experiment with other settings: epochs (there 20, here 3), prefix (there None, here True)"
    with pytest.raises(ValueError, match=re.escape(message)):
        run(other, unbroken)
    assert times_of(unbroken) == before


def test_more_seeds_are_added(workspace: Workspace, tmp_path: Path) -> None:
    schemes, quick = ("SL", "SIL"), {"epochs": 1}
    few, more = (tiny_grid(workspace, schemes, seeds=seeds, **quick) for seeds in ([0], [0, 1]))
    assert run(few, tmp_path) == {}
    before = times_of(tmp_path / "cells") | times_of(tmp_path / "stage1")
    assert run(more, tmp_path) == {}
    after = times_of(tmp_path / "cells") | times_of(tmp_path / "stage1")
    assert {path: after[path] for path in before} == before, "what is finished is not touched"
    assert json.loads((tmp_path / "experiment.json").read_text()) == more.to_dict()
    assert [cell.name for cell in read_experiment(tmp_path).finished] == [cell.name for cell in more.cells]
    with pytest.raises(ValueError, match=r"other settings: seeds \(there \[0, 1\], here \[0\]\)"):
        run(few, tmp_path)


def test_more_values_of_an_axis_are_added(workspace: Workspace, unbroken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    shutil.copytree(unbroken, folder)
    before = times_of(folder / "cells") | times_of(folder / "stage1")
    del before[folder / "stage1" / "seed0" / "log.txt"]  # which says that they are there
    more = tiny_grid(workspace, (*SCHEMES, "SIL"))
    assert run(more, folder) == {}
    after = times_of(folder / "cells") | times_of(folder / "stage1")
    del after[folder / "stage1" / "seed0" / "log.txt"]
    assert {path: after[path] for path in before} == before, "what is finished is not touched"
    assert {path.relative_to(folder).parts[:2] for path in after.keys() - before.keys()} == {("cells", "SIL-seed0")}
    assert json.loads((folder / "experiment.json").read_text()) == more.to_dict()
    assert [cell.name for cell in read_experiment(folder).finished] == [cell.name for cell in more.cells]
    assert read_experiment(folder).warnings == []
    alone = tmp_path / "alone"
    train(more.cells[-1].run, alone, device="cpu", progress=False)
    assert outcome_of(folder / "cells" / "SIL-seed0")[0] == outcome_of(alone)[0]


@pytest.mark.parametrize(
    ("schemes", "settings", "message"),
    [
        (("SIL", *SCHEMES), {}, "other settings: scheme (there ['SL', 'SILP', 'P', 'PI'], here ['SIL', 'SL', 'SILP', "),
        (("SIL", *SCHEMES), {}, "; name further values of scheme behind those that are there"),
        (SCHEMES[:2], {}, "other settings: scheme (there ['SL', 'SILP', 'P', 'PI'], here ['SL', 'SILP'])"),
        (SCHEMES, {"shots": [4, 2]}, "other settings: shots (there 4, here [4, 2])"),
        (SCHEMES, {"method": ["crosspt", "mpt"]}, "other settings: method (there None, here ['crosspt', 'mpt'])"),
    ],
)
def test_what_no_grid_grows_into(
    workspace: Workspace, unbroken: Path, schemes: tuple[str, ...], settings: dict[str, Any], message: str
) -> None:
    before = times_of(unbroken)
    with pytest.raises(ValueError, match=re.escape(message)):
        run(tiny_grid(workspace, schemes, **settings), unbroken)
    assert times_of(unbroken) == before


def test_cells_of_other_names_and_settings_are_not_left_behind(
    workspace: Workspace, unbroken: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "grid"
    shutil.copytree(unbroken, folder)
    content = json.loads((folder / "experiment.json").read_text())
    content["cells"].append({**content["cells"][0], "cell": "old-seed0"})
    write_json(folder / "experiment.json", content)
    with pytest.raises(ValueError, match="holds cells that are none of this experiment: old-seed0"):
        run(tiny_grid(workspace, SCHEMES), folder)
    write_json(folder / "experiment.json", {**content, "cells": content["cells"][:-1]})
    place = folder / "stage1" / "seed0" / "run.json"
    write_json(place, {**json.loads(place.read_text()), "decode": "rank"})
    with pytest.raises(ValueError, match=r"stage1/seed0 holds a run with other settings: decode \(there 'rank', here"):
        run(tiny_grid(workspace, (*SCHEMES, "SIL")), folder)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("experiment.json", '{"schema": 2}', "is not of this version: its schema must be 1, got 2"),
        ("experiment.json", '{"schema": 1, "exp', "is not JSON: "),
        ("cells/P-seed0/results.json", '{"schema": 2}', "is not of this version: its schema must be 1, got 2"),
        ("cells/P-seed0/results.json", f"{WHOLE}3}}", "results must be list, got 3"),
        ("cells/P-seed0/results.json", f"{WHOLE}[[]]}}", "row 1 of results: must hold keys and values, got []"),
    ],
)
def test_files_of_another_version_and_damaged_ones(
    grid: Grid, unbroken: Path, tmp_path: Path, file: str, text: str, message: str
) -> None:
    folder = tmp_path / "grid"
    shutil.copytree(unbroken, folder)
    (folder / file).write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"{folder / file}") + ":? " + re.escape(message)):
        run(grid, folder)
    assert (folder / file).read_text() == text

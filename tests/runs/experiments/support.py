"""A grid of a few quick cells on the workspace's T5."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crosspt.runs.experiments.definition import find_definition
from crosspt.runs.experiments.grid import Grid, make_grid
from crosspt.runs.experiments.runner import run_grid
from crosspt.storage import WEIGHTS_NAME
from tests.workspace import Workspace

SETTINGS = {"shots": 4, "epochs": 20, "test_rows": 6, "batch_size": 4, "prompt_length": 2, "label_set": "synthetic"}


def tiny_grid(space: Workspace, schemes: tuple[str, ...], *, seeds: Sequence[int] = (0,), **settings: Any) -> Grid:
    """Figure 3 with other values: a list of several is an axis."""
    given = {"tasks": ["mrpc", "rte"], **SETTINGS, "data_dir": str(space.data), "scheme": list(schemes), **settings}
    overrides = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
    places: dict[str, Any] = {"suite": "glue", "model": str(space.model)}
    return make_grid(find_definition("figure-3"), **places, seeds=seeds, overrides=overrides)


def run(grid: Grid, folder: Path, jobs: int = 1) -> dict[str, str]:
    return run_grid(grid, folder, jobs=jobs, device="cpu", progress=False)


def outcome_of(cell: Path) -> tuple[bytes, Any]:
    """A cell's prompts and results; what it took is left out."""
    content = json.loads((cell / "results.json").read_text())
    rows = [{**row, "cell": ""} for row in content["results"]]
    return (cell / WEIGHTS_NAME).read_bytes(), {"config": content["config"], "results": rows}


def times_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}

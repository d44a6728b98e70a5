"""Runs a grid, here or on a Ray cluster. It can be stopped at any moment, and goes on where it stopped."""

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from crosspt.config.files import SCHEMA, NotJSONError, check_writable, is_free, read_json, write_json
from crosspt.config.layout import EXPERIMENT_NAME, LOCK_NAME, RESULTS_NAME, RUN_NAME
from crosspt.config.run import ReportTo
from crosspt.config.values import check_types
from crosspt.evaluation.results import read_results
from crosspt.runs.experiments.cluster import Cluster
from crosspt.runs.experiments.definition import VARIANT
from crosspt.runs.experiments.grid import Cell, Grid, cell_folder, most_rows, source_folder
from crosspt.runs.experiments.pool import Pool, visible_gpus
from crosspt.runs.experiments.worker import Work
from crosspt.runs.folder import check_run
from crosspt.runs.lock import lock_folder
from crosspt.runs.train import prepare
from crosspt.training.progress import Steps
from crosspt.training.reporting import check_reporting

MOST_JOBS = 8  # by default
MINUTE = 60.0


def default_jobs(device: str) -> int:
    """One process for each GPU; on the CPU one for each core, as each has one thread, up to ``MOST_JOBS``."""
    if device == "cuda":
        return len(visible_gpus())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_JOBS)


def run_grid(
    grid: Grid,
    folder: Path,
    *,
    jobs: int,
    cluster: Cluster | None = None,
    shard: tuple[int, int] = (1, 1),
    report_to: ReportTo = "none",
    device: str = "auto",
    progress: bool = True,
) -> dict[str, str]:
    """Run the cells of a grid that are not finished. Several calls may do so at once, also on several machines.

    Every cell is a run in a folder of its own; it is finished once its ``results.json`` is there, and is not touched
    again. A cell that fails leaves ``error.json`` and the others go on. Stage-1 prompts that cells share are trained
    before them. A grid that was stopped, killed at any moment, ends like an unbroken one when it is run again.

    Args:
        grid: the cells.
        folder: where everything goes.
        jobs: number of processes here.
        cluster: where to run the cells instead.
        shard: which part of the cells to run, and of how many: part i takes every n-th, from the i-th on.
        report_to: what the curves of the trainings are logged for, see :func:`crosspt.runs.train.train`.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: whether to show a progress bar.

    Returns:
        The errors of the cells that failed, by name.

    Raises:
        ValueError: the folder holds something else or a grid with other settings; the package that logs are written
            with is not installed; there is no such cluster.
    """
    check_reporting(report_to)
    check_folder(grid, folder)
    part, parts = shard
    cells = grid.cells[part - 1 :: parts]
    unfinished = [cell for cell in cells if not (cell_folder(folder, cell.name) / RESULTS_NAME).is_file()]
    if unfinished:
        prepare(most_rows(unfinished).run)  # what does not fit raises before anything is written
    with cluster.connected() if cluster is not None else nullcontext():  # raises before anything is written
        check_writable(folder)
        console = Console(stderr=True)
        with lock_folder(folder, f"the experiment in {folder} is being started", wait=True):
            check_folder(grid, folder)  # another process may have been faster
            path, content = folder / EXPERIMENT_NAME, grid.to_dict()
            if not path.is_file() or _identity(read_json(path), path) != _identity(content, path):
                write_json(path, content)
            waiting = _plan(grid, cells, folder, console)
        with Steps(grid.definition.name, unit="cells", shown=progress, pause=MINUTE) as steps:
            left = sum(work.cell is not None for work in waiting)
            steps.plan(len(cells), len(cells) - left)
            if cluster is not None:
                return cluster.run(waiting, folder, report_to, steps)
            return Pool(waiting, jobs, report_to, device, steps).run()


def check_folder(grid: Grid, folder: Path) -> None:
    """Raise ValueError unless a folder is new or empty, or holds a part of this grid; see below. Writes nothing.

    What it holds may have fewer seeds, and fewer values of an axis, which come first in this grid: then stage-1 prompts
    are those of the same cells as before.
    """
    path = folder / EXPERIMENT_NAME
    if path.is_file():
        content = read_json(path)
        saved, wanted = _identity(content, path), _identity(grid.to_dict(), path)
        saved["choose"] = wanted["choose"]  # changes no cell
        if set(saved["seeds"]) <= set(grid.seeds):
            saved["seeds"] = grid.seeds
        elsewhere = []
        for axis, known in content["definition"]["axes"].items():
            here = grid.definition.axes.get(axis, [])
            if here[: len(known)] == known and axis != VARIANT:
                saved[axis] = wanted[axis]
            elif axis != VARIANT and all(value in here for value in known):
                elsewhere.append(axis)
        different = [
            f"{name} (there {saved.get(name)!r}, here {wanted.get(name)!r})"
            for name in {**wanted, **saved}
            if saved.get(name) != wanted.get(name)
        ]
        if different:
            hint = f"; name further values of {', '.join(elsewhere)} behind those that are there" if elsewhere else ""
            raise ValueError(f"{folder} holds an experiment with other settings: {', '.join(different)}{hint}")
        if content["cells"] != grid.to_dict()["cells"]:
            _check_cells(grid, folder, content)
    elif not is_free(folder, EXPERIMENT_NAME, LOCK_NAME):
        raise ValueError(f"{folder} must be a new or empty folder, or one that holds this experiment")


def _check_cells(grid: Grid, folder: Path, content: Mapping[str, Any]) -> None:
    """Raise ValueError unless every run that is there is one of the grid: nothing of it would be done again."""
    names = [cell.name for cell in grid.cells]  # what a damaged file holds in place of one need not be hashable
    others = [str(cell.get("cell")) for cell in content["cells"] if cell.get("cell") not in names]
    if others:
        raise ValueError(f"{folder} holds cells that are none of this experiment: {', '.join(others)}")
    runs = {cell_folder(folder, cell.name): cell.run for cell in grid.cells}
    runs |= {source_folder(folder, name): run for name, run in grid.source_runs.items()}
    for place, run in runs.items():
        if (place / RUN_NAME).is_file():
            check_run(run, place, resume=True)


def _plan(grid: Grid, cells: Sequence[Cell], folder: Path, console: Console) -> list[Work]:
    """The unfinished ones of the cells, in order, the stage-1 prompts that they start from before the first of them."""
    waiting: dict[str, Work] = {}
    for cell in cells:
        if _is_finished(cell_folder(folder, cell.name) / RESULTS_NAME, console):
            continue
        sources = None
        if cell.starts_from is not None:
            sources = source_folder(folder, cell.starts_from)
            run = grid.source_runs[cell.starts_from]
            waiting.setdefault(f"stage 1: {cell.starts_from}", Work(cell.starts_from, run, sources))
        waiting[cell.name] = _cell_work(cell, folder, sources)
    return list(waiting.values())


def _cell_work(cell: Cell, folder: Path, sources: Path | None) -> Work:
    content = {"schema": SCHEMA, **cell.to_dict(), "config": cell.run.to_dict()}
    return Work(cell.name, cell.run, cell_folder(folder, cell.name), sources, content, cell.starts_from)


def _is_finished(results: Path, console: Console) -> bool:
    """Whether a cell's results are whole; cut-off ones are removed, so that the cell is evaluated again."""
    if not results.is_file():
        return False
    try:
        read_results(results)
    except NotJSONError as error:
        console.print(f"warning: {error}; the cell is run again", markup=False, soft_wrap=True)
        results.unlink()
        return False
    return True


def _identity(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What decides a grid's cells, by name, from ``experiment.json``; the values of an axis are a list."""
    parts = {"experiment": str, "suite": str, "model": str, "seeds": list[int]}
    check_types(path, content, {**parts, "definition": dict, "cells": list[dict]})
    definition = content["definition"]
    check_types(
        f"{path}: definition", definition, {"settings": dict, "axes": dict[str, list], "suites": dict[str, dict]}
    )
    return {
        **{name: content[name] for name in parts},
        **definition["settings"],
        **definition["axes"],
        "choose": definition.get("choose", []),
        "variants": definition["suites"].get(content["suite"], {}).get("variants"),
    }

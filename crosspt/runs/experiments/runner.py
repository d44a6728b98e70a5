"""Runs a grid in several processes. It can be stopped at any moment, and goes on where it stopped."""

import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from crosspt.evaluation.results import RESULTS_NAME, write_json
from crosspt.runs.experiments.grid import SCHEMA, Cell, Grid, cell_folder, most_rows, stage1_folder
from crosspt.runs.experiments.worker import ERROR_NAME, LOCK_NAME, Work, do_work, start_worker
from crosspt.runs.folder import check_writable, prepare_folder
from crosspt.runs.train import prepare

EXPERIMENT_NAME = "experiment.json"
MOST_JOBS = 8  # by default


def default_jobs(device: str) -> int:
    """One process on a GPU; on the CPU one for each core, as each has one thread, up to ``MOST_JOBS``."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_JOBS) if device == "cpu" else 1


def run_grid(grid: Grid, folder: Path, *, jobs: int, device: str = "auto", progress: bool = True) -> dict[str, str]:
    """Run the cells of a grid that are not finished.

    Every cell is a run in a folder of its own; it is finished once its ``results.json`` is there, and is not touched
    again. A cell that fails leaves ``error.json`` and the others go on. Stage-1 prompts that cells share are trained
    before them. A grid that was stopped, killed at any moment, ends like an unbroken one when it is run again.

    Args:
        grid: the cells.
        folder: where everything goes.
        jobs: number of processes.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: whether to show a progress bar.

    Returns:
        The errors of the cells that failed, by name.

    Raises:
        ValueError: the folder holds something else, a grid with other settings, or one that another process works on.
    """
    check_folder(grid, folder)
    unfinished = [cell for cell in grid.cells if not (cell_folder(folder, cell.name) / RESULTS_NAME).is_file()]
    if unfinished:
        prepare(most_rows(unfinished).run)  # what does not fit raises before anything is written
    check_writable(folder)
    console = Console(stderr=True)
    with _lock(folder):
        if not (folder / EXPERIMENT_NAME).is_file():
            write_json(folder / EXPERIMENT_NAME, grid.to_dict())
        waiting = _plan(grid, folder, console)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, disable=not (progress and console.is_terminal)) as bar:
            return _run(waiting, len(grid.cells), jobs, device, bar)


def check_folder(grid: Grid, folder: Path) -> None:
    """Raise ValueError unless a folder is new or empty, or holds this very grid. Writes nothing."""
    path = folder / EXPERIMENT_NAME
    if path.is_file():
        saved, wanted = _identity(read_versioned(path)), _identity(grid.to_dict())
        different = [
            f"{name} (there {saved.get(name)!r}, here {wanted.get(name)!r})"
            for name in {**wanted, **saved}
            if saved.get(name) != wanted.get(name)
        ]
        if different:
            raise ValueError(f"{folder} holds an experiment with other settings: {', '.join(different)}")
    elif folder.exists() and (not folder.is_dir() or not all(_is_leftover(file) for file in folder.iterdir())):
        raise ValueError(f"{folder} must be a new or empty folder, or one that holds this experiment")


def read_versioned(path: Path) -> dict[str, Any]:
    """Read a JSON object of this version. Raises ValueError that names the file where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        got = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path} is not of this version: its schema must be {SCHEMA}, got {got!r}")
    return content


def _plan(grid: Grid, folder: Path, console: Console) -> list[Work]:
    """The unfinished cells in order, the stage-1 prompts that they start from before the first of them."""
    waiting: dict[str, Work] = {}
    for cell in grid.cells:
        if _is_finished(cell_folder(folder, cell.name) / RESULTS_NAME, console):
            continue
        stage1 = cell.stage1 and stage1_folder(folder, cell.stage1)
        if cell.stage1 and stage1:
            waiting.setdefault(f"stage 1: {cell.stage1}", Work(cell.stage1, grid.stage1[cell.stage1], stage1))
        waiting[cell.name] = _cell_work(cell, folder, stage1 or None)
    return list(waiting.values())


def _cell_work(cell: Cell, folder: Path, stage1: Path | None) -> Work:
    content = {"schema": SCHEMA, **cell.to_dict(), "config": cell.run.to_dict()}
    return Work(cell.name, cell.run, cell_folder(folder, cell.name), stage1, content, cell.stage1)


def _is_finished(results: Path, console: Console) -> bool:
    """Whether a cell's results are whole; cut-off ones are removed, so that the cell is evaluated again."""
    if not results.is_file():
        return False
    try:
        json.loads(results.read_text(encoding="utf-8"))
    except ValueError as error:
        console.print(f"warning: {results} is not JSON ({error}); the cell is run again", markup=False, soft_wrap=True)
        results.unlink()
        return False
    read_versioned(results)
    return True


def _run(waiting: list[Work], cells: int, jobs: int, device: str, bar: Progress) -> dict[str, str]:
    errors: dict[str, str] = {}
    missing = {work.name for work in waiting if work.cell is None}  # stage-1 prompts
    task = bar.add_task("cells", total=cells, completed=cells - len(waiting) + len(missing))
    context = _clean_processes()

    def make_process() -> ProcessPoolExecutor:
        # A pool of one: a process that is killed breaks its own pool only.
        return ProcessPoolExecutor(1, context, start_worker)

    idle = [make_process() for _ in range(min(jobs, len(waiting)))]
    running: dict[Future[None], tuple[Work, ProcessPoolExecutor]] = {}
    others = multiprocessing.active_children()
    try:
        while waiting or running:
            while idle and (ready := next((work for work in waiting if work.needs not in missing), None)):
                waiting.remove(ready)
                process = idle.pop()
                running[process.submit(do_work, ready, device)] = (ready, process)
            bar.update(task, description=", ".join(work.name for work, _ in running.values()))
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                work, process = running.pop(future)
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    process.shutdown()
                    process = make_process()
                idle.append(process)
                ended = [work]
                if work.cell is None:
                    missing.remove(work.name)
                    ended = [later for later in waiting if later.needs == work.name] if error is not None else []
                    waiting[:] = [later for later in waiting if later not in ended]
                if error is not None:
                    for cell in ended:
                        errors[cell.name] = _record(cell, error, work)
                        bar.console.print(f"{cell.name}: {errors[cell.name]}", markup=False, soft_wrap=True)
                bar.advance(task, len(ended))
    except BaseException:
        for child in multiprocessing.active_children():
            if child not in others:
                child.terminate()
        raise
    finally:
        for process in (*idle, *(process for _, process in running.values())):
            process.shutdown(cancel_futures=True)
    return errors


def _clean_processes() -> BaseContext:
    """Processes that share nothing with this one; where the system can, they are forked from one that has imported."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([do_work.__module__])
    return context


def _record(work: Work, error: BaseException, origin: Work) -> str:
    """Write a cell's ``error.json``; returns the error in one line."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, BrokenProcessPool):
        reason = "its process was killed, or ran out of memory"
    if origin is not work:
        reason = f"the stage-1 prompts {origin.name} that it starts from failed: {reason}"
    with suppress(ValueError):
        prepare_folder(work.run, work.folder, resume=True)  # so that the cell can be run again
    content = {"schema": SCHEMA, "cell": work.name, "error": reason, "type": type(error).__name__}
    write_json(work.folder / ERROR_NAME, content)
    return reason


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keep other grids out of a folder for as long as this process lives."""
    lock = FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"another process works on the experiment in {folder}") from None
    try:
        yield
    finally:
        lock.release()


def _identity(content: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a grid's cells, by name, from ``experiment.json``; the values of an axis are a list."""
    definition = content.get("definition", {})
    suite = definition.get("suites", {}).get(content.get("suite"), {})
    identity = {name: content.get(name) for name in ("experiment", "suite", "model", "seeds")}
    return {
        **identity,
        **definition.get("settings", {}),
        **definition.get("axes", {}),
        "variants": suite.get("variants"),
    }


def _is_leftover(file: Path) -> bool:
    """Whether the file is what a grid leaves that was killed before it began."""
    return file.name == LOCK_NAME or (file.name.startswith(f".{EXPERIMENT_NAME}.") and file.suffix == ".tmp")

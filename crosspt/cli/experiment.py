"""The command ``experiment``: what its flags ask for, and what it shows."""

from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from rich.table import Table

from crosspt.cli.arguments import split_names
from crosspt.config.layout import CELLS
from crosspt.models.t5.loading import pick_device
from crosspt.runs.experiments.definition import FIXED, SETTINGS, find_definition, load_definitions
from crosspt.runs.experiments.estimate import estimate_seconds
from crosspt.runs.experiments.grid import Grid, make_grid
from crosspt.runs.experiments.runner import check_folder, default_jobs, run_grid
from crosspt.tasks.registry import SUITES


def experiment(settings: Namespace) -> tuple[dict[str, Any], list[Table | str]]:
    """List the experiments, show what one would run, or run it; returns the JSON content and what is shown.

    Raises:
        RuntimeError: cells failed; the message names how many.
    """
    if settings.list:
        return _list()
    if settings.name is None:
        raise ValueError("name an experiment; --list shows them")
    for flag, value in (("seeds", settings.seeds), ("jobs", settings.jobs)):
        if value is not None and value < 1:
            raise ValueError(f"--{flag} must be at least 1, got {value}")
    definition = find_definition(settings.name)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    grid = make_grid(
        definition, suite=settings.suite, model=settings.model, seeds=seeds, overrides=_overrides(settings)
    )
    folder = Path(settings.output or f"runs/{definition.name}")
    device = pick_device(settings.device).type
    jobs = settings.jobs or default_jobs(device)
    if settings.dry_run:
        check_folder(grid, folder)
        return _dry_run(grid, folder, jobs, device)
    errors = run_grid(grid, folder, jobs=jobs, device=device)
    if errors:
        name, reason = next(iter(errors.items()))
        raise RuntimeError(
            f"{len(errors)} of {len(grid.cells)} cells failed, such as {name}: {reason}; "
            "the same command runs them again"
        )
    content = {**grid.to_dict(), "output": str(folder)}
    return content, [f"{len(grid.cells)} cells are finished in {folder / CELLS}"]


def _overrides(settings: Namespace) -> dict[str, list[Any]]:
    given = {name: settings[name] for name in SETTINGS if settings.get(name) is not None}
    for name in FIXED:
        if name in given:
            given[name] = (
                [given[name]] if name == "init_texts" and isinstance(given[name], str) else split_names(given[name])
            )
    return {name: value if isinstance(value, list) else [value] for name, value in given.items()}


def _list() -> tuple[dict[str, Any], list[Table | str]]:
    table = Table(title="crosspt experiment NAME")
    for heading in ("name", "title", "in the paper", "suites"):
        table.add_column(heading)
    table.add_column("cells a seed", justify="right")
    rows = []
    for definition in load_definitions().values():
        suites = list(definition.suites)
        cells = {suite: len(make_grid(definition, suite=suite, model="", seeds=[0]).cells) for suite in suites}
        rows.append(
            {
                "name": definition.name,
                "aliases": list(definition.aliases),
                "title": definition.title,
                "source": definition.source,
                "cells": cells,
            }
        )
        names = ", ".join((definition.name, *definition.aliases))
        shown = "all" if suites == list(SUITES) else ", ".join(suites)
        count = " or ".join(str(number) for number in dict.fromkeys(cells.values()))
        table.add_row(names, definition.title, definition.source, shown, count)
    return {"schema": 1, "experiments": rows}, [table]


def _dry_run(grid: Grid, folder: Path, jobs: int, device: str) -> tuple[dict[str, Any], list[Table | str]]:
    torch.set_num_threads(1)  # as the processes of a grid
    seconds = estimate_seconds(grid, jobs=jobs, device=device)
    table = Table(title=f"{grid.definition.name}: {grid.definition.title}")
    for heading in ("cell", "starts from"):
        table.add_column(heading)
    for cell in grid.cells:
        table.add_row(cell.name, f"stage 1 {cell.starts_from}" if cell.starts_from else "")
    shown: list[Table | str] = [
        table,
        f"{len(grid.cells)} cells and {len(grid.source_runs)} trainings of stage-1 prompts for {folder}: an estimated "
        f"{_duration(seconds['total'])} in {jobs} processes, from a few steps on {device}; nothing is trained",
    ]
    return {**grid.to_dict(), "output": str(folder), "jobs": jobs, "estimated_seconds": seconds}, shown


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{seconds:.0f} seconds"
        if seconds < 90
        else f"{minutes} minutes"
        if minutes < 90
        else f"{minutes / 60:.1f} hours"
    )

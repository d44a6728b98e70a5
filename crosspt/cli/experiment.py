"""The command ``experiment``: what its flags ask for, and what it shows."""

from __future__ import annotations

import warnings
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crosspt.cli.flags import Names, add_device, add_fields, add_report_to, add_suite, split_names
from crosspt.cli.outcome import Outcome, quiet_transformers
from crosspt.cli.parser import Parser
from crosspt.config.data import DataConfig
from crosspt.config.layout import CELLS
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import EMBEDDED
from crosspt.config.training import TrainingConfig
from crosspt.methods import METHODS
from crosspt.runs.experiments.definition import FIXED, SETTINGS, find_definition, load_definitions
from crosspt.tasks.registry import SUITES

if TYPE_CHECKING:
    from crosspt.runs.experiments.grid import Grid

HELP = "run an experiment of the paper or of your own, or list them"
DESCRIPTION = (
    "Run the grid of an experiment, the paper's or one in a YAML file of your own: every combination of its settings, "
    "with every seed, each a run in a folder of its own. A grid that was stopped goes on with the same command; "
    "finished cells stay as they are, failed ones are run again. The settings of crosspt train override the "
    "experiment's; several values, separated by commas, make a setting an axis of the grid: --scheme SL,SLP "
    "--shots 8,16. Further values behind those of an axis are added to what is there."
)
INTERRUPTED = "the same command goes on"


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    parser.add_setting("name", str, "the experiment, such as figure-2, or a .yaml file of your own", nargs="?")
    parser.add_switch("--list", "show the experiments")
    parser.add_setting("--model", str, "embedded, smollm2, or a folder, .gguf file or hub name", default=EMBEDDED)
    add_suite(parser, None, "the suite whose tasks are trained; by default the first one of the experiment")
    parser.add_setting("--output", str, "for the grid; by default runs/NAME", metavar="FOLDER")
    parser.add_setting("--seeds", int, "number of seeds; more than before are added to what is there", default=3)
    parser.add_setting("--seed", int, "the first seed, of training and drawn rows", default=0)
    text = "processes, of one thread each; by default one for each core, up to 8, or one for each GPU"
    parser.add_setting("--jobs", int, text)
    text = "axes, separated by commas, of which each seed's value is chosen by its score on development rows"
    parser.add_setting("--choose", Names, text, metavar="NAMES")
    text = "where the cells run: in processes here, or on a Ray cluster"
    parser.add_setting("--engine", Literal["local", "ray"], text, default="local")
    text = "of the Ray cluster; by default that which runs on this machine, or one that is started for the grid"
    parser.add_setting("--address", str, text, metavar="auto|HOST:PORT")
    text = "with Ray, GPUs of a cell, or a part of one; by default 1 where there are some"
    parser.add_setting("--gpus-per-run", float, text)
    parser.add_setting(
        "--cpus-per-run", float, "with Ray, cores set aside for a cell, which has one thread; 1 if not given"
    )
    text = "run the i-th part of the cells, of n; the parts may run at the same time, also on several machines"
    parser.add_setting("--shard", str, text, metavar="I/N", default="1/1")
    parser.add_switch("--dry-run", "show the cells and an estimated time, and train nothing")
    add_report_to(parser)
    add_device(parser)
    text = "target tasks, separated by commas: names or .yaml files of your own"
    parser.add_setting("--tasks", Names, text, metavar="NAMES")
    parser.add_setting("--source-tasks", Names, "tasks whose stage-1 prompts are started from", metavar="NAMES")
    parser.add_setting("--init-texts", Names, "for initialization text: one text, or a YAML list", metavar="TEXTS")
    parser.add_setting("--method", str, f"what learns: {', '.join(METHODS)}", several=True, metavar="NAME")
    for config, skip in ((CrossPTConfig, set(FIXED)), (TrainingConfig, {"seed"}), (DataConfig, set())):
        add_fields(parser, config, skip, defaults=False, several=True)


def run(settings: Namespace) -> Outcome:
    """List the experiments, show what one would run, or run it.

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
    shard = _shard(settings.shard)
    for flag in ("address", "gpus_per_run", "cpus_per_run"):
        if settings.engine != "ray" and getattr(settings, flag) is not None:
            raise ValueError(f"--{flag.replace('_', '-')} goes with --engine ray")
    if settings.engine == "ray" and settings.jobs is not None:
        raise ValueError("--jobs goes with --engine local; Ray runs as many cells at once as it has cores and GPUs for")
    definition = find_definition(settings.name)
    overrides = _overrides(settings)

    from crosspt.models.loading import pick_device
    from crosspt.runs.experiments.choose import choose_cells
    from crosspt.runs.experiments.cluster import Cluster
    from crosspt.runs.experiments.grid import make_grid
    from crosspt.runs.experiments.read import read_experiment
    from crosspt.runs.experiments.runner import check_folder, default_jobs, run_grid

    quiet_transformers()
    seeds = range(settings.seed, settings.seed + settings.seeds)
    suite = settings.suite or next(iter(definition.suites))
    choose = [name.replace("-", "_") for name in split_names(settings.choose)]
    grid = make_grid(definition, suite=suite, model=settings.model, seeds=seeds, overrides=overrides, choose=choose)
    folder = Path(settings.output or f"runs/{definition.name}")
    cluster = None
    if settings.engine == "ray":  # whose machines may have GPUs where this one has none
        cluster = Cluster(settings.address, settings.gpus_per_run, settings.cpus_per_run or 1, settings.device)
    device = pick_device("auto" if cluster else settings.device).type
    jobs = settings.jobs or default_jobs(device)
    if settings.dry_run:
        check_folder(grid, folder)
        return _dry_run(grid, folder, jobs, device)
    options: dict[str, Any] = {"report_to": settings.report_to, "device": device}
    errors = run_grid(grid, folder, jobs=jobs, cluster=cluster, shard=shard, **options)
    cells = len(grid.cells[shard[0] - 1 :: shard[1]])
    if errors:
        name, reason = next(iter(errors.items()))
        raise RuntimeError(
            f"{len(errors)} of {cells} cells failed, such as {name}: {reason}; the same command runs them again"
        )
    content, shown = {**grid.to_dict(), "output": str(folder)}, []
    if grid.definition.choose and shard[1] == 1:
        from crosspt.report.tables import choices_table

        experiment = choose_cells(read_experiment(folder))
        content["choices"], shown = experiment.choices, [choices_table(experiment)]
    return Outcome(content, [*shown, f"{cells} cells are finished in {folder / CELLS}"])


def _shard(given: str) -> tuple[int, int]:
    """A part of the cells and the number of parts."""
    part, _, parts = given.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise ValueError(f"--shard must be i/n with i from 1 to n, got {given}")
    return int(part), int(parts)


def _overrides(settings: Namespace) -> dict[str, list[Any]]:
    given = {name: getattr(settings, name) for name in SETTINGS if getattr(settings, name) is not None}
    for name in FIXED:
        if name in given:
            given[name] = (
                [given[name]] if name == "init_texts" and isinstance(given[name], str) else split_names(given[name])
            )
    return {name: value if isinstance(value, list) else [value] for name, value in given.items()}


def _list() -> Outcome:
    from crosspt.report.table import Table
    from crosspt.runs.experiments.grid import make_grid

    rows, shown = [], []
    for definition in load_definitions().values():
        suites = list(definition.suites)
        with warnings.catch_warnings(action="ignore"):  # of what a run would come to
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
        shown.append(
            {
                "name": ", ".join((definition.name, *definition.aliases)),
                "title": definition.title,
                "in the paper": definition.source,
                "suites": "all" if suites == list(SUITES) else ", ".join(suites),
                "cells a seed": " or ".join(str(number) for number in dict.fromkeys(cells.values())),
            }
        )
    return Outcome({"schema": 1, "experiments": rows}, [Table("experiments", "crosspt experiment NAME", shown)])


def _dry_run(grid: Grid, folder: Path, jobs: int, device: str) -> Outcome:
    import torch

    from crosspt.report.table import Table
    from crosspt.runs.experiments.estimate import estimate_seconds

    torch.set_num_threads(1)  # as the processes of a grid
    seconds = estimate_seconds(grid, jobs=jobs, device=device)
    rows = [
        {"cell": cell.name, "starts from": f"stage 1 {cell.starts_from}" if cell.starts_from else ""}
        for cell in grid.cells
    ]
    table = Table("cells", f"{grid.definition.name}: {grid.definition.title}", rows)
    summary = (
        f"{len(grid.cells)} cells and {len(grid.source_runs)} trainings of stage-1 prompts for {folder}: an estimated "
        f"{_duration(seconds['total'])} in {jobs} processes, from a few steps on {device}; nothing is trained"
    )
    content = {**grid.to_dict(), "output": str(folder), "jobs": jobs, "estimated_seconds": seconds}
    return Outcome(content, [table, summary])


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{seconds:.0f} seconds"
        if seconds < 90
        else f"{minutes} minutes"
        if minutes < 90
        else f"{minutes / 60:.1f} hours"
    )

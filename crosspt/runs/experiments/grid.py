"""From an experiment to the grid of runs it asks for, and the stage-1 prompts that those share."""

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosspt.config.files import SCHEMA
from crosspt.config.layout import CELLS, SOURCES
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import CROSSPT, EMBEDDED, RunConfig
from crosspt.config.scheme import Scheme
from crosspt.config.training import GROUPS, RATES
from crosspt.methods import find_method
from crosspt.methods.method import OPTIONAL, source_jobs
from crosspt.runs.experiments.definition import (
    FIXED,
    VARIANT,
    Definition,
    check_axis,
    check_choice,
    check_settings,
)
from crosspt.runs.settings import make_run
from crosspt.runs.tasks import name_tasks
from crosspt.tasks.registry import SUITES


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Args:
        name: of its folder.
        settings: its value of every axis.
        run: its settings.
        starts_from: name of the stage-1 prompts it starts from, if it does.
    """

    name: str
    settings: dict[str, Any]
    run: RunConfig
    starts_from: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The cell's entry in ``experiment.json``."""
        return {
            "cell": self.name,
            "scheme": self.run.scheme,
            "seed": self.run.training.seed,
            "shots": self.run.data.shots,
            "settings": self.settings,
        }


@dataclass(frozen=True)
class Grid:
    """The runs of an experiment.

    Args:
        definition: the experiment, with its settings and axes as they are used.
        suite: name of the suite.
        model: of the language model, see :func:`crosspt.models.loading.load_model`.
        seeds: of the runs; the few-shot rows are drawn anew with each.
        cells: the runs, one seed after the other.
        source_runs: runs by name whose stage-1 prompts are shared: nothing else of them is trained.
    """

    definition: Definition
    suite: str
    model: str
    seeds: list[int]
    cells: list[Cell]
    source_runs: dict[str, RunConfig]

    def to_dict(self) -> dict[str, Any]:
        """The content of ``experiment.json``."""
        definition = dataclasses.asdict(self.definition)
        return {
            "schema": SCHEMA,
            "experiment": self.definition.name,
            "title": self.definition.title,
            "suite": self.suite,
            "model": self.model,
            "seeds": self.seeds,
            "axes": list(self.definition.axes),
            "decided_by_construction": self.definition.decided_by_construction and self.model == EMBEDDED,
            "cells": [cell.to_dict() for cell in self.cells],
            # as JSON gives it back, so that it can be compared
            "definition": json.loads(json.dumps(definition)),
        }


def make_grid(
    definition: Definition,
    *,
    suite: str,
    model: str,
    seeds: Sequence[int],
    overrides: Mapping[str, list[Any]] | None = None,
    choose: Sequence[str] = (),
) -> Grid:
    """Expand an experiment on a suite.

    Args:
        definition: the experiment.
        suite: name of the suite.
        model: of the language model, see :func:`crosspt.models.loading.load_model`.
        seeds: of the runs. Where ``data_seed`` is not set, each is the seed of the drawn rows too.
        overrides: one or more values for settings; several make the setting an axis.
        choose: axes whose value development rows choose, in place of the experiment's; a cell has none of those that
            its scheme or method has no use for. Prompts are then selected by these rows, unless a setting says else.

    Raises:
        ValueError: the experiment is not for the suite, or a setting does not fit; the message names the cell.
    """
    used = _override(definition, suite, overrides or {}, choose)
    variants = used.suites[suite].variants
    cells: list[Cell] = []
    for seed, values in itertools.product(seeds, itertools.product(*used.axes.values())):
        chosen = dict(zip(used.axes, values, strict=True))
        bundle = variants.get(chosen.get(VARIANT, ""), {})
        merged = {**used.settings, **bundle, **{name: value for name, value in chosen.items() if name != VARIANT}}
        method = merged.get("method", CROSSPT)
        scheme = str(merged.get("scheme", CrossPTConfig.scheme)) if method == CROSSPT else method
        name = _cell_name(chosen, scheme, seed)
        try:
            for axis in _without_use(model, merged, chosen, used.choose):
                del chosen[axis], merged[axis]
            if any(cell.settings == chosen and cell.run.training.seed == seed for cell in cells):
                continue  # combinations that differ in nothing else are one
            run = _make_run(model, merged, seed)
            find_method(method).check(run)
            if used.choose and run.training.select != "best":
                raise ValueError(f"{', '.join(used.choose)} is chosen by development rows, which select best has")
        except (TypeError, ValueError) as error:
            raise ValueError(f"cell {name}: {error}") from None
        cells.append(Cell(_cell_name(chosen, scheme, seed), chosen, run))
    names = [cell.name for cell in cells]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{definition.name}: values that give cells the same name: {', '.join(twice)}")
    return _share_sources(Grid(used, suite, model, list(seeds), cells, {}))


def cell_folder(folder: Path, name: str) -> Path:
    """Where a cell of a grid lies."""
    return folder / CELLS / name


def source_folder(folder: Path, name: str) -> Path:
    """Where shared stage-1 prompts of a grid lie."""
    return folder / SOURCES / name


def most_rows(cells: Sequence[Cell]) -> Cell:
    """The first of the cells with the most training rows a task, of those the first that has development rows too."""
    return max(cells, key=lambda cell: (cell.run.data.shots or math.inf, cell.run.training.select == "best"))


def _override(
    definition: Definition, suite: str, overrides: Mapping[str, list[Any]], choose: Sequence[str]
) -> Definition:
    """An experiment with the axes and settings that it has on a suite."""
    if suite not in definition.suites:
        raise ValueError(f"{definition.name} is for the suites {', '.join(definition.suites)}, got {suite!r}")
    part = definition.suites[suite]
    settings = {"tasks": list(SUITES.get(suite, ())), **definition.settings, **part.settings}
    axes = dict(definition.axes)
    for name, values in overrides.items():
        settings.pop(name, None)
        if name in FIXED or (len(values) == 1 and name not in axes):
            check_settings(definition.name, {name: values if name in FIXED else values[0]})
            settings[name] = values if name in FIXED else values[0]
        else:
            check_axis(definition.name, name, values)
            axes[name] = values
    if "scheme" in axes:
        axes["scheme"] = [Scheme.parse(name).name for name in axes["scheme"]]
        check_axis(definition.name, "scheme", axes["scheme"])
    if part.variants:
        axes[VARIANT] = list(part.variants)
    choose = list(choose or definition.choose)
    check_choice(f"{definition.name}: choose", choose, axes)
    if choose and "select" not in axes:
        settings.setdefault("select", "best")
    return dataclasses.replace(definition, axes=axes, settings=settings, suites={suite: part}, choose=choose)


def _make_run(model: str, settings: Mapping[str, Any], seed: int) -> RunConfig:
    task_files: dict[str, str] = {}
    values = {"data_seed": seed, **settings, "seed": seed}
    values["tasks"] = name_tasks(task_files, values["tasks"])
    if values.get("source_tasks"):
        values["source_tasks"] = name_tasks(task_files, values["source_tasks"])
    return make_run(values, model=model, task_files=task_files, source_prompts=[])


def _without_use(model: str, settings: Mapping[str, Any], axes: Collection[str], choose: Collection[str]) -> list[str]:
    """Of the scheme and the axes that are chosen from, those that make no difference to a cell of these settings."""
    method = find_method(settings.get("method", CROSSPT))
    idle = {name for name in OPTIONAL if name not in method.uses}
    if method.name == CROSSPT:
        run = _make_run(model, {name: value for name, value in settings.items() if name not in RATES}, 0)
        learned = run.training.learning_rates(run.prompts)
        idle |= {rate for group, rate in GROUPS.items() if group not in learned}
    return [axis for axis in axes if axis in idle and axis in ("scheme", *choose)]


def _cell_name(settings: Mapping[str, Any], scheme: str, seed: int) -> str:
    parts = [_slug(axis, value) for axis, value in settings.items() if axis not in ("scheme", "method")]
    return "-".join([scheme, *parts, f"seed{seed}"])


def _slug(axis: str, value: Any) -> str:
    """An axis and its value as a part of a file name."""
    if isinstance(value, str):
        return re.sub(r"[^A-Za-z0-9.]+", "_", value)
    if isinstance(value, bool):
        return f"{'' if value else 'no_'}{axis}"
    return f"{axis}{value}" if value is not None else f"{axis}_all"


def _share_sources(grid: Grid) -> Grid:
    """Give every cell that starts from saved prompts the name of a run that trains them.

    Cells share one where the same settings would train them: nothing that only concerns the targets' prompts counts.
    Where each source task is trained by itself, the source tasks may differ too, and all of them are trained.
    """
    groups: dict[str, list[Cell]] = {}
    trained: dict[str, list[str]] = {}
    for cell in grid.cells:
        jobs = source_jobs(cell.run)
        if jobs:
            of_prompts = [job for job in jobs if job.method == CROSSPT]
            job = dataclasses.asdict(of_prompts[0])
            if cell.run.training.stage1 == "per_task":
                del job["folder"], job["config"]["tasks"]
            others = [dataclasses.asdict(job) for job in jobs if job.method != CROSSPT]
            # The targets' order gives synthetic labels their letters.
            data = dataclasses.asdict(cell.run.data), cell.run.prompts.tasks, cell.run.task_files
            groups.setdefault(json.dumps([job, others, data]), []).append(cell)
            trained[cell.name] = [task for job in of_prompts for task in job.config.tasks]
    source_runs, names = {}, {}
    for cells in groups.values():
        first = cells[0]
        sources = dict.fromkeys(task for cell in cells for task in trained[cell.name])
        name = first.name.partition("-")[2]
        if name in source_runs:  # those of a method that trains more than prompts
            name = first.name
        prompts = dataclasses.replace(first.run.prompts, source_tasks=list(sources))
        source_runs[name] = dataclasses.replace(first.run, prompts=prompts)
        names.update({cell.name: name for cell in cells})
    cells = [dataclasses.replace(cell, starts_from=names.get(cell.name)) for cell in grid.cells]
    return dataclasses.replace(grid, cells=cells, source_runs=source_runs)

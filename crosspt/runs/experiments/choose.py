"""Axes whose value development rows choose: of the cells that differ in nothing else, the best by these rows."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any

from crosspt.config.layout import CELLS, SOURCES
from crosspt.config.values import check_types
from crosspt.runs.experiments.read import Cell, Experiment


def choose_cells(experiment: Experiment) -> Experiment:
    """An experiment without its axes that are chosen from: of every seed and condition one cell is left.

    That is the cell with the highest score on development rows, the first of several; test rows do not count. A
    seed's choice is its own, so that seeds stay independent. Failed and unfinished cells are not chosen, with a line in
    the warnings.

    Returns:
        The experiment; ``choices`` has for each of its chosen cells, as plain JSON values, ``cell``, ``seed``,
        ``settings``, ``chosen``, the value of each axis, null where the scheme has no use for it, ``score`` in percent,
        and ``tried``, the number of cells it was chosen from.
    """
    if not experiment.choose:
        return experiment
    groups: dict[str, list[Cell]] = {}
    for cell in experiment.cells:
        settings = {axis: value for axis, value in cell.settings.items() if axis not in experiment.choose}
        groups.setdefault(json.dumps([cell.seed, settings], sort_keys=True), []).append(cell)
    cells, warnings, choices = [], list(experiment.warnings), []
    for group in groups.values():
        scores = {}
        for cell in group:
            try:
                scores[cell.name] = _development_score(cell)
            except ValueError as error:
                warnings.append(f"{CELLS}/{cell.name}: {error}; not chosen")
        best = max(group, key=lambda cell: scores.get(cell.name, -math.inf))
        chosen = {axis: best.settings[axis] for axis in experiment.choose}
        settings = {axis: value for axis, value in best.settings.items() if axis not in chosen}
        cells.append(replace(best, settings=settings))
        if scores:
            choice = {"cell": best.name, "seed": best.seed, "settings": settings, "chosen": chosen}
            choices.append({**choice, "score": scores[best.name], "tried": len(scores)})
    axes = [axis for axis in experiment.axes if axis not in experiment.choose]
    return replace(experiment, cells=cells, axes=axes, warnings=warnings, choices=choices)


def _development_score(cell: Cell) -> float:
    """The mean of its tasks' scores where its prompts were selected. Raises ValueError where it has none."""
    if not cell.results:
        raise ValueError(cell.problem)
    scores: dict[str, float] = {}
    check_types("its results", {"selection": [], **cell.results}, {"selection": list[dict]})
    for bank in cell.results.get("selection", ()):
        check_types("its selection", bank, {"folder": str, "step": int, "history": list[dict]})
        if bank["folder"].split("/")[0] != SOURCES:
            scores |= _scores_at(bank)
    if not scores:
        raise ValueError("it was selected by no development rows")
    return fmean(scores.values())


def _scores_at(bank: Mapping[str, Any]) -> dict[str, float]:
    """The score of each task at the step that was selected."""
    for entry in bank["history"]:
        check_types("its selection", entry, {"step": int, "tasks": dict[str, float]})
        if entry["step"] == bank["step"]:
            return dict(entry["tasks"])
    raise ValueError(f"its selection: no scores of step {bank['step']}, which was selected")

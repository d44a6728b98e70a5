"""An experiment's folder: ``experiment.json``, and of each of its cells its results and answers or its error."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd

from crosspt.config.files import read_json
from crosspt.config.layout import CELLS, ERROR_NAME, EXPERIMENT_NAME, PREDICTIONS_NAME, RESULTS_NAME
from crosspt.config.values import check_types, pick
from crosspt.evaluation.answers import Predictions, read_predictions
from crosspt.evaluation.results import read_results

MATRICES = ("weights", "similarity", "task_similarity")
CELL = {"cell": str, "scheme": str, "seed": int, "settings": dict}
BANK: dict[str, Any] = {"tasks": list[str], "candidates": list[str], "wssp": float | None, "trainable_parameters": int}
BANK |= dict.fromkeys(MATRICES, list[list[float | None]])


@dataclass(frozen=True)
class Cell:
    """One run of an experiment."""

    name: str  # of its folder
    seed: int  # sets it apart from the other cells of its condition
    settings: Mapping[str, Any]  # value of every axis, of ``scheme`` and of ``shots``
    results: Mapping[str, Any]  # content of ``results.json``, matrices as frames; empty where it cannot be read
    problem: str  # why there are no results
    predictions: Predictions | None = None  # the answers that the results are computed from, where they can be read

    @property
    def banks(self) -> list[dict[str, Any]]:
        """Its analysed banks: one, or one for every target that has its own."""
        return list(self.results.get("analysis", ()))


@dataclass
class Experiment:
    """What an experiment's folder holds."""

    experiment: str  # its name, such as ``figure-2``
    title: str
    suite: str
    model: str
    seeds: list
    axes: list[str]  # the settings that vary, the scheme among them
    decided_by_construction: bool  # whether the T5 and the suite decide the outcome beforehand
    definition: dict
    cells: list  # in the experiment's order
    warnings: list[str] = field(default_factory=list)  # a line for whatever is left out
    choices: list[dict[str, Any]] = field(default_factory=list)  # see crosspt.runs.experiments.choose

    @property
    def choose(self) -> list[str]:
        """The axes whose value development rows choose."""
        return list(self.definition.get("choose", ()))

    @property
    def finished(self) -> list[Cell]:
        """The cells that have results."""
        return [cell for cell in self.cells if cell.results]


def read_experiment(folder: Path) -> Experiment:
    """Read an experiment and whatever its cells have come to.

    What cannot be used is left out with a line in the warnings: a cell's results, its answers alone, or its answers
    because the other cells of its seed answered other rows.

    Raises:
        ValueError: the folder holds no experiment of this version; the message names the file.
    """
    path = folder / EXPERIMENT_NAME
    if not path.is_file():
        raise ValueError(f"{folder} holds no {EXPERIMENT_NAME}: it must be the --output of crosspt experiment")
    content = read_json(path)
    check_types(
        path,
        content,
        {key: hint for key, hint in get_type_hints(Experiment).items() if key not in ("warnings", "choices")},
    )
    experiment = pick(Experiment, content | {"cells": [], "warnings": [], "choices": []})
    check_types(f"{path}: definition", {"choose": [], **experiment.definition}, {"choose": list[str]})
    for entry in content["cells"]:
        check_types(f"{path}: a cell", entry, CELL)
        name, settings = entry["cell"], {"scheme": entry["scheme"], "shots": entry.get("shots"), **entry["settings"]}
        if name in ("", ".", "..") or Path(name).name != name:
            raise ValueError(f"{path}: a cell's name must be that of a folder, got {name!r}")
        settings |= {axis: None for axis in experiment.choose if axis not in settings}  # that it has no use for
        missing = [axis for axis in experiment.axes if axis not in settings]
        if missing:
            raise ValueError(f"{path}: cell {name} lacks a value for {', '.join(missing)}")
        results: dict[str, Any] = {}
        predictions, answers = None, folder / CELLS / name / PREDICTIONS_NAME
        try:
            results, problem = _read_cell(folder / CELLS / name)
        except ValueError as error:
            problem = _inside(folder, error)
            experiment.warnings.append(f"{problem}, left out")
        try:
            if results and answers.exists():
                predictions = read_predictions(answers, results["results"])
        except ValueError as error:
            experiment.warnings.append(f"{_inside(folder, error)}; the cell is used by its results alone")
        experiment.cells.append(Cell(name, entry["seed"], settings, results, problem, predictions))
    runs = [(cell.seed, json.dumps(cell.settings, sort_keys=True)) for cell in experiment.cells]
    if twice := [cell.name for cell, run in zip(experiment.cells, runs, strict=True) if runs.count(run) > 1]:
        raise ValueError(f"{path}: cells {', '.join(twice)} have the same settings and the same seed")
    names = [cell.name for cell in experiment.finished]
    if bare := [name for name in names if not (folder / CELLS / name / PREDICTIONS_NAME).exists()]:
        experiment.warnings.append(
            f"{_list_cells(bare)}: no {PREDICTIONS_NAME}, as of an older version; used by the results alone"
        )
    experiment.warnings += _leave_out_other_rows(experiment.cells)
    others = {place.name for place in (folder / CELLS).glob("*")} - {cell.name for cell in experiment.cells}
    experiment.warnings += [f"{CELLS}/{name}: no cell of this experiment, left out" for name in sorted(others)]
    return experiment


def _read_cell(place: Path) -> tuple[dict[str, Any], str]:
    """The results of a cell, or why there are none."""
    path, error_path = place / RESULTS_NAME, place / ERROR_NAME
    if not path.exists():
        if not error_path.exists():
            return {}, "not run yet"
        error = read_json(error_path)
        check_types(error_path, error, {"type": str, "error": str})
        return {}, f"{error['type']}: {error['error']}"
    results = read_results(path)
    if not results["results"]:
        raise ValueError(f"{path}: no rows of results")
    for row in results["results"]:
        if row["cell"] != place.name:
            raise ValueError(f"{path}: results of another cell, {row['cell']!r}")
    for number, bank in enumerate(results["analysis"], start=1):
        origin = f"{path}: bank {number} of analysis"
        check_types(origin, bank, BANK)
        for key in MATRICES:
            rows, columns = bank["tasks"], bank["tasks" if key == "task_similarity" else "candidates"]
            if len(bank[key]) != len(rows) or any(len(row) != len(columns) for row in bank[key]):
                raise ValueError(f"{origin}: {key} must be of shape ({len(rows)}, {len(columns)})")
            bank[key] = pd.DataFrame(bank[key], rows, columns, dtype=float)
    return results, ""


def _leave_out_other_rows(cells: list[Cell]) -> Iterator[str]:
    """Leave out answers to other rows than most cells of the same seed and settings answered, with a line for each."""
    groups: dict[str, dict[int, bytes]] = {}
    for place, cell in enumerate(cells):
        if cell.predictions is not None:
            settings = {key: value for key, value in cell.settings.items() if key != "scheme"}
            same = groups.setdefault(json.dumps([cell.seed, settings], sort_keys=True), {})
            same[place] = _row_hashes(cell.predictions)
    for same in groups.values():
        ((usual, _),) = Counter(same.values()).most_common(1)
        first = next(place for place, rows in same.items() if rows == usual)
        if others := [place for place, rows in same.items() if rows != usual]:
            names = _list_cells([cells[place].name for place in others])
            yield (
                f"{names}: evaluated on other rows than {CELLS}/{cells[first].name} of the same seed; "
                "used by the results alone"
            )
            for place in others:
                cells[place] = replace(cells[place], predictions=None)


def _row_hashes(predictions: Predictions) -> bytes:
    """What two cells share if, and as good as only if, they answered the same rows."""
    rows = predictions.rows[["task", "row", "reference"]].drop_duplicates()
    return np.sort(pd.util.hash_pandas_object(rows, index=False)).tobytes()


def _inside(folder: Path, error: ValueError) -> str:
    """What an error says, its file named from the experiment's folder on."""
    return str(error).replace(f"{folder}/", "", 1)


def _list_cells(names: Sequence[str]) -> str:
    return ", ".join(f"{CELLS}/{name}" for name in names)

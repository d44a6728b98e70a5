"""An experiment's folder: ``experiment.json``, and of each of its cells ``results.json`` or ``error.json``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosspt.config.files import SCHEMA
from crosspt.config.layout import CELLS, ERROR_NAME, EXPERIMENT_NAME, RESULTS_NAME

_ROW = {
    "cell": str,
    "scheme": str,
    "task": str,
    "metric": str,
    "primary": bool,
    "value": float | int | None,
    "count": int,
    "invalid_rate": float | int,
}
_MATRICES = ("weights", "similarity", "task_similarity")


@dataclass(frozen=True)
class Cell:
    """One run of an experiment.

    Attributes:
        name: its id, the name of its folder.
        seed: the seed that sets it apart from the other cells of its condition.
        settings: value of every axis, of ``scheme`` and of ``shots``.
        results: content of ``results.json``; None where the cell has none that can be read.
        problem: why there are no results.
    """

    name: str
    seed: int
    settings: Mapping[str, Any]
    results: Mapping[str, Any] | None
    problem: str | None

    @property
    def scheme(self) -> str:
        """The scheme's name."""
        return str(self.settings["scheme"])


@dataclass
class Experiment:
    """What an experiment's folder holds.

    Attributes:
        name: such as ``figure-2``.
        title: what it is about.
        suite: the tasks' suite.
        model: the T5's name.
        seeds: the seeds that were asked for.
        axes: the settings that vary, the scheme among them.
        decided_by_construction: whether the T5 and the suite decide the outcome beforehand.
        definition: the resolved definition it was run from.
        cells: every cell, in the experiment's order.
        warnings: a line for each file that was left out.
    """

    name: str
    title: str
    suite: str
    model: str
    seeds: list[int]
    axes: list[str]
    decided_by_construction: bool
    definition: Mapping[str, Any]
    cells: list[Cell] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def finished(self) -> list[Cell]:
        """The cells that have results."""
        return [cell for cell in self.cells if cell.results is not None]


def read_experiment(folder: Path) -> Experiment:
    """Read an experiment and whatever its cells have come to.

    A cell's file that cannot be used is left out with a line in the warnings.

    Raises:
        ValueError: the folder holds no experiment of this version.
    """
    path = folder / EXPERIMENT_NAME
    if not path.is_file():
        raise ValueError(f"{folder} holds no {EXPERIMENT_NAME}: it must be the --output of crosspt experiment")
    try:
        content = _load(path)
        experiment = Experiment(
            name=_get(content, "experiment", str),
            title=_get(content, "title", str),
            suite=_get(content, "suite", str),
            model=_get(content, "model", str),
            seeds=_get(content, "seeds", list),
            axes=_get(content, "axes", list),
            decided_by_construction=_get(content, "decided_by_construction", bool),
            definition=_get(content, "definition", dict),
        )
        if not all(isinstance(axis, str) for axis in experiment.axes):
            raise ValueError("axes must be names")
        entries = [_entry(entry, experiment.axes) for entry in _get(content, "cells", list)]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for name, seed, settings in entries:
        experiment.cells.append(_read_cell(folder, name, seed, settings, experiment.warnings))
    known = {cell.name for cell in experiment.cells}
    for place in sorted((folder / CELLS).iterdir()) if (folder / CELLS).is_dir() else ():
        if place.name not in known:
            experiment.warnings.append(f"{CELLS}/{place.name}: no cell of this experiment, left out")
    return experiment


def _entry(entry: Any, axes: list[str]) -> tuple[str, int, dict[str, Any]]:
    if not isinstance(entry, dict):
        raise ValueError(f"a cell must be an object, got {_name(entry)}")
    name = _get(entry, "cell", str)
    if name in ("", ".", "..") or Path(name).name != name:
        raise ValueError(f"a cell's name must be that of a folder, got {name!r}")
    settings = {"scheme": _get(entry, "scheme", str), "shots": entry.get("shots"), **_get(entry, "settings", dict)}
    missing = [axis for axis in axes if axis not in settings]
    if missing:
        raise ValueError(f"cell {name} lacks a value for {', '.join(missing)}")
    return name, _get(entry, "seed", int), settings


def _read_cell(folder: Path, name: str, seed: int, settings: dict[str, Any], warnings: list[str]) -> Cell:
    results: dict[str, Any] | None = None
    problem: str | None = "not run yet"
    place = folder / CELLS / name
    try:
        if (place / RESULTS_NAME).exists():
            file = RESULTS_NAME
            results, problem = _check_results(_load(place / RESULTS_NAME), name), None
        elif (place / ERROR_NAME).exists():
            file = ERROR_NAME
            error = _load(place / ERROR_NAME)
            problem = f"{_get(error, 'type', str)}: {_get(error, 'error', str)}"
    except ValueError as error:
        problem = f"{file} cannot be used: {error}"
        warnings.append(f"{CELLS}/{name}/{file}: {error}, left out")
    return Cell(name, seed, settings, results, problem)


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("truncated or not JSON") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    if not isinstance(content, dict):
        raise ValueError(f"must hold an object, got {_name(content)}")
    schema = content.get("schema")
    if schema != SCHEMA:
        raise ValueError(f"schema must be {SCHEMA}, got {schema!r}, which another version of crosspt wrote")
    return content


def _no_constant(name: str) -> None:
    raise ValueError(f"holds {name}, which is no JSON")


def _check_results(content: dict[str, Any], name: str) -> dict[str, Any]:
    rows = _get(content, "results", list)
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"a row of results must be an object, got {_name(row)}")
        for key, kind in _ROW.items():
            _get(row, key, kind)
        if row["cell"] != name:
            raise ValueError(f"results of another cell, {row['cell']!r}")
    if not rows:
        raise ValueError("no rows of results")
    for key in ("config", "versions", "environment", "seconds"):
        _get(content, key, dict)
    if not all(_is(value, float | int) for value in content["seconds"].values()):
        raise ValueError("seconds must hold numbers")
    for bank in _get({"analysis": [], **content}, "analysis", list):
        _check_bank(bank)
    return content


def _check_bank(bank: Any) -> None:
    if not isinstance(bank, dict):
        raise ValueError(f"a bank of analysis must be an object, got {_name(bank)}")
    tasks, candidates = (_get(bank, key, list) for key in ("tasks", "candidates"))
    if not all(isinstance(name, str) for name in (*tasks, *candidates)):
        raise ValueError("tasks and candidates of analysis must be names")
    for key in _MATRICES:
        matrix, width = _get(bank, key, list), len(tasks if key == "task_similarity" else candidates)
        if len(matrix) != len(tasks) or any(not isinstance(row, list) or len(row) != width for row in matrix):
            raise ValueError(f"{key} of analysis must be of shape ({len(tasks)}, {width})")
        if not all(value is None or _is(value, float | int) for row in matrix for value in row):
            raise ValueError(f"{key} of analysis must hold numbers and null")
    _get(bank, "wssp", float | int | None)
    _get(bank, "trainable_parameters", int)


def _get(content: Mapping[str, Any], key: str, kind: Any) -> Any:
    if key not in content:
        raise ValueError(f"the key {key!r} is missing")
    if not _is(content[key], kind):
        raise ValueError(f"{key} must be {getattr(kind, '__name__', kind)}, got {_name(content[key])}")
    return content[key]


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and (not isinstance(value, bool) or kind is bool)


def _name(value: Any) -> str:
    return "null" if value is None else type(value).__name__

"""Experiments as YAML, the paper's and one's own, and the settings that a grid can vary."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

from crosspt.config.data import DataConfig
from crosspt.config.files import did_you_mean, parse_yaml
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.training import TrainingConfig
from crosspt.config.values import build, check_keys, check_types
from crosspt.tasks.registry import SUITES
from crosspt.tasks.task_file import is_task_file

OWN = "own tasks"  # stands for a suite where an experiment of one's own names tasks
VARIANT = "variant"  # the axis of a suite's variants
QUANTITIES = ("mean", "wssp", "task", "source_weight")  # that a statement may be about
FIGURES = ("bars", "groups", "lines", "grid", "heatmaps")
FIXED = ("tasks", "source_tasks", "init_texts")  # lists: one value for the whole grid, or one for each variant
SETTINGS: dict[str, Any] = {
    name: hint
    for config in (CrossPTConfig, TrainingConfig, DataConfig)
    for name, hint in get_type_hints(config).items()
    if name != "seed"
} | {"method": str}
"""The settings of a cell and their types: those of a run, but for the seed, which is an axis of every grid."""
CHOSEN = {
    name
    for config in (CrossPTConfig, TrainingConfig)
    for name in get_type_hints(config)
    if name not in ("seed", "scheme", "select", *FIXED)
}
"""The settings whose value development rows can choose: neither these rows nor the scheme hang on them."""


@dataclass(frozen=True)
class Suite:
    """What an experiment does differently on one suite.

    Args:
        settings: settings of every cell.
        variants: bundles of settings by name; where there are any, they are an axis.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Definition:
    """An experiment.

    Args:
        name: the table or figure, or the name of one's own file.
        title: what it shows.
        source: where in the paper it is; empty for one's own.
        axes: the values of each setting that varies; the grid holds every combination.
        choose: the axes of which a report shows, for every seed, the value with the best score on development rows.
        settings: the value of each setting that does not.
        suites: the suites it runs on, by default all of them, with the suite's tasks.
        figures: what a report draws: ``kind`` is one of ``FIGURES``.
        statements: what is expected of one's own, which a report tests: in words as ``text``; ``higher`` and ``lower``,
            each a list of schemes or of settings; optionally ``at``, settings of both, ``above``, by how much, and
            ``quantity``, one of ``QUANTITIES``, of which the last two take a ``task`` in ``at``.
        aliases: further names.
        decided_by_construction: whether the embedded T5 decides the outcome, as it was pretrained with what is varied.
    """

    name: str
    title: str
    source: str
    axes: dict[str, list[Any]]
    settings: dict[str, Any] = field(default_factory=dict)
    suites: dict[str, Suite] = field(default_factory=lambda: {suite: Suite() for suite in SUITES})
    figures: list[dict[str, str]] = field(default_factory=list)
    statements: list[dict[str, Any]] = field(default_factory=list)
    choose: list[str] = field(default_factory=list)
    aliases: tuple[str, ...] = ()
    decided_by_construction: bool = False


def load_definitions() -> dict[str, Definition]:
    """The experiments that come with the package, by name: figures, tables, then sections."""
    folder = files("crosspt.runs.experiments") / "definitions"
    names = [file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")]
    return {
        name: read_definition(name, (folder / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in sorted(names, key=_by_number)
    }


def find_definition(name: str) -> Definition:
    """An experiment by its name or alias, or one's own by its YAML file. Raises ValueError where there is none."""
    if name.lower().endswith((".yaml", ".yml")):
        return load_definition(Path(name).expanduser())
    known = {alias: each for each in load_definitions().values() for alias in (each.name, *each.aliases)}
    if name not in known:
        raise ValueError(f"unknown experiment {name!r}{did_you_mean(name, known)}")
    return known[name]


def load_definition(path: Path) -> Definition:
    """Read one's own experiment, called as its file; YAML files of tasks and ``data_dir`` lie beside it.

    Raises:
        ValueError: it cannot be read, its name is one of the paper's experiments' or no name of a folder, or as
            :func:`read_definition`; the message begins with the path.
    """
    known = {alias for each in load_definitions().values() for alias in (each.name, *each.aliases)}
    if path.stem in known or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", path.stem):
        raise ValueError(
            f"{path}: the name of the file, which is that of the experiment, must be of letters, digits, ., _ and -, "
            f"and none of {', '.join(sorted(known))}"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    definition, folder = read_definition(str(path), text, own=True), path.resolve().parent
    suites = {
        name: Suite(
            _whole_paths(suite.settings, folder),
            {variant: _whole_paths(bundle, folder) for variant, bundle in suite.variants.items()},
        )
        for name, suite in definition.suites.items()
    }
    settings = _whole_paths(definition.settings, folder)
    return replace(definition, name=path.stem, settings=settings, suites=suites)


def _whole_paths(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Settings whose files mean the same from everywhere."""
    whole = dict(settings)
    for name in ("tasks", "source_tasks"):
        if whole.get(name):
            whole[name] = [
                str(folder / Path(task).expanduser()) if is_task_file(task) else task for task in whole[name]
            ]
    if whole.get("data_dir"):
        whole["data_dir"] = str(folder / Path(whole["data_dir"]).expanduser())
    return whole


def read_definition(name: str, text: str, *, own: bool = False) -> Definition:
    """Read an experiment from YAML.

    Args:
        name: of the experiment.
        text: what its file holds.
        own: whether it is none of the paper's, which have a source and may have aliases.

    Raises:
        ValueError: it is no YAML, a key is unknown or missing, or a value does not fit; the message begins with the
            name.
    """
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise ValueError(f"{name}: is not YAML: {error}") from None
    hints = {**get_type_hints(Definition), "suites": dict[str, dict], "aliases": list[str]}  # as YAML holds them
    for key in ("name", *(("source", "aliases", "decided_by_construction") if own else ("statements",))):
        del hints[key]
    check_keys(name, content, hints)
    wanted = {"title", "axes", *content, *(() if own else ("source",))}
    check_types(name, content, {key: hint for key, hint in hints.items() if key in wanted})
    suites = {}
    for suite, part in content.pop("suites", {}).items():
        if suite not in SUITES:
            raise ValueError(f"{name}: unknown suite {suite!r}{did_you_mean(suite, SUITES)}")
        where = f"{name}: suites: {suite}"
        suites[suite] = build(Suite, part, where)
        for settings in (suites[suite].settings, *suites[suite].variants.values()):
            check_settings(where, settings)
    check_settings(f"{name}: settings", content.get("settings", {}))
    for axis, values in content["axes"].items():
        check_axis(f"{name}: axes", axis, values)
    check_choice(f"{name}: choose", content.get("choose", []), content["axes"])
    for figure in content.get("figures", []):
        check_keys(f"{name}: figures", figure, ["kind"])
        if figure.get("kind") not in FIGURES:
            raise ValueError(f"{name}: a figure's kind must be one of {', '.join(FIGURES)}, got {figure!r}")
    for number, statement in enumerate(content.get("statements", []), start=1):
        _check_statement(f"{name}: statement {number}", statement)
    if own and not suites and "tasks" in content.get("settings", {}):
        suites = {OWN: Suite()}
    if suites:
        content["suites"] = suites
    return Definition(**{"source": "", **content, "name": name, "aliases": tuple(content.get("aliases", ()))})


def _check_statement(where: str, statement: Any) -> None:
    sides = ("higher", "lower")
    hints = {"text": str, **dict.fromkeys(sides, list[str | dict]), "quantity": str, "at": dict, "above": float}
    check_keys(where, statement, hints)
    check_types(where, statement, {key: hints[key] for key in {"text", *sides, *statement}})
    if statement.get("quantity", QUANTITIES[0]) not in QUANTITIES:
        raise ValueError(f"{where}: quantity must be one of {', '.join(QUANTITIES)}, got {statement['quantity']!r}")
    selectors = [one for side in sides for one in statement[side] if isinstance(one, dict)]
    for side in sides:
        if not statement[side]:
            raise ValueError(f"{where}: {side} must name one or more, got {statement[side]!r}")
    for settings in (statement.get("at", {}), *selectors):
        check_keys(where, settings, (*SETTINGS, VARIANT, "task"))


def check_settings(where: str, settings: Any) -> None:
    """Raise ValueError that begins with ``where`` for an unknown setting or a value of the wrong type."""
    check_keys(where, settings, SETTINGS)
    check_types(where, settings, {name: SETTINGS[name] for name in settings})


def check_axis(where: str, axis: str, values: Any) -> None:
    """Raise ValueError that begins with ``where`` unless the values are one or more different ones of a setting."""
    if axis in FIXED:
        raise ValueError(f"{where}: {axis} cannot be an axis; variants of a suite may differ in it")
    if not isinstance(values, list) or not values:
        raise ValueError(f"{where}: {axis} must be a list of one or more values, got {values!r}")
    for value in values:
        check_settings(where, {axis: value})
        if values.count(value) > 1:
            raise ValueError(f"{where}: {axis} holds {value!r} twice")


def check_choice(where: str, choose: Sequence[str], axes: Collection[str]) -> None:
    """Raise ValueError that begins with ``where`` unless what is chosen are axes whose value can be chosen."""
    for name in choose:
        check_keys(where, {name: None}, CHOSEN)
        if name not in axes:
            raise ValueError(f"{where}: {name} must be an axis, of several values, and these are {', '.join(axes)}")


def _by_number(name: str) -> tuple[int, float]:
    kind, _, number = name.partition("-")
    return ("figure", "table", "section").index(kind), float(number)

"""Reads a user's own task from a YAML file."""

import difflib
from pathlib import Path
from typing import Any

import yaml

from crosspt.config.files import parse_yaml, write_atomically
from crosspt.tasks.task import SCORE_METRICS, SPLITS, TEXT_METRICS, Task
from crosspt.tasks.values import one_line

_REQUIRED = ("name", "fields")
_KEYS = (
    *_REQUIRED,
    "labels",
    "scale",
    "target_column",
    "max_target_length",
    "label_column",
    "label_values",
    "metrics",
    "class_weights",
    "prefix",
    "data_files",
    "hub",
    "hub_config",
    "hub_splits",
)
_METRICS = {"labels": None, "scale": SCORE_METRICS, "target_column": TEXT_METRICS[:2]}
"""By what a task's answers are, the metrics where none are named: those of `Task`, or these."""
_QUOTES = " (YAML reads a bare yes, no or number as a value: put it in quotes)"


def is_task_file(name: str) -> bool:
    """Whether a task given by this name is one's own, read from a YAML file of that path."""
    return name.lower().endswith((".yaml", ".yml"))


def load_task_file(path: str | Path) -> Task:
    """Reads a task from a YAML file.

    Its keys are attributes of `Task`: name, fields (the text columns), labels (the words, in the order of the classes)
    or, of a task of scores, scale (the least, the largest, a step), or, of free text, target_column (the column that
    holds it) and max_target_length, optionally label_column, label_values, metrics, class_weights and prefix, and
    either data_files (a file for train and for validation or test, relative to the YAML file) or hub with optional
    hub_config and hub_splits.

    Raises:
        ValueError: when the file cannot be read, a key is unknown or missing, or a value does not fit.
    """
    path = Path(path).expanduser()
    content = _read(path)
    for key in content:
        if key not in _KEYS:
            close = difflib.get_close_matches(str(key), _KEYS, n=1)
            hint = f", did you mean {close[0]!r}?" if close else f"; the keys are {', '.join(_KEYS)}"
            raise ValueError(f"{path}: unknown key {key!r}{hint}")
    for key in _REQUIRED:
        if key not in content:
            raise ValueError(f"{path}: missing key {key!r}")
    usual = _METRICS[_kind(path, content)]
    if ("data_files" in content) == ("hub" in content):
        raise ValueError(f"{path}: a task needs either data_files or hub, got {'both' if 'hub' in content else 'none'}")
    if "hub" not in content and ("hub_config" in content or "hub_splits" in content):
        raise ValueError(f"{path}: hub_config and hub_splits need hub")

    settings: dict[str, Any] = {} if usual is None else {"metrics": usual}
    for key, value in content.items():
        if key in ("name", "label_column", "prefix", "hub", "hub_config"):
            settings[key] = _text(path, key, value)
        elif key == "target_column":
            settings |= {"free_text": True, "label_column": _text(path, key, value)}
        elif key == "max_target_length":
            settings[key] = _whole(path, key, value)
        elif key in ("fields", "labels", "metrics"):
            settings[key] = tuple(_text(path, key, item) for item in _list(path, key, value))
        elif key == "scale":
            settings |= {"regression": True, key: tuple(_number(path, key, item) for item in _list(path, key, value))}
        elif key == "class_weights":
            settings[key] = value
        elif key == "label_values":
            settings[key] = tuple(_label_value(path, item) for item in _list(path, key, value))
        else:
            settings[key] = _splits(path, key, value)
    if "data_files" in settings:
        settings["data_files"] = _files(path, settings["data_files"])
    try:
        return Task(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _kind(path: Path, content: dict[Any, Any]) -> str:
    """Returns the one of the keys in `_METRICS` that the content has."""
    kinds = [key for key in _METRICS if key in content]
    if len(kinds) != 1:
        raise ValueError(
            f"{path}: a task needs either labels, the scale of its scores or the target_column of its free text, "
            f"got {' and '.join(kinds) or 'none'}"
        )
    text = kinds[0] == "target_column"
    if text and "label_column" in content:
        raise ValueError(f"{path}: label_column goes with labels or a scale; target_column names a column itself")
    if not text and "max_target_length" in content:
        raise ValueError(f"{path}: max_target_length goes with target_column")
    return kinds[0]


def copy_task_file(path: Path, copy: Path) -> None:
    """Writes a copy of a task's YAML file that means the same wherever it lies: its data files have whole paths.

    Raises:
        ValueError: as `load_task_file`.
    """
    load_task_file(path)
    content = _read(path)
    if "data_files" in content:
        content["data_files"] = {split: str(file) for split, file in _files(path, content["data_files"]).items()}
    copy.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(copy, yaml.safe_dump(content, allow_unicode=True, sort_keys=False).encode())


def _files(path: Path, names: dict[str, str]) -> dict[str, Path]:
    folder = path.resolve().parent
    return {split: folder / Path(name).expanduser() for split, name in names.items()}


def _read(path: Path) -> dict[Any, Any]:
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such task file") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as YAML: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold keys and values such as 'name: ...', got {type(content).__name__}")
    return content


def _text(path: Path, key: str, value: object) -> str:
    if not isinstance(value, str):
        hint = _QUOTES if value is not None else ""
        raise ValueError(f"{path}: {key} must be text, got {value!r}{hint}")
    return value


def _number(path: Path, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{path}: {key} must be numbers, got {value!r}")
    return value


def _whole(path: Path, key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{path}: {key} must be a whole number, got {value!r}")
    return value


def _label_value(path: Path, value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{path}: label_values must be text or whole numbers, got {value!r}{_QUOTES}")
    return value


def _list(path: Path, key: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{path}: {key} must be a list, got {value!r}")
    return value


def _splits(path: Path, key: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict) or "train" not in value or not set(value) <= set(SPLITS):
        raise ValueError(f"{path}: {key} must map train and validation or test, got {value!r}")
    return {split: _text(path, f"{key}.{split}", name) for split, name in value.items()}

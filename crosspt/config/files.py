"""Files: written whole or not at all, read with one line that says what is wrong with them."""

import difflib
import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import yaml

SCHEMA = 1  # of every JSON object that is written
MOST_LEVELS = 100  # of JSON and YAML that is read
TOO_DEEP = f"it is nested deeper than {MOST_LEVELS} levels"


class NotJSONError(ValueError):
    """A file that holds no JSON at all, as one that was cut off."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file aside, flush it to disk and rename it, so that the path always holds a whole file."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write an object atomically; its folder is made when missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of this version.

    Raises:
        NotJSONError: the file is not UTF-8 or not JSON.
        ValueError: it cannot be read, holds no object, or one of another schema. Every message names the file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    return parse_json(content, path)


def parse_json(content: bytes | str, origin: object) -> dict[str, Any]:
    """Parse a JSON object of this version; errors are those of :func:`read_json` and name the origin."""
    values = decode_json(content, origin)
    if not isinstance(values, dict):
        raise ValueError(f"{origin} must hold an object, got {type(values).__name__}")
    if values.get("schema") != SCHEMA:
        raise ValueError(f"{origin} is not of this version: its schema must be {SCHEMA}, got {values.get('schema')!r}")
    return values


def decode_json(content: bytes | str, origin: object) -> Any:
    """Parse JSON of any type.

    Raises:
        NotJSONError: it is none, or holds a key twice, a number that is not finite, an integer of more than 64 bits, a
            lone surrogate or more than ``MOST_LEVELS`` levels; the message names the origin.
    """
    try:
        text = content.decode() if isinstance(content, bytes) else content
        values = json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
        _check_values(values)
    except UnicodeDecodeError as error:
        raise NotJSONError(f"{origin} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise NotJSONError(f"{origin} is not JSON: {TOO_DEEP}") from None
    except ValueError as error:
        raise NotJSONError(f"{origin} is not JSON: {error}") from None
    return values


def parse_yaml(text: str) -> Any:
    """Parse YAML of any type; ValueError says in one line why that is not possible, as :func:`decode_json`."""
    try:
        values = yaml.load(text, _UniqueLoader)
        _check_values(values)
    except Exception as error:  # what YAML makes of a value such as 2001-99-99 raises errors of every kind
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
    return values


class _UniqueLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        _check_unique([key for _, key in keys], len(set(keys)))
        return super().construct_mapping(node, deep)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    _check_unique([key for key, _ in pairs], len(values))
    return values


def _check_unique(keys: list[str], different: int) -> None:
    if different < len(keys):
        raise ValueError(f"it holds the key {Counter(keys).most_common(1)[0][0]!r} twice")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}")


def _finite(number: str) -> float:
    return float(number) if math.isfinite(float(number)) else _refuse(number)


def _check_values(values: Any) -> None:
    """Raise ValueError for what later steps would fail at: lone surrogates, integers of 65 bits, deep nesting."""
    level = [values]
    for _ in range(MOST_LEVELS):
        inner = {}  # what YAML refers to in several places is there once
        for value in level:
            if isinstance(value, str):
                value.encode()
            elif isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise ValueError("it holds an integer of more than 64 bits")
            elif isinstance(value, dict):
                inner.update({id(part): part for part in (*value, *value.values())})
            elif isinstance(value, list):
                inner.update({id(part): part for part in value})
        level = list(inner.values())
    if level:
        raise ValueError(TOO_DEEP)


def check_writable(folder: Path) -> None:
    """Make a folder, and raise ValueError where nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{folder} is no folder that can be written to: {error.strerror}") from None


def is_free(folder: Path, name: str, *others: str) -> bool:
    """Whether a folder is new, or empty but for ``others`` and what a write of ``name`` left that was killed."""
    if not folder.is_dir():
        return not folder.exists()
    return all(
        file.name in others or (file.name.startswith(f".{name}.") and file.suffix == ".tmp")
        for file in folder.iterdir()
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The tail of an error message that names the closest known spelling, or lists the known names."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"

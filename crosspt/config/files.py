"""Files: written whole or not at all, read with one line that says what is wrong with them."""

import difflib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

SCHEMA = 1  # of every JSON object that is written


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
    try:
        text = content.decode() if isinstance(content, bytes) else content
        values = json.loads(text, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise NotJSONError(f"{origin} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise NotJSONError(f"{origin} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{origin} must hold an object, got {type(values).__name__}")
    if values.get("schema") != SCHEMA:
        raise ValueError(f"{origin} is not of this version: its schema must be {SCHEMA}, got {values.get('schema')!r}")
    return values


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}")


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

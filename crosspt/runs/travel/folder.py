"""Folders that are written whole or not at all, and over nothing that is there."""

import filecmp
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crosspt.config.files import check_writable


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``folder`` at the end of the block, flushed to disk, by one rename.

    Until then it lies beside ``folder``, under a hidden name. Where an error or an interruption ends the block it is
    removed.

    Raises:
        ValueError: ``folder`` holds other files than those written, or cannot be written. One that holds the very same
            files is left as it is.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} must be a new or empty folder, got a file")
    check_writable(folder.parent)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)  # of a process of this number that was killed
    aside.mkdir()
    try:
        yield aside
        if folder.is_dir() and any(folder.iterdir()):
            if not _same(aside, folder):
                raise ValueError(f"{folder} must be a new or empty folder, or hold just what is written now")
            return
        _flush(aside)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())


def _same(left: Path, right: Path) -> bool:
    names = _files(left)
    return names == _files(right) and all(filecmp.cmp(left / name, right / name, shallow=False) for name in names)


def _flush(folder: Path) -> None:
    for name in _files(folder):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())

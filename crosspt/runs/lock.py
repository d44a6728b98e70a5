"""The lock of a folder that one process at a time may write to."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from crosspt.config.layout import LOCK_NAME


class FolderInUseError(ValueError):
    """Another process holds the lock of a folder."""


@contextmanager
def lock_folder(folder: Path, work: str, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes out of a folder; the system opens the lock when this process ends, however it does.

    The thread that holds it may take it again.

    Args:
        folder: a folder that exists.
        work: what is done there, for the message: ``"FOLDER is being trained"``.
        wait: whether to wait for a process that holds it.

    Raises:
        FolderInUseError: another process holds it; the message names the process.
        ValueError: the folder's file system has no locks.
    """
    with lock(folder / LOCK_NAME, work, "choose another folder", wait=wait):
        yield


@contextmanager
def lock(path: Path, work: str, otherwise: str, *, wait: bool = False) -> Iterator[None]:
    """The same by a file that is nothing but a lock; ``otherwise`` is what one can do instead of waiting."""
    holder = _read(path)  # before the attempt, in which some versions of filelock empty it
    held = FileLock(path, is_singleton=True, fallback_to_soft=False)  # a soft lock would outlive its process
    try:
        held.acquire(timeout=-1 if wait else 0)
    except Timeout:
        message = f"{work} by {holder or 'another process'}; wait for it or {otherwise}"
        raise FolderInUseError(message) from None
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        raise ValueError(
            f"{path.parent} is on a file system without flock ({error.strerror}), by which processes keep out of each "
            "other's way; mount it with locks, or choose another folder"
        ) from None
    try:
        with suppress(PermissionError):  # Windows keeps everybody out of a locked file
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        held.release()


def read_holder(folder: Path) -> str:
    """The process that holds the lock of a folder, or held it last, such as ``process 12 on host``; empty if none."""
    return _read(folder / LOCK_NAME)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""

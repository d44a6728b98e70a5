"""Two processes on one folder: the second is refused and changes nothing, and a killed one leaves nothing behind."""

import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from crosspt.runs.lock import lock_folder
from tests.training.killed import CONTEXT
from tests.workspace import Workspace, crosspt, mistake


def hold(folder: Path, ready: Connection) -> None:
    with lock_folder(folder, "the folder is used"):
        ready.send(None)
        ready.recv()


@contextmanager
def holder(folder: Path) -> Iterator[int | None]:
    """The id of a process that holds the folder's lock until it is killed."""
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=hold, args=(folder, there))
    process.start()
    here.recv()
    try:
        yield process.pid
    finally:
        process.kill()
        process.join()


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_holder_is_named_and_a_killed_one_forgotten(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        for _ in range(2):
            with (
                pytest.raises(ValueError, match=f"^work is done by process {process} on {socket.gethostname()}; wait"),
                lock_folder(tmp_path, "work is done"),
            ):
                pass
    with lock_folder(tmp_path, "work is done"), lock_folder(tmp_path, "work is done"):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} ")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    said = f"{tmp_path} is on a file system without flock ({os.strerror(number)})"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"), lock_folder(tmp_path, "work is done"):
        pass


def test_a_folder_that_is_being_trained(workspace: Workspace, slpn_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "slpn"
    shutil.copytree(slpn_run, run, ignore=shutil.ignore_patterns("evaluation"))
    (run / "results.json").unlink()
    settings = ["--tasks", "mrpc,rte", "--label-set", "synthetic", "--epochs", 5]
    with holder(run) as process:
        before = contents(run)
        for resume in ((), ("--resume",)):
            said = mistake(workspace.train(run, *settings, *resume))
            assert said.startswith(f"crosspt train: {run} is being trained by process {process} on ")
        assert contents(run) == before
        assert crosspt("evaluate", "--checkpoint", run, "--test-rows", 2, "--json").status == 0
        assert crosspt("predict", "--checkpoint", run, "--task", "rte", "--text", "w1").status == 0
    assert workspace.train(run, *settings, "--resume").status == 0

"""Processes that are started together, as torchrun would, but forked from one that has imported everything."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.distributed import TCPStore

from tests.training.killed import CONTEXT

WRITING = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.link", "os.symlink", "os.truncate")


class Ended(NamedTuple):
    """The exit codes of the processes, and what they have written to stdout and stderr."""

    codes: list[int | None]
    said: list[str]

    def lines(self) -> list[str]:
        """The lines in which a command says why it ended."""
        return [line for text in self.said for line in text.splitlines() if line.startswith("crosspt ")]


def start_together(folder: Path, count: int, target: Callable[..., None], *arguments: Any) -> Ended:
    """Run a function in so many processes, which find each other by their environment.

    Args:
        folder: for what they print.
        count: their number.
        target: called with the arguments and the process's number.
        arguments: what it is called with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun keeps one
    names = [folder / f"said-{rank}.txt" for rank in range(count)]
    processes = [
        CONTEXT.Process(target=_run, args=(rank, count, store.port, str(names[rank]), target, arguments))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return Ended([process.exitcode for process in processes], [name.read_text(encoding="utf-8") for name in names])


def note_writes(folder: Path) -> list[str]:
    """A list that every later write of this process below a folder is added to."""
    found: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in WRITING or (event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if writes and str(arguments[0]).startswith(str(folder)):
            found.append(f"{event} {arguments[0]}")

    sys.addaudithook(hook)
    return found


def _run(rank: int, count: int, port: int, said: str, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", TORCHELASTIC_USE_AGENT_STORE="True", TORCHELASTIC_RESTART_COUNT="0")
    os.environ["OMP_NUM_THREADS"] = "1"
    output = os.open(said, os.O_WRONLY | os.O_CREAT)
    for number in (1, 2):
        os.dup2(output, number)
    torch.set_num_threads(1)
    target(*arguments, rank)

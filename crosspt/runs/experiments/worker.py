"""What a process of a grid does: one run after the other, none of which another process works on."""

import contextlib
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from crosspt.config.files import SCHEMA, write_json
from crosspt.config.layout import CELL_NAME, ERROR_NAME, LOG_NAME, RESULTS_NAME
from crosspt.config.run import ReportTo, RunConfig
from crosspt.runs.folder import open_folder
from crosspt.runs.train import train, train_source_prompts


@dataclass(frozen=True)
class Work:
    """A run of a grid.

    Args:
        name: of the cell, or of the stage-1 prompts.
        run: its settings.
        folder: where it goes.
        source_folder: folder of the stage-1 prompts it starts from, if any.
        cell: the content of ``cell.json``; None for a run that only trains stage-1 prompts.
        needs: name of the stage-1 prompts that must be there first.
    """

    name: str
    run: RunConfig
    folder: Path
    source_folder: Path | None = None
    cell: dict[str, Any] | None = None
    needs: str | None = None


def start_worker(gpu: str | None) -> None:
    """Prepare a process: it leaves Ctrl-C to its parent, and ends when the parent does, however that ends.

    Args:
        gpu: the one that it sees, as ``CUDA_VISIBLE_DEVICES`` names it; None leaves that as it is.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    settle()


def settle() -> None:
    """Have this process compute with one thread, and show no bars of transformers'.

    The number of threads changes the last bits of sums: a grid comes to the same with any number of processes.
    """
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def do_work(work: Work, report_to: ReportTo, device: str, *, wait: bool = False) -> None:
    """Finish a run, from where it was stopped. What it prints goes to ``log.txt`` in its folder.

    Args:
        work: the run.
        report_to: what the curves of the trainings are logged for, see :func:`crosspt.runs.train.train`.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        wait: whether to wait for another process that works on it.

    Raises:
        FolderInUseError: another process works on it.
    """
    options: dict[str, Any] = {"report_to": report_to, "device": device}
    with open_folder(work.run, work.folder, resume=True, wait=wait):
        if work.cell is not None and (work.folder / RESULTS_NAME).is_file():
            return  # another process has been faster
        with (
            (work.folder / LOG_NAME).open("a", encoding="utf-8") as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            if work.cell is None:
                train_source_prompts(work.run, work.folder, **options)
                return
            if not (work.folder / CELL_NAME).is_file():
                write_json(work.folder / CELL_NAME, work.cell)
            train(work.run, work.folder, source_folder=work.source_folder, resume=True, **options)
            (work.folder / ERROR_NAME).unlink(missing_ok=True)


def record_failure(work: Work, reason: str, kind: str, origin: Work) -> str:
    """Write a cell's ``error.json``.

    Args:
        work: the cell.
        reason: the error's message.
        kind: the error's type.
        origin: what failed: the cell, or the stage-1 prompts that it starts from.

    Returns:
        The error in one line.
    """
    reason = " ".join(reason.split()) or kind
    if origin is not work:
        reason = f"the stage-1 prompts {origin.name} that it starts from failed: {reason}"
    with contextlib.suppress(ValueError), open_folder(work.run, work.folder, resume=True):
        pass  # now the cell can be run again
    write_json(work.folder / ERROR_NAME, {"schema": SCHEMA, "cell": work.name, "error": reason, "type": kind})
    return reason


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)

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

from crosspt.config.files import write_json
from crosspt.config.layout import CELL_NAME, ERROR_NAME, LOG_NAME
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


def start_worker() -> None:
    """Prepare a process: it leaves Ctrl-C to its parent, and ends when the parent does, however that ends.

    It computes with one thread, since the number of threads changes the last bits of sums: a grid comes to the same
    with any number of processes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def do_work(work: Work, report_to: ReportTo, device: str) -> None:
    """Finish a run, from where it was stopped. What it prints goes to ``log.txt`` in its folder.

    Args:
        work: the run.
        report_to: what the curves of the trainings are logged for, see :func:`crosspt.runs.train.train`.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """
    options: dict[str, Any] = {"report_to": report_to, "device": device, "progress": False}
    with (
        open_folder(work.run, work.folder, resume=True, wait=True),  # what a killed grid left over is about to end
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


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)

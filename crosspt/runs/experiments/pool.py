"""Works through the runs of a grid in several processes, each of which may fail or be killed alone."""

import multiprocessing
import os
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import cycle, islice
from multiprocessing.context import BaseContext

import torch

from crosspt.config.run import ReportTo
from crosspt.runs.experiments.worker import Work, do_work, record_failure, start_worker
from crosspt.runs.lock import FolderInUseError
from crosspt.training.progress import Steps

BREAK = 2.0  # seconds until a run that another process works on is tried again


class Pool:
    """The processes, the runs that wait for one, and what has failed.

    A run that a process of another grid in the folder works on is left to that one, and tried again later: either it is
    finished then, or the other has ended, and it goes on from its last checkpoint.

    Args:
        waiting: the runs in order, stage-1 prompts before the cells that start from them.
        jobs: number of processes; on GPUs each sees one, and several share one where there are more processes.
        report_to: what the curves of the trainings are logged for, see :func:`crosspt.runs.train.train`.
        device: ``"cpu"`` or ``"cuda"``.
        steps: how far the grid is; every cell that ends is a step.
    """

    def __init__(self, waiting: list[Work], jobs: int, report_to: ReportTo, device: str, steps: Steps) -> None:
        self.waiting = list(waiting)
        self.untrained = {work.name for work in waiting if work.cell is None}  # stage-1 prompts
        self.tried: dict[int, float] = {}  # when a run was found in other hands
        self.report_to = report_to
        self.device = device
        self.steps = steps
        self.errors: dict[str, str] = {}
        self.context = _clean_processes()
        places = islice(cycle(visible_gpus() if device == "cuda" else [None]), min(jobs, len(waiting)))
        self.gpus: dict[ProcessPoolExecutor, str | None] = {self._make_process(gpu): gpu for gpu in places}
        self.idle = list(self.gpus)
        self.running: dict[Future[None], tuple[Work, ProcessPoolExecutor]] = {}

    def run(self) -> dict[str, str]:
        """Work until nothing waits; returns the errors of the cells that failed, by name."""
        others = multiprocessing.active_children()
        try:
            while self.waiting or self.running:
                self._start()
                if not self.running:
                    time.sleep(BREAK)
                for future in wait(self.running, BREAK, FIRST_COMPLETED).done:
                    self._end(future)
                self.steps.advance(0)  # says what it is at, however long a run takes
        except BaseException:
            for child in multiprocessing.active_children():
                if child not in others:
                    child.terminate()
            raise
        finally:
            for process in (*self.idle, *(process for _, process in self.running.values())):
                process.shutdown(cancel_futures=True)
        return self.errors

    def _make_process(self, gpu: str | None) -> ProcessPoolExecutor:
        # A pool of one: a process that is killed breaks its own pool only.
        return ProcessPoolExecutor(1, self.context, start_worker, (gpu,))

    def _start(self) -> None:
        """Give every idle process a run whose stage-1 prompts are there, as long as there is one."""
        while self.idle and (work := next(filter(self._is_ready, self.waiting), None)):
            self.waiting.remove(work)
            process = self.idle.pop()
            self.running[process.submit(do_work, work, self.report_to, self.device)] = (work, process)
        self.steps.describe(", ".join(work.name for work, _ in self.running.values()))

    def _is_ready(self, work: Work) -> bool:
        return work.needs not in self.untrained and time.monotonic() > self.tried.get(id(work), 0) + BREAK

    def _end(self, future: Future[None]) -> None:
        """Take a run's process back; with stage-1 prompts that failed, the cells that need them fail too."""
        work, process = self.running.pop(future)
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            process.shutdown()
            gpu = self.gpus.pop(process)
            process = self._make_process(gpu)
            self.gpus[process] = gpu
        self.idle.append(process)
        if isinstance(error, FolderInUseError):
            self.tried[id(work)] = time.monotonic()
            self.waiting.append(work)
            return
        ended = [work]
        if work.cell is None:
            self.untrained.remove(work.name)
            ended = [later for later in self.waiting if later.needs == work.name] if error is not None else []
            self.waiting = [later for later in self.waiting if later not in ended]
        if error is not None:
            killed = isinstance(error, BrokenProcessPool)
            reason = "its process was killed, or ran out of memory" if killed else str(error)
            for cell in ended:
                self.errors[cell.name] = record_failure(cell, reason, type(error).__name__, work)
                self.steps.say(f"{cell.name}: {self.errors[cell.name]}")
        self.steps.advance(len(ended))


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, as ``CUDA_VISIBLE_DEVICES`` names them."""
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (named or [str(number) for number in range(torch.cuda.device_count())])[: torch.cuda.device_count()]


def _clean_processes() -> BaseContext:
    """Processes that share nothing with this one; where the system can, they are forked from one that has imported."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([do_work.__module__])
    return context

"""Works through the runs of a grid in several processes, each of which may fail or be killed alone."""

import multiprocessing
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.context import BaseContext

from rich.progress import Progress, TaskID

from crosspt.config.files import SCHEMA, write_json
from crosspt.config.layout import ERROR_NAME
from crosspt.config.run import ReportTo
from crosspt.runs.experiments.worker import Work, do_work, start_worker
from crosspt.runs.folder import open_folder


class Pool:
    """The processes, the runs that wait for one, and what has failed.

    Args:
        waiting: the runs in order, stage-1 prompts before the cells that start from them.
        jobs: number of processes.
        report_to: what the curves of the trainings are logged for, see :func:`crosspt.runs.train.train`.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        bar: the progress bar.
        task: the bar's task, of which every cell that ends is a step.
    """

    def __init__(
        self, waiting: list[Work], jobs: int, report_to: ReportTo, device: str, bar: Progress, task: TaskID
    ) -> None:
        self.waiting = list(waiting)
        self.untrained = {work.name for work in waiting if work.cell is None}  # stage-1 prompts
        self.report_to = report_to
        self.device = device
        self.bar = bar
        self.task = task
        self.errors: dict[str, str] = {}
        self.context = _clean_processes()
        self.idle = [self._make_process() for _ in range(min(jobs, len(waiting)))]
        self.running: dict[Future[None], tuple[Work, ProcessPoolExecutor]] = {}

    def run(self) -> dict[str, str]:
        """Work until nothing waits; returns the errors of the cells that failed, by name."""
        others = multiprocessing.active_children()
        try:
            while self.waiting or self.running:
                self._start()
                for future in wait(self.running, return_when=FIRST_COMPLETED).done:
                    self._end(future)
        except BaseException:
            for child in multiprocessing.active_children():
                if child not in others:
                    child.terminate()
            raise
        finally:
            for process in (*self.idle, *(process for _, process in self.running.values())):
                process.shutdown(cancel_futures=True)
        return self.errors

    def _make_process(self) -> ProcessPoolExecutor:
        # A pool of one: a process that is killed breaks its own pool only.
        return ProcessPoolExecutor(1, self.context, start_worker)

    def _start(self) -> None:
        """Give every idle process a run whose stage-1 prompts are there, as long as there is one."""
        while self.idle and (work := next((w for w in self.waiting if w.needs not in self.untrained), None)):
            self.waiting.remove(work)
            process = self.idle.pop()
            self.running[process.submit(do_work, work, self.report_to, self.device)] = (work, process)
        self.bar.update(self.task, description=", ".join(work.name for work, _ in self.running.values()))

    def _end(self, future: Future[None]) -> None:
        """Take a run's process back; with stage-1 prompts that failed, the cells that need them fail too."""
        work, process = self.running.pop(future)
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            process.shutdown()
            process = self._make_process()
        self.idle.append(process)
        ended = [work]
        if work.cell is None:
            self.untrained.remove(work.name)
            ended = [later for later in self.waiting if later.needs == work.name] if error is not None else []
            self.waiting = [later for later in self.waiting if later not in ended]
        if error is not None:
            for cell in ended:
                self.errors[cell.name] = _record(cell, error, work)
                self.bar.console.print(f"{cell.name}: {self.errors[cell.name]}", markup=False, soft_wrap=True)
        self.bar.advance(self.task, len(ended))


def _clean_processes() -> BaseContext:
    """Processes that share nothing with this one; where the system can, they are forked from one that has imported."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([do_work.__module__])
    return context


def _record(work: Work, error: BaseException, origin: Work) -> str:
    """Write a cell's ``error.json``; returns the error in one line."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, BrokenProcessPool):
        reason = "its process was killed, or ran out of memory"
    if origin is not work:
        reason = f"the stage-1 prompts {origin.name} that it starts from failed: {reason}"
    with suppress(ValueError), open_folder(work.run, work.folder, resume=True):
        pass  # now the cell can be run again
    content = {"schema": SCHEMA, "cell": work.name, "error": reason, "type": type(error).__name__}
    write_json(work.folder / ERROR_NAME, content)
    return reason

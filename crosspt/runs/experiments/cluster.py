"""Works through the runs of a grid on a Ray cluster, which places them and repeats those whose machine has ended."""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from crosspt.config.layout import EXPERIMENT_NAME, RESULTS_NAME
from crosspt.config.run import ReportTo
from crosspt.runs.experiments.worker import Work, do_work, record_failure, settle
from crosspt.runs.folder import VISIBLE_AFTER
from crosspt.training.progress import Steps

SHARED = "all machines of the cluster need one on a file system that they share"
CONNECTING = 10  # seconds at most
RETRIES = 3  # of a run whose process or machine has ended


class Failure(NamedTuple):
    """Why a run failed, the type of the error, and the run that it comes from."""

    reason: str
    kind: str
    origin: Work


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and what a run takes of it.

    Args:
        address: of the cluster, ``"auto"`` for the one that runs on this machine; None starts one here for the grid.
        gpus_per_run: GPUs of a run, or a part of one; by default 1 where the cluster has some.
        cpus_per_run: cores that are set aside for a run, which computes with one thread.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """

    address: str | None = None
    gpus_per_run: float | None = None
    cpus_per_run: float = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.gpus_per_run is not None and self.gpus_per_run < 0:
            raise ValueError(f"--gpus-per-run must be 0 or more, got {self.gpus_per_run}")
        if self.gpus_per_run and self.device == "cpu":
            raise ValueError(f"--gpus-per-run goes with --device cuda or auto, got {self.gpus_per_run} and cpu")
        if self.cpus_per_run <= 0:
            raise ValueError(f"--cpus-per-run must be positive, got {self.cpus_per_run}")
        try:
            version("ray")
        except PackageNotFoundError:
            raise ValueError(
                "--engine ray needs the package ray, which is not installed: crosspt[ray] has it"
            ) from None

    def run(self, waiting: list[Work], folder: Path, report_to: ReportTo, steps: Steps) -> dict[str, str]:
        """Work through runs, stage-1 prompts before the cells that start from them; see :class:`Pool`.

        Args:
            waiting: the runs in order.
            folder: of the grid, on a file system that all machines see.
            report_to: what the curves of the trainings are logged for.
            steps: how far the grid is; every cell that ends is a step.

        Returns:
            The errors of the cells that failed, by name.

        Raises:
            ValueError: there is no cluster at the address.
        """
        import ray

        errors: dict[str, str] = {}
        with self.connected():
            gpus = self._gpus(ray.cluster_resources())
            self._warn_of_too_small(ray.nodes(), gpus, steps)
            share: dict[str, Any] = {"num_gpus": gpus, "num_cpus": self.cpus_per_run, "max_retries": RETRIES}
            remote = ray.remote(_do_remotely)
            trained: dict[str, Any] = {}
            running: dict[Any, Work] = {}
            for work in waiting:
                given = (work, Path.cwd(), folder, report_to, "cuda" if gpus else "cpu", trained.get(work.needs or ""))
                running[reference := remote.options(**share, name=work.name).remote(*given)] = work
                if work.cell is None:
                    trained[work.name] = reference
            untrained: dict[str, Failure] = {}
            while running:
                steps.describe(f"{len(running)} runs on Ray")
                (reference,), _ = ray.wait(list(running))
                work = running.pop(reference)
                failure = untrained.get(work.needs or "") or _failure_of(reference, work)
                if work.cell is None:
                    if failure is not None:
                        untrained[work.name] = failure
                    continue
                if failure is not None:
                    origin = work if failure.origin.name == work.name else failure.origin
                    errors[work.name] = record_failure(work, failure.reason, failure.kind, origin)
                    steps.say(f"{work.name}: {errors[work.name]}")
                steps.advance()
        return errors

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """A block with a connection to the cluster, which is closed afterwards; one that is open already is kept.

        Raises:
            ValueError: there is no cluster at the address.
        """
        import ray

        if ray.is_initialized():
            yield
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            if self.address not in (None, "auto", "local"):
                host, _, port = str(self.address).rpartition(":")
                socket.create_connection((host, int(port)), timeout=CONNECTING).close()  # Ray would try for minutes
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"--address {self.address}: no Ray cluster answers there, `ray start --head` starts one: {reason}"
            ) from None
        try:
            yield
        finally:
            ray.shutdown()

    def _gpus(self, resources: Mapping[str, float]) -> float:
        """GPUs of a run."""
        if self.gpus_per_run is not None:
            return self.gpus_per_run
        return 1 if self.device == "cuda" or (self.device == "auto" and resources.get("GPU")) else 0

    def _warn_of_too_small(self, nodes: list[dict[str, Any]], gpus: float, steps: Steps) -> None:
        """Say so where no machine has what a run needs: one that has may still join the cluster."""
        have = [node["Resources"] for node in nodes if node["Alive"]]
        if not any(one.get("GPU", 0) >= gpus and one.get("CPU", 0) >= self.cpus_per_run for one in have):
            steps.say(
                f"warning: no machine of the cluster has {self.cpus_per_run:g} cores and {gpus:g} GPUs for a run; the "
                "grid waits for one that has"
            )


def _do_remotely(
    work: Work, here: Path, folder: Path, report_to: ReportTo, device: str, needed: Failure | None
) -> Failure | None:
    """Do a run in a process of the cluster.

    Args:
        work: the run.
        here: the folder that relative paths are meant from.
        folder: of the grid.
        report_to: what the curves of the trainings are logged for.
        device: ``"cpu"`` or ``"cuda"``.
        needed: why the stage-1 prompts failed that it starts from.
    """
    if needed is not None:
        return needed
    with contextlib.suppress(OSError):
        os.chdir(here)
    settle()
    try:
        if not (folder / EXPERIMENT_NAME).is_file():
            raise ValueError(f"{folder} on {socket.gethostname()} is not the grid's folder; {SHARED}")
        do_work(work, report_to, device, wait=True)
    except Exception as error:  # of any kind: the other runs go on
        return Failure(str(error), type(error).__name__, work)
    return None


def _failure_of(reference: Any, work: Work) -> Failure | None:
    """What a task that has ended came to."""
    import ray

    try:
        failure: Failure | None = ray.get(reference)
    except ray.exceptions.RayError as error:
        reason = f"its process or machine ended in {1 + RETRIES} attempts, or ran out of memory: {error}"
        return Failure(reason, type(error).__name__, work)
    if failure is None and work.cell is not None and not _appears(work.folder / RESULTS_NAME):
        return Failure(f"its results are not in {work.folder} here; {SHARED}", "ValueError", work)
    return failure


def _appears(file: Path) -> bool:
    """Whether a file is there, once a network file system has had time to show it."""
    end = time.monotonic() + VISIBLE_AFTER
    while not file.is_file() and time.monotonic() < end:
        time.sleep(1)
    return file.is_file()

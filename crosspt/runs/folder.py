"""The folder of a run: made for its settings, or found to hold that very run."""

import dataclasses
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import PartialState

from crosspt.config.files import check_writable, is_free, write_json
from crosspt.config.layout import (
    EXTENDED,
    LOCK_NAME,
    PREDICTIONS_NAME,
    RESULTS_NAME,
    RUN_NAME,
    SELECTION_NAME,
    TARGETS,
    TASKS,
)
from crosspt.config.run import RunConfig
from crosspt.runs.lock import lock_folder, read_holder
from crosspt.runs.travel.folder import whole_folder
from crosspt.storage import CONFIG_NAME, WEIGHTS_NAME
from crosspt.tasks.task_file import copy_task_file
from crosspt.training.processes import from_first

KEPT = (
    RUN_NAME,
    CONFIG_NAME,
    WEIGHTS_NAME,
    SELECTION_NAME,
    RESULTS_NAME,
    PREDICTIONS_NAME,
)  # of a run that is extended
VISIBLE_AFTER = 30  # seconds at most until a network file system shows what another machine has written


@contextmanager
def open_folder(run: RunConfig, folder: Path, resume: bool, *, wait: bool = False) -> Iterator[None]:
    """Make a run's folder and write ``run.json``, or check that the folder holds this very run; lock it until the end.

    Of processes that were started together the first one does; the others wait for it, and must see the same folder.

    Args:
        run: the settings.
        folder: where the run goes.
        resume: whether the folder may hold this run already.
        wait: whether to wait for another process that works on it.

    Raises:
        ValueError: the folder holds something else, a run that ``resume`` does not allow to continue, or one that
            another process works on; or it is another folder on the machine of another process.
    """
    if not PartialState().is_main_process:
        _see(folder, from_first(lambda: read_holder(folder)))
        yield
        return
    if not (folder / RUN_NAME).is_file() and not is_free(folder, RUN_NAME, TASKS, LOCK_NAME):
        raise ValueError(f"{folder} must be a new or empty folder, or one that holds a run to resume")
    check_writable(folder)
    with lock_folder(folder, f"{folder} is being trained", wait=wait):
        if (folder / RUN_NAME).is_file():
            check_run(run, folder, resume)
        else:
            for name, file in run.task_files.items():  # a run knows its tasks without the files they came from
                copy_task_file(Path(file), task_copy(folder, name))
            write_json(folder / RUN_NAME, run.to_dict())
        if run.extends is not None and not (folder / EXTENDED).is_dir():
            _copy_run(Path(run.extends.folder), folder / EXTENDED)
        from_first(lambda: read_holder(folder))
        yield


def _see(folder: Path, holder: str) -> None:
    """Raise ValueError unless the first process's lock of a folder is to be seen here too."""
    end = time.monotonic() + VISIBLE_AFTER
    while read_holder(folder) != holder:
        if time.monotonic() > end:
            raise ValueError(
                f"{folder} on {socket.gethostname()} is not the folder of that name that {holder} writes to; the "
                "processes of a run need one that all their machines see"
            )
        time.sleep(1)


def check_run(run: RunConfig, folder: Path, resume: bool) -> None:
    """Raise ValueError unless the run that a folder holds is this very one, and may be continued."""
    if not resume:
        raise ValueError(f"{folder} holds a run already; --resume continues it, another --output starts a new one")
    saved, wanted = dataclasses.asdict(RunConfig.load(folder)), dataclasses.asdict(run)
    different = [
        f"{key} (there {was!r}, here {now!r})"
        for section in wanted
        for key, was, now in differences(section, saved[section], wanted[section])
    ]
    if different:
        raise ValueError(f"{folder} holds a run with other settings: {', '.join(different)}")


def _copy_run(run: Path, copy: Path) -> None:
    """Copy what a finished run has learned and answered, all of it or nothing."""
    for left in copy.parent.glob(f".{copy.name}.*.tmp"):  # by a process that was killed; the lock lets in one
        shutil.rmtree(left)
    with whole_folder(copy) as aside:
        for file in _files_of_run(run):
            target = aside / file.relative_to(run)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def _files_of_run(run: Path) -> Iterator[Path]:
    for folder in (run, *run.glob(f"{TARGETS}/*")):
        yield from (folder / name for name in KEPT if (folder / name).is_file())
    yield from run.glob(f"{TASKS}/*.yaml")
    if (run / EXTENDED).is_dir():
        yield from _files_of_run(run / EXTENDED)


def task_copy(folder: Path, name: str) -> Path:
    """The YAML file that a run's folder keeps of a task of one's own."""
    return folder / TASKS / f"{name}.yaml"


def differences(name: str, saved: Any, wanted: Any) -> list[tuple[str, Any, Any]]:
    """The names of what differs between two nested objects, with the value in each."""
    if isinstance(saved, dict) and isinstance(wanted, dict) and saved.keys() == wanted.keys():
        return [difference for key in wanted for difference in differences(key, saved[key], wanted[key])]
    return [] if saved == wanted else [(name, saved, wanted)]

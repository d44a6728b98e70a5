"""The folder of a run: made for its settings, or found to hold that very run."""

from pathlib import Path
from typing import Any

from crosspt.config.files import check_writable, is_free, write_json
from crosspt.config.layout import RUN_NAME, TASKS
from crosspt.config.run import RunConfig
from crosspt.tasks.task_file import copy_task_file


def prepare_folder(run: RunConfig, folder: Path, resume: bool) -> None:
    """Make a run's folder and write ``run.json``, or check that the folder holds this very run.

    Raises:
        ValueError: the folder holds something else, or a run that ``resume`` does not allow to continue.
    """
    if (folder / RUN_NAME).is_file():
        if not resume:
            raise ValueError(f"{folder} holds a run already; --resume continues it, another --output starts a new one")
        saved, wanted = RunConfig.load(folder).to_dict(), run.to_dict()
        different = [
            f"{key} (there {was!r}, here {now!r})"
            for section in wanted
            for key, was, now in _differences(section, saved[section], wanted[section])
        ]
        if different:
            raise ValueError(f"{folder} holds a run with other settings: {', '.join(different)}")
        return
    if not is_free(folder, RUN_NAME, TASKS):
        raise ValueError(f"{folder} must be a new or empty folder, or one that holds a run to resume")
    check_writable(folder)
    for name, file in run.task_files.items():  # a run knows its tasks without the files they came from
        copy_task_file(Path(file), task_copy(folder, name))
    write_json(folder / RUN_NAME, run.to_dict())


def task_copy(folder: Path, name: str) -> Path:
    """The YAML file that a run's folder keeps of a task of one's own."""
    return folder / TASKS / f"{name}.yaml"


def _differences(name: str, saved: Any, wanted: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(saved, dict) and isinstance(wanted, dict) and saved.keys() == wanted.keys():
        return [difference for key in wanted for difference in _differences(key, saved[key], wanted[key])]
    return [] if saved == wanted else [(name, saved, wanted)]

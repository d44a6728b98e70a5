import dataclasses
from pathlib import Path

import pytest

from crosspt.config.run import RunConfig
from crosspt.runs.folder import open_folder
from tests.config.test_run import make_run


def prepare_folder(run: RunConfig, folder: Path, resume: bool) -> None:
    with open_folder(run, folder, resume):
        pass


def test_a_new_folder(tmp_path: Path) -> None:
    prepare_folder(make_run(), tmp_path / "deep" / "run", resume=False)
    assert RunConfig.load(tmp_path / "deep" / "run") == make_run()


def test_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    for resume in (False, True):
        with pytest.raises(ValueError, match="must be a new or empty folder, or one that holds a run to resume"):
            prepare_folder(make_run(), tmp_path, resume)


def test_a_run_killed_while_run_json_was_written(tmp_path: Path) -> None:
    (tmp_path / ".run.json.123.tmp").write_text("{")
    prepare_folder(make_run(), tmp_path, resume=True)
    assert RunConfig.load(tmp_path) == make_run()


def test_resuming(tmp_path: Path) -> None:
    prepare_folder(make_run(), tmp_path, resume=False)
    before = (tmp_path / "run.json").read_bytes()
    prepare_folder(make_run(), tmp_path, resume=True)
    with pytest.raises(ValueError, match="holds a run already; --resume continues it"):
        prepare_folder(make_run(), tmp_path, resume=False)
    with pytest.raises(
        ValueError, match=r"other settings: epochs \(there None, here 7\), lm_dropout \(there None, here 0"
    ):
        prepare_folder(make_run(epochs=7, lm_dropout=0.0), tmp_path, resume=True)
    moved = dataclasses.replace(make_run(), source_prompts=[], task_files={"mood": "mood.yaml"})
    with pytest.raises(ValueError, match=r"task_files \(there \{\}, here .*\), source_prompts \(there \['stage1'\]"):
        prepare_folder(moved, tmp_path, resume=True)
    assert (tmp_path / "run.json").read_bytes() == before

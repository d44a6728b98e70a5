import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from crosspt import CrossPTConfig
from crosspt.config.training import TrainingConfig
from crosspt.runs.folder import RunConfig, check_writable, load_t5, pick_device, prepare_folder
from crosspt.tasks.rows import DataConfig
from tests.conftest import make_t5
from tests.workspace import Workspace


def make_run(scheme: str = "SLPN", source_tasks: list[str] | None = None, **training: Any) -> RunConfig:
    prompts = CrossPTConfig(tasks=["mrpc", "rte"], scheme=scheme, source_tasks=source_tasks)
    return RunConfig("t5", {}, ["stage1"], prompts, TrainingConfig(**training), DataConfig(shots=8))


def test_a_run_is_read_back(tmp_path: Path) -> None:
    run = make_run("SILP", ["mrpc", "rte", "qnli"], seed=3)
    prepare_folder(run, tmp_path / "deep" / "run", resume=False)
    assert RunConfig.load(tmp_path / "deep" / "run") == run
    saved = json.loads((tmp_path / "deep" / "run" / "run.json").read_text())
    assert saved["schema"] == 1
    assert saved["temperature_value"] == 0.5


def test_the_temperature_is_that_of_the_banks() -> None:
    assert make_run("SLPN").temperature_value == pytest.approx(0.6309297535714575)
    assert make_run("SLPN", stage2="per_target").temperature_value == 1
    assert make_run("SILP", ["mrpc", "rte", "qnli"], stage2="per_target").temperature_value == 0.5
    assert make_run("PI", stage2="per_target").temperature_value == 1


def test_positions() -> None:
    assert [task.name for task in make_run("SILP", ["qnli", "rte"]).positions().values()] == ["mrpc", "rte", "qnli"]
    assert list(make_run("SILP", ["qnli", "rte"]).positions()) == [0, 1, 2]
    assert [task.name for task in make_run("SLPN").positions().values()] == ["mrpc", "rte"]


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


def edited(**changes: Any) -> str:
    return json.dumps({**make_run().to_dict(), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[1]", "expected an object, got list"),
        ("{}", "the key 'schema' is missing"),
        ('{"schema": 2}', "its schema is of another version"),
        (edited(model=3), "model, source_prompts and task_files must be text"),
        (edited(task_files=[1]), "'list' object has no attribute"),
        (edited(source_prompts=None), "."),
        (edited(data={"shotz": 3}), "unexpected keyword argument 'shotz'"),
        (edited(data={"shots": "3"}), "'<' not supported"),
        (edited(training={"epochs": "3"}), "must be real number"),
        (edited(prompts={"tasks": ["mrpc"], "scheme": "ZZ"}), "scheme: expected"),
        (edited(prompts={}), "prompts: the key 'tasks' is missing"),
        (edited(more=3), "unexpected keyword argument 'more'"),
    ],
)
def test_a_corrupt_run(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=rf"{tmp_path}/run.json is not a run of this version: .*{message}"):
        RunConfig.load(tmp_path)


def test_a_t5_is_loaded_in_float32(workspace: Workspace, tmp_path: Path) -> None:
    shutil.copytree(workspace.model, tmp_path / "half")
    make_t5(num_layers=1).half().save_pretrained(tmp_path / "half")
    t5, tokenizer = load_t5(str(tmp_path / "half"))
    assert next(t5.parameters()).dtype == torch.float32
    assert tokenizer("w1 w2").input_ids[-1] == tokenizer.eos_token_id


def test_no_such_model() -> None:
    with pytest.raises(ValueError, match="model 'no/such/folder' is no folder, nor to be had from the hub: ") as error:
        load_t5("no/such/folder")
    assert "\n" not in str(error.value)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, auto in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=available: found)
        assert pick_device("auto").type == auto
        assert pick_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="torch sees no GPU"):
        pick_device("cuda")


def test_writable(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match=f"{folder} is no folder that can be written to: "):
            check_writable(folder)

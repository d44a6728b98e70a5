import json
import re
from pathlib import Path
from typing import Any

import pytest

from crosspt import CrossPTConfig
from crosspt.config.data import DataConfig
from crosspt.config.files import write_json
from crosspt.config.run import Extension, RunConfig
from crosspt.config.training import TrainingConfig
from crosspt.methods.crosspt import CrossPT


def make_run(scheme: str = "SLPN", source_tasks: list[str] | None = None, **training: Any) -> RunConfig:
    prompts = CrossPTConfig(tasks=["mrpc", "rte"], scheme=scheme, source_tasks=source_tasks)
    return RunConfig("t5", {}, ["stage1"], prompts, TrainingConfig(**training), DataConfig(shots=8))


def test_the_temperature_is_that_of_the_banks() -> None:
    assert make_run("SLPN").temperature_value == pytest.approx(0.6309297535714575)
    assert make_run("SLPN", stage2="per_target").temperature_value == 1
    assert make_run("SILP", ["mrpc", "rte", "qnli"], stage2="per_target").temperature_value == 0.5
    assert make_run("PI", stage2="per_target").temperature_value == 1


def test_what_the_scheme_has_no_use_for() -> None:
    CrossPT().check(make_run("SILP", source_learning_rate=0.1))
    with pytest.raises(ValueError, match=r"scheme SIP learns no sources"):
        CrossPT().check(make_run("SIP", source_learning_rate=0.1))
    with pytest.raises(ValueError, match=r"scheme SLPN starts from no source prompts, got stage1"):
        CrossPT().check(make_run("SLPN"))


def test_development_rows_without_a_selection() -> None:
    run = make_run("SILP", select="best", patience=2)
    run.data.dev_rows = 4
    run.check()
    run.training = TrainingConfig()
    with pytest.raises(ValueError, match=r"^dev_rows goes with select best, got select last$"):
        run.check()


def test_a_run_is_read_back(tmp_path: Path) -> None:
    run = make_run("SILP", ["mrpc", "rte", "qnli"], seed=3)
    run.task_files["mood"] = "mood.yaml"
    write_json(tmp_path / "run.json", run.to_dict())
    assert RunConfig.load(tmp_path) == run
    assert json.loads((tmp_path / "run.json").read_text())["temperature_value"] == 0.5
    assert "extends" not in run.to_dict(), "older versions read it"
    run.extends = Extension("bank", ["mrpc"])
    write_json(tmp_path / "run.json", run.to_dict())
    assert RunConfig.load(tmp_path) == run
    assert run.learned_tasks == ["rte"]


def edited(**changes: Any) -> str:
    return json.dumps({**make_run().to_dict(), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", " is not JSON: Expecting property name"),
        ('{"schema": 2}', " is not of this version: its schema must be 1, got 2"),
        ('{"schema": 1}', ": the key 'model' is missing"),
        (edited(model=3), ": model must be str, got 3"),
        (edited(task_files=[1]), ": task_files must be dict[str, str], got [1]"),
        (edited(task_files={"a": 1}), ": task_files must be dict[str, str], got {'a': 1}"),
        (edited(source_prompts=None), ": source_prompts must be list[str], got None"),
        (edited(source_prompts="stage1"), ": source_prompts must be list[str], got 'stage1'"),
        (edited(data=None), ": data: must hold keys and values, got None"),
        (edited(data={"shotz": 3}), ": data: unknown key 'shotz'; did you mean 'shots'?"),
        (edited(data={"shots": "3"}), ": data: shots must be int or null, got '3'"),
        (edited(data={"shots": True}), ": data: shots must be int or null, got True"),
        (edited(data={"shots": 0}), ": data: DataConfig: shots must be at least 1, got 0"),
        (edited(data={"label_set": []}), ": data: label_set must be natural or synthetic or numeric, got []"),
        (edited(training={"epochs": "3"}), ": training: epochs must be int or null, got '3'"),
        (edited(training=[]), ": training: must hold keys and values, got []"),
        (edited(prompts={"tasks": ["mrpc"], "scheme": "ZZ"}), ": prompts: scheme: expected"),
        (
            edited(prompts={"tasks": ["mrpc"], "init_texts": 3}),
            ": prompts: init_texts must be list[str] or null, got 3",
        ),
        (edited(prompts={"tasks": "mrpc"}), ": prompts: tasks must be list[str], got 'mrpc'"),
        (edited(prompts={}), ": prompts: the key 'tasks' is missing"),
        (edited(decode="guess"), ": decode must be generate or rank or both, got 'guess'"),
        (edited(more=3), ": unknown key 'more'"),
        (edited(extends={"folder": "a"}), ": extends: the key 'tasks' is missing"),
        (
            edited(extends={"folder": "a", "tasks": ["rte"]}),
            ": RunConfig: tasks must be those of the run that is extended, rte, and more, got mrpc, rte",
        ),
        (edited(extends={"folder": "a", "tasks": ["mrpc", "rte"]}), ": RunConfig: tasks must be those of the run"),
        (edited(model=["x" * 1000]), ": model must be str, got ['xxx"),
    ],
)
def test_a_damaged_run(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{tmp_path}/run.json{message}')}") as caught:
        RunConfig.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 300

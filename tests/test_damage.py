"""Damaged settings, JSON, prompts, answers and checkpoints: what is in them, or one line that names the file."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.config.layout import METHOD_NAME
from crosspt.evaluation.answers import read_predictions
from crosspt.evaluation.results import read_results, score_predictions
from crosspt.methods import find_method, saved_method
from crosspt.methods.saved import WEIGHTS_NAME as METHOD_WEIGHTS
from crosspt.prompts.state import unpack_header
from crosspt.report.summary import summarize
from crosspt.runs.evaluate import open_checkpoint
from crosspt.runs.experiments.read import read_experiment
from crosspt.runs.experiments.runner import check_folder
from crosspt.storage import CONFIG_NAME, WEIGHTS_NAME
from crosspt.training.trainer import SUMS_NAME, PromptTrainer
from tests.config.test_run import make_run
from tests.conftest import make_t5
from tests.damage import damages, json_damages, read, unhurried
from tests.report.made_up import make_experiment
from tests.runs.experiments.support import tiny_grid
from tests.training.support import make_trainer
from tests.workspace import Workspace, crosspt, mistake

SETTINGS = {
    "tasks": ["syn_rte", "syn_mrpc"],
    "init_texts": "a text",
    "initialization": "text",
    "temperature": "sqrt",
    "source_learning_rate": 0.1,
    "epochs": 3,
    "batch_size": None,
    "bf16": False,
    "output": "run",
}


@dataclass(frozen=True)
class Reading:
    """A file and what reads it."""

    path: Path
    load: Callable[[], Any]


def naming(path: Path, load: Callable[[], Any]) -> Callable[[], Any]:
    """The same where the folder, or another file in it, may be named in place of the file."""

    def named() -> Any:
        try:
            return load()
        except ValueError as error:
            raise ValueError(str(error).replace(str(path.parent), f"{path}:")) from None

    return named


def settings_file(folder: Path) -> Reading:
    path = folder / "settings.yaml"
    path.write_text(json.dumps(SETTINGS))

    def load() -> None:
        outcome = crosspt("train", "--config", path, "--print-config")
        if outcome.status:
            raise ValueError(mistake(outcome))

    return Reading(path, load)


def run_file(folder: Path) -> Reading:
    (folder / "run.json").write_text(json.dumps(make_run("SILP", ["rte", "mrpc"]).to_dict()))
    return Reading(folder / "run.json", lambda: open_checkpoint(folder).to_dict())


def experiment_file(folder: Path) -> Reading:
    experiment = make_small_experiment(folder / "experiment")
    return Reading(experiment / "experiment.json", lambda: summarize(read_experiment(experiment)))


def results_in_a_report(folder: Path) -> Reading:
    experiment = make_small_experiment(folder / "experiment")
    return Reading(next(experiment.glob("cells/*/results.json")), lambda: report_on(experiment))


def predictions_in_a_report(folder: Path) -> Reading:
    experiment = make_small_experiment(folder / "experiment")
    return Reading(next(experiment.glob("cells/*/predictions.parquet")), lambda: report_on(experiment))


def predictions_file(folder: Path) -> Reading:
    experiment = make_small_experiment(folder / "experiment")
    path = next(experiment.glob("cells/*/predictions.parquet"))
    results = read_results(path.with_name("results.json"))["results"]
    return Reading(path, lambda: list(score_predictions(read_predictions(path, results), cell="", seed=0, shots=0)))


def predictions_header(folder: Path) -> Reading:
    """What the file says of the tasks, in a file of its own here."""
    reading, path = predictions_file(folder), folder / "header.json"
    table = pyarrow.parquet.read_table(reading.path)
    path.write_bytes(table.schema.metadata[b"crosspt"])

    def load() -> None:
        pyarrow.parquet.write_table(table.replace_schema_metadata({"crosspt": path.read_bytes()}), reading.path)
        try:
            reading.load()
        except ValueError as error:
            raise ValueError(str(error).replace(str(reading.path), str(path))) from None

    return Reading(path, load)


def error_in_a_report(folder: Path) -> Reading:
    experiment = make_small_experiment(folder / "experiment")
    results = next(experiment.glob("cells/*/results.json"))
    results.unlink()
    path = results.with_name("error.json")
    path.write_text(json.dumps({"schema": 1, "cell": path.parent.name, "error": "it failed", "type": "ValueError"}))
    return Reading(path, lambda: report_on(experiment))


def report_on(experiment: Path) -> None:
    for warning in summarize(read_experiment(experiment)).experiment.warnings:
        assert len(warning.splitlines()) == 1


def make_small_experiment(folder: Path) -> Path:
    return make_experiment(folder, tasks=["syn_mrpc", "syn_rte"], axes={"scheme": ["SLP"], "shots": [4]}, seeds=(0, 1))


def grid_file(folder: Path) -> Reading:
    grid = tiny_grid(Workspace(folder / "t5", folder / "data"), ("SL", "P"))
    path = folder / "experiment.json"
    path.write_text(json.dumps(grid.to_dict()))

    return Reading(path, naming(path, lambda: check_folder(grid, folder)))


def prompts_config(folder: Path) -> Reading:
    t5 = make_t5()
    CrossPTModel(t5, CrossPTConfig(tasks=["mrpc", "rte"], prompt_length=2)).save_pretrained(folder)
    path = folder / CONFIG_NAME
    return Reading(path, naming(path, lambda: CrossPTModel.from_pretrained(t5, folder)))


def prompts_weights(folder: Path) -> Reading:
    reading = prompts_config(folder)
    path = folder / WEIGHTS_NAME
    return Reading(path, naming(path, reading.load))


def prompts_header(folder: Path) -> Reading:
    """The configuration beside the tensors, in a file of its own here."""
    reading, path = prompts_config(folder), folder / "header.json"
    with safe_open(folder / WEIGHTS_NAME, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        path.write_text(file.metadata()["crosspt"])

    def load() -> None:
        header = path.read_bytes().decode(errors="replace")
        (folder / WEIGHTS_NAME).write_bytes(save(state, metadata={"crosspt": header}))
        reading.load()

    return Reading(path, naming(path, load))


def method_config(folder: Path) -> Reading:
    t5, method = make_t5(), find_method("bitfit")
    method.save(method.build(t5, CrossPTConfig(tasks=["mrpc"])), folder)
    return Reading(folder / METHOD_NAME, naming(folder / METHOD_NAME, lambda: saved_method(folder).load(t5, folder)))


def method_weights(folder: Path) -> Reading:
    reading = method_config(folder)
    return Reading(folder / METHOD_WEIGHTS, naming(folder / METHOD_WEIGHTS, reading.load))


def method_header(folder: Path) -> Reading:
    """What stands beside the tensors and in the other file alike."""
    reading = method_config(folder)
    with safe_open(folder / METHOD_WEIGHTS, framework="pt") as file:
        state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (the file is written over)

    def load() -> None:
        header = reading.path.read_bytes().decode(errors="replace")
        (folder / METHOD_WEIGHTS).write_bytes(save(state, metadata={"crosspt": header}))
        reading.load()

    return Reading(reading.path, load)


def state_header(folder: Path) -> Reading:
    path = folder / "header.json"
    path.write_text(json.dumps({"config": CrossPTConfig(tasks=["mrpc"]).to_dict(), "base_model": {"name": "t5"}}))

    def load() -> None:
        unpack_header(torch.frombuffer(bytearray(path.read_bytes() + b" "), dtype=torch.uint8), str(path))

    return Reading(path, load)


JSON = [
    settings_file,
    run_file,
    experiment_file,
    results_in_a_report,
    predictions_header,
    error_in_a_report,
    grid_file,
    prompts_config,
    prompts_header,
    state_header,
    method_config,
    method_header,
]


@pytest.fixture(scope="module")
def reading(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reading, bytes]:
    """A file, what reads it, and its content."""
    made: Reading = request.param(tmp_path_factory.mktemp("damage"))
    content = made.path.read_bytes()
    made.load()
    return made, content


@pytest.mark.parametrize(
    "reading", [*JSON, prompts_weights, method_weights, predictions_file, predictions_in_a_report], indirect=True
)
@given(data=st.data())
@unhurried(50)
def test_bytes(reading: tuple[Reading, bytes], data: st.DataObject) -> None:
    file, content = reading
    file.path.write_bytes(data.draw(damages(content)))
    read(file.path, file.load)


@pytest.mark.parametrize("reading", JSON, indirect=True)
@given(data=st.data())
@unhurried(50)
def test_values(reading: tuple[Reading, bytes], data: st.DataObject) -> None:
    file, content = reading
    file.path.write_bytes(data.draw(json_damages(json.loads(content))))
    read(file.path, file.load)


@pytest.mark.parametrize("name", [[], {}, None, 3])
def test_cells_without_a_name(name: object, tmp_path: Path) -> None:
    file = grid_file(tmp_path)
    content = json.loads(file.path.read_text())
    content["cells"][0]["cell"] = name
    file.path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"cells that are none of this experiment: {re.escape(str(name))}"):
        file.load()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    make_trainer(folder, epochs=1).train_or_resume()
    return folder


@given(data=st.data())
@unhurried(50)
def test_checkpoints(checkpoints: Path, data: st.DataObject) -> None:
    """A damaged one is not trained on from, whether or not what reads it would notice."""
    (checkpoint,) = checkpoints.iterdir()
    file = data.draw(st.sampled_from(sorted(checkpoint.iterdir())))
    content = file.read_bytes()
    damaged = data.draw(damages(content))
    resumed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PromptTrainer, "train", lambda _, resume_from_checkpoint: resumed.append(resume_from_checkpoint))
        trainer = make_trainer(checkpoints, epochs=1)
        try:
            file.write_bytes(damaged)
            read(checkpoint, trainer.train_or_resume)
        finally:
            file.write_bytes(content)
    if damaged == content:
        assert resumed == [str(checkpoint)]
    elif file.name != SUMS_NAME:
        assert not resumed

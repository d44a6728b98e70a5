import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from crosspt.config.run import Compute, Decode
from crosspt.evaluation.mixed import answer_batch
from crosspt.runs.answering import load_tasks
from crosspt.runs.evaluate import evaluate, load_run_model, open_checkpoint
from crosspt.runs.tasks import find_task
from crosspt.tasks.rows import load_rows
from tests.conftest import make_t5
from tests.workspace import Workspace, make_rows


@pytest.mark.parametrize("prefix_mode", ["full", "isolated"])
def test_tasks_answer_as_evaluate_does(workspace: Workspace, tmp_path: Path, prefix_mode: str) -> None:
    settings = ["--tasks", "mrpc,rte", "--label-set", "synthetic", "--prefix-mode", prefix_mode]
    assert workspace.train(tmp_path, *settings).status == 0
    run = open_checkpoint(tmp_path)
    _, predictions = evaluate(tmp_path, run, Compute(device="cpu", progress=False))
    base_model, tokenizer = load_run_model(run)
    implementation = base_model.config._attn_implementation
    tasks = load_tasks(tmp_path, run, base_model, tokenizer, "cpu")
    assert base_model.config._attn_implementation == implementation, "the language model was changed"
    model: Any = tasks["rte"].model
    assert model is tasks["mrpc"].model
    assert {p.data_ptr() for p in model.base_model.parameters()} == {p.data_ptr() for p in base_model.parameters()}
    assert tasks["rte"].model.kept_bytes == 0
    for name, asked in tasks.items():
        rows = rows_of(run, name)
        kept = predictions.rows[predictions.rows["task"] == name]
        for decode in get_args(Decode):
            questions, cut = asked.ask(rows, decode)
            replies = answer_batch(asked.model, tokenizer, questions)
            assert [reply.text for reply in replies] == kept[kept["decode"] == decode]["answer"].tolist()
            assert cut == 0
    assert model.kept_bytes > 0


def rows_of(run: Any, name: str) -> Any:
    return load_rows({run.prompts.tasks.index(name): find_task(run, name)}, run.data, train=False)[name].test


def test_targets_of_their_own_are_loaded_apart(per_target: Path) -> None:
    run = open_checkpoint(per_target)
    base_model, tokenizer = load_run_model(run)
    tasks = load_tasks(per_target, run, base_model, tokenizer, "cpu")
    assert tasks["mrpc"].model is not tasks["rte"].model
    (row,) = make_rows(tasks["rte"].task.fields, 1)
    questions, _ = tasks["rte"].ask([row], "rank")
    assert answer_batch(tasks["rte"].model, tokenizer, questions)[0].text in ("B0", "B1")
    shutil.rmtree(per_target / "targets" / "mrpc")
    assert list(load_tasks(per_target, run, base_model, tokenizer, "cpu", ["rte"])) == ["rte"]
    with pytest.raises(ValueError, match="holds no prompts for task 'mrpc' yet"):
        load_tasks(per_target, run, base_model, tokenizer, "cpu")


def test_a_bank_for_another_model(slpn_run: Path) -> None:
    run = open_checkpoint(slpn_run)
    _, tokenizer = load_run_model(run)
    with pytest.raises(ValueError, match=r"width 16 .* the model has d_model 8"):
        load_tasks(slpn_run, run, make_t5(d_model=8), tokenizer, "cpu")


@pytest.fixture
def per_target(workspace: Workspace, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    settings = ["--tasks", "mrpc,rte", "--stage2", "per_target", "--label-set", "synthetic"]
    assert workspace.train(tmp_path, *settings).status == 0
    return tmp_path

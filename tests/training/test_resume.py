"""A training killed with SIGKILL at any moment and resumed ends with bitwise the same prompts as an unbroken one."""

import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerState

from crosspt.models.model import CrossPTModel
from crosspt.storage import WEIGHTS_NAME
from crosspt.training import trainer as trainer_module
from crosspt.training.selection import describe_selection
from crosspt.training.trainer import PromptTrainer
from tests.training import support
from tests.training.killed import die_at_call, in_a_process
from tests.training.support import make_trainer

MOMENTS: dict[str, Callable[[], None]] = {
    "before any checkpoint": lambda: die_at_call(CrossPTModel, "forward", 2),
    "in the middle of an epoch": lambda: die_at_call(CrossPTModel, "forward", 9),
    "in the backward pass of a later epoch": lambda: die_at_call(torch.Tensor, "backward", 12),
    "before the optimizer state is written": lambda: die_at_call(Trainer, "_save_optimizer_and_scheduler", 2),
    "before the random state is written": lambda: die_at_call(Trainer, "_save_rng_state", 2),
    "before the checkpoint gets its name": lambda: die_at_call(Path, "rename", 2),
    "after the checkpoint got its name": lambda: die_at_call(Path, "rename", 2, after=True),
    "while an old checkpoint is removed": lambda: die_at_call(trainer_module.shutil, "rmtree", 9),
}


SELECTING_MOMENTS: dict[str, Callable[[], None]] = {
    **{f"in step {step}": partial(die_at_call, torch.Tensor, "backward", step) for step in (2, 3, 6, 7, 9, 13)},
    "in an evaluation": lambda: die_at_call(support, "score_prompts", 3),
    "between the evaluation and its checkpoint": lambda: die_at_call(PromptTrainer, "_save_checkpoint", 4),
    "before the state is written": lambda: die_at_call(TrainerState, "save_to_json", 8),
    "before the checkpoint of the best gets its name": lambda: die_at_call(Path, "rename", 4),
    "after the checkpoint of the best got its name": lambda: die_at_call(Path, "rename", 4, after=True),
    "while the best before it is removed": lambda: die_at_call(trainer_module.shutil, "rmtree", 12),
    "before the last checkpoint": lambda: die_at_call(PromptTrainer, "_save_checkpoint", 9),
    "after the last checkpoint": lambda: die_at_call(Path, "rename", 9, after=True),
    "before the best prompts are taken": lambda: die_at_call(PromptTrainer, "_load_from_checkpoint", 1),
}
SELECTING: dict[str, Any] = {"select": "best", "eval_steps": 2, "save_steps": 3, "patience": 4, "seed": 7}


def run(folder: Path, moment: Callable[[], None] | None, settings: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    trainer = make_trainer(
        folder / "checkpoints", epochs=4, score=lambda model: support.score_prompts(model), **settings
    )
    if moment is not None:
        moment()
    trainer.train_or_resume()
    (folder / "selection.json").write_text(json.dumps(describe_selection(trainer.state)))
    trainer.model.save_pretrained(folder)


def killed(folder: Path, moments: str, moment: str, settings: dict[str, Any]) -> None:
    run(folder, globals()[moments][moment], settings)


def outcome_of(folder: Path) -> tuple[bytes, Any]:
    return (folder / WEIGHTS_NAME).read_bytes(), json.loads((folder / "selection.json").read_text())


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Any]:
    folder = tmp_path_factory.mktemp("unbroken")
    assert in_a_process(run, folder, None, {}) == 0
    return outcome_of(folder)


@pytest.fixture(scope="module")
def selected(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Any]:
    folder = tmp_path_factory.mktemp("selected")
    assert in_a_process(run, folder, None, SELECTING) == 0
    return outcome_of(folder)


def test_the_selecting_training_ends_early_and_not_with_its_last_prompts(selected: tuple[bytes, Any]) -> None:
    steps = [entry["step"] for entry in selected[1]["history"]]
    assert steps == list(range(2, 16, 2)), "of 20 steps"
    assert selected[1]["step"] == 6


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(moment: str, tmp_path: Path, unbroken: tuple[bytes, Any]) -> None:
    assert in_a_process(killed, tmp_path, "MOMENTS", moment, {}) == -signal.SIGKILL
    assert not (tmp_path / WEIGHTS_NAME).exists()
    assert in_a_process(run, tmp_path, None, {}) == 0
    assert outcome_of(tmp_path) == unbroken


@pytest.mark.parametrize("moment", SELECTING_MOMENTS)
def test_killed_and_resumed_while_selecting(moment: str, tmp_path: Path, selected: tuple[bytes, Any]) -> None:
    assert in_a_process(killed, tmp_path, "SELECTING_MOMENTS", moment, SELECTING) == -signal.SIGKILL
    assert not (tmp_path / WEIGHTS_NAME).exists()
    assert in_a_process(run, tmp_path, None, SELECTING) == 0
    assert outcome_of(tmp_path) == selected

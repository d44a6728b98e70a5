"""A training killed with SIGKILL at any moment and resumed ends with bitwise the same prompts as an unbroken one."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import Trainer

from crosspt.models.model import CrossPTModel
from crosspt.storage import WEIGHTS_NAME
from crosspt.training import trainer as trainer_module
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


def run(folder: Path, moment: str | None) -> None:
    torch.set_num_threads(1)
    trainer = make_trainer(folder / "checkpoints", epochs=4)
    if moment is not None:
        MOMENTS[moment]()
    trainer.train_or_resume()
    trainer.model.save_pretrained(folder)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("unbroken")
    assert in_a_process(run, folder, None) == 0
    return (folder / WEIGHTS_NAME).read_bytes()


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(moment: str, tmp_path: Path, unbroken: bytes) -> None:
    assert in_a_process(run, tmp_path, moment) == -signal.SIGKILL
    assert not (tmp_path / WEIGHTS_NAME).exists()
    assert in_a_process(run, tmp_path, None) == 0
    assert (tmp_path / WEIGHTS_NAME).read_bytes() == unbroken

"""A run killed with SIGKILL at any moment and resumed ends with bitwise the same prompts as an unbroken one."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer

from crosspt.model import CrossPTModel
from crosspt.storage import WEIGHTS_NAME
from crosspt.training import trainer as trainer_module
from tests.training.support import make_trainer

# A clean process for every run: what a killed run left in memory is gone. The server imports the modules once.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.training.support"])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_call(owner: Any, name: str, call: int, *, after: bool = False) -> None:
    """Kill this process at the given call of a function: before it, or after it has run."""
    original = getattr(owner, name)
    calls = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            die()
        result = original(*arguments, **options)
        if calls == call:
            die()
        return result

    setattr(owner, name, counted)


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


def in_a_process(folder: Path, moment: str | None = None) -> int | None:
    process = CONTEXT.Process(target=run, args=(folder, moment))
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("unbroken")
    assert in_a_process(folder) == 0
    return (folder / WEIGHTS_NAME).read_bytes()


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(moment: str, tmp_path: Path, unbroken: bytes) -> None:
    assert in_a_process(tmp_path, moment) == -signal.SIGKILL
    assert not (tmp_path / WEIGHTS_NAME).exists()
    assert in_a_process(tmp_path) == 0
    assert (tmp_path / WEIGHTS_NAME).read_bytes() == unbroken

"""The best prompts are kept, of equals the earlier, and a training ends when they no longer get better."""

from pathlib import Path
from typing import Any

import pytest
import torch

from crosspt.models.model import CrossPTModel
from crosspt.storage import load_prompts
from crosspt.training.selection import describe_selection
from crosspt.training.trainer import PromptTrainer
from tests.training.support import TASKS, listed_scores, make_trainer

EPOCH = 5  # steps


def state_of(trainer: PromptTrainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.embedding.bank.state_dict().items()}


def train(folder: Path, *scores: float, **settings: Any) -> PromptTrainer:
    trainer = make_trainer(folder, score=listed_scores(*scores), select="best", **settings)
    trainer.train_or_resume()
    return trainer


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ((3, 2, 1, 0), 1),
        ((0, 1, 3, 2), 3),
        ((0, 1, 2, 3), 4),
        ((1, 3, 2, 3), 2),
        ((0, 0, 0, 0), 1),
        ((-1, -2, 0, 0), 3),
    ],
)
def test_the_best_prompts_are_kept_and_of_equals_the_earlier(
    scores: tuple[float, ...], best: int, tmp_path: Path
) -> None:
    trainer = train(tmp_path / "best", *scores, epochs=4)
    selection = describe_selection(trainer.state)
    assert (selection["step"], selection["score"]) == (best * EPOCH, max(scores))
    assert selection["history"] == [
        {"step": number * EPOCH, "score": score, "tasks": {TASKS[0]: 2.0 * score, TASKS[1]: 0.0}}
        for number, score in enumerate(scores, start=1)
    ]
    kept = load_prompts(tmp_path / "best" / f"checkpoint-{best * EPOCH}").state
    assert same(kept, state_of(trainer))
    assert same(kept, load_prompts(tmp_path / "best" / "checkpoint-20").state) == (best == 4)
    assert {path.name for path in (tmp_path / "best").iterdir()} >= {"checkpoint-15", "checkpoint-20"}


def test_evaluations_leave_the_training_as_it_is(tmp_path: Path) -> None:
    def score(model: CrossPTModel) -> dict[str, float]:
        assert not model.training
        assert not model.base_model.training
        return {"mrpc": 1.0}

    settings: dict[str, Any] = {"epochs": 2, "lm_dropout": 0.5}
    last = make_trainer(tmp_path / "last", **settings)
    last.train_or_resume()
    make_trainer(tmp_path / "best", score=score, select="best", eval_steps=3, **settings).train_or_resume()
    assert same(load_prompts(tmp_path / "best" / "checkpoint-10").state, state_of(last))


@pytest.mark.parametrize(
    ("patience", "scores", "steps"),
    [
        (1, (5, 4), 2),
        (1, (5, 6, 6), 3),
        (2, (5, 4, 3), 3),
        (2, (5, 4, 6, 5, 6), 5),
        (3, (5, 4, 3, 2), 4),
        (3, (5, 4, 3, 6, 0, 0), 6),
        (6, (5, 4, 3, 2, 1, 0), 6),
    ],
)
def test_patience(patience: int, scores: tuple[float, ...], steps: int, tmp_path: Path) -> None:
    trainer = train(tmp_path, *scores, epochs=6, patience=patience)
    assert trainer.state.global_step == steps * EPOCH
    assert len(describe_selection(trainer.state)["history"]) == steps == len(scores)


def test_evaluations_by_steps_and_at_the_end(tmp_path: Path) -> None:
    trainer = train(tmp_path, 1, 3, 2, 2, eval_steps=3)
    assert [entry["step"] for entry in describe_selection(trainer.state)["history"]] == [3, 6, 9, 10]
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-6", "checkpoint-9", "checkpoint-10"}


def test_an_evaluation_an_epoch_of_accumulated_batches(tmp_path: Path) -> None:
    trainer = train(tmp_path, 1, 2, batch_size=3, gradient_accumulation_steps=4)
    assert [entry["step"] for entry in describe_selection(trainer.state)["history"]] == [2, 4]


def test_checkpoints_between_evaluations(tmp_path: Path) -> None:
    train(tmp_path, 2, 1, save_steps=2)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-5", "checkpoint-8", "checkpoint-10"}


def test_a_score_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"PromptTrainer: select best needs a score, got None"):
        make_trainer(tmp_path, select="best")


def test_the_best_of_every_checkpoint_that_may_be_resumed_is_there(tmp_path: Path) -> None:
    """Without the last checkpoint the training goes on from the one before, whose best is another."""
    with pytest.raises(StopIteration):
        train(tmp_path, 3, 2, epochs=3)
    first = train(tmp_path, 4, epochs=3)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-5", "checkpoint-10", "checkpoint-15"}
    file = tmp_path / "checkpoint-15" / "crosspt_model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"without .*/checkpoint-15 the run goes on from before it$"):
        train(tmp_path, epochs=3)
    for path in (tmp_path / "checkpoint-15").iterdir():
        path.unlink()
    (tmp_path / "checkpoint-15").rmdir()
    again = train(tmp_path, 1, epochs=3)
    assert describe_selection(again.state)["step"] == 5
    assert not same(state_of(again), state_of(first))
    assert same(state_of(again), load_prompts(tmp_path / "checkpoint-5").state)


def test_best_prompts_that_are_damaged(tmp_path: Path) -> None:
    train(tmp_path, 3, 2, 1, epochs=3)
    file = tmp_path / "checkpoint-5" / "crosspt_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(
        ValueError,
        match=f"{file} is not as it was written; it holds the best prompts so far; "
        f"without {tmp_path} the training starts again$",
    ):
        train(tmp_path, epochs=3)

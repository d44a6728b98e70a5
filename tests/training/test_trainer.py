import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.config.prompts import PrefixMode
from crosspt.methods.crosspt import parameter_groups
from crosspt.training.trainer import CHECKPOINTS_KEPT
from tests.conftest import VOCABULARY, make_t5
from tests.models.causal_models import make_causal
from tests.training.support import TASKS, make_rows, make_trainer


def prompts_after(folder: Path, **settings: Any) -> dict[str, torch.Tensor]:
    trainer = make_trainer(folder, **settings)
    trainer.train()
    return {name: value.clone() for name, value in trainer.model.embedding.bank.state_dict().items()}


def test_training_lowers_the_loss_and_leaves_the_t5_alone(tmp_path: Path) -> None:
    t5 = make_t5(dropout_rate=0.0)
    before = {name: value.clone() for name, value in t5.state_dict().items()}
    trainer = make_trainer(tmp_path, t5=t5, epochs=8)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] - 0.2
    assert all(torch.equal(value, before[name]) for name, value in t5.state_dict().items())


def test_every_group_has_its_rate_and_the_rates_fall_to_zero(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    seen = []
    step = torch.optim.Adam.step

    def record(optimizer: Any, *arguments: Any) -> Any:
        seen.append({group["name"]: group["lr"] for group in optimizer.param_groups})
        return step(optimizer, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", record)
        trainer.train()
    first = {"sources": 0.15, "privates": 0.07, "logits": 0.1, "encoder": 0.15}
    assert len(seen) == 10
    for position, rates in enumerate(seen):
        assert rates == pytest.approx({name: rate * (1 - position / 10) for name, rate in first.items()})
    assert isinstance(getattr(trainer.optimizer, "optimizer", None), torch.optim.Adam)


def test_accumulation_equals_the_larger_batch(tmp_path: Path) -> None:
    rows = make_rows(16)
    settings: dict[str, Any] = {"rows": rows, "lm_dropout": None, "t5": make_t5(dropout_rate=0.0)}
    large = prompts_after(tmp_path / "large", batch_size=8, **settings)
    small = prompts_after(tmp_path / "small", batch_size=4, gradient_accumulation_steps=2, **settings)
    for name in large:
        torch.testing.assert_close(small[name], large[name], rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize(("family", "mode"), [("t5", "full"), ("llama", "full"), ("llama", "isolated")])
def test_a_row_counts_by_its_weight(family: str, mode: PrefixMode, tmp_path: Path) -> None:
    """The oracle asks for each row by itself and takes the mean."""
    t5 = make_t5(dropout_rate=0.0) if family == "t5" else make_causal(family, vocab_size=VOCABULARY)
    rows, weights = make_rows(5), [1.0, 0.25, 7.0, 1.0, 2.0]
    rows[1]["labels"] = [5, 9, 1]
    trainer = make_trainer(tmp_path, t5=t5, rows=rows, prefix_mode=mode)
    model, collate = trainer.model.eval(), trainer.data_collator
    alone = [float(model(**collate([row])).loss) for row in rows]
    shares = [weight * len(row["labels"]) for weight, row in zip(weights, rows, strict=True)]
    wanted = sum(share * loss for share, loss in zip(shares, alone, strict=True)) / sum(shares)
    weighed = [{**row, "weight": weight} if weight != 1 else row for row, weight in zip(rows, weights, strict=True)]
    assert float(trainer.compute_loss(model, collate(weighed))) == pytest.approx(wanted, rel=1e-4)
    plain, same = (
        trainer.compute_loss(model, collate([{**row, **one} for row in rows])) for one in ({}, {"weight": 2})
    )
    assert float(same) == pytest.approx(float(plain), rel=1e-5)
    assert abs(float(plain) - wanted) > 1e-3
    bank = trainer.model.embedding.bank
    trainer.compute_loss(model, collate(weighed)).backward()
    assert bank.privates.grad.abs().sum() > 0


def test_repeated_runs_are_equal_bit_for_bit(tmp_path: Path) -> None:
    first, second = (prompts_after(tmp_path / name) for name in "ab")
    other = prompts_after(tmp_path / "c", seed=4)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["privates"], other["privates"])


class Silent(torch.autograd.Function):
    """Hands a tensor on, and no gradient back."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor) -> torch.Tensor:
        return hidden.view_as(hidden)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> None:
        return None


def test_prompts_that_no_gradient_reaches_are_no_result(tmp_path: Path) -> None:
    t5 = make_t5()
    t5.encoder.final_layer_norm.register_forward_hook(lambda module, inputs, output: Silent.apply(output))
    with pytest.raises(RuntimeError, match="training: no gradient has reached what learns in step 1; a layer of the"):
        make_trainer(tmp_path, t5=t5).train()


def test_bfloat16_training_keeps_prompts_in_float32(tmp_path: Path) -> None:
    plain = prompts_after(tmp_path / "a")
    half = prompts_after(tmp_path / "b", bf16=True)
    assert {value.dtype for value in half.values()} == {torch.float32}
    assert not torch.equal(plain["privates"], half["privates"])
    torch.testing.assert_close(plain["privates"], half["privates"], rtol=0, atol=0.5)


def test_checkpoints_hold_prompts_only_and_are_few(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, epochs=4)
    trainer.train()
    folders = sorted(path.name for path in tmp_path.iterdir())
    assert folders == ["checkpoint-15", "checkpoint-20"]
    assert len(folders) == CHECKPOINTS_KEPT
    files = {path.name for path in (tmp_path / "checkpoint-20").iterdir()}
    assert files == {
        "checksums.json",
        "crosspt_config.json",
        "crosspt_model.safetensors",
        "optimizer.pt",
        "rng_state.pth",
        "scheduler.pt",
        "trainer_state.json",
    }
    state = torch.load(tmp_path / "checkpoint-20" / "optimizer.pt", weights_only=True)
    assert len(state["state"]) == 5


def test_checkpoints_by_steps(tmp_path: Path) -> None:
    make_trainer(tmp_path, save_steps=3).train()
    assert {"checkpoint-9", "checkpoint-10"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_a_loss_that_is_not_finite_stops_with_step_and_task(family: str, tmp_path: Path) -> None:
    model = None if family == "t5" else make_causal(family, vocab_size=VOCABULARY)
    trainer = make_trainer(tmp_path, save_steps=2, t5=model)
    forward = CrossPTModel.forward
    calls = 0

    def spoil(model: CrossPTModel, **batch: Any) -> Any:
        nonlocal calls
        calls += 1
        output: Any = forward(model, **batch)
        if calls == 6:
            assert output.logits.shape[1] == (2 if family == "t5" else 3)  # two labels, and where the first is told
            rows = (batch["task_ids"] == 1).nonzero()[:1, 0]
            logits = output.logits.clone()
            logits[rows] = float("inf")
            output.logits = logits
            output.loss = output.loss * float("nan")
        return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CrossPTModel, "forward", spoil)
        with pytest.raises(RuntimeError, match=r"loss must be finite, got nan in step 6 on rows of rte; lower"):
            trainer.train()
    assert (tmp_path / "checkpoint-4").is_dir()
    state = json.loads((tmp_path / "checkpoint-4" / "trainer_state.json").read_text())
    assert state["global_step"] == 4


def test_a_checkpoint_of_other_prompts_is_not_resumed(tmp_path: Path) -> None:
    make_trainer(tmp_path).train()
    with pytest.raises(ValueError, match=r"was made with other prompt settings"):
        make_trainer(tmp_path, scheme="SLP").train_or_resume()


def test_optimizer_groups_must_fit_the_parameters() -> None:
    bank = CrossPTModel(make_t5(), CrossPTConfig(tasks=TASKS, scheme="SLP")).embedding.bank
    rates = {"sources": 0.1, "privates": 0.2, "logits": 0.3, "encoder": 0.4}
    groups = parameter_groups(bank, rates)
    assert {group["name"]: group["lr"] for group in groups} == rates
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in bank.parameters() if p.requires_grad}
    with pytest.raises(ValueError, match=r"rates must be given for .*'encoder'.*, got \['sources'\]"):
        parameter_groups(bank, {"sources": 0.1})
    bank.register_parameter("stray", nn.Parameter(torch.zeros(1)))
    with pytest.raises(ValueError, match=r"'stray'"):
        parameter_groups(bank, rates)

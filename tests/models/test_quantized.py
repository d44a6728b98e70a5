"""Prompts over language models whose weights bitsandbytes has quantized, on the CPU."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BitsAndBytesConfig, Trainer, TrainingArguments

from crosspt import CrossPTConfig, CrossPTModel, load
from crosspt.config.layout import PREDICTIONS_NAME
from crosspt.config.run import Compute
from crosspt.evaluation.answers import read_predictions
from crosspt.methods import METHODS
from crosspt.models.copying import own_copy
from crosspt.runs.evaluate import open_checkpoint
from tests.conftest import VOCABULARY, make_t5
from tests.models.causal_models import make_causal
from tests.runs.test_answering import rows_of
from tests.runs.travel.support import save_model
from tests.workspace import Workspace, crosspt, mistake

pytest.importorskip("bitsandbytes")

BITS: dict[int, dict[str, Any]] = {
    4: {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.float32},
    8: {"load_in_8bit": True},
}
IDS = torch.randint(3, VOCABULARY, (4, 7), generator=torch.Generator().manual_seed(0))
TASK_IDS = torch.tensor([0, 1, 1, 0])


def quantize(model: Any, bits: int, folder: Path) -> Any:
    model.save_pretrained(folder)
    config = BitsAndBytesConfig(**BITS[bits])
    return type(model).from_pretrained(folder, dtype=torch.float32, quantization_config=config).eval()


def prompt(model: Any) -> CrossPTModel:
    torch.manual_seed(0)
    return CrossPTModel(model, CrossPTConfig(tasks=["a", "b"], scheme="SLPN", prompt_length=4))


def make(family: str) -> Any:
    """A model wide enough for how bitsandbytes packs 4-bit weights for a CPU."""
    if family == "t5":
        return make_t5(d_model=64, d_kv=16, d_ff=128, dropout_rate=0.0)
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 16}
    return make_causal(family, vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, **heads)


def loss_of(model: CrossPTModel) -> torch.Tensor:
    return model(input_ids=IDS, task_ids=TASK_IDS, labels=IDS).loss


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("family", ["t5", "llama"])
class TestQuantized:
    def test_loss_and_gradients_are_those_of_the_same_weights_in_float(
        self, family: str, bits: int, tmp_path: Path
    ) -> None:
        whole = prompt(quantize(make(family), bits, tmp_path).dequantize())
        quantized = prompt(quantize(make(family), bits, tmp_path))
        losses = [loss_of(model) for model in (whole, quantized)]
        assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-2)
        for loss in losses:
            loss.backward()
        for name, parameter in quantized.learned().items():
            known = whole.learned()[name].grad
            assert torch.cosine_similarity(parameter.grad.flatten(), known.flatten(), dim=0) > 0.99, name
        assert quantized.count_parameters() == whole.count_parameters()

    def test_the_trainer_moves_the_prompts_alone(self, family: str, bits: int, tmp_path: Path) -> None:
        model = prompt(quantize(make(family), bits, tmp_path))
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        arguments = TrainingArguments(
            output_dir=str(tmp_path), max_steps=2, learning_rate=0.1, use_cpu=True, report_to="none"
        )
        rows: Any = [
            {"input_ids": ids, "labels": ids, "task_ids": task} for ids, task in zip(IDS, TASK_IDS, strict=True)
        ]
        Trainer(model=model, args=arguments, train_dataset=rows).train()
        learned = model.learned()
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, before[name]) is (name not in learned), name

    def test_saved_prompts_answer_alike(self, family: str, bits: int, tmp_path: Path) -> None:
        base = quantize(make(family), bits, tmp_path / "model")
        model = prompt(base)
        model.save_pretrained(tmp_path / "prompts")
        again = CrossPTModel.from_pretrained(base, tmp_path / "prompts")
        asked: dict[str, Any] = {"input_ids": IDS, "task_ids": TASK_IDS, "max_new_tokens": 3}
        assert torch.equal(again.generate(**asked), model.generate(**asked))


@pytest.mark.parametrize("bits", BITS)
def test_copies_share_the_weights_and_compute_alike(bits: int, tmp_path: Path) -> None:
    """Also where none has run yet: in 8 bits the first one would take the scales from the others."""
    first, second = (own_copy(base) for base in [quantize(make("t5"), bits, tmp_path)] * 2)
    wanted = quantize(make("t5"), bits, tmp_path)(input_ids=IDS, labels=IDS).logits
    assert all(torch.equal(model(input_ids=IDS, labels=IDS).logits, wanted) for model in (first, second))
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(one.data_ptr() == other.data_ptr() for one, other in pairs)


def train(workspace: Workspace, model: Path, folder: Path, *settings: object) -> Any:
    places = ["--model", model, "--data-dir", workspace.data, "--tasks", "mrpc,rte", "--output", folder]
    few = ["--shots", 4, "--test-rows", 6, "--epochs", 2, "--device", "cpu", "--label-set", "synthetic"]
    return crosspt("train", *places, *few, *settings, "--json")


def test_runs_of_one_model_answer_as_they_were_evaluated(workspace: Workspace, tmp_path: Path) -> None:
    model = save_model(quantize(make("t5"), 8, tmp_path / "whole"), tmp_path / "quantized")
    done = train(workspace, model, tmp_path / "run", "--stage2", "per_target", "--prompt-length", 3)
    assert done.status == 0, done.stderr
    run = open_checkpoint(tmp_path / "run")
    predictor = load(tmp_path / "run", compute=Compute(device="cpu", progress=False))
    kept = read_predictions(tmp_path / "run" / PREDICTIONS_NAME).rows
    for task in ("mrpc", "rte"):
        wanted = kept[(kept["task"] == task) & (kept["decode"] == "rank")]
        known = torch.tensor(wanted["log_probabilities"].tolist()).softmax(dim=1).amax(dim=1)
        found = torch.tensor([one["probability"] for one in predictor.predict(rows_of(run, task), task)])
        torch.testing.assert_close(found, known, rtol=0, atol=1e-2)  # batches of 8 bits do not compute quite alike


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_or_says_why_not(method: str, workspace: Workspace, tmp_path: Path) -> None:
    model = save_model(quantize(make("t5"), 8, tmp_path / "whole"), tmp_path / "quantized")
    done = train(workspace, model, tmp_path / "run", "--method", method)
    if method == "fine-tuning":
        assert "q.weight is quantized and cannot learn" in mistake(done)
        return
    assert done.status == 0, done.stderr
    assert all(math.isfinite(row["value"]) for row in done.json()["results"] if row["primary"])

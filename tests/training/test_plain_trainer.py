"""transformers' own trainers and Accelerate over a CrossPTModel."""

import copy
import pickle
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerFast,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainerCallback,
)

from crosspt import CrossPTConfig, CrossPTModel
from tests.conftest import make_t5
from tests.workspace import VOCABULARY, make_answering_t5, make_tokenizer

MODES = ["full", "isolated"]


def make_model(seed: int = 0, dropout: float = 0.1, **settings: Any) -> CrossPTModel:
    t5 = make_t5(vocab_size=len(VOCABULARY), dropout_rate=dropout, pad_token_id=0, eos_token_id=1)
    torch.manual_seed(seed)
    return CrossPTModel(t5, CrossPTConfig(tasks=["a", "b"], prompt_length=3, **settings))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


def make_rows(tokenizer: PreTrainedTokenizerFast, count: int = 8) -> list[dict[str, Any]]:
    texts = [" ".join(VOCABULARY[5 + number : 7 + 2 * number]) for number in range(count)]
    return [
        {**tokenizer(text), "labels": tokenizer(VOCABULARY[6]).input_ids, "task_ids": number % 2}
        for number, text in enumerate(texts)
    ]


def make_trainer(
    model: CrossPTModel, tokenizer: PreTrainedTokenizerFast, folder: Path, kind: Any = Trainer, **settings: Any
) -> Trainer:
    arguments: dict[str, Any] = {
        "per_device_train_batch_size": 4,
        "max_steps": 4,
        "learning_rate": 0.05,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "seed": 3,
        **settings,
    }
    rows = make_rows(tokenizer)
    return kind(
        model,
        Seq2SeqTrainingArguments(str(folder), **arguments),
        train_dataset=rows,
        eval_dataset=rows[:5],
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        processing_class=tokenizer,
    )


def prompts(model: CrossPTModel) -> Tensor:
    return model.embedding.compose().detach()


@pytest.mark.parametrize("mode", MODES)
def test_resumed_from_a_checkpoint_it_ends_bitwise_alike(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, mode: str
) -> None:
    saving = {"save_strategy": "steps", "save_steps": 2}
    unbroken = make_model(prefix_mode=mode)
    make_trainer(unbroken, tokenizer, tmp_path, **saving).train()
    saved = load_file(tmp_path / "checkpoint-2" / "model.safetensors")
    assert not any(name.startswith("base_model.") for name in saved)
    resumed = make_model(seed=7, prefix_mode=mode)
    make_trainer(resumed, tokenizer, tmp_path, **saving).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert torch.equal(prompts(resumed), prompts(unbroken))


def test_the_best_checkpoint_is_loaded_and_a_saved_model_opens(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = make_model()
    steps: dict[str, Any] = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    best: dict[str, Any] = {
        "load_best_model_at_end": True,
        "metric_for_best_model": "loss",
        "greater_is_better": True,  # the first, so that the last cannot be taken for it
    }
    trainer = make_trainer(model, tokenizer, tmp_path, **best, **steps)
    trainer.train()
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert losses[-1] < max(losses)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(max(losses), abs=1e-6)
    trainer.save_model(str(tmp_path / "saved"))
    opened = CrossPTModel.from_pretrained(make_t5(vocab_size=len(VOCABULARY)), tmp_path / "saved")
    assert torch.equal(prompts(opened), prompts(model))
    other = make_model(scheme="P")
    with pytest.raises(ValueError, match="the state was saved with other prompt settings than this model's"):
        other.load_state_dict(model.state_dict())


@pytest.mark.parametrize("mode", MODES)
def test_every_evaluation_sees_the_steps_before_it(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, mode: str
) -> None:
    model = make_model(prefix_mode=mode)
    trainer = make_trainer(model, tokenizer, tmp_path, eval_strategy="steps", eval_steps=1)
    assert trainer.args.optim.endswith("fused")
    trainer.train()
    seen = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(set(seen)) == 4
    assert copy.deepcopy(trainer).evaluate()["eval_loss"] == pytest.approx(seen[-1], abs=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_predictions_are_generated_with_the_prompt_of_each_row(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, mode: str
) -> None:
    torch.manual_seed(1)
    settings: dict[str, Any] = {"prefix_mode": mode}
    config = CrossPTConfig(tasks=["a", "b"], prompt_length=3, **settings)
    model = CrossPTModel(make_answering_t5(), config).eval()
    for prompt in (model.embedding.bank.sources, model.embedding.bank.privates):
        assert prompt is not None
        torch.nn.init.normal_(prompt, std=3)
    settings = {"predict_with_generate": True, "generation_max_length": 6, "generation_num_beams": 2}
    trainer: Any = make_trainer(model, tokenizer, tmp_path, Seq2SeqTrainer, **settings)
    rows = make_rows(tokenizer)
    found = trainer.predict(rows).predictions
    batch = DataCollatorForSeq2Seq(tokenizer)(rows)
    batch.pop("labels")
    expected = model.generate(**batch, max_length=6, num_beams=2).numpy()
    assert (found[:, : expected.shape[1]] == expected).all()
    swapped = model.generate(**{**batch, "task_ids": 1 - batch["task_ids"]}, max_length=6, num_beams=2).numpy()
    assert swapped.shape != expected.shape or (swapped != expected).any()


@pytest.mark.parametrize("mode", MODES)
def test_gradient_checkpointing_ends_with_the_same_prompts(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, mode: str
) -> None:
    ended = []
    for checkpointing in (False, True):
        model = make_model(prefix_mode=mode, dropout=0.0)
        make_trainer(model, tokenizer, tmp_path, gradient_checkpointing=checkpointing).train()
        ended.append(prompts(model))
    torch.testing.assert_close(*ended)


class Reporter(TrainerCallback):
    """Asks of a model what reporting integrations ask."""

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        assert "prompt_length" in model.config.to_json_string()
        assert model.config.to_dict()["tasks"] == ["a", "b"]


@pytest.mark.parametrize("settings", [{"label_smoothing_factor": 0.1}, {"neftune_noise_alpha": 5.0}], ids=str)
def test_features_of_the_trainer_take_effect(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, settings: dict[str, float]
) -> None:
    ended = []
    for extra in ({}, settings):
        model = make_model()
        trainer = make_trainer(model, tokenizer, tmp_path, **extra)
        trainer.add_callback(Reporter())
        trainer.train()
        ended.append(prompts(model))
    assert not torch.equal(*ended)
    assert torch.equal(model(**batch_of(tokenizer, model)).logits, model(**batch_of(tokenizer, model)).logits)


def batch_of(tokenizer: PreTrainedTokenizerFast, model: CrossPTModel) -> dict[str, Tensor]:
    model.eval()
    return dict(DataCollatorForSeq2Seq(tokenizer)(make_rows(tokenizer)))


def test_accelerate_saves_and_loads_the_prompts_and_not_the_t5(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    accelerator = accelerate.Accelerator(cpu=True)
    model = make_model()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    prepared(**batch_of(tokenizer, model)).loss.backward()
    optimizer.step()
    accelerator.save_state(str(tmp_path / "state"))
    assert set(load_file(tmp_path / "state" / "model.safetensors")) == set(model.state_dict())
    expected = prompts(model)
    torch.nn.init.normal_(model.embedding.bank.logits)
    accelerator.load_state(str(tmp_path / "state"))
    assert torch.equal(prompts(model), expected)
    unwrapped = accelerator.unwrap_model(prepared)
    idiom = {"save_function": accelerator.save, "state_dict": accelerator.get_state_dict(prepared)}
    unwrapped.save_pretrained(tmp_path / "others", is_main_process=False, **idiom)
    assert not (tmp_path / "others").exists()
    unwrapped.save_pretrained(tmp_path / "main", is_main_process=True, **idiom)
    opened = CrossPTModel.from_pretrained(make_t5(vocab_size=len(VOCABULARY)), tmp_path / "main")
    assert torch.equal(prompts(opened), expected)
    with pytest.raises(TypeError, match="save_pretrained: got unexpected variant"):
        unwrapped.save_pretrained(tmp_path / "main", variant="fp16")


@pytest.mark.parametrize("mode", MODES)
def test_copies_and_offloaded_models_answer_alike(tokenizer: PreTrainedTokenizerFast, mode: str) -> None:
    model = make_model(prefix_mode=mode).eval()
    batch = batch_of(tokenizer, model)
    with torch.no_grad():
        expected = model(**batch).logits
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(other(**batch).logits, expected)
            assert torch.equal(
                other.generate(batch["input_ids"], task_ids=batch["task_ids"], num_beams=2, max_new_tokens=4),
                model.generate(batch["input_ids"], task_ids=batch["task_ids"], num_beams=2, max_new_tokens=4),
            )
    t5 = accelerate.cpu_offload(make_t5(vocab_size=len(VOCABULARY)), execution_device=torch.device("cpu"))
    assert next(t5.parameters()).device.type == "meta"
    torch.manual_seed(0)
    offloaded = CrossPTModel(t5, model.config).eval()
    assert offloaded.device.type == "cpu"
    with torch.no_grad():
        assert torch.equal(offloaded(**batch).logits, expected)

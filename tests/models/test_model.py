import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor
from transformers import MT5Config, MT5ForConditionalGeneration

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.storage import load_source_prompts
from tests.conftest import VOCABULARY, make_t5

TASKS = ["mrpc", "rte"]
Batch = Callable[..., dict[str, Tensor]]


def make_model(version: str = "1.0", scheme: str = "SLPN", **settings: Any) -> CrossPTModel:
    torch.manual_seed(0)
    return CrossPTModel(make_t5(version), CrossPTConfig(tasks=TASKS, scheme=scheme, prompt_length=3, **settings)).eval()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_forward(version: str, batch: Batch) -> None:
    model, rows = make_model(version), batch()
    output = model(**rows)
    assert output.logits.shape == (4, 3, VOCABULARY)
    assert output.encoder_last_hidden_state.shape == (4, 10, 16)
    embeds, mask = model.embedding(rows["input_ids"], rows["attention_mask"], rows["task_ids"])
    expected = model.base_model(inputs_embeds=embeds, attention_mask=mask, labels=rows["labels"])
    assert torch.equal(output.loss, expected.loss)


def test_a_mixed_batch_equals_its_rows_alone(batch: Batch) -> None:
    model, rows = make_model(), batch(rows=6)
    with torch.no_grad():
        together = model(**rows).logits
        for row in range(6):
            tokens = int(rows["attention_mask"][row].sum())
            alone: dict[str, Any] = {name: value[row : row + 1] for name, value in rows.items()}
            alone["input_ids"], alone["attention_mask"] = alone["input_ids"][:, :tokens], None
            torch.testing.assert_close(model(**alone).logits[0], together[row], rtol=1e-4, atol=1e-5)


def test_tasks_differ(batch: Batch) -> None:
    model, rows = make_model(), batch()
    with torch.no_grad():
        ours = model(**rows).logits
        swapped = model(**{**rows, "task_ids": 1 - rows["task_ids"]}).logits
    assert (ours - swapped).abs().max() > 1e-3


def test_only_the_prompts_learn(batch: Batch) -> None:
    model = make_model()
    before = {name: p.clone() for name, p in model.base_model.named_parameters()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    model(**batch()).loss.backward()
    optimizer.step()
    assert all(torch.equal(p, before[name]) for name, p in model.base_model.named_parameters())
    assert all(p.grad is not None for p in model.embedding.bank.parameters())


@pytest.mark.parametrize(
    "options",
    [{"num_beams": 1}, {"num_beams": 3}, {"do_sample": True, "top_k": 5}, {"num_beams": 3, "num_return_sequences": 2}],
    ids=str,
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_generate_equals_a_plain_t5_on_the_same_embeddings(version: str, options: dict[str, Any], batch: Batch) -> None:
    model, rows = make_model(version), batch()
    rows.pop("labels")
    torch.manual_seed(1)
    ours = model.generate(**rows, max_new_tokens=5, **options)
    embeds, mask = model.embedding(**rows)
    torch.manual_seed(1)
    t5: Any = model.base_model
    theirs = t5.generate(inputs_embeds=embeds.detach(), attention_mask=mask, max_new_tokens=5, **options)
    assert torch.equal(ours, theirs)


def test_generate_takes_a_task_for_every_row(batch: Batch) -> None:
    model, rows = make_model(), batch(rows=6)
    rows.pop("labels")
    together = model.generate(**rows, max_new_tokens=6, do_sample=False)
    for row in range(6):
        alone = model.generate(**{k: v[row : row + 1] for k, v in rows.items()}, max_new_tokens=6, do_sample=False)
        assert torch.equal(alone[0], together[row, : alone.shape[1]])


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_logits_equal_pefts_prompt_tuning(version: str, batch: Batch) -> None:
    model = CrossPTModel(make_t5(version), CrossPTConfig(tasks=["rte"], scheme="P", encoder="none", prompt_length=3))
    peft_config = peft.PromptTuningConfig(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=3, num_transformer_submodules=1, token_dim=16
    )
    other: Any = peft.get_peft_model(make_t5(version), peft_config).eval()
    with torch.no_grad():
        other.prompt_encoder["default"].embedding.weight.copy_(model.embedding.compose()[0])
        rows = batch()
        rows.pop("task_ids")
        ours, theirs = model.eval()(**rows), other(**rows)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=0, atol=1e-6)


def test_gradient_checkpointing_gives_the_same_gradients(batch: Batch) -> None:
    gradients = []
    for checkpointing in (False, True):
        model, rows = make_model(), batch()
        if checkpointing:
            model.base_model.gradient_checkpointing_enable()
        model.train()
        torch.manual_seed(3)
        model(**rows).loss.backward()
        gradients.append([p.grad for p in model.embedding.bank.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_bfloat16_model_keeps_prompts_in_float32(batch: Batch) -> None:
    model = CrossPTModel(make_t5().bfloat16(), CrossPTConfig(tasks=TASKS))
    output = model(**batch())
    assert output.logits.dtype == torch.bfloat16
    output.loss.backward()
    assert {p.grad.dtype for p in model.embedding.bank.parameters() if p.grad is not None} == {torch.float32}


def test_mt5_and_float16_and_foreign_models() -> None:
    config = MT5Config(vocab_size=48, d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2)
    mt5: Any = MT5ForConditionalGeneration(config)
    CrossPTModel(mt5, CrossPTConfig(tasks=TASKS))
    with pytest.warns(UserWarning, match="overflows in float16"):
        CrossPTModel(make_t5().half(), CrossPTConfig(tasks=TASKS))
    with pytest.raises(
        TypeError, match=r"^CrossPTModel: expected a language model with a head of one of t5, .*, got T5Stack"
    ):
        CrossPTModel(make_t5().encoder, CrossPTConfig(tasks=TASKS))  # the error under test


def test_print_trainable_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model()
    model.print_trainable_parameters()
    expected = (2 + 2) * 3 * 16 + 16 * 16 + 16 + 2 * 3
    total = expected + sum(p.numel() for p in model.base_model.parameters())
    assert capsys.readouterr().out == (
        f"trainable params: {expected:,} || all params: {total:,} || trainable%: {100 * expected / total:.4f}\n"
    )


def test_prompts_of_another_t5_or_mode_warn_by_name(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"prefix_mode": "isolated"}
    trained = make_t5()
    trained.config.name_or_path = "google/one"
    CrossPTModel(trained, CrossPTConfig(tasks=["a"], scheme="P", **settings)).save_pretrained(tmp_path)
    same, other = make_t5(), make_t5()
    same.config.name_or_path, other.config.name_or_path = "models/one", "two"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CrossPTModel.from_pretrained(same, tmp_path)
    with pytest.warns(UserWarning, match=r"were trained on one \(t5, 48 tokens\), not on two \(t5, 48 tokens\)"):
        CrossPTModel.from_pretrained(other, tmp_path)
    sources = load_source_prompts([tmp_path], 16)
    config = CrossPTConfig(tasks=["b"], source_tasks=["a"], scheme="SIP", prompt_length=sources["a"].shape[0])
    with pytest.warns(UserWarning, match="the source prompts of a") as said:
        CrossPTModel(other, config, source_prompts=sources)
    texts = [str(warning.message) for warning in said]
    assert any("not on two" in text for text in texts)
    assert any("were trained with prefix_mode 'isolated', not 'full'" in text for text in texts)

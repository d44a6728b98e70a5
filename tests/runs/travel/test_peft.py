"""Exported adapters in PEFT itself, beside CrossPTModel and beside prompts that are put in front."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from crosspt import CrossPTModel
from crosspt.runs.travel.prefix import keys_and_values
from crosspt.runs.travel.prompts import TaskRows
from crosspt.storage import load_prompts
from tests.conftest import make_t5
from tests.models.causal_models import make_causal
from tests.models.encoder_decoder_models import make_encoder_decoder
from tests.runs.travel.support import (
    LENGTH,
    TASKS,
    export,
    make_batch,
    make_prompted,
    save_model,
    save_rows,
)

peft = pytest.importorskip("peft", reason="PEFT is what the adapters are compared in")
LABELS = torch.tensor([[3, 4, 1], [5, 1, -100], [6, 7, 1], [8, 1, -100]])


def in_peft(model: Any, folder: Path) -> Any:
    return peft.PeftModel.from_pretrained(model, folder).eval()


def opened(model: Any, run: Path) -> CrossPTModel:
    """The model behind the prompts of a folder."""
    model.config.name_or_path = load_prompts(run).base_model["name"]
    return CrossPTModel.from_pretrained(model, run).eval()


@pytest.fixture(params=["1.0", "1.1"])
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@torch.no_grad()
def test_a_t5_with_an_adapter_a_task(version: str, tmp_path: Path) -> None:
    ours, batch = make_prompted(version), make_batch()
    ours.save_pretrained(tmp_path / "run")
    folder = export(tmp_path / "run", "peft", tmp_path / "peft")
    assert sorted(path.name for path in folder.iterdir()) == sorted(TASKS)
    text = {name: batch[name] for name in ("input_ids", "attention_mask")}
    seen = []
    for index, task in enumerate(TASKS):
        theirs, ids = in_peft(make_t5(version), folder / task), torch.full((4,), index)
        logits = theirs(**text, labels=LABELS).logits
        assert torch.equal(logits, ours(**text, task_ids=ids, labels=LABELS).logits)
        answers = theirs.generate(**text, max_new_tokens=5)
        assert torch.equal(answers, ours.generate(**text, task_ids=ids, max_new_tokens=5))
        seen.append(logits)
    assert not torch.equal(seen[0], seen[1])


@torch.no_grad()
def test_a_t5_with_one_adapter_for_mixed_batches(version: str, tmp_path: Path) -> None:
    ours, batch = make_prompted(version), make_batch()
    ours.save_pretrained(tmp_path / "run")
    theirs = in_peft(make_t5(version), export(tmp_path / "run", "peft-multitask", tmp_path / "peft"))
    assert torch.equal(theirs(**batch, labels=LABELS).logits, ours(**batch, labels=LABELS).logits)
    assert torch.equal(theirs.generate(**batch, max_new_tokens=5), ours.generate(**batch, max_new_tokens=5))


@torch.no_grad()
def test_another_encoder_decoder(tmp_path: Path) -> None:
    """One that scales its embeddings, in the module that embeds."""
    bart, batch = make_encoder_decoder("bart", tie_word_embeddings=True), make_batch()
    save_rows(tmp_path / "run", bart)
    ours = opened(bart, tmp_path / "run")
    wanted = ours(**batch, labels=LABELS).logits
    theirs = in_peft(bart, export(tmp_path / "run", "peft-multitask", tmp_path / "multitask"))
    assert torch.equal(theirs(**batch, labels=LABELS).logits, wanted)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma"])
def test_causal_models(kind: str, tmp_path: Path) -> None:
    model, batch = make_causal(kind), make_batch()
    save_rows(tmp_path / "run", model)
    ours = opened(model, tmp_path / "run")
    text = {name: batch[name] for name in ("input_ids", "attention_mask")}
    kept = torch.cat((torch.ones(4, LENGTH), batch["attention_mask"]), dim=1).bool()
    theirs = in_peft(make_causal(kind), export(tmp_path / "run", "peft", tmp_path / "peft") / TASKS[1])
    wanted = ours(**text, task_ids=torch.ones(4, dtype=torch.int64)).logits[kept]
    assert torch.equal(theirs(**text).logits[kept], wanted)
    theirs = in_peft(make_causal(kind), export(tmp_path / "run", "peft-multitask", tmp_path / "multitask"))
    assert torch.equal(theirs(**batch).logits[kept], ours(**batch).logits[kept])


PREFIXES: dict[str, dict[str, Any]] = {
    "llama": {},
    "gpt2": {},
    "qwen3": {},
    "gemma": {"num_key_value_heads": 1, "head_dim": 12},
    "gemma3_text": {"sliding_window": 8},  # which ends in the text
    "mistral": {"sliding_window": 5},
    "stablelm": {},
}


@torch.no_grad()
@pytest.mark.parametrize("kind", PREFIXES)
def test_prefixes_are_what_prompts_leave(kind: str, tmp_path: Path) -> None:
    """Grouped heads of any width, learned, rotary and half rotary positions, scaled embeddings, windows."""
    model, batch = make_causal(kind, **PREFIXES[kind]), make_batch()
    save_rows(tmp_path / "run", model, save_model(model, tmp_path / "model"))
    ours, folder = opened(model, tmp_path / "run"), export(tmp_path / "run", "prefix", tmp_path / "prefix")
    text, kept = {name: batch[name] for name in ("input_ids", "attention_mask")}, batch["attention_mask"].bool()
    for index in (0, 2):
        theirs, ids = in_peft(make_causal(kind, **PREFIXES[kind]), folder / TASKS[index]), torch.full((4,), index)
        wanted = ours(**text, task_ids=ids).logits[:, LENGTH:]
        torch.testing.assert_close(theirs(**text).logits[kept], wanted[kept], rtol=1e-5, atol=1e-5)
    assert (model(**text).logits - wanted)[kept].abs().max() > 0.1 * wanted.abs().max()
    whole = {name: rows[:3] for name, rows in text.items()}
    answers = theirs.generate(**whole, max_new_tokens=5)
    assert torch.equal(answers, ours.generate(**whole, task_ids=ids[:3], max_new_tokens=5))


SMALL: dict[str, Any] = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2}
RANKS: dict[str, Any] = {
    "kv_lora_rank": 4,
    "q_lora_rank": 4,
    "qk_rope_head_dim": 2,
    "qk_nope_head_dim": 4,
    "v_head_dim": 4,
}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: DeepseekV3ForCausalLM(DeepseekV3Config(**SMALL, **RANKS, num_attention_heads=4)),
            r"its 2 layers must keep keys and values of one shape, got \(1, 1, 3, 2\), \(1, 1, 3, 4\)",
        ),
        (lambda: MambaForCausalLM(MambaConfig(**SMALL, state_size=2)), "keys and values of one shape, got nothing"),
        (
            lambda: make_causal("mistral", sliding_window=LENGTH),
            r"its layers must keep \(tasks, heads, m = 3, width\), got \(1, 2, 2, 8\)",
        ),
    ],
)
def test_layers_that_keep_something_else(model: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        keys_and_values(model().eval(), TaskRows(["rte"], torch.zeros(1, LENGTH, 32), {}))
    assert "cannot be prefix-tuned by PEFT: " in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_key_value_heads", 4, "PEFT reads 4 heads of width 8, its layers keep 2 of 8"),
        ("head_dim", 4, "PEFT reads 2 heads of width 4, its layers keep 2 of 8"),
        ("global_head_dim", 8, "PEFT reads keys of the widest layer's shape in all layers, and these differ"),
    ],
)
def test_a_configuration_that_peft_reads_otherwise(name: str, value: int, message: str) -> None:
    model = make_causal("llama")
    setattr(model.config, name, value)
    with pytest.raises(ValueError, match=message):
        keys_and_values(model, TaskRows(["rte"], torch.zeros(1, LENGTH, 32), {}))


def test_what_the_files_say(tmp_path: Path) -> None:
    make_prompted().save_pretrained(tmp_path / "run")
    folder = export(tmp_path / "run", "peft", tmp_path / "peft") / "rte"
    settings = json.loads((folder / "adapter_config.json").read_text())
    wanted = {"task_type": "SEQ_2_SEQ_LM", "num_transformer_submodules": 1, "inference_mode": True}
    assert {key: settings[key] for key in wanted} == wanted
    assert settings["base_model_name_or_path"] == "t5-tiny"
    (tensor,) = load_file(folder / "adapter_model.safetensors").values()
    assert tensor.dtype == torch.float32
    other = export(tmp_path / "run", "peft", tmp_path / "other", "--model", "elsewhere")
    assert json.loads((other / "rte" / "adapter_config.json").read_text())["base_model_name_or_path"] == "elsewhere"

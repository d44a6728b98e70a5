"""Exported adapters in PEFT itself, beside CrossPTModel and beside prompts that are put in front."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from crosspt.runs.travel.prefix import keys_and_values
from crosspt.runs.travel.prompts import TaskRows
from tests.conftest import make_t5
from tests.runs.travel.support import (
    LENGTH,
    TASKS,
    export,
    make_batch,
    make_causal,
    make_prompted,
    prepended,
    save_model,
    save_rows,
)
from tests.workspace import crosspt, mistake

peft = pytest.importorskip("peft", reason="PEFT is what the adapters are compared in")
LABELS = torch.tensor([[3, 4, 1], [5, 1, -100], [6, 7, 1], [8, 1, -100]])


def in_peft(model: Any, folder: Path) -> Any:
    return peft.PeftModel.from_pretrained(model, folder).eval()


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


def exported(kind: str, target: str, folder: Path, **settings: Any) -> tuple[Any, Tensor, Path]:
    """A causal model, its prompts and what was exported of them."""
    model = make_causal(kind, **settings)
    name = save_model(model, folder / "model") if target == "prefix" else "model"
    prompts = save_rows(folder / "run", model, name)
    return model, prompts, export(folder / "run", target, folder / target)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma"])
def test_causal_models(kind: str, tmp_path: Path) -> None:
    model, prompts, folder = exported(kind, "peft", tmp_path)
    batch = make_batch()
    text = {name: batch[name] for name in ("input_ids", "attention_mask")}
    theirs = in_peft(make_causal(kind), folder / TASKS[1])
    assert torch.equal(theirs(**text).logits, model(**prepended(model, prompts[1], batch)).logits)
    theirs = in_peft(make_causal(kind), export(tmp_path / "run", "peft-multitask", tmp_path / "multitask"))
    assert torch.equal(theirs(**batch).logits, model(**prepended(model, prompts, batch)).logits)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3", "gemma", "gemma3", "mistral"])
def test_prefixes_are_what_prompts_leave(kind: str, tmp_path: Path) -> None:
    """Grouped heads of any width, learned and rotary positions, scaled embeddings, windows that end in the text."""
    model, prompts, folder = exported(kind, "prefix", tmp_path)
    batch = make_batch()
    text, kept = {name: batch[name] for name in ("input_ids", "attention_mask")}, batch["attention_mask"].bool()
    for index in (0, 2):
        theirs = in_peft(make_causal(kind), folder / TASKS[index])
        wanted = model(**prepended(model, prompts[index], batch)).logits[:, LENGTH:]
        torch.testing.assert_close(theirs(**text).logits[kept], wanted[kept], rtol=1e-5, atol=1e-5)
    assert (model(**text).logits - wanted)[kept].abs().max() > 0.1
    whole = {name: rows[:3] for name, rows in batch.items()}
    answers = theirs.generate(whole["input_ids"], attention_mask=whole["attention_mask"], max_new_tokens=5)
    wanted = model.generate(**prepended(model, prompts[2], whole), max_new_tokens=5)
    assert torch.equal(answers[:, whole["input_ids"].shape[1] :], wanted)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("deepseek_v3", {}, r"keys and values of one shape, got (3, 1, 3, 2), (3, 1, 3, 4)"),
        ("mamba", {}, "keys and values of one shape, got nothing"),
        ("mistral", {"sliding_window": LENGTH}, r"must keep (tasks, heads, m = 3, width), got (3, 2, 2, 4)"),
    ],
)
def test_layers_that_keep_something_else(kind: str, settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    model = make_causal(kind, **settings)
    save_rows(tmp_path / "run", model, save_model(model, tmp_path / "model"))
    line = mistake(crosspt("export", tmp_path / "run", "--to", "prefix", "--output", tmp_path / "prefix"))
    assert line.startswith(f"crosspt export: {type(model).__name__} cannot be prefix-tuned by PEFT: ")
    assert message in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "run"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_key_value_heads", 4, "PEFT reads 4 heads of width 4, its layers keep 2 of 4"),
        ("head_dim", 8, "PEFT reads 2 heads of width 8, its layers keep 2 of 4"),
        ("global_head_dim", 8, "PEFT reads keys of the widest layer's shape in all layers, and these differ"),
    ],
)
def test_a_configuration_that_peft_reads_otherwise(name: str, value: int, message: str) -> None:
    model = make_causal("llama")
    setattr(model.config, name, value)
    with pytest.raises(ValueError, match=message):
        keys_and_values(model, TaskRows(["rte"], torch.zeros(1, LENGTH, 16), {}))


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

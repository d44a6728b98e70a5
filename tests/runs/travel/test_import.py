"""Prompts that PEFT, ATTEMPT and DePT have saved, as source prompts."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from crosspt import CrossPTModel
from crosspt.storage import load_prompts, load_source_prompts
from tests.conftest import make_t5
from tests.runs.travel.support import (
    LENGTH,
    TASKS,
    export,
    make_batch,
    make_prompted,
    save_adapter,
    save_model,
    save_rows,
)
from tests.workspace import Workspace, crosspt

SETTINGS: dict[str, Any] = {"task_type": "SEQ_2_SEQ_LM", "num_virtual_tokens": LENGTH}


def imported(source: Path, output: Path, *arguments: object) -> dict[str, Tensor]:
    """The prompts by task, as ``crosspt train`` takes them; a warning is on stderr."""
    outcome = crosspt("import", source, "--output", output, *arguments)
    assert outcome.status == 0, outcome.stderr
    return dict(load_source_prompts([output], d_model=16))


@pytest.mark.parametrize("target", ["peft", "peft-multitask"])
def test_there_and_back_are_the_same_bits(target: str, tmp_path: Path) -> None:
    ours = make_prompted()
    ours.save_pretrained(tmp_path / "run")
    saved = load_prompts(tmp_path / "run")
    imported(export(tmp_path / "run", target, tmp_path / "there"), tmp_path / "back")
    back = load_prompts(tmp_path / "back")
    order = sorted(TASKS) if target == "peft" else TASKS
    assert (back.config.tasks, back.base_model) == (order, saved.base_model)
    for task in TASKS:
        here, there = back.prompts[order.index(task)], saved.prompts[TASKS.index(task)]
        assert torch.equal(here.view(torch.int32), there.view(torch.int32))
    again = CrossPTModel.from_pretrained(ours.base_model, tmp_path / "back").eval()
    batch = make_batch()
    labels = {"labels": batch["input_ids"]}
    with torch.no_grad():
        wanted = ours(**batch, **labels).logits
        ids = torch.tensor([order.index(TASKS[index]) for index in batch["task_ids"]])
        assert torch.equal(again(**{**batch, "task_ids": ids}, **labels).logits, wanted)


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "prompt tuning": ("PromptTuningConfig", {"num_transformer_submodules": 1}),
    "prompt tuning with rows for the decoder": ("PromptTuningConfig", {}),
    "p-tuning": ("PromptEncoderConfig", {"num_transformer_submodules": 1, "encoder_hidden_size": 8}),
    "multitask": ("MultitaskPromptTuningConfig", {"num_transformer_submodules": 1, "num_tasks": 3, "num_ranks": 2}),
}


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_what_peft_has_saved(kind: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="PEFT is what the adapters are compared in")
    torch.manual_seed(0)
    name, settings = KINDS[kind]
    theirs = peft.get_peft_model(make_t5(), getattr(peft, name)(**SETTINGS, **settings)).eval()
    for parameter in theirs.prompt_encoder.parameters():
        nn.init.normal_(parameter)
    theirs.save_pretrained(tmp_path / "theirs")
    count = 3 if kind == "multitask" else 1
    task = ",".join(TASKS[:count])
    arguments = ["--task", task, "--model", save_model(make_t5(), tmp_path / "t5")]
    said = pytest.warns(match="the rows for the decoder, which PEFT never uses, are left out")
    with said if "rows" in kind else nullcontext():
        imported(tmp_path / "theirs", tmp_path / "ours", *arguments)
    t5 = make_t5()
    t5.config.name_or_path = str(tmp_path / "t5")
    ours = CrossPTModel.from_pretrained(t5, tmp_path / "ours").eval()
    batch = make_batch()
    for index in range(count):
        inputs = {**batch, "task_ids": torch.full((4,), index), "labels": batch["input_ids"]}
        logits = theirs(**{key: value for key, value in inputs.items() if count > 1 or key != "task_ids"}).logits
        assert torch.equal(ours(**inputs).logits, logits)


def test_attempts_files(tmp_path: Path) -> None:
    prompts = nn.Parameter(torch.randn(2, LENGTH, 16))
    for index, name in enumerate(["prefix_embeddings_rte", "mrpc_prefix_embeddings"]):  # rows of one parameter, or one
        torch.save(prompts[index] if index else nn.Parameter(prompts[index].detach()), tmp_path / f"{name}.pt")
    torch.save(nn.Parameter(torch.randn(4, 16)), tmp_path / "attn_W_down.pt")
    found = imported(tmp_path, tmp_path / "both")
    assert list(found) == ["mrpc", "rte"]
    assert torch.equal(found["rte"], prompts[0].detach())
    assert torch.equal(found["mrpc"], prompts[1].detach())
    one = imported(tmp_path / "prefix_embeddings_rte.pt", tmp_path / "one", "--task", "qnli")
    assert torch.equal(one["qnli"], prompts[0].detach())
    with (
        pytest.warns(match="the attention over the source prompts is left out, the prompt alone is imported"),
        pytest.warns(match="the files do not say which model their prompts were trained on; --model does"),
    ):
        imported(tmp_path / "prefix_embeddings_rte.pt", tmp_path / "warned")
    unknown = {"name": None, "model_type": None, "d_model": 16, "vocab_size": None}
    assert load_prompts(tmp_path / "warned").base_model == unknown


def test_depts_folder(tmp_path: Path) -> None:
    config = {"peft_type": "PROMPT_TUNING_LORA", "num_transformer_submodules": 1, "r": 2}
    save_adapter(tmp_path / "cola", config, without="adapter_model.safetensors")
    prompt = torch.randn(LENGTH, 16)
    offsets = {f"prompt_encoder.lora_embedding_{side}": torch.randn(2, 2) for side in "AB"}
    torch.save({"prompt_embeddings": prompt, **offsets}, tmp_path / "cola" / "adapter_model.bin")
    assert torch.equal(imported(tmp_path / "cola", tmp_path / "ours")["cola"], prompt)
    with pytest.warns(match="the offsets of the text's tokens are left out, the prompt alone is imported"):
        imported(tmp_path / "cola" / "adapter_model.bin", tmp_path / "ours")


def test_source_prompts_of_a_run(workspace: Workspace, tmp_path: Path) -> None:
    save_rows(tmp_path / "saved", make_t5(), workspace.model)
    export(tmp_path / "saved", "peft", tmp_path / "peft", "--model", workspace.model)
    imported(tmp_path / "peft", tmp_path / "sources", "--model", workspace.model)
    settings = ["--scheme", "SIP", "--tasks", "mrpc", "--source-tasks", "rte,sst2", "--prompt-length", LENGTH]
    outcome = workspace.train(tmp_path / "run", *settings, "--source-prompts", tmp_path / "sources", "--decode", "rank")
    assert outcome.status == 0, outcome.stderr
    assert "were trained on" not in outcome.stderr
    sources = load_prompts(tmp_path / "run").state["sources"]
    assert torch.equal(sources, load_prompts(tmp_path / "saved").prompts[1:])

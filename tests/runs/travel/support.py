"""Folders of saved prompts and of other libraries' adapters, and what the commands make of them."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.models.family import describe, width
from crosspt.storage import SavedPrompts, save_prompts
from tests.conftest import VOCABULARY, make_t5
from tests.workspace import crosspt, make_tokenizer, mistake

TASKS = ["mrpc", "rte", "sst2"]
LENGTH = 3


def make_prompted(version: str = "1.0", scheme: str = "SLPN", **settings: Any) -> CrossPTModel:
    """A T5 behind prompts that have moved away from where they start."""
    torch.manual_seed(0)
    config = CrossPTConfig(tasks=TASKS, scheme=scheme, prompt_length=LENGTH)
    model = CrossPTModel(make_t5(version, **settings), config)
    model.base_model.config.name_or_path = "t5-tiny"
    for parameter in model.embedding.bank.parameters():
        torch.nn.init.normal_(parameter)
    return model.eval()


def save_model(model: Any, folder: Path) -> Path:
    """A folder with a model and a tokenizer, which has a token that begins texts, as some engines ask for."""
    model.save_pretrained(folder)
    tokenizer = make_tokenizer()
    tokenizer.bos_token = "</s>"
    tokenizer.save_pretrained(folder)
    return folder


def save_rows(folder: Path, model: Any, name: str | Path = "model", **changes: Any) -> Tensor:
    """A folder of saved prompts for a model, and the prompts (T, m, d)."""
    config = CrossPTConfig(tasks=TASKS, scheme="P", prompt_length=LENGTH, encoder="none", **changes)
    origin = {**describe(model), "name": str(name)}
    prompts = torch.randn(len(TASKS), LENGTH, width(model), generator=torch.Generator().manual_seed(1))
    save_prompts(folder, SavedPrompts(config, origin, {"privates": prompts}, prompts.clone()))
    return prompts


def export(run: Path, target: str, output: Path, *arguments: object) -> Path:
    """The folder that a command has written."""
    outcome = crosspt("export", run, "--to", target, "--output", output, *arguments)
    assert outcome.status == 0, outcome.stderr
    return output


def save_adapter(
    folder: Path,
    config: dict[str, Any],
    tensors: dict[str, Tensor] | None = None,
    *,
    without: str = "",
    damaged: str = "",
) -> Path:
    """A folder with an adapter of a T5, by default with one prompt; a file may be missing, or hold something else."""
    folder.mkdir(parents=True)
    settings = {"peft_type": "PROMPT_TUNING", "task_type": "SEQ_2_SEQ_LM", "num_virtual_tokens": LENGTH}
    (folder / "adapter_config.json").write_text(json.dumps({**settings, **config}))
    prompt = {"prompt_embeddings": torch.randn(LENGTH, 16)}
    save_file(prompt if tensors is None else tensors, folder / "adapter_model.safetensors")
    if damaged:
        (folder / damaged).write_text("{")
    if without:
        (folder / without).unlink()
    return folder


def refused_import(source: Path, folder: Path, *arguments: object) -> str:
    """The line that an import ends with, which writes nothing."""
    line = mistake(crosspt("import", source, "--output", folder / "imported", *arguments))
    assert not (folder / "imported").exists()
    return line


def make_batch() -> dict[str, Tensor]:
    """Rows of all tasks, padded on the right, and of one length but for the last."""
    ids = torch.randint(3, VOCABULARY, (4, 7), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[3, 5:] = 0
    return {"input_ids": ids.masked_fill(mask == 0, 0), "attention_mask": mask, "task_ids": torch.tensor([0, 1, 2, 1])}

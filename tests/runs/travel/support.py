"""Small causal language models with random weights, and folders of saved prompts for them."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.storage import SavedPrompts, save_prompts
from tests.conftest import VOCABULARY, make_t5
from tests.workspace import crosspt, make_tokenizer, mistake

TASKS = ["mrpc", "rte", "sst2"]
LENGTH = 3
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
CAUSAL: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 2}),
    "gpt2": (GPT2LMHeadModel, GPT2Config, {}),  # learned positions, a tied head
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"num_key_value_heads": 2, "head_dim": 6}),
    "gemma": (GemmaForCausalLM, GemmaConfig, {"num_key_value_heads": 1, "head_dim": 8}),  # scaled embeddings
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig, {"num_key_value_heads": 1, "head_dim": 8, "sliding_window": 8}),
    "mistral": (MistralForCausalLM, MistralConfig, {"num_key_value_heads": 2, "sliding_window": 5}),
    "mamba": (MambaForCausalLM, MambaConfig, {"state_size": 2}),
    "deepseek_v3": (
        DeepseekV3ForCausalLM,
        DeepseekV3Config,
        {"kv_lora_rank": 4, "q_lora_rank": 4, "qk_rope_head_dim": 2, "qk_nope_head_dim": 4, "v_head_dim": 4},
    ),
}


def make_causal(kind: str, **settings: Any) -> Any:
    """A causal language model in eval mode, of weights so large that what attention reads shows in the logits."""
    model, config, own = CAUSAL[kind]
    sizes = {"vocab_size": VOCABULARY, **SIZES, **own, **settings}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = model(config(**sizes)).eval().requires_grad_(False)
        for parameter in made.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    return made


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
    width = model.config.get_text_config().hidden_size
    prompts = torch.randn(len(TASKS), LENGTH, width, generator=torch.Generator().manual_seed(1))
    origin = {
        "name": str(name),
        "model_type": model.config.model_type,
        "d_model": width,
        "vocab_size": model.config.vocab_size,
    }
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


def prepended(model: Any, prompts: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Embedded rows with the prompt (m, d) of each row's task, or one for all, in front of them, and their mask."""
    ids, mask = batch["input_ids"], batch["attention_mask"]
    own = prompts[batch["task_ids"]] if prompts.ndim == 3 else prompts.expand(len(ids), -1, -1)
    embeds = torch.cat((own, model.get_input_embeddings()(ids)), dim=1)
    return {"inputs_embeds": embeds, "attention_mask": torch.cat((mask.new_ones(own.shape[:2]), mask), dim=1)}

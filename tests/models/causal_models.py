"""A small random causal language model of every family that is supported, weights large enough to tell things apart."""

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

VOCABULARY = 60
SPECIAL = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    **SPECIAL,
}
HEADS = {**LLAMA, "head_dim": 8}
WINDOW = {"sliding_window": 16}
GEMMA = {**HEADS, **WINDOW, "query_pre_attn_scalar": 8}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "initializer_range": 0.3}
GPT2 = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128, **SPECIAL, **NO_DROPOUT}
PARTIAL = {**LLAMA, "partial_rotary_factor": 0.5}
SETTINGS: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "mistral": {**HEADS, **WINDOW},
    "qwen2": LLAMA,
    "qwen3": HEADS,
    "gemma": HEADS,
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "smollm3": LLAMA,
    "gpt2": GPT2,
    "gpt_neox": LLAMA,
    "phi": PARTIAL,
    "phi3": LLAMA,
    "olmo2": LLAMA,
    "granite": LLAMA,
    "cohere": LLAMA,
    "stablelm": PARTIAL,
    "starcoder2": LLAMA,
}


def make_causal(model_type: str, dtype: torch.dtype = torch.float32, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = CONFIG_MAPPING[model_type](**{**SETTINGS[model_type], **settings})
    model = AutoModelForCausalLM.from_config(config).to(dtype).eval()
    model.generation_config.pad_token_id = 0
    return model

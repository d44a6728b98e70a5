"""A tiny Llama as a GGUF file, as llama.cpp's converter would write it."""

from pathlib import Path
from typing import Any

import gguf
import torch
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tests.models.causal_models import make_causal

SPECIAL = ["<|endoftext|>", "<|begin|>", "<|end|>"]
TOKENS = [*SPECIAL, *bytes_to_unicode().values(), "ab", "cd"]


def write_llama(path: Path, **settings: Any) -> Any:
    """Write a random Llama whose tokens are bytes, and return it."""
    special: dict[str, Any] = {"unk_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    model = make_causal("llama", vocab_size=len(TOKENS), num_hidden_layers=2, **special, **settings)
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)))
    writer.add_token_merges(["a b", "c d"])  # transformers 5.17 reads a list of one as its letters
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        if heads:  # llama.cpp turns pairs of neighbours where transformers turns halves
            tensor = tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
        stem, _, kind = name.rpartition(".")
        writer.add_tensor(f"{names.get_name(stem)}.{kind}", tensor.contiguous().to(torch.float32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model

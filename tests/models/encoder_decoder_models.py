"""A small random encoder-decoder of every family that is supported, weights large enough to tell things apart."""

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForSeq2SeqLM

VOCABULARY = 60
POSITIONS = 24
SPECIAL = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
UNTIED = {"vocab_size": VOCABULARY, "tie_word_embeddings": False}  # tied, a random model repeats itself
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": POSITIONS,
    "init_std": 0.3,
    "scale_embedding": True,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
    **UNTIED,
    **SPECIAL,
}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "dropout_rate": 0.0,
    "decoder_start_token_id": 0,
    **SPECIAL,
}
GEMMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "sliding_window": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    **SPECIAL,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "umt5": T5,
    "bart": BART,
    "mbart": BART,
    "m2m_100": BART,
    "marian": {**BART, "decoder_vocab_size": VOCABULARY},
    "pegasus": BART,
    "t5gemma": {"encoder": {**GEMMA, "hidden_size": 48}, "decoder": GEMMA, **UNTIED, **SPECIAL},
}


def make_encoder_decoder(model_type: str, attention: str | None = None, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = CONFIG_MAPPING[model_type](**{**SETTINGS[model_type], **settings})
    model = AutoModelForSeq2SeqLM.from_config(config, attn_implementation=attention).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and "embed_positions" not in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def make_plain(model_type: str) -> Any:
    """The same one, to be compared with; under sdpa transformers 5.17 lets a UMT5's tokens see later ones."""
    return make_encoder_decoder(model_type, "eager" if model_type == "umt5" else None)

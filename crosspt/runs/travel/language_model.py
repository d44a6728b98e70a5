"""The language model that prompts belong to, or only what its configuration says."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from crosspt.config.run import EMBEDDED
from crosspt.models.embedded import EMBEDDED_T5
from crosspt.models.t5.loading import load_t5


def where_it_is(name: str) -> str:
    """The folder or the hub's name of a model: its own name, unless it is the embedded one."""
    return str(EMBEDDED_T5) if name == EMBEDDED else name


def read_config(name: str, *, local: bool = False) -> Any:
    """A model's configuration. Raises ValueError, in one line, where it cannot be had; ``local`` asks no network."""
    try:
        return AutoConfig.from_pretrained(where_it_is(name), local_files_only=local)
    except Exception as error:  # transformers and the hub's client each raise their own
        raise _cannot_load(name, error) from error


def describe_model(name: str, config: Any) -> dict[str, Any]:
    """What saved prompts say of a model, from its configuration."""
    text = config.get_text_config()
    return {
        "name": name,
        "model_type": config.model_type,
        "d_model": text.hidden_size,
        "vocab_size": text.vocab_size,
    }


def load_language_model(name: str) -> tuple[Any, Any]:
    """A model in float32, in eval mode, and its tokenizer.

    Raises:
        ValueError: it cannot be had, lacks weights or has no tokenizer; in one line.
    """
    config = read_config(name)
    if config.model_type in ("t5", "mt5"):
        t5, tokenizer = load_t5(name)
        return t5.eval(), tokenizer
    kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    try:
        model, report = kind.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:
        raise _cannot_load(name, error) from error
    if report["missing_keys"]:
        raise ValueError(f"model {name!r} cannot be loaded: its weights lack {min(report['missing_keys'])}")
    return model.eval(), tokenizer


def _cannot_load(name: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"model {name!r} cannot be loaded: {reason}")

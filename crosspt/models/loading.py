"""A language model from the package, a folder or the hub, and the device it computes on."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from crosspt.config.run import EMBEDDED
from crosspt.models.embedded import EMBEDDED_T5
from crosspt.models.family import FAMILIES, family_of


def load_model(name: str) -> tuple[Any, Any]:
    """A language model in float32 and its tokenizer: the embedded T5 by its name, else from a folder or the hub.

    Raises:
        ValueError: it cannot be had, is of no known family, lacks weights, or has no tokenizer; in one line.
    """
    source = str(EMBEDDED_T5) if name == EMBEDDED else name
    try:
        config = AutoConfig.from_pretrained(source)
        if config.model_type not in FAMILIES:
            raise ValueError(f"expected a model of type {', '.join(FAMILIES)}, got {config.model_type!r}")
        kind: Any = AutoModelForCausalLM if family_of(config.model_type).causal else AutoModelForSeq2SeqLM
        # float32 whatever the file holds: T5 overflows in float16.
        model, report = kind.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
        unfit = [*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]
        if unfit:
            raise ValueError(f"{len(unfit)} of its tensors are missing or misshapen, such as {min(unfit)}")
        tokenizer = AutoTokenizer.from_pretrained(source)
    except Exception as error:  # transformers, tokenizers, safetensors and the hub's client each raise their own
        reason = " ".join(str(error).split()) or type(error).__name__
        what = "cannot be loaded" if Path(source).is_dir() else "is no folder, nor to be had from the hub"
        raise ValueError(f"model {name!r} {what}: {reason}") from error
    if set(tokenizer.get_vocab()) <= {*tokenizer.all_special_tokens, "\N{LOWER ONE EIGHTH BLOCK}"}:
        raise ValueError(f"model {name!r} has no tokenizer beside its weights")
    if tokenizer.pad_token is None:  # as in GPT-2 and Llama; padding is masked, so that any token will do
        tokenizer.pad_token = tokenizer.eos_token
    if model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.config.name_or_path = name  # what saved prompts say they were trained on
    return model, tokenizer


def pick_device(device: str) -> torch.device:
    """``"auto"`` takes the GPU where there is one. Raises ValueError for a GPU that is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: 'cuda' was asked for, but torch sees no GPU; use 'auto' or 'cpu'")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)

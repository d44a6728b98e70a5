"""A T5 from the package, a folder or the hub, and the device it computes on."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, T5ForConditionalGeneration

from crosspt.config.run import EMBEDDED
from crosspt.models.embedded import EMBEDDED_T5


def load_t5(name: str) -> tuple[T5ForConditionalGeneration, Any]:
    """A T5 in float32 and its tokenizer: the embedded one by its name, else from a folder or the hub.

    Raises:
        ValueError: it cannot be had, is no T5, lacks weights, or has no tokenizer; in one line.
    """
    source = str(EMBEDDED_T5) if name == EMBEDDED else name
    try:
        config = AutoConfig.from_pretrained(source)
        if config.model_type not in ("t5", "mt5"):
            raise ValueError(f"expected a T5, got model type {config.model_type!r}")
        # float32 whatever the file holds: T5 overflows in float16.
        t5, report = AutoModelForSeq2SeqLM.from_pretrained(
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
    t5.config.name_or_path = name  # what saved prompts say they were trained on
    return t5, tokenizer


def pick_device(device: str) -> torch.device:
    """``"auto"`` takes the GPU where there is one. Raises ValueError for a GPU that is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: 'cuda' was asked for, but torch sees no GPU; use 'auto' or 'cpu'")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)

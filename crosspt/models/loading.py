"""A language model from the package, a folder, a GGUF file or the hub, and the device it computes on."""

import copy
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from crosspt.config.run import EMBEDDED, SMOLLM2
from crosspt.models.embedded import EMBEDDED_T5
from crosspt.models.family import FAMILIES, Family, family_of
from crosspt.models.smollm2 import find_smollm2

SUFFIX, MAGIC = ".gguf", b"GGUF"
_LOADING = threading.Lock()  # transformers replaces functions of its classes and of torch while it loads


def load_model(name: str) -> tuple[Any, Any]:
    """A language model in float32 and its tokenizer.

    Args:
        name: ``embedded``, ``smollm2``, a folder, a ``.gguf`` file or a name on the hub.

    Raises:
        ValueError: it cannot be had, is of no known family, lacks weights, or has no tokenizer; in one line.
    """
    with _explained(name):
        source, options = _place(name)
    with _explained(name, **options):
        config = _read_config(source, **options)
    with _explained(name):
        if config.model_type not in FAMILIES:
            raise ValueError(f"expected a model of type {', '.join(FAMILIES)}, got {config.model_type!r}")
    kind: Any = AutoModelForCausalLM if family_of(config.model_type).causal else AutoModelForSeq2SeqLM
    with _explained(name, **options), _LOADING:
        # float32 whatever the file holds: T5 overflows in float16.
        model, report = kind.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    unfit = [*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]
    with _explained(name):
        if unfit:
            raise ValueError(f"{len(unfit)} of its tensors are missing or misshapen, such as {min(unfit)}")
    if set(tokenizer.get_vocab()) <= {*tokenizer.all_special_tokens, "\N{LOWER ONE EIGHTH BLOCK}"}:
        raise ValueError(f"model {name!r} has no tokenizer beside its weights")
    if tokenizer.pad_token is None:  # as in GPT-2 and Llama; padding is masked, so that any token will do
        tokenizer.pad_token = tokenizer.eos_token
    if model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    if options:  # the weights are plain tensors by now, which transformers would not save
        model.hf_quantizer, model.is_quantized = None, False
        vars(model.config).pop("quantization_config", None)
    model.config.name_or_path = name  # what saved prompts say they were trained on
    return model, tokenizer


@functools.cache
def find_named_family(name: str) -> Family | None:
    """The family of a model by the name that :func:`load_model` takes; None where loading it would fail."""
    try:
        if name == SMOLLM2:  # which may be fetched yet
            return family_of("llama")
        source, options = _place(name)
        return family_of(_read_config(source, **options).model_type)
    except Exception:  # as many kinds as in load_model, which says what is wrong
        return None


def _place(name: str) -> tuple[str, dict[str, str]]:
    """What transformers loads a model from: a folder or a name on the hub, and the file there where it is one."""
    if name == EMBEDDED:
        return str(EMBEDDED_T5), {}
    path = find_smollm2() if name == SMOLLM2 else Path(name)
    if path.suffix != SUFFIX:
        return name, {}
    if find_spec("gguf") is None:
        raise ValueError("it needs the package gguf, which is not installed: crosspt[gguf] has it")
    if not path.is_file():
        raise ValueError("no such file")
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError("it is no GGUF file")
    return str(path.parent), {"gguf_file": path.name}


@contextmanager
def _explained(name: str, *, gguf_file: str | None = None) -> Iterator[None]:
    """Say in one line, as a ValueError, why a model cannot be had, whatever is raised inside."""
    try:
        yield
    except Exception as error:  # transformers, tokenizers, safetensors, gguf and the hub's client each raise their own
        reason = " ".join(str(error).split()) or type(error).__name__
        if gguf_file:
            reason = f"transformers makes no sense of the file, which may be damaged: {reason}"
        here = name == SMOLLM2 or name.endswith(SUFFIX) or Path(name).is_dir()
        what = "cannot be loaded" if here else "is no folder, nor to be had from the hub"
        raise ValueError(f"model {name!r} {what}: {reason}") from error


def _read_config(source: str, *, gguf_file: str | None = None) -> Any:
    if gguf_file is None:
        return AutoConfig.from_pretrained(source)
    return copy.deepcopy(_read_gguf(source, gguf_file, Path(source, gguf_file).stat().st_mtime_ns))


@functools.lru_cache(maxsize=1)  # reading a file's header takes seconds
def _read_gguf(source: str, file: str, _changed: int) -> Any:
    return AutoConfig.from_pretrained(source, gguf_file=file)


def pick_device(device: str) -> torch.device:
    """``"auto"`` takes the GPU where there is one. Raises ValueError for a GPU that is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: 'cuda' was asked for, but torch sees no GPU; use 'auto' or 'cpu'")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)

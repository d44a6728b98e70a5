"""The ``state_dict`` of a CrossPTModel: its prompts and their configuration, without the language model.

This is what the Trainer and Accelerate write into their own files, such as ``model.safetensors``.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crosspt.config.files import decode_json
from crosspt.config.prompts import CrossPTConfig
from crosspt.storage import WEIGHTS_NAME, read_tensors

BANK = "embedding.bank."
HEADER = "_extra_state"  # torch's name for what get_extra_state gives
STATE_NAME = "model.safetensors"


def pack_header(config: CrossPTConfig, base_model: dict[str, Any]) -> Tensor:
    """The configuration and the model it belongs to as the bytes of a JSON text (k,) uint8."""
    text = json.dumps({"config": config.to_dict(), "base_model": base_model})
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def unpack_header(header: Tensor, origin: str) -> tuple[CrossPTConfig, dict[str, Any]]:
    """What :func:`pack_header` packed. Raises ValueError, which names the origin, for anything else."""
    try:
        values = decode_json(bytes(header.cpu().tolist()), "its header")
        return CrossPTConfig.from_dict(values["config"], origin=origin), dict(values["base_model"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"from_pretrained: {origin} holds no readable configuration: {error}") from None


def drop_language_model(model: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """A hook of ``state_dict``: keeps the bank and the header."""
    for name in [name for name in state if name.startswith(prefix)]:
        if not name.startswith((prefix + BANK, prefix + HEADER)):
            del state[name]


def miss_no_language_model(model: nn.Module, keys: Any) -> None:
    """A hook of ``load_state_dict``: only the bank can be missing. A state without a header is the bank's alone."""
    keys.missing_keys[:] = [name for name in keys.missing_keys if BANK in name]


def holds_state(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder was written by the Trainer rather than by ``save_pretrained``."""
    return (Path(folder) / STATE_NAME).is_file() and not (Path(folder) / WEIGHTS_NAME).is_file()


def load_state(folder: str | os.PathLike[str]) -> tuple[CrossPTConfig, dict[str, Any], dict[str, Tensor]]:
    """Read the file that the Trainer makes of the state: configuration, base model and the bank's parameters.

    Raises:
        ValueError: the file is damaged or another model's.
    """
    path = Path(folder) / STATE_NAME
    _, state = read_tensors(path, "from_pretrained: ")
    if HEADER not in state:
        raise ValueError(f"from_pretrained: {path} was not written by CrossPT")
    config, base_model = unpack_header(state.pop(HEADER), str(path))
    return config, base_model, {name.removeprefix(BANK): tensor for name, tensor in state.items()}

"""The saved form of prompts: ``crosspt_config.json`` and ``crosspt_model.safetensors`` in one folder.

The tensors are the bank's parameters and ``prompts`` (T, m, d), every task's composed prompt, from which other banks
start. Each file is written aside and renamed, the tensors first; they carry the configuration too, and that copy counts
when a save was cut off between the two files.
"""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from crosspt.config.prompts import CrossPTConfig
from crosspt.prompts.origin import Origin, SourcePrompts

CONFIG_NAME = "crosspt_config.json"
WEIGHTS_NAME = "crosspt_model.safetensors"
SCHEMA = 1
COMPOSED = "prompts"


@dataclass
class SavedPrompts:
    """What a folder holds.

    Args:
        config: the prompts' configuration.
        base_model: ``name``, ``model_type``, ``d_model`` and ``vocab_size`` of the T5 they were trained on.
        state: the bank's parameters by name.
        prompts: the composed prompts (T, m, d).
    """

    config: CrossPTConfig
    base_model: dict[str, Any]
    state: dict[str, Tensor]
    prompts: Tensor


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file aside, flush it to disk and rename it, so that the path always holds a whole file."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def save_prompts(folder: str | os.PathLike[str], saved: SavedPrompts) -> None:
    """Write the two files into the folder, which is made when missing."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise ValueError(f"save_pretrained: expected a folder, got the file {path}")
    path.mkdir(parents=True, exist_ok=True)
    header = {
        "schema": SCHEMA,
        "crosspt_version": version("crosspt"),
        "config": saved.config.to_dict(),
        "temperature_value": saved.config.temperature_value,
        "base_model": saved.base_model,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in saved.state.items()}
    tensors[COMPOSED] = saved.prompts.detach().cpu().contiguous()
    write_atomically(path / WEIGHTS_NAME, save(tensors, metadata={"crosspt": json.dumps(header)}))
    write_atomically(path / CONFIG_NAME, (json.dumps(header, indent=2) + "\n").encode())


def load_prompts(folder: str | os.PathLike[str]) -> SavedPrompts:
    """Read a folder written by :func:`save_prompts`.

    Raises:
        ValueError: a file is missing, foreign, corrupt or of another schema; the message names it.
    """
    path = Path(folder)
    weights, config_file = path / WEIGHTS_NAME, path / CONFIG_NAME
    if not weights.is_file():
        raise ValueError(f"from_pretrained: {path} holds no {WEIGHTS_NAME}")
    try:
        with safe_open(weights, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"from_pretrained: {weights} is not a readable safetensors file: {error}") from None
    if "crosspt" not in metadata:
        raise ValueError(f"from_pretrained: {weights} was not written by CrossPT")
    header = _parse_header(weights, metadata["crosspt"])
    _compare_config_file(config_file, header)
    if COMPOSED not in state:
        raise ValueError(f"from_pretrained: {weights} lacks the tensor {COMPOSED!r}")
    prompts = state.pop(COMPOSED)
    config = CrossPTConfig.from_dict(header["config"], origin=str(weights))
    return SavedPrompts(config, header["base_model"], state, prompts)


def load_source_prompts(folders: Sequence[str | os.PathLike[str]], d_model: int) -> SourcePrompts:
    """Encoded prompts (m, d) by task, from one or more saved folders, with their origins.

    Raises:
        ValueError: two folders hold a prompt for one task, or a prompt's width is not ``d_model``.
    """
    found = SourcePrompts()
    for folder in folders:
        saved = load_prompts(folder)
        if saved.prompts.shape[-1] != d_model:
            raise ValueError(f"source prompts: {folder} holds width {saved.prompts.shape[-1]}, the model has {d_model}")
        for task, prompt in zip(saved.config.tasks, saved.prompts, strict=True):
            if task in found:
                raise ValueError(f"source prompts: more than one folder holds a prompt for {task}, among them {folder}")
            found[task] = prompt
            found.origins[task] = Origin(str(folder), saved.base_model, saved.config.prefix_mode)
    return found


def check_state(folder: str | os.PathLike[str], state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless the saved parameters have the names and shapes that the configuration asks for."""
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        parts = [
            f"{word} {', '.join(names)}" for word, names in (("lacks", missing), ("has unknown", unknown)) if names
        ]
        raise ValueError(f"from_pretrained: {Path(folder) / WEIGHTS_NAME} {' and '.join(parts)}")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape or not torch.is_floating_point(tensor):
            wanted, got = tuple(expected[name].shape), tuple(tensor.shape)
            raise ValueError(
                f"from_pretrained: {name} in {Path(folder) / WEIGHTS_NAME} must be floating-point of shape {wanted}, "
                f"got {tensor.dtype} of shape {got}"
            )


def _parse_header(path: Path, text: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except ValueError as error:
        raise ValueError(f"from_pretrained: {path} holds no readable configuration: {error}") from None
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        got = header.get("schema") if isinstance(header, dict) else header
        raise ValueError(f"from_pretrained: {path} must have schema {SCHEMA}, got {got!r}")
    for key in ("config", "base_model"):
        if not isinstance(header.get(key), dict):
            raise ValueError(f"from_pretrained: {path} must hold an object under {key!r}")
    return header


def _compare_config_file(path: Path, header: dict[str, Any]) -> None:
    if not path.is_file():
        raise ValueError(f"from_pretrained: {path.parent} holds no {path.name}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"from_pretrained: {path} is not text: {error}") from None
    if _parse_header(path, text) != header:
        warnings.warn(f"{path} differs from the configuration inside {WEIGHTS_NAME}; the latter is used", stacklevel=4)

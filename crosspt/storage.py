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
from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from crosspt.config.files import SCHEMA, parse_json, read_json, write_atomically, write_json
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.values import check_types

CONFIG_NAME = "crosspt_config.json"
WEIGHTS_NAME = "crosspt_model.safetensors"
COMPOSED = "prompts"


@dataclass(frozen=True)
class Origin:
    """The model and mode that prompts belong to.

    Args:
        folder: where they were saved.
        base_model: ``name``, ``model_type``, ``d_model`` and ``vocab_size`` of the language model.
        prefix_mode: ``"full"`` or ``"isolated"``.
    """

    folder: str
    base_model: dict[str, Any]
    prefix_mode: str

    def warn_of(self, base_model: dict[str, Any], prefix_mode: str, what: str) -> None:
        """Warn where prompts from here are put on another model, or used in the other mode.

        Folders that hold the same model under one name are taken as one: ``models/t5-base`` and ``t5-base``.
        """
        there, here = _identity(self.base_model), _identity(base_model)
        if there != here:
            warnings.warn(
                f"{what} in {self.folder} were trained on {_words(there)}, not on {_words(here)}", stacklevel=4
            )
        if self.prefix_mode != prefix_mode:
            warnings.warn(
                f"{what} in {self.folder} were trained with prefix_mode {self.prefix_mode!r}, not {prefix_mode!r}",
                stacklevel=4,
            )


class SourcePrompts(dict[str, Tensor]):
    """Encoded prompts (m, d) by task, and where each comes from."""

    def __init__(self) -> None:
        super().__init__()
        self.origins: dict[str, Origin] = {}


@dataclass
class SavedPrompts:
    """What a folder holds.

    Args:
        config: the prompts' configuration.
        base_model: ``name``, ``model_type``, ``d_model`` and ``vocab_size`` of the language model they were trained on.
        state: the bank's parameters by name.
        prompts: the composed prompts (T, m, d).
    """

    config: CrossPTConfig
    base_model: dict[str, Any]
    state: dict[str, Tensor]
    prompts: Tensor


def save_prompts(folder: str | os.PathLike[str], saved: SavedPrompts) -> None:
    """Write the two files into the folder, which is made when missing."""
    header = {
        "config": saved.config.to_dict(),
        "temperature_value": saved.config.temperature_value,
        "base_model": saved.base_model,
    }
    write_weights(Path(folder), header, {**saved.state, COMPOSED: saved.prompts}, WEIGHTS_NAME, CONFIG_NAME)


def write_weights(
    folder: Path, header: dict[str, Any], tensors: Mapping[str, Tensor], weights_name: str, config_name: str
) -> None:
    """Write tensors with a header into a file, then the header alone into another."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"save_pretrained: expected a folder, got the file {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    header = {"schema": SCHEMA, "crosspt_version": version("crosspt"), **header}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(folder / weights_name, save(plain, metadata={"crosspt": json.dumps(header)}))
    write_json(folder / config_name, header)


def read_tensors(path: Path, owner: str = "") -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the tensors of a safetensors file; ValueError, which begins with the owner, for another."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return file.metadata() or {}, tensors
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{owner}{path} is not a readable safetensors file: {error}") from None


def read_weights(folder: Path, weights_name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and the tensors of a file that :func:`write_weights` wrote.

    Raises:
        ValueError: the file is missing, foreign, corrupt or of another schema; the message names it.
    """
    weights = folder / weights_name
    if not weights.is_file():
        raise ValueError(f"from_pretrained: {folder} holds no {weights_name}")
    metadata, state = read_tensors(weights, "from_pretrained: ")
    if "crosspt" not in metadata:
        raise ValueError(f"from_pretrained: {weights} was not written by CrossPT")
    return _check_header(weights, parse_json(metadata["crosspt"], weights)), state


def load_prompts(folder: str | os.PathLike[str]) -> SavedPrompts:
    """Read a folder written by :func:`save_prompts`.

    Raises:
        ValueError: a file is missing, foreign, corrupt or of another schema; the message names it.
    """
    path = Path(folder)
    weights, config_file = path / WEIGHTS_NAME, path / CONFIG_NAME
    header, state = read_weights(path, WEIGHTS_NAME)
    if not config_file.is_file():
        raise ValueError(f"from_pretrained: {path} holds no {CONFIG_NAME}")
    if _check_header(config_file, read_json(config_file)) != header:
        warnings.warn(
            f"{config_file} differs from the configuration inside {WEIGHTS_NAME}; the latter is used", stacklevel=3
        )
    config = CrossPTConfig.from_dict(header["config"], origin=str(weights))
    prompts = state.pop(COMPOSED, None)
    expected = (len(config.tasks), config.prompt_length)
    if prompts is None or prompts.ndim != 3 or prompts.shape[:2] != expected:
        got = None if prompts is None else tuple(prompts.shape)
        raise ValueError(f"from_pretrained: {weights} must hold {COMPOSED!r} of shape {(*expected, 'd')}, got {got}")
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


def check_state(
    folder: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    file: str = WEIGHTS_NAME,
) -> None:
    """Raise ValueError unless the saved parameters have the names and shapes that the configuration asks for."""
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        parts = [
            f"{word} {', '.join(names)}" for word, names in (("lacks", missing), ("has unknown", unknown)) if names
        ]
        raise ValueError(f"from_pretrained: {Path(folder) / file} {' and '.join(parts)}")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape or not torch.is_floating_point(tensor):
            wanted, got = tuple(expected[name].shape), tuple(tensor.shape)
            raise ValueError(
                f"from_pretrained: {name} in {Path(folder) / file} must be floating-point of shape {wanted}, "
                f"got {tensor.dtype} of shape {got}"
            )


def _check_header(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    check_types(path, header, {"config": dict, "base_model": dict})
    check_types(f"{path}: base_model", {"name": None, **header["base_model"]}, {"name": str | None})
    return header


def _identity(base_model: dict[str, Any]) -> tuple[Any, ...]:
    name = base_model.get("name")
    return PurePath(name).name if name else None, base_model.get("model_type"), base_model.get("vocab_size")


def _words(identity: tuple[Any, ...]) -> str:
    name, kind, vocabulary = identity
    return f"{name or 'a model without a name'} ({kind}, {vocabulary} tokens)"

"""Files of other libraries that hold prompts, read as tensors and JSON alone: nothing in them is ever run."""

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosspt.config.files import decode_json, parse_json
from crosspt.config.values import check_types
from crosspt.runs.travel.adapters import COLUMNS, CONFIG_NAME, EMBEDDINGS, ROWS, WEIGHTS_NAME
from crosspt.storage import read_tensors

PICKLE_NAME = "adapter_model.bin"  # of PEFT before safetensors, and of DePT
DEPT = "PROMPT_TUNING_LORA"
OFFSETS = ("prompt_encoder.lora_embedding_A", "prompt_encoder.lora_embedding_B")  # DePT's, of the text's tokens
ATTEMPT = "prefix_embeddings"
SINGLE = ("PROMPT_TUNING", "P_TUNING", DEPT)
MULTITASK = "MULTITASK_PROMPT_TUNING"
DECODER_ROWS = "the rows for the decoder, which PEFT never uses, are"


@dataclass(frozen=True)
class Foreign:
    """Prompts of a file.

    Args:
        path: where they are from.
        prompts: (T, m, d) in float32.
        name: of their task, as far as the file's or folder's name says it.
        model: the name of the model they were trained on, where the files say one.
        left_out: what else was learned and is not imported, in words, where there is such.
        origin: what an export of ours says of them: ``tasks`` and ``base_model``.
    """

    path: Path
    prompts: Tensor
    name: str = ""
    model: str | None = None
    left_out: str = ""
    origin: dict[str, Any] = field(default_factory=dict)


def find_sources(source: Path) -> list[Path]:
    """The adapters' folders and ATTEMPT's files that a source is or holds, in order.

    Raises:
        ValueError: there are none.
    """
    if source.is_file():
        return [source.parent if source.name in (CONFIG_NAME, WEIGHTS_NAME, PICKLE_NAME) else source]
    if not source.is_dir():
        raise ValueError(f"source {source}: no such file or folder")
    if any((source / name).is_file() for name in (CONFIG_NAME, WEIGHTS_NAME, PICKLE_NAME)):
        return [source]
    found = sorted(path.parent for path in source.glob(f"*/{CONFIG_NAME}")) or sorted(source.glob(f"*{ATTEMPT}*.pt"))
    if not found:
        raise ValueError(f"source {source} holds no {CONFIG_NAME}, neither itself nor below, and no {ATTEMPT}.pt")
    return found


def read_source(path: Path) -> Foreign:
    """Read an adapter's folder or a file of ATTEMPT's.

    Raises:
        ValueError: a file is missing, damaged or holds something else; in one line that names it.
    """
    return _read_attempt(path) if path.is_file() else _read_adapter(path)


def _read_attempt(path: Path) -> Foreign:
    """A pickled parameter (m, d), in ``prefix_embeddings_<task>.pt`` or ``<task>_prefix_embeddings.pt``."""
    prompt = _load_pickle(path)
    if not isinstance(prompt, Tensor):
        raise ValueError(f"{path} must hold one tensor (m, d), got {type(prompt).__name__}")
    attention = "the attention over the source prompts is" if (path.parent / "attn_W_down.pt").is_file() else ""
    name = path.stem.replace(ATTEMPT, "").strip("_-")
    return Foreign(path, _checked(path, prompt, 2)[None], name, left_out=attention)


def _read_adapter(folder: Path) -> Foreign:
    config_file = folder / CONFIG_NAME
    if not config_file.is_file():
        raise ValueError(f"source {folder} holds no {CONFIG_NAME}")
    config = decode_json(config_file.read_bytes(), config_file)
    check_types(config_file, config, {"peft_type": str})
    optional = {"task_type": str, "base_model_name_or_path": str, "num_transformer_submodules": int}
    optional["num_virtual_tokens"] = int
    config = {**dict.fromkeys(optional), **config}
    check_types(config_file, config, {key: kind | None for key, kind in optional.items()})
    kind = config["peft_type"]
    if kind not in (*SINGLE, MULTITASK):
        why = ", whose keys and values come from no prompt" if kind == "PREFIX_TUNING" else ""
        raise ValueError(f"{config_file}: peft_type must be one of {', '.join((*SINGLE, MULTITASK))}, got {kind}{why}")
    path, tensors, origin = _load_weights(folder)
    submodules = config["num_transformer_submodules"]
    if submodules is None:
        submodules = 2 if config["task_type"] == "SEQ_2_SEQ_LM" else 1
    if submodules not in (1, 2):
        raise ValueError(f"{config_file}: num_transformer_submodules must be 1 or 2, got {submodules}")
    left_out = ""
    if kind == MULTITASK:
        if submodules != 1:
            raise ValueError(f"{config_file}: multitask prompts must be of 1 submodule, got 2: the decoder has one too")
        prompts = _multitask(path, tensors)
    else:
        prompts, left_out = _single(path, tensors, dept=kind == DEPT)
        if submodules == 2:
            prompts, left_out = _encoder_rows(path, config_file, prompts), left_out or DECODER_ROWS
    m = config["num_virtual_tokens"]
    if m not in (None, prompts.shape[1]):
        raise ValueError(
            f"{path}: prompts must have as many rows as num_virtual_tokens of {config_file}, {m}, "
            f"got {prompts.shape[1]}"
        )
    return Foreign(path, prompts, folder.resolve().name, config["base_model_name_or_path"], left_out, origin)


def _single(path: Path, tensors: dict[str, Tensor], *, dept: bool) -> tuple[Tensor, str]:
    """One prompt (1, m, d), and in words what is left out."""
    left_out = ""
    if dept and tensors.keys() & set(OFFSETS):
        left_out = "the offsets of the text's tokens are"
        tensors = {key: tensor for key, tensor in tensors.items() if key not in OFFSETS}
    return _only(path, tensors, {EMBEDDINGS: 2})[EMBEDDINGS][None], left_out


def _encoder_rows(path: Path, config_file: Path, prompts: Tensor) -> Tensor:
    """The first half of the rows: PEFT makes some for the decoder too, and puts only these in front of the input."""
    rows = prompts.shape[1]
    if rows % 2:
        raise ValueError(
            f"{path}: {EMBEDDINGS} must hold as many rows for each of the 2 submodules of {config_file}, got {rows}"
        )
    return prompts[:, : rows // 2]


def _multitask(path: Path, tensors: dict[str, Tensor]) -> Tensor:
    """``P_t = P * (C_t R_t)``, elementwise (T, m, d), computed as PEFT does."""
    tensors = _only(path, tensors, {EMBEDDINGS: 2, COLUMNS: 3, ROWS: 3})
    shared, columns, rows = (tensors[name] for name in (EMBEDDINGS, COLUMNS, ROWS))
    (m, d), (tasks, length, rank) = shared.shape, columns.shape
    if length != m or rows.shape != (tasks, rank, d):
        got = ", ".join(f"{name} {tuple(tensors[name].shape)}" for name in (EMBEDDINGS, COLUMNS, ROWS))
        raise ValueError(f"{path} must hold tensors (m, d), (T, m, r) and (T, r, d), got {got}")
    return shared * torch.matmul(columns, rows)


def _only(path: Path, tensors: dict[str, Tensor], dimensions: dict[str, int]) -> dict[str, Tensor]:
    """The tensors of these names in float32. Raises ValueError where others are there, which would be lost."""
    if tensors.keys() != dimensions.keys():
        raise ValueError(
            f"{path} must hold {', '.join(dimensions)} alone, got {', '.join(map(str, tensors)) or 'nothing'}"
        )
    return {name: _checked(path, tensors[name], dimensions[name]) for name in dimensions}


def _checked(path: Path, tensor: Tensor, dimensions: int) -> Tensor:
    if (
        not isinstance(tensor, Tensor)
        or tensor.ndim != dimensions
        or not tensor.is_floating_point()
        or not tensor.numel()
    ):
        got = f"{tensor.dtype} of shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"{path}: prompts must be floating-point tensors of {dimensions} dimensions, got {got}")
    return tensor.detach().float().contiguous()


def _load_weights(folder: Path) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
    """The weights' file, its tensors, and what an export of ours says in its metadata."""
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        path = folder / PICKLE_NAME
        if not path.is_file():
            raise ValueError(f"source {folder} holds no {WEIGHTS_NAME} and no {PICKLE_NAME}")
        tensors = _load_pickle(path)
        if not isinstance(tensors, dict):
            raise ValueError(f"{path} must hold tensors by name, got {type(tensors).__name__}")
        return path, tensors, {}
    metadata, tensors = read_tensors(path)
    if "crosspt" not in metadata:
        return path, tensors, {}
    origin = parse_json(metadata["crosspt"], path)
    check_types(path, origin, {"tasks": list[str], "base_model": dict})
    return path, tensors, origin


def _load_pickle(path: Path) -> Any:
    """What a pickle holds, where that is tensors alone; what else it would make or call is refused unread."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle's protocol
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler, zip files and storages each raise their own
        reason = json.dumps(str(error).split("\n")[0][:200])
        raise ValueError(f"{path} cannot be read as tensors alone, and nothing else of it is run: {reason}") from None

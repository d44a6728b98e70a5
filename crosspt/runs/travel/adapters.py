"""Prompts as adapters of the library PEFT: what its ``from_pretrained`` reads, written without it.

Every file's metadata carries the tasks and the model, which PEFT does not look at, so that an import has them again.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from crosspt.config.files import SCHEMA, write_atomically
from crosspt.runs.travel.prompts import TaskRows

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
EMBEDDINGS = "prompt_embeddings"
COLUMNS, ROWS = "prefix_task_cols", "prefix_task_rows"  # of multitask prompt tuning


def write_prompt_tuning(folder: Path, rows: TaskRows, settings: dict[str, Any]) -> None:
    """Write a ``PROMPT_TUNING`` adapter for each task, into a folder of its name.

    Args:
        folder: where they go.
        rows: the prompts.
        settings: the keys of :func:`common_settings`.
    """
    for index, task in enumerate(rows.tasks):
        prompt = rows.prompts[index]
        values = {**settings, "peft_type": "PROMPT_TUNING", "num_virtual_tokens": len(prompt)}
        _write(folder / task, values, {EMBEDDINGS: prompt}, rows, [task])


def write_multitask(folder: Path, rows: TaskRows, settings: dict[str, Any]) -> None:
    """Write one ``MULTITASK_PROMPT_TUNING`` adapter of all tasks: ``ones * (I P_t)``, of rank m.

    Args:
        folder: where it goes.
        rows: the prompts.
        settings: the keys of :func:`common_settings`.
    """
    tasks, m, d = rows.prompts.shape
    values = {
        **settings,
        "peft_type": "MULTITASK_PROMPT_TUNING",
        "num_virtual_tokens": m,
        "num_tasks": tasks,
        "num_ranks": m,
    }
    tensors = {
        EMBEDDINGS: torch.ones(m, d),
        COLUMNS: torch.eye(m).repeat(tasks, 1, 1),
        ROWS: rows.prompts,
    }
    _write(folder, values, tensors, rows, rows.tasks)


def write_prefix_tuning(folder: Path, rows: TaskRows, states: Tensor, settings: dict[str, Any]) -> None:
    """Write a ``PREFIX_TUNING`` adapter for each task, into a folder of its name.

    Args:
        folder: where they go.
        rows: the prompts.
        states: what they leave in the layers (T, m, layers, 2, heads, width).
        settings: the keys of :func:`common_settings`.
    """
    tasks, m, layers, _, heads, width = states.shape
    values = {
        **settings,
        "peft_type": "PREFIX_TUNING",
        "num_virtual_tokens": m,
        "num_layers": layers,
        "num_attention_heads": heads,
        "token_dim": heads * width,
        "prefix_projection": False,
    }
    for task, flat in zip(rows.tasks, states.reshape(tasks, m, -1), strict=True):
        _write(folder / task, values, {EMBEDDINGS: flat}, rows, [task])


def common_settings(rows: TaskRows, model: str, *, causal: bool) -> dict[str, Any]:
    """What every adapter says.

    One submodule: PEFT would otherwise add rows for a T5's decoder, and then refuse a file without them.
    """
    return {
        "task_type": "CAUSAL_LM" if causal else "SEQ_2_SEQ_LM",
        "base_model_name_or_path": model,
        "inference_mode": True,
        "num_transformer_submodules": 1,
        "token_dim": rows.prompts.shape[2],
    }


def _write(
    folder: Path, settings: dict[str, Any], tensors: dict[str, Tensor], rows: TaskRows, tasks: list[str]
) -> None:
    folder.mkdir(exist_ok=True)
    origin = {"schema": SCHEMA, "crosspt_version": version("crosspt"), "tasks": tasks, "base_model": rows.base_model}
    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    # One key of metadata alone: several would stand in another order each time, and the file would have other bytes.
    write_atomically(folder / WEIGHTS_NAME, save(plain, metadata={"crosspt": json.dumps(origin)}))
    write_atomically(folder / CONFIG_NAME, (json.dumps(settings, indent=2, sort_keys=True) + "\n").encode())

"""The prompts of a run, whatever method has learned them, as rows in front of the input."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosspt.config.run import CROSSPT, RunConfig
from crosspt.methods import find_method
from crosspt.methods.mpt import ScaledPrompts
from crosspt.methods.peft import PeftPrompted
from crosspt.methods.prompts import RowsModel, TaskPrompts
from crosspt.models.loading import load_model
from crosspt.storage import load_prompts


@dataclass(frozen=True)
class TaskRows:
    """Prompts, and what they belong to.

    Args:
        tasks: names of the T tasks, which are fit for folders and tokens.
        prompts: P (T, m, d) in float32.
        base_model: ``name``, ``model_type``, ``d_model`` and ``vocab_size`` of the model they were trained on.
        prefix_mode: ``"full"`` or ``"isolated"``.
    """

    tasks: list[str]
    prompts: Tensor
    base_model: dict[str, Any]
    prefix_mode: str = "full"

    def __post_init__(self) -> None:
        for task in self.tasks:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", task):
                raise ValueError(f"tasks must be named by letters, digits, _ and - to travel, got {task!r}")
        if not bool(self.prompts.isfinite().all()):
            raise ValueError(f"the prompts of {', '.join(self.tasks)} must be finite, got some that are not")


def read_rows(checkpoint: Path, run: RunConfig) -> TaskRows:
    """The composed prompts of a run's folder, or of one that ``save_pretrained`` wrote.

    Args:
        checkpoint: the folder.
        run: its settings; the model that it names is loaded only for methods other than CrossPT.

    Raises:
        ValueError: a task's training is not finished, or what was learned is no prompt in front of the input.
    """
    method = find_method(run.method)
    folders = {task: method.folder_of(checkpoint, task) for task in run.prompts.tasks}
    found: dict[str, Tensor] = {}
    base_model: dict[str, Any] = {}
    for folder in dict.fromkeys(folders.values()):
        config, base_model = method.read(folder)
        prompts = load_prompts(folder).prompts if run.method == CROSSPT else _learned_rows(folder, run)
        found.update(zip(config.tasks, prompts.expand(len(config.tasks), -1, -1), strict=True))
    rows = torch.stack([found[task].float() for task in run.prompts.tasks])
    return TaskRows(list(run.prompts.tasks), rows, base_model, run.prompts.prefix_mode)


@torch.no_grad()
def _learned_rows(folder: Path, run: RunConfig) -> Tensor:
    """The prompts (T, m, d) of a method other than CrossPT, where that is all that it puts in front of a text."""
    model = find_method(run.method).load(load_model(run.model)[0], folder).eval()
    if isinstance(model, PeftPrompted):
        return model.adapted.get_prompt(batch_size=1)
    rows = model.rows if isinstance(model, RowsModel) else None
    # Both put in front what compose() gives, and add nothing to it.
    if isinstance(rows, TaskPrompts) and type(rows).forward in (TaskPrompts.forward, ScaledPrompts.forward):
        return rows.compose()
    raise ValueError(
        f"what method {run.method} learns is no prompt in front of the input; prompts alone can be exported"
    )

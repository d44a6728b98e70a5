"""Batches of rows of different lengths and tasks, behind prompts that tell tasks apart."""

from typing import Any

import torch
from torch import Tensor

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.config.prompts import PrefixMode
from tests.models.causal_models import VOCABULARY

TASKS = ["a", "b", "c"]
M = 5
LENGTHS = (6, 2, 4, 6)
TASK_IDS = torch.tensor([0, 2, 1, 2])
LABELS = torch.tensor([[7, 8, 1, -100], [9, 1, -100, -100], [7, 9, 8, 1]])
OPTIONS: dict[str, Any] = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
BEAMS: dict[str, Any] = {**OPTIONS, "num_beams": 3, "num_return_sequences": 2}


def prompt(base_model: Any, mode: PrefixMode) -> CrossPTModel:
    model = CrossPTModel(base_model, CrossPTConfig(tasks=TASKS, prompt_length=M, prefix_mode=mode)).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.5)
    return model


def batch(side: str = "right", longest: int = max(LENGTHS)) -> dict[str, Tensor]:
    torch.manual_seed(2)
    ids = torch.zeros(len(LENGTHS), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        place = slice(0, length) if side == "right" else slice(longest - length, longest)
        ids[row, place], mask[row, place] = torch.randint(3, VOCABULARY, (length,)), 1
    return {"input_ids": ids, "attention_mask": mask, "task_ids": TASK_IDS}

"""A small training that needs no tokenizer and no files."""

from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.config.prompts import PrefixMode
from crosspt.config.training import TrainingConfig
from crosspt.methods.crosspt import CrossPT
from crosspt.tasks.collation import PromptCollator
from crosspt.training.selection import Score
from crosspt.training.trainer import PromptTrainer
from tests.conftest import VOCABULARY, make_t5

TASKS = ["mrpc", "rte"]


class PadOnly:
    """The part of a tokenizer that the collator reads."""

    pad_token_id = 0


def make_rows(count: int = 20, tasks: int = 2, seed: int = 0) -> list[dict[str, Any]]:
    """Encoded rows of several lengths, the tasks in turn."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for row in range(count):
        ids = torch.randint(3, VOCABULARY, (3 + row % 4,), generator=generator).tolist()
        rows.append({"input_ids": ids, "labels": [3 + row % tasks, 1], "task_ids": row % tasks})
    return rows


def make_trainer(
    folder: Path,
    *,
    scheme: str = "SLPN",
    prefix_mode: PrefixMode = "full",
    t5: Any = None,
    rows: list[dict[str, Any]] | None = None,
    score: Score | None = None,
    **training: Any,
) -> PromptTrainer:
    """A trainer over a T5 of some thousand parameters, or another model, 5 steps an epoch."""
    settings = TrainingConfig(**{"epochs": 2, "batch_size": 4, "seed": 3, **training})
    set_seed(settings.seed)
    config = CrossPTConfig(tasks=TASKS, scheme=scheme, prompt_length=3, prefix_mode=prefix_mode)
    model = CrossPTModel(t5 or make_t5(), config)
    options: dict[str, Any] = {"device": "cpu", "score": score}
    collator = PromptCollator(PadOnly(), causal=model.family.causal)
    return PromptTrainer(CrossPT(), model, settings, rows or make_rows(), collator, folder, **options)


def score_prompts(model: CrossPTModel) -> dict[str, float]:
    """Scores that go up and down in the course of a training, with ties."""
    prompts = model.embedding.compose().detach()
    return {task: float((1000 * prompt.sum()).long() % 7) for task, prompt in zip(TASKS, prompts, strict=True)}


def listed_scores(*scores: float) -> Score:
    """The given scores, one after the other, for the first task; the second has 0."""
    given = iter(scores)
    return lambda _: {TASKS[0]: 2 * next(given), TASKS[1]: 0.0}

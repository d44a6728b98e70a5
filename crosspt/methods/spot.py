"""SPoT: prompt tuning that starts from the prompt of another task (Vu et al. 2022)."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from crosspt.config.prompts import CrossPTConfig
from crosspt.config.training import TrainingConfig
from crosspt.methods.method import FROM_SOURCES, Job, baseline
from crosspt.methods.prompts import RowsMethod, TaskPrompts


class Spot(RowsMethod):
    """Each target's prompt starts from that of the most similar other source task: T m d numbers.

    The similarity is the cosine of two prompts' means over their rows, the target's own being trained first for it, as
    a source task's; with one source there is nothing to choose.
    """

    name = "spot"
    source = (
        "AkariAsai/ATTEMPT, configs/baselines/spot.json; source prompts of CrossPT's stage 1, without warm-up, batches "
        "of 16"
    )
    defaults = baseline(learning_rate=0.3, prompt_length=100)
    uses = frozenset({"learning_rate", "prompt_length", *FROM_SOURCES})

    def plan_sources(
        self, config: CrossPTConfig, training: TrainingConfig, available: Collection[str] = ()
    ) -> list[Job]:
        """Jobs for the sources' prompts, and, where there is a choice, for those of the targets."""
        return super().plan_sources(_with_targets(config), training, available)

    def rows(
        self, base_model: T5ForConditionalGeneration, config: CrossPTConfig, sources: Mapping[str, Tensor] | None
    ) -> nn.Module:
        """Prompts of the targets' most similar sources."""
        shape = len(config.tasks), config.prompt_length, base_model.config.d_model
        if sources is None:
            return TaskPrompts(torch.zeros(shape))
        known = _with_targets(config).resolved_source_tasks
        prompts = dict(zip(known, self.need(sources, known, config.prompt_length), strict=True))
        return TaskPrompts(torch.stack([prompts[choose_source(task, config, prompts)] for task in config.tasks]))


def choose_source(task: str, config: CrossPTConfig, prompts: Mapping[str, Any]) -> str:
    """The source task whose prompt is the most similar to a target's own, the target itself left out."""
    sources = [source for source in config.resolved_source_tasks if source != task] or [task]
    if len(sources) == 1:
        return sources[0]
    own = prompts[task].mean(dim=0)
    return max(sources, key=lambda source: float(torch.cosine_similarity(own, prompts[source].mean(dim=0), dim=0)))


def _with_targets(config: CrossPTConfig) -> CrossPTConfig:
    """Settings whose source tasks hold the targets between whose sources there is a choice."""
    sources = config.resolved_source_tasks
    choosing = [task for task in config.tasks if len(set(sources) - {task}) > 1]
    config = CrossPTConfig.from_dict(config.to_dict())
    config.source_tasks = list(dict.fromkeys((*sources, *choosing)))
    return config

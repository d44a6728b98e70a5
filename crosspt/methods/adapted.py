"""Methods that train a T5 itself, or modules inside it, on a copy which shares the weights that stay frozen."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from crosspt.config.prompts import CrossPTConfig
from crosspt.methods.saved import SavedMethod
from crosspt.models.prompted import PromptedModel


class AdaptedT5(PromptedModel):
    """A T5 that has been adapted to tasks; rows of all of them go through it alike.

    Args:
        base_model: a T5 of its own, see :func:`crosspt.models.copying.own_copy`. What requires a gradient is what was
            learned, and is saved.
        config: the tasks.
    """

    @property
    def device(self) -> torch.device:
        """The device that inputs must be on."""
        return self.base_model.device

    def _inputs(self, input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None) -> dict[str, Any]:
        """Rows as they come; task ids are not looked at."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return {"input_ids": input_ids, "attention_mask": mask}


class AdaptingMethod(SavedMethod):
    """A method whose models are :class:`AdaptedT5` s: it says how a T5 is adapted, and with which settings."""

    changes_backbone = True
    sees_tasks = False

    @abstractmethod
    def adapt(self, base_model: T5ForConditionalGeneration, config: CrossPTConfig) -> AdaptedT5:
        """A model over a copy of a frozen T5, of which what learns requires a gradient."""

    def make(
        self, base_model: T5ForConditionalGeneration, config: CrossPTConfig, sources: Mapping[str, Tensor] | None
    ) -> AdaptedT5:
        """The adapted T5."""
        return self.adapt(base_model, config)


def modules_named(base_model: nn.Module, *endings: str) -> list[Any]:
    """The modules whose name ends so, in order."""
    return [module for name, module in base_model.named_modules() if name.endswith(endings)]

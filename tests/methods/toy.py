"""The smallest method: a learned vector that is added to every token's embedding."""

from typing import Any

import torch
from torch import Tensor, nn

from crosspt.methods import METHODS
from crosspt.methods.adapted import AdaptedT5, AdaptingMethod
from crosspt.methods.method import baseline
from crosspt.models.copying import own_copy
from crosspt.runs.experiments import worker

LINE = {"toy": "tests.methods.toy:Toy"}


def start_worker(gpu: str | None) -> None:
    """Prepare a process of a grid that has the method."""
    METHODS.update(LINE)
    worker.start_worker(gpu)


class Shifted(AdaptedT5):
    def __init__(self, t5: Any, config: Any):
        super().__init__(t5, config)
        self.shift = nn.Parameter(torch.zeros(t5.config.d_model))

    def _inputs(self, input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None) -> dict[str, Any]:
        rows = super()._inputs(input_ids, attention_mask, task_ids)
        return {"inputs_embeds": self.base_model.shared(rows.pop("input_ids")) + self.shift, **rows}


class Toy(AdaptingMethod):
    name = "toy"
    source = "made up"
    defaults = baseline(learning_rate=0.5, epochs=2)
    uses = frozenset({"learning_rate"})
    changes_backbone = False

    def adapt(self, t5: Any, config: Any) -> Shifted:
        return Shifted(own_copy(t5, lambda name: False), config)

"""A method of one's own on the same ground as all others: a vector a task, added to every embedded token.

A method says which jobs a run has, what is built over a T5, which parameters learn and how they are saved; the rest
of the program finds it by its line in ``METHODS``. ``python examples/new_method.py FOLDER`` trains, saves and evaluates
it.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crosspt.methods import METHODS
from crosspt.methods.adapted import AdaptedT5, AdaptingMethod
from crosspt.methods.method import baseline
from crosspt.models.copying import own_copy
from crosspt.runs.settings import make_run
from crosspt.runs.train import train


class ShiftedT5(AdaptedT5):
    """A T5 that adds its task's vector to every token of a row."""

    def __init__(self, base_model: Any, config: Any):
        super().__init__(base_model, config)
        self.shifts = nn.Parameter(torch.zeros(len(config.tasks), base_model.config.d_model))  # all that learns

    def _inputs(self, input_ids: Tensor, attention_mask: Tensor | None, task_ids: Tensor | None) -> dict[str, Any]:
        rows = super()._inputs(input_ids, attention_mask, task_ids)
        ids = rows.pop("input_ids")
        tasks = torch.zeros(len(ids), dtype=torch.int64, device=ids.device) if task_ids is None else task_ids
        return {"inputs_embeds": self.base_model.shared(ids) + self.shifts[tasks][:, None], **rows}


class Shift(AdaptingMethod):
    """One vector a task; the T5 itself learns nothing."""

    name = "shift"
    source = "examples/new_method.py"
    defaults = baseline(learning_rate=0.1, epochs=20)
    uses = frozenset({"learning_rate"})
    changes_backbone = False
    sees_tasks = True

    def adapt(self, base_model: Any, config: Any) -> ShiftedT5:
        """A model over a copy of a frozen T5, all of whose weights are shared."""
        return ShiftedT5(own_copy(base_model, lambda name: False), config)


METHODS["shift"] = "new_method:Shift"  # in the package: a line of the table


def main(folder: Path, epochs: int | None = None) -> dict[str, Any]:
    """Train into a folder; returns the content of ``results.json``."""
    values = {"method": "shift", "tasks": ["syn_mrpc", "syn_rte"], "shots": 32, "test_rows": 100, "epochs": epochs}
    run = make_run(values, model="embedded", task_files={}, source_prompts=[])
    return train(run, folder, resume=True)


if __name__ == "__main__":
    for row in main(Path(sys.argv[1]))["results"]:
        print(row["scheme"], row["task"], row["decode"], row["metric"], row["value"])

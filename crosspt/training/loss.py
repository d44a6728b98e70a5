"""The loss of a batch: which logits it needs, how rows are weighed, where it is not finite."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from crosspt.tasks.collation import IGNORED_LABEL


def weigh_loss(logits: Tensor, told: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over all labels of their losses, each counted by its row's weight, and the sum of these weights.

    Args:
        logits: (B, K, V).
        told: (B, K), the label that each tells, -100 for none.
        weights: (B,).
    """
    losses = F.cross_entropy(logits.float().flatten(0, 1), told.flatten(), ignore_index=IGNORED_LABEL, reduction="none")
    shares = weights[:, None] * (told != IGNORED_LABEL)
    return (losses.view_as(told) * shares).sum() / shares.sum(), shares.sum()


def tasks_without_finite_loss(logits: Tensor, inputs: dict[str, Any], tasks: list[str]) -> list[str]:
    """The tasks of the rows whose own loss, or any of whose logits where a row has few, is not finite."""
    if "logits_to_keep" in inputs:
        bad_rows = ~torch.isfinite(logits).flatten(1).all(dim=1)
    else:
        losses = F.cross_entropy(
            logits.float().flatten(0, 1), inputs["labels"].flatten(), ignore_index=IGNORED_LABEL, reduction="none"
        )
        bad_rows = ~torch.isfinite(losses.view_as(inputs["labels"]).sum(dim=1))
    ids = inputs["task_ids"][bad_rows].unique().tolist()
    return [tasks[task] for task in ids]


def longest_end(inputs: dict[str, Any]) -> int:
    """From the logits that a row's first label is told from to its end, of the row of a batch where that is longest."""
    labels, lengths = inputs["labels"], inputs["attention_mask"].sum(dim=1)  # padding lies on the right
    first = (labels != IGNORED_LABEL).int().argmax(dim=1)
    return int((lengths - first).max()) + 1

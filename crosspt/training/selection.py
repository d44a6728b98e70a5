"""Selection of what is learned: the scores on development rows in the course of a training, and the best of them."""

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from transformers import EarlyStoppingCallback, TrainerState

Score = Callable[[Any], Mapping[str, float]]
"""The score of each task, in percent, of a model in eval mode; the larger the better."""

METRIC = "score"  # the name of the mean over tasks, which the Trainer compares
_LOGGED = f"eval_{METRIC}"  # as the Trainer's log calls it; that of a task ends with an underscore and its name


class Patience(EarlyStoppingCallback):
    """Ends the training after so many evaluations in a row without a new best."""

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Nothing: the callback would warn that the Trainer loads no best model, as it is loaded after the Trainer."""


def to_metrics(scores: Mapping[str, float]) -> dict[str, float]:
    """The scores of the tasks and their mean, as the Trainer's log names them."""
    return {_LOGGED: fmean(scores.values()), **{f"{_LOGGED}_{task}": score for task, score in scores.items()}}


def describe_selection(state: TrainerState) -> dict[str, Any]:
    """What was selected: the ``step``, its mean ``score``, and the ``history``, an object for each evaluation.

    An evaluation has its ``step``, the mean ``score``, and under ``tasks`` the score of each task.
    """
    history = [
        {
            "step": entry["step"],
            "score": entry[_LOGGED],
            "tasks": {
                name.removeprefix(f"{_LOGGED}_"): score
                for name, score in entry.items()
                if name.startswith(f"{_LOGGED}_")
            },
        }
        for entry in state.log_history
        if _LOGGED in entry
    ]
    return {"step": state.best_global_step, "score": state.best_metric, "history": history}

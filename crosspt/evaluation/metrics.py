"""Task metrics over answered texts, in percent."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from crosspt.tasks.task import Task
from crosspt.tasks.values import same_text

CORRELATIONS = {"pearson": pearsonr, "spearman": spearmanr}
MAJORITY = "majority"  # stands for a scheme where the answers are those of `majority_baseline`


@dataclass(frozen=True)
class Scores:
    """The metrics of one task.

    Attributes:
        values: metric name to percent, in the task's order, the primary first; None where the metric is undefined.
        count: number of answers.
        invalid_rate: percent of answers that are no label word, or for regression no number.
    """

    values: dict[str, float | None]
    count: int
    invalid_rate: float


def compute_metrics(task: Task, predictions: Sequence[str], references: Sequence[str], words: Sequence[str]) -> Scores:
    """Scores answers by match with the label words, in the form of `same_text`.

    An invalid answer is a wrong one. F1 (of class 1) and Matthews correlation take it for the other class where there
    are two, and for a class of its own where there are more; correlations of scores take it for 0. A correlation is
    undefined where the predictions or the references are all the same, F1 where class 1 occurs in neither.

    Args:
        task: the task; its metrics are computed.
        predictions: generated texts.
        references: target texts, from `Task.target_text`.
        words: the word of each class, from `Task.label_words`; not read for regression.

    Raises:
        ValueError: when there is no answer, the lengths differ, words do not fit the classes, or a reference is neither
            a label word nor, for regression, a number.
    """
    if not references or len(predictions) != len(references):
        raise ValueError(
            f"compute_metrics: task {task.name!r} needs one prediction for each of 1 or more references, "
            f"got {len(predictions)} for {len(references)}"
        )
    if task.regression:
        return _score_numbers(task, predictions, references)
    return _score_classes(task, predictions, references, words)


def majority_baseline(task: Task, references: Sequence[str], words: Sequence[str]) -> Scores:
    """Scores the answer that is most frequent among the references, given every time; of equals, the one seen first.

    Args:
        task: the task.
        references: target texts.
        words: the word of each class; not read for regression.

    Raises:
        ValueError: as `compute_metrics`.
    """
    answers = [answer for answer, _ in Counter(references).most_common(1)] * len(references)
    return compute_metrics(task, answers, references, words)


def are_valid(task: Task, answers: Sequence[str], words: Sequence[str]) -> list[bool]:
    """Tells of each answer whether it is a label word, or for regression a number.

    Raises:
        ValueError: words do not fit the classes.
    """
    values = map(_number, answers) if task.regression else _class_ids(task, answers, words)
    return [value is not None for value in values]


def _class_ids(task: Task, texts: Sequence[str], words: Sequence[str]) -> list[int | None]:
    ids = {same_text(word): index for index, word in enumerate(words)}
    if len(words) != len(task.labels) or len(ids) != len(words):
        raise ValueError(
            f"compute_metrics: task {task.name!r} needs {len(task.labels)} distinct words, got {tuple(words)}"
        )
    return [ids.get(same_text(text)) for text in texts]


def _score_classes(task: Task, predictions: Sequence[str], references: Sequence[str], words: Sequence[str]) -> Scores:
    truth = []
    for reference, label in zip(references, _class_ids(task, references, words), strict=True):
        if label is None:
            raise ValueError(
                f"compute_metrics: a reference of task {task.name!r} must be one of {', '.join(words)}, "
                f"got {reference!r}"
            )
        truth.append(label)
    answers = _class_ids(task, predictions, words)
    wrong = [1 - label if len(words) == 2 else len(words) for label in truth]
    given = [other if answer is None else answer for answer, other in zip(answers, wrong, strict=True)]
    values: dict[str, float | None] = {}
    for metric in task.metrics:
        if metric == "accuracy":
            values[metric] = 100 * float(accuracy_score(truth, given))
        elif metric == "f1":
            values[metric] = _percent(f1_score(truth, given, labels=[0, 1], average=None, zero_division=np.nan)[1])
        elif metric in CORRELATIONS:
            numbers = [float(label) for label in task.labels]
            answered = [0.0 if answer is None else numbers[answer] for answer in answers]
            values[metric] = _correlation(metric, [numbers[label] for label in truth], answered)
        else:
            varied = len(set(truth)) > 1 and len(set(given)) > 1
            values[metric] = _percent(matthews_corrcoef(truth, given)) if varied else None
    return Scores(values, len(truth), 100 * answers.count(None) / len(truth))


def _score_numbers(task: Task, predictions: Sequence[str], references: Sequence[str]) -> Scores:
    truth = []
    for reference in references:
        number = _number(reference)
        if number is None:
            raise ValueError(f"compute_metrics: a reference of task {task.name!r} must be a number, got {reference!r}")
        truth.append(number)
    answers = [_number(prediction) for prediction in predictions]
    given = [0.0 if answer is None else answer for answer in answers]
    values = {metric: _correlation(metric, truth, given) for metric in task.metrics}
    return Scores(values, len(truth), 100 * answers.count(None) / len(truth))


def _correlation(metric: str, truth: Sequence[float], given: Sequence[float]) -> float | None:
    varied = len(set(truth)) > 1 and len(set(given)) > 1
    return _percent(CORRELATIONS[metric](truth, given).statistic) if varied else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _percent(value: float) -> float | None:
    return 100 * float(value) if math.isfinite(value) else None

"""Task metrics over answered texts, in percent."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from crosspt.evaluation.text_metrics import read_references, score_texts
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
        invalid_rate: percent of answers that are not valid, see `are_valid`.
    """

    values: dict[str, float | None]
    count: int
    invalid_rate: float


def compute_metrics(task: Task, predictions: Sequence[str], references: Sequence[str], words: Sequence[str]) -> Scores:
    """Scores answers by match with the label words, in the form of `same_text`; free text as `score_texts`, the mean.

    An invalid answer is a wrong one. F1 (of class 1), macro F1 (the mean over the classes that occur) and Matthews
    correlation take it for the other class where there are two, and for a class of its own where there are more, of
    which macro F1 takes no mean; correlations of scores take it for 0. A correlation is undefined where the predictions
    or the references are all the same, F1 where class 1 occurs in neither.

    Args:
        task: the task; its metrics are computed.
        predictions: generated texts.
        references: target texts, from `Task.reference_text`.
        words: the word of each class, from `Task.label_words`; not read for regression and free text.

    Raises:
        ValueError: when there is no answer, the lengths differ, words do not fit the classes, or a reference is neither
            a label word nor, for regression, a number, nor, for free text, one of references.
    """
    if not references or len(predictions) != len(references):
        raise ValueError(
            f"compute_metrics: task {task.name!r} needs one prediction for each of 1 or more references, "
            f"got {len(predictions)} for {len(references)}"
        )
    values: dict[str, float | None] = {}
    for metric in task.metrics:
        if task.free_text:
            values[metric] = 100 * float(score_texts(metric, predictions, references).mean())
        else:
            coded = code_answers(task, metric, predictions, references, words)
            values[metric] = _score(metric, *coded, len(words))
    return Scores(values, len(references), 100 * are_valid(task, predictions, words).count(False) / len(references))


def majority_baseline(task: Task, references: Sequence[str], words: Sequence[str]) -> Scores:
    """Scores the answer that is most frequent among the references, given every time; of equals, the one seen first.

    Of free text each reference of a row counts.

    Args:
        task: the task.
        references: target texts.
        words: the word of each class; not read for regression.

    Raises:
        ValueError: as `compute_metrics`.
    """
    right = references
    if task.free_text:
        right = [text for row in references for text in read_references(row) or ()]
    answers = [answer for answer, _ in Counter(right).most_common(1)] * len(references)
    return compute_metrics(task, answers, references, words)


def are_valid(task: Task, answers: Sequence[str], words: Sequence[str]) -> list[bool]:
    """Tells of each answer whether it is a label word, for regression a number, or for free text any text at all.

    Raises:
        ValueError: words do not fit the classes.
    """
    if task.free_text:
        return [bool(answer.strip()) for answer in answers]
    return [value is not None for value in _read(task, answers, words)]


def are_references(task: Task, texts: Sequence[str], words: Sequence[str]) -> bool:
    """Tells whether all texts are such as `Task.reference_text` makes.

    Raises:
        ValueError: words do not fit the classes.
    """
    if task.free_text:
        return all(read_references(text) is not None for text in texts)
    return all(are_valid(task, texts, words))


def _read(task: Task, texts: Sequence[str], words: Sequence[str]) -> Sequence[float | None]:
    """Classes, or scores; None for a text that is neither."""
    if task.regression:
        return [_number(text) for text in texts]
    ids = {same_text(word): index for index, word in enumerate(words)}
    if len(words) != len(task.labels) or len(ids) != len(words):
        raise ValueError(
            f"compute_metrics: task {task.name!r} needs {len(task.labels)} distinct words, got {tuple(words)}"
        )
    return [ids.get(same_text(text)) for text in texts]


def code_answers(
    task: Task, metric: str, predictions: Sequence[str], references: Sequence[str], words: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The right and the given answers as the numbers that a metric is computed from: classes, or scores.

    Args:
        task: the task.
        metric: one of its metrics.
        predictions: n generated texts.
        references: n target texts.
        words: the word of each class; not read for regression.

    Returns:
        Two arrays (n,): of floats for a correlation, and of integers else. An invalid answer is a wrong class, or 0.

    Raises:
        ValueError: as `compute_metrics`.
    """
    truth, answers = (np.array(_read(task, texts, words), dtype=float) for texts in (references, predictions))
    if np.isnan(truth).any():
        wanted = "a number" if task.regression else f"one of {', '.join(words)}"
        got = references[int(np.isnan(truth).argmax())]
        raise ValueError(f"compute_metrics: a reference of task {task.name!r} must be {wanted}, got {got!r}")
    if metric in CORRELATIONS:
        if not task.regression:
            scores = np.array([*map(float, task.labels), math.nan])
            truth, answers = (scores[np.nan_to_num(side, nan=-1).astype(int)] for side in (truth, answers))
        return truth, np.nan_to_num(answers)
    wrong = 1 - truth if len(words) == 2 else len(words)
    return truth.astype(int), np.where(np.isnan(answers), wrong, answers).astype(int)


def _score(metric: str, truth: np.ndarray, given: np.ndarray, classes: int) -> float | None:
    if metric == "accuracy":
        return 100 * float(accuracy_score(truth, given))
    if metric == "f1":
        return _percent(f1_score(truth, given, labels=[0, 1], average=None, zero_division=np.nan)[1])
    if metric == "macro_f1":
        return _percent(f1_score(truth, given, labels=range(classes), average="macro", zero_division=np.nan))
    if (truth == truth[0]).all() or (given == given[0]).all():
        return None
    correlated = metric in CORRELATIONS
    return _percent(CORRELATIONS[metric](truth, given).statistic if correlated else matthews_corrcoef(truth, given))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _percent(value: float) -> float | None:
    return 100 * float(value) if math.isfinite(value) else None

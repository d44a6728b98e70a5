"""Metrics of rows drawn anew, many draws at once: what a metric would be on other test rows."""

import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from crosspt.evaluation.metrics import CORRELATIONS, code_answers
from crosspt.evaluation.text_metrics import score_texts
from crosspt.tasks.task import Task

DRAWS = 2000


@lru_cache(maxsize=16)  # the tasks of a seed
def draw_rows(task: str, seed: int, count: int) -> np.ndarray:
    """How often each of a task's rows is drawn: the same for whoever answered the rows of this task and seed.

    Args:
        task: the task's name.
        seed: of the run that the rows were answered in.
        count: number of rows n.

    Returns:
        An array (1 + DRAWS, n) float32 whose rows sum to n. The first draw is of every row once.
    """
    generator = np.random.default_rng([zlib.crc32(task.encode()), abs(seed), count])
    places = generator.integers(count, size=(DRAWS, count)) + count * np.arange(DRAWS)[:, None]
    drawn = np.bincount(places.ravel(), minlength=DRAWS * count).reshape(DRAWS, count)
    return np.concatenate([np.ones((1, count)), drawn]).astype(np.float32)


def resample_metric(
    task: Task, answers: Sequence[str], references: Sequence[str], words: Sequence[str], draws: np.ndarray
) -> np.ndarray:
    """A task's primary metric of every draw, as :func:`compute_metrics` would compute it.

    Args:
        task: the task.
        answers: n texts.
        references: n target texts, from :meth:`Task.reference_text`.
        words: the word of each class; not read for regression and free text.
        draws: how often each row is drawn, (D, n), from :func:`draw_rows`.

    Returns:
        An array (D,) in percent; NaN where the metric is undefined.

    Raises:
        ValueError: as :func:`compute_metrics`.
    """
    metric = task.metrics[0]
    if task.free_text:
        return 100 * (draws @ score_texts(metric, answers, references)) / len(references)
    truth, given = code_answers(task, metric, answers, references, words)
    with np.errstate(divide="ignore", invalid="ignore"):
        if metric == "accuracy":
            return 100 * _count(draws, truth == given) / len(truth)
        if metric in CORRELATIONS:
            return 100 * _correlate(truth, given, draws, ranked=metric == "spearman")
        classes = 1 + max(truth.max(), given.max())
        pairs = np.eye(classes**2)[truth * classes + given]
        counts = _count(draws, pairs).reshape(-1, classes, classes)  # of each right and each given class
        right, answered, hits = counts.sum(axis=2), counts.sum(axis=1), counts.diagonal(axis1=1, axis2=2)
        if metric == "f1":
            return 100 * 2 * hits[:, 1] / (right[:, 1] + answered[:, 1])
        if metric == "macro_f1":  # a class without rows and answers is 0 / 0
            return 100 * np.nanmean((2 * hits / (right + answered))[:, : len(words)], axis=1)
        squares = [len(truth) ** 2 - (side**2).sum(axis=1) for side in (right, answered)]
        products = len(truth) * hits.sum(axis=1) - (right * answered).sum(axis=1)
        return 100 * products / np.sqrt(np.prod(squares, axis=0))


def _count(draws: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """How many rows are drawn of those marked by 1; float32 counts them exactly."""
    return (draws @ rows.astype(np.float32)).astype(np.float64)


def _correlate(truth: np.ndarray, given: np.ndarray, draws: np.ndarray, *, ranked: bool) -> np.ndarray:
    """Pearson's correlation of each draw, of the ranks within the draw where ``ranked``."""
    sides = []
    for side in (truth, given):
        _, places = np.unique(side, return_inverse=True)
        ties = _count(draws, np.eye(places.max() + 1)[places])  # of each score
        values = np.broadcast_to(side, draws.shape)
        if ranked:  # equal scores share the mean of their ranks, here half a rank less
            values = (ties.cumsum(axis=1) - ties / 2)[:, places]
        centred = values - (draws * values).mean(axis=1, keepdims=True)
        several = (ties > 0).sum(axis=1) > 1
        sides.append((centred, np.where(several, (draws * centred**2).sum(axis=1), np.nan)))
    (one, squares), (other, others) = sides
    return (draws * one * other).sum(axis=1) / np.sqrt(squares * others)

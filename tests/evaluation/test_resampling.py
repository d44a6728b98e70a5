import numpy as np
import pytest

from crosspt.evaluation.metrics import compute_metrics
from crosspt.evaluation.resampling import DRAWS, draw_rows, resample_metric
from crosspt.tasks.task import Task

COUNT = 25
YES_NO, SCORES = ("no", "yes"), ("0.0", "0.5", "2.5")
CASES = {
    "accuracy": Task("one", ("text",), labels=YES_NO, metrics=("accuracy",)),
    "f1": Task("two", ("text",), labels=YES_NO, metrics=("f1",)),
    "matthews": Task("three", ("text",), labels=YES_NO, metrics=("matthews",)),
    "matthews of three": Task("four", ("text",), labels=("a", "b", "c"), metrics=("matthews",)),
    "macro f1": Task("eight", ("text",), labels=YES_NO, metrics=("macro_f1",)),
    "macro f1 of three": Task("nine", ("text",), labels=("a", "b", "c"), metrics=("macro_f1",)),
    "pearson": Task("five", ("text",), metrics=("pearson",), regression=True),
    "spearman": Task("six", ("text",), metrics=("spearman",), regression=True),
    "spearman of classes": Task("seven", ("text",), labels=SCORES, metrics=("spearman",)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("few", [False, True])
def test_every_draw_has_the_metric_of_its_rows(name: str, few: bool) -> None:
    """``few``: all answers but one are the same, so that the metric is undefined in some draws."""
    task, generator = CASES[name], np.random.default_rng(5)
    words = task.labels or ("0.0", "0.7", "1.2", "5.0")
    references = [str(word) for word in generator.choice(words, COUNT)]
    answers = [words[1]] * COUNT if few else [str(word) for word in generator.choice([*words, "maybe"], COUNT)]
    answers[3] = words[0]
    draws = draw_rows(task.name, 0, COUNT)
    found = resample_metric(task, answers, references, words, draws)
    assert found.shape == (1 + DRAWS,)
    undefined = 0
    for draw, value in zip(draws[:150].astype(int), found[:150], strict=True):
        rows = np.repeat(np.arange(COUNT), draw)
        drawn = compute_metrics(task, [answers[row] for row in rows], [references[row] for row in rows], words)
        expected = drawn.values[task.metrics[0]]
        undefined += expected is None
        assert value == pytest.approx(np.nan if expected is None else expected, nan_ok=True)
    assert (undefined > 0) == (few and task.metrics[0] in ("matthews", "pearson", "spearman"))


def test_draws_are_of_all_rows_and_differ_between_seeds_and_tasks() -> None:
    draws = draw_rows("one", 0, COUNT)
    assert (draws[0] == 1).all()
    assert (draws.sum(axis=1) == COUNT).all()
    assert draws[1:].mean() == 1
    assert draws[1:].var() == pytest.approx(1 - 1 / COUNT, rel=0.03), "of a binomial count"
    assert not any(np.array_equal(draws, draw_rows(*other, COUNT)) for other in (("one", 1), ("two", 0)))

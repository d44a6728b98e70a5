import warnings

import pytest

from crosspt.evaluation.metrics import Scores, compute_metrics, majority_baseline
from crosspt.tasks.task import Task

BINARY = Task(name="binary", fields=("text",), labels=("no", "yes"), metrics=("accuracy", "f1", "matthews"))
TERNARY = Task(name="ternary", fields=("text",), labels=("a", "b", "c"), metrics=("accuracy", "matthews"))
SCORE = Task(name="score", fields=("text",), metrics=("pearson", "spearman"), regression=True)
TRUTH = ["yes", "yes", "yes", "no", "no"]


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_binary() -> None:
    # True positives 2, false negatives 1, false positives 1, true negatives 1.
    scores = compute_metrics(BINARY, ["yes", " yes\n", "no", "yes", "no"], TRUTH, BINARY.labels)
    assert list(scores.values) == ["accuracy", "f1", "matthews"]
    assert scores.values["accuracy"] == pytest.approx(60)
    assert scores.values["f1"] == pytest.approx(100 * 4 / 6)
    assert scores.values["matthews"] == pytest.approx(100 * (2 * 1 - 1 * 1) / (3 * 2 * 3 * 2) ** 0.5)
    assert (scores.count, scores.invalid_rate) == (5, 0)


def test_macro_f1_is_the_mean_over_the_classes_that_occur() -> None:
    task = Task(name="many", fields=("text",), labels=("a", "b", "c", "d"), metrics=("macro_f1",))
    truth, given = ["a", "a", "b", "b", "b"], ["a", "b", "b", "c", "none"]
    # a: 2 * 1 / (2 + 1); b: 2 * 1 / (3 + 2); c: 0, as it was answered; d does not occur, and no label is no class.
    found = compute_metrics(task, given, truth, task.labels).values["macro_f1"]
    assert found == pytest.approx(100 * (2 / 3 + 2 / 5 + 0) / 3)


def test_an_invalid_answer_is_the_other_class() -> None:
    invalid = compute_metrics(BINARY, ["yes", "yes", "Yes", "", "no"], TRUTH, BINARY.labels)
    wrong = compute_metrics(BINARY, ["yes", "yes", "no", "yes", "no"], TRUTH, BINARY.labels)
    assert invalid.values == wrong.values
    assert (invalid.invalid_rate, wrong.invalid_rate) == (40, 0)


def test_given_words_are_what_counts() -> None:
    scores = compute_metrics(BINARY, ["A1", "yes"], ["A1", "A0"], ("A0", "A1"))
    assert scores.values["accuracy"] == 50
    assert scores.invalid_rate == 50


def test_ternary_with_an_invalid_answer() -> None:
    # Matthews by its definition from the class counts: correct 3 of 4; truth a 2, b 1, c 1; given a, b, c, invalid.
    scores = compute_metrics(TERNARY, ["a", "b", "no idea", "c"], ["a", "b", "a", "c"], TERNARY.labels)
    numerator = 3 * 4 - (1 + 1 + 2)
    denominator = ((16 - (1 + 1 + 1 + 1)) * (16 - (1 + 1 + 4))) ** 0.5
    assert scores.values["accuracy"] == 75
    assert scores.values["matthews"] == pytest.approx(100 * numerator / denominator)
    assert scores.invalid_rate == 25


def test_undefined_metrics_are_none() -> None:
    assert compute_metrics(BINARY, ["no", "no"], ["no", "no"], BINARY.labels).values == {
        "accuracy": 100,
        "f1": None,
        "matthews": None,
    }
    assert compute_metrics(BINARY, ["no", "no"], ["no", "yes"], BINARY.labels).values == {
        "accuracy": 50,
        "f1": 0,
        "matthews": None,
    }
    constant = compute_metrics(SCORE, ["2.0", "2.0"], ["1.0", "3.0"], ())
    assert constant.values == {"pearson": None, "spearman": None}
    assert compute_metrics(SCORE, ["1.0"], ["3.0"], ()).values == {"pearson": None, "spearman": None}


def test_correlations() -> None:
    # Deviations (-2, -2, 0, 4) and (-1.5, -0.5, 0.5, 1.5); those of the ranks (-1, -1, 0.5, 1.5) and the same.
    scores = compute_metrics(SCORE, ["0.0", "0.0 ", "2.0", "6"], ["1.0", "2.0", "3.0", "4.0"], ())
    assert scores.values["pearson"] == pytest.approx(100 * 10 / (24 * 5) ** 0.5)
    assert scores.values["spearman"] == pytest.approx(100 * 4.5 / (4.5 * 5) ** 0.5)


@pytest.mark.parametrize("answer", ["", "five", "nan", "inf", "3.8 4.0"])
def test_an_unparsable_score_is_zero(answer: str) -> None:
    truth = ["1.0", "2.0", "3.0"]
    invalid = compute_metrics(SCORE, [answer, "4.0", "1.0"], truth, ())
    assert invalid.values == compute_metrics(SCORE, ["0.0", "4.0", "1.0"], truth, ()).values
    assert invalid.invalid_rate == pytest.approx(100 / 3)


def test_majority() -> None:
    scores = majority_baseline(BINARY, TRUTH, BINARY.labels)
    assert scores == Scores({"accuracy": 60, "f1": 75, "matthews": None}, 5, 0)
    assert majority_baseline(TERNARY, ["b", "a", "a", "b"], TERNARY.labels).values["accuracy"] == 50
    assert majority_baseline(SCORE, ["1.0", "1.0", "2.0"], ()).values == {"pearson": None, "spearman": None}


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"task 'binary' needs one prediction for each of 1 or more ref.*got 1 for 2"):
        compute_metrics(BINARY, ["yes"], ["yes", "no"], BINARY.labels)
    with pytest.raises(ValueError, match=r"task 'binary' needs one prediction for each of 1 or more.*got 0 for 0"):
        majority_baseline(BINARY, [], BINARY.labels)
    with pytest.raises(ValueError, match=r"task 'binary' needs 2 distinct words, got \('yes',\)"):
        compute_metrics(BINARY, ["yes"], ["yes"], ("yes",))
    with pytest.raises(ValueError, match=r"task 'binary' needs 2 distinct words, got \('yes', 'yes '\)"):
        compute_metrics(BINARY, ["yes"], ["yes"], ("yes", "yes "))
    with pytest.raises(ValueError, match="a reference of task 'binary' must be one of no, yes, got 'maybe'"):
        compute_metrics(BINARY, ["yes"], ["maybe"], BINARY.labels)
    with pytest.raises(ValueError, match="a reference of task 'score' must be a number, got 'high'"):
        compute_metrics(SCORE, ["1.0"], ["high"], ())


def test_correlations_of_numeric_labels() -> None:
    task = Task(
        name="grades", fields=("text",), labels=("0.0", "1.0", "2.0"), metrics=("accuracy", "pearson", "spearman")
    )
    words = task.label_words("synthetic")
    # By hand: truth 0, 1, 2, 2 against 0, 2, 2, 0 (the last is invalid): covariance 3/4, variances 11/4 and 4
    scores = compute_metrics(task, ["A0", "A2", "A2", "?"], ["A0", "A1", "A2", "A2"], words)
    assert scores.values["accuracy"] == 50.0
    assert scores.values["pearson"] == pytest.approx(100 * (6 - 5 * 4 / 4) / ((9 - 25 / 4) * (8 - 4)) ** 0.5)
    assert scores.values["spearman"] == pytest.approx(100 / (4.5 * 4) ** 0.5)


def test_answers_compare_as_tokenizers_decode_them() -> None:
    labels = ("n\u00e9gatif\u2026", "5\u00a0stars")
    task = Task(name="own", fields=("text",), labels=labels)
    scores = compute_metrics(task, ["ne\u0301gatif...", "5 stars", "stars"], [*labels, labels[0]], labels)
    assert scores.values["accuracy"] == pytest.approx(200 / 3)
    assert scores.invalid_rate == pytest.approx(100 / 3)

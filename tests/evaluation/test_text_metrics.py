"""Metrics of free text beside computations of their own."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from crosspt.evaluation.answers import Answers, Asked, keep_answers, read_predictions, write_predictions
from crosspt.evaluation.metrics import compute_metrics, majority_baseline
from crosspt.evaluation.resampling import draw_rows, resample_metric
from crosspt.evaluation.results import score_predictions
from crosspt.evaluation.text_metrics import check_installed, read_references, score_texts
from crosspt.tasks.task import TEXT_METRICS, Task

FREE = Task("free", ("text",), free_text=True, metrics=TEXT_METRICS)
SENTENCES = [
    ("the cat sat on the mat", ["a cat sat on a mat", "there was a cat"]),
    ("Paris.", ["Lyon", "paris"]),
    ("in the year 1912", ["1912"]),
    ("", ["something"]),
    ("police killed the gunman", ["the gunman was killed by police", "police kill the gunman"]),
    ("a b c d e f", ["b d f a c e"]),
    ("same same same", ["same"]),
]


def packed(references: list[str]) -> str:
    return json.dumps(references, ensure_ascii=False)


def score(metric: str, answer: str, *references: str) -> float:
    return float(score_texts(metric, [answer], [packed(list(references))])[0])


def plain(text: str) -> list[str]:
    """Words without case, punctuation and articles, letter by letter."""
    kept = "".join(letter for letter in text.lower() if letter.isalnum() or letter == " ")
    return [word for word in kept.split() if word not in ("a", "an", "the")]


def longest(one: list[str], other: list[str]) -> int:
    """The length of the longest common subsequence, by its recursion."""
    if not one or not other:
        return 0
    if one[-1] == other[-1]:
        return 1 + longest(one[:-1], other[:-1])
    return max(longest(one[:-1], other), longest(one, other[:-1]))


def overlap(one: Sequence[object], other: Sequence[object]) -> int:
    left, count = list(other), 0
    for item in one:
        if item in left:
            left.remove(item)
            count += 1
    return count


def f_measure(hits: int, given: int, right: int) -> float:
    if not hits:
        return 0.0
    precision, recall = hits / given, hits / right
    return 2 * precision * recall / (precision + recall)


def independent(metric: str, answer: str, reference: str) -> float:
    if metric == "exact_match":
        return float(plain(answer) == plain(reference))
    one, other = (plain if metric == "token_f1" else lambda text: text.lower().replace(".", "").split() for _ in "ab")
    given, right = one(answer), other(reference)
    if metric == "rougeL":
        return f_measure(longest(given, right), len(given), len(right))
    width = 2 if metric == "rouge2" else 1
    pieces = [[tuple(words[n : n + width]) for n in range(len(words) - width + 1)] for words in (given, right)]
    return f_measure(overlap(*pieces), *map(len, pieces))


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_metrics_are_those_of_another_computation(metric: str) -> None:
    found = score_texts(metric, [answer for answer, _ in SENTENCES], [packed(known) for _, known in SENTENCES])
    wanted = [max(independent(metric, answer, one) for one in known) for answer, known in SENTENCES]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    assert 0 < found.mean() < 1


def test_squads_examples() -> None:
    assert score("exact_match", "The Eiffel-Tower!", "eiffeltower") == 1
    assert score("token_f1", "an old house", "the house") == pytest.approx(2 / 3)
    assert score("token_f1", "house house", "house") == pytest.approx(2 / 3)  # a word counts as often as it occurs
    assert score("exact_match", "x", "y") == score("token_f1", "", "y") == 0


@pytest.mark.parametrize("reference", ["A", "The", "!", "a.", "..."])
def test_a_reference_of_articles_or_punctuation_is_no_empty_answer(reference: str) -> None:
    assert score("exact_match", "", reference) == score("token_f1", "", reference) == 0
    assert score("exact_match", f" {reference.lower()} ", reference) == 1
    assert score("exact_match", "an", reference) == 0


def test_texts_of_other_scripts_count() -> None:
    """The tokenizer of rouge-score leaves nothing of them."""
    for text in ("日本語の文", "Привет мир", "हिन्दी में", "ภาษาไทย", "größer"):
        for metric in TEXT_METRICS:
            wanted = 0 if metric == "rouge2" and text == "größer" else 1
            assert score(metric, text, text) == wanted, (metric, text)
    assert score("rouge1", "東京都", "東京") == pytest.approx(0.8)
    assert score("rouge1", "grün", "gran") == 0
    assert score("exact_match", "ﬁne", "fine") == 1  # what a tokenizer makes of it


def test_google_agrees_on_ascii() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    text = "It's 3.5% of the well-known U.S. index_names (so far), isn't it?"
    for answer, known in [*SENTENCES, ("its 3 5 of the well known us index", [text]), (text, ["its index names"])]:
        found = scorer.score_multi(known, answer)
        for metric, value in found.items():
            assert score(metric, answer, *known) == pytest.approx(value.fmeasure, abs=1e-12)


def test_the_mean_over_rows_and_the_draws() -> None:
    answers, references = [one for one, _ in SENTENCES], [packed(known) for _, known in SENTENCES]
    found = compute_metrics(FREE, answers, references, ())
    assert list(found.values) == list(TEXT_METRICS)
    assert found.values["exact_match"] == pytest.approx(200 / 7)
    assert (found.count, found.invalid_rate) == (7, pytest.approx(100 / 7))
    for metric in TEXT_METRICS:
        task = Task("free", ("text",), free_text=True, metrics=(metric,))
        draws = draw_rows("free", 0, len(answers))
        values = resample_metric(task, answers, references, (), draws)
        assert values[0] == pytest.approx(found.values[metric], abs=1e-6)
        drawn = np.repeat(np.arange(len(answers)), draws[1].astype(int))
        again = compute_metrics(task, [answers[n] for n in drawn], [references[n] for n in drawn], ())
        assert values[1] == pytest.approx(again.values[metric], abs=1e-4)


def test_the_majority_is_the_most_frequent_reference() -> None:
    references = [packed(known) for known in (["x", "y"], ["y"], ["z"])]
    assert majority_baseline(FREE, references, ()).values["exact_match"] == pytest.approx(200 / 3)


def test_references() -> None:
    row = {"label": ["one", 'two "quoted" 北']}
    assert read_references(FREE.reference_text(row, ())) == tuple(row["label"])
    assert [read_references(text) for text in ("one", '"one"', "[]", '["a", ""]', "[1", "{}")] == [None] * 6
    with pytest.raises(ValueError, match="references must be a JSON list of one or more texts, got 'one'"):
        compute_metrics(FREE, ["one"], ["one"], ())


def test_answers_are_kept_and_read(tmp_path: Path) -> None:
    references = [packed(["a b"]), packed(["c", "d"])]
    kept = keep_answers("SL", Asked(FREE, ()), references, {"generate": Answers(["a b", "d"])})
    assert kept.rows["valid"].tolist() == [True, True]
    write_predictions(tmp_path / "predictions.parquet", kept)
    read = read_predictions(tmp_path / "predictions.parquet")
    assert read.tasks["free"].task.free_text
    scores = {row["metric"]: row for row in score_predictions(read, cell="x", seed=0, shots=None)}
    assert list(scores) == list(TEXT_METRICS)
    (match,) = [
        row
        for row in score_predictions(read, cell="x", seed=0, shots=None)
        if (row["scheme"], row["metric"]) == ("SL", "exact_match")
    ]
    assert (match["value"], match["primary"], match["invalid_rate"]) == (100.0, True, 0.0)
    bad = keep_answers("SL", Asked(FREE, ()), ["a b", references[1]], {"generate": Answers(["a b", "d"])})
    write_predictions(tmp_path / "bad.parquet", bad)
    with pytest.raises(ValueError, match="must have right answers of the task"):
        read_predictions(tmp_path / "bad.parquet")


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed(FREE)
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    monkeypatch.setattr("crosspt.evaluation.text_metrics.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="task 'free': rouge1, rouge2, rougeL needs the package rouge-score, which is"):
        check_installed(FREE)
    check_installed(Task("free", ("text",), free_text=True, metrics=("exact_match", "token_f1")))

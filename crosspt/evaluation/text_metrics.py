"""Metrics of free text: what each answer is worth beside its row's references."""

import json
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from crosspt.tasks.task import Task
from crosspt.tasks.values import as_texts, same_text

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_UNSPACED = ("CJK ", "HIRAGANA ", "KATAKANA ", "THAI ", "LAO ", "KHMER ", "MYANMAR ")  # beginnings of letters' names


def check_installed(task: Task) -> None:
    """Raise ValueError where a metric of a task needs a package that is not installed."""
    rouge = [metric for metric in task.metrics if metric.startswith("rouge")]
    if rouge and find_spec("rouge_score") is None:
        raise ValueError(
            f"task {task.name!r}: {', '.join(rouge)} needs the package rouge-score, which is not "
            "installed: pip install rouge-score"
        )


def read_references(text: str) -> tuple[str, ...] | None:
    """The references of a row, from :meth:`Task.reference_text`; None for any other text."""
    try:
        values = json.loads(text)
    except ValueError:
        return None
    return as_texts(values) if isinstance(values, list) else None


def score_texts(metric: str, answers: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """What each answer is worth, from 0 to 1; of several references the one counts that it is worth most beside.

    ``exact_match`` and ``token_f1`` are those of SQuAD: without case, punctuation and articles, but that a text of
    nothing else stays as it is. ``rouge1``, ``rouge2`` and ``rougeL`` are F measures of the package rouge-score, over
    words of letters and digits without case; its own tokenizer leaves out all but those of ASCII. Letters of scripts
    that write no spaces are words.

    Args:
        metric: one of ``crosspt.tasks.task.TEXT_METRICS``.
        answers: n texts.
        references: n texts of :meth:`Task.reference_text`.

    Returns:
        An array (n,).

    Raises:
        ValueError: a text is none of references.
    """
    score = _rouge(metric) if metric.startswith("rouge") else {"exact_match": _match, "token_f1": _token_f1}[metric]
    values = []
    for answer, text in zip(answers, references, strict=True):
        known = read_references(text)
        if known is None:
            raise ValueError(f"score_texts: references must be a JSON list of one or more texts, got {text!r}")
        values.append(max(score(same_text(answer), same_text(reference)) for reference in known))
    return np.array(values, dtype=float)


def _normalize(text: str) -> str:
    """A text in the form in which SQuAD compares: lower case, then without punctuation, then without articles."""
    lower = text.lower()
    words = lower.translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", words).split()) or " ".join(words.split()) or lower


def _match(answer: str, reference: str) -> float:
    return float(_normalize(answer) == _normalize(reference))


def _token_f1(answer: str, reference: str) -> float:
    given, right = _normalize(answer).split(), _normalize(reference).split()
    shared = sum((Counter(given) & Counter(right)).values())
    return 2 * shared / (len(given) + len(right)) if shared else 0.0


def _rouge(metric: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # takes a second to import, and is an extra

    scorer = RougeScorer([metric], tokenizer=_Words())
    return lambda answer, reference: scorer.score(reference, answer)[metric].fmeasure


class _Words:
    """The tokenizer of rouge-score, for letters and digits of all scripts."""

    def tokenize(self, text: str) -> list[str]:
        return "".join(map(_spaced, text.lower())).split()


@lru_cache(maxsize=2**16)
def _spaced(letter: str) -> str:
    """A letter or digit, or a space for anything else; spaces around a letter that is a word."""
    if unicodedata.category(letter)[0] not in "LMN":
        return " "
    return f" {letter} " if unicodedata.name(letter, "").startswith(_UNSPACED) else letter

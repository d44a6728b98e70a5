"""The embedded task suite: eight tasks with GLUE's shapes and label words in a controlled English.

Every slot of a text is marked or not, see :mod:`crosspt.tasks.embedded.sentences`. A *question* is about some of the
slots: its answer is how many of those are marked. So the text does not say what is asked. A task asks about a slot or
its *partner*, never both, and in most of the rows to train on they agree: few rows leave open which is meant.

Rows are generated, any number of them, from a seed. The text of a row alone decides which split it may appear in, so
that no row of one split occurs in another, whatever the seeds and tasks. Half of the texts belong to "pretrain".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import blake2b
from itertools import combinations
from random import Random
from typing import Any, NamedTuple

from crosspt.tasks.embedded.sentences import PAIR, SENTENCE, Form, pick

SPLITS = {"pretrain": range(5), "train": range(5, 7), "validation": range(7, 8), "test": range(8, 10)}
# How often a slot that is asked about is marked as its partner is.
AGREEMENT = {"pretrain": 0.5, "train": 0.85, "validation": 0.7, "test": 0.7}


class Question(NamedTuple):
    """The slots that are asked about, and the label of each number of marks on them, the last of all higher ones."""

    form: Form
    slots: tuple[str, ...]
    answers: tuple[int, ...]


class SyntheticTask(NamedTuple):
    """A task: its question, its label words and what they are called, and its metrics, the primary one first."""

    question: Question
    labels: tuple[str, ...]
    style: str
    metrics: tuple[str, ...]


_NLI, _RTE = ("entailment", "neutral", "contradiction"), ("entailment", "not_entailment")
_SCORES = ("1.0", "2.0", "3.0", "4.0", "5.0")

SYNTHETIC_TASKS = {
    "syn_cola": SyntheticTask(
        Question(SENTENCE, ("determiner", "agreement", "order"), (1, 0)),
        ("unacceptable", "acceptable"),
        "judge the grammar",
        ("accuracy", "matthews"),
    ),
    "syn_sst2": SyntheticTask(
        Question(SENTENCE, ("character", "verdict", "merit"), (1, 0)),
        ("negative", "positive"),
        "tell the sentiment",
        ("accuracy",),
    ),
    "syn_mrpc": SyntheticTask(
        Question(PAIR, ("agent", "quality", "patient"), (1, 0)),
        ("not_equivalent", "equivalent"),
        "find a paraphrase",
        ("accuracy", "f1"),
    ),
    "syn_qqp": SyntheticTask(
        Question(PAIR, ("agent", "patient", "feature"), (1, 0)),
        ("not_duplicate", "duplicate"),
        "find a repetition",
        ("accuracy", "f1"),
    ),
    "syn_stsb": SyntheticTask(
        Question(PAIR, ("agent", "quality", "patient", "feature"), (4, 3, 2, 1, 0)),
        _SCORES,
        "grade the similarity",
        ("accuracy", "pearson", "spearman"),
    ),
    "syn_mnli": SyntheticTask(
        Question(PAIR, ("action", "place", "time"), (0, 1, 2)), _NLI, "infer in three ways", ("accuracy",)
    ),
    "syn_qnli": SyntheticTask(
        Question(PAIR, ("manner", "place", "time"), (0, 1)), _RTE, "infer in two ways", ("accuracy",)
    ),
    "syn_rte": SyntheticTask(
        Question(PAIR, ("action", "manner", "time"), (0, 1)), _RTE, "infer in two ways", ("accuracy",)
    ),
}


def describe(task: str, slots: Iterable[str]) -> list[str]:
    """Return the phrases of an instruction: what a task's labels are called, and the slots that are asked about."""
    return [SYNTHETIC_TASKS[task].style, *slots]


def split_of(*texts: str) -> str:
    """Return the split a row belongs to, given the text of its fields in any order."""
    digest = blake2b("\n".join(sorted(texts)).encode(), digest_size=4).digest()
    bucket = int.from_bytes(digest, "big") % 10
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


@cache
def marks_of(question: Question) -> list[list[tuple[str, ...]]]:
    """Return, for each answer of a question, the sets of marks on its slots that it is the answer to."""
    sets: list[list[tuple[str, ...]]] = [[] for _ in question.answers]
    for count in range(len(question.slots) + 1):
        sets[min(count, len(sets) - 1)] += combinations(question.slots, count)
    return sets


def draw_texts(question: Question, answer: int, rng: Random, agreement: float = 0.5) -> tuple[str, ...]:
    """Draw a text that has an answer, by its place in `question.answers`.

    The slots that are not asked about are marked as their partner is at the rate `agreement`, or at random.
    """
    marked = {*pick(marks_of(question)[answer], rng)}
    for slot, partner in question.form.partners.items():
        if slot not in question.slots:
            rate = 0.5 if partner not in question.slots else agreement if partner in marked else 1.0 - agreement
            marked |= {slot} if rng.random() < rate else set()
    return question.form.draw(marked, rng, question.form.slots)


def read_label(task: str, row: Mapping[str, Any]) -> int:
    """Return the label that the words of a row say."""
    question = SYNTHETIC_TASKS[task].question
    marked = question.form.read(*(row[field] for field in question.form.fields))
    return question.answers[min(len(marked & {*question.slots}), len(question.answers) - 1)]


def generate_rows(task: str, split: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Generate distinct rows of a task with its classes in equal numbers, give or take one.

    Args:
        task: a name from `SYNTHETIC_TASKS`.
        split: "pretrain", "train", "validation" or "test".
        count: how many rows.
        seed: rows of one split and different seeds are drawn independently.

    Returns:
        Dictionaries of the task's fields and a "label", its position in the task's label words.
    """
    if task not in SYNTHETIC_TASKS:
        raise ValueError(f"generate_rows: task must be one of {', '.join(SYNTHETIC_TASKS)}, got {task!r}")
    if split not in SPLITS:
        raise ValueError(f"generate_rows: split must be one of {', '.join(SPLITS)}, got {split!r}")
    if count < 0:
        raise ValueError(f"generate_rows: count must not be negative, got {count}")
    rng, question = Random(f"{task} {split} {seed}"), SYNTHETIC_TASKS[task].question
    rows: list[dict[str, Any]] = []
    seen: set[tuple[str, ...]] = set()
    # Classes come in shuffled rounds, so that any leading part of the rows is balanced too.
    order: list[int] = []
    while len(rows) < count:
        if not order:
            order = rng.sample(range(len(question.answers)), len(question.answers))
        texts = draw_texts(question, order[-1], rng, AGREEMENT[split])
        if texts in seen or split_of(*texts) != split:
            continue
        seen.add(texts)
        rows.append(dict(zip(question.form.fields, texts, strict=True)) | {"label": question.answers[order.pop()]})
    return rows

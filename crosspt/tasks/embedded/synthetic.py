"""The embedded task suite: eight tasks with GLUE's shapes and label words in a controlled English.

Rows are generated, any number of them, from a seed. The text of a row alone decides which split it may appear in, so
that no row of one split occurs in another, whatever the seeds and tasks. Half of the texts belong to "pretrain".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from itertools import product
from random import Random
from typing import Any

from crosspt.tasks.embedded import grammar, lexicon
from crosspt.tasks.embedded.grammar import Event, pick
from crosspt.tasks.embedded.sentences import word_clause, word_opinion

SPLITS = {"pretrain": range(5), "train": range(5, 7), "validation": range(7, 8), "test": range(8, 10)}

_SINGLE = ("sentence",)
_PAIR = ("sentence1", "sentence2")
_NLI = ("entailment", "neutral", "contradiction")
_RTE = ("entailment", "not_entailment")

# The first metric of a task is its primary one. The labels of syn_stsb are scores, written with one decimal.
SYNTHETIC_TASKS: dict[str, dict[str, tuple[str, ...]]] = {
    "syn_cola": {"fields": _SINGLE, "labels": ("unacceptable", "acceptable"), "metrics": ("accuracy", "matthews")},
    "syn_sst2": {"fields": _SINGLE, "labels": ("negative", "positive"), "metrics": ("accuracy",)},
    "syn_mrpc": {"fields": _PAIR, "labels": ("not_equivalent", "equivalent"), "metrics": ("accuracy", "f1")},
    "syn_qqp": {"fields": _PAIR, "labels": ("not_duplicate", "duplicate"), "metrics": ("accuracy", "f1")},
    "syn_stsb": {
        "fields": _PAIR,
        "labels": ("0.0", "1.0", "2.0", "3.0", "4.0", "5.0"),
        "metrics": ("accuracy", "pearson", "spearman"),
    },
    "syn_mnli": {"fields": _PAIR, "labels": _NLI, "metrics": ("accuracy",)},
    "syn_qnli": {"fields": _PAIR, "labels": _RTE, "metrics": ("accuracy",)},
    "syn_rte": {"fields": _PAIR, "labels": _RTE, "metrics": ("accuracy",)},
}

# What two statements of syn_stsb may share, and what each is worth: the score is their sum.
_SHARES = {"agent": 1, "patient": 1, "adjunct": 1, "verb": 2}
_SHARED_BY_SCORE: dict[int, list[tuple[str, ...]]] = {score: [] for score in range(sum(_SHARES.values()) + 1)}
for _flags in product((False, True), repeat=len(_SHARES)):
    _shared = tuple(part for part, flag in zip(_SHARES, _flags, strict=True) if flag)
    _SHARED_BY_SCORE[sum(_SHARES[part] for part in _shared)].append(_shared)


def split_of(*texts: str) -> str:
    """Return the split a row belongs to, given the text of its fields in any order."""
    digest = blake2b("\n".join(sorted(texts)).encode(), digest_size=4).digest()
    bucket = int.from_bytes(digest, "big") % 10
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def format_label(task: str, label: float) -> str:
    """Return the target text of a label: its word, or the score with one decimal for syn_stsb."""
    return f"{label:.1f}" if task == "syn_stsb" else SYNTHETIC_TASKS[task]["labels"][int(label)]


def draw_paraphrase(equivalent: bool, rng: Random) -> tuple[str, str]:
    """Draw two statements that mean the same, or differ by roles, verb, noun, adjective or adjunct."""
    event = grammar.draw_event(rng)
    other = event if equivalent else _change_meaning(event, rng)
    return grammar.word_statement(event, rng), grammar.word_statement(other, rng)


def draw_question_pair(duplicate: bool, rng: Random) -> tuple[str, str]:
    """Draw two questions that ask the same, or differ by roles, verb, noun, adjective or what is asked for."""
    event = grammar.draw_event(rng, adjunct_rate=0.3)
    kind = other_kind = pick((*grammar.QUESTION_KINDS, "why"), rng)
    other = event
    if kind not in ("agent", "patient"):
        event = other = replace(event, adjunct=None)
    if not duplicate:
        if rng.random() < 0.7:
            other = _change_meaning(event, rng, asked=kind)
        elif kind in ("agent", "patient"):
            other_kind = "patient" if kind == "agent" else "agent"
            other = grammar.swap_roles(event) if event.verb.personal else event
        else:
            other_kind = grammar.pick_other((*grammar.ADJUNCT_KINDS, "why"), kind, rng)
    return grammar.word_question(event, kind, rng), grammar.word_question(other, other_kind, rng)


def draw_similarity(score: int, rng: Random) -> tuple[str, str]:
    """Draw two statements whose common parts are worth the score: 2 for the verb, 1 for each of the others."""
    event = _plain(grammar.draw_event(rng, adjunct_rate=1.0))
    other = event
    shared = pick(_SHARED_BY_SCORE[score], rng)
    for role in ("agent", "patient"):
        if role not in shared:
            other = grammar.change_noun(other, role, rng)
    if "verb" not in shared:
        other = grammar.change_verb(other, rng)
    if "adjunct" not in shared:
        other = grammar.change_adjunct(other, rng)
    return grammar.word_statement(event, rng), grammar.word_statement(other, rng)


def draw_inference(label: str, rng: Random) -> tuple[str, str]:
    """Draw a premise and a hypothesis that it entails, contradicts, or neither."""
    event = grammar.draw_event(rng)
    if label == "contradiction":
        premise, hypothesis = event, grammar.generalise(event, rng)
        if rng.random() < 0.6:
            hypothesis = grammar.oppose(hypothesis)
        elif rng.random() < 0.5:
            hypothesis = replace(hypothesis, negated=True)
        else:
            premise, hypothesis = replace(hypothesis, negated=True), premise
    elif rng.random() < 0.2:
        # A negated premise carries nothing over to what is more general: the pair is alike in all but one thing.
        premise = hypothesis = replace(event, negated=True)
        if label == "neutral":
            hypothesis = _change_claim(premise, rng)
    elif label == "entailment":
        premise, hypothesis = event, grammar.generalise(event, rng)
    elif rng.random() < 0.4:
        premise, hypothesis = grammar.generalise(event, rng, strictly=True), event
    else:
        premise, hypothesis = event, grammar.generalise(_change_claim(event, rng), rng)
    return grammar.word_statement(premise, rng), grammar.word_statement(hypothesis, rng)


def draw_answer(answered: bool, rng: Random) -> tuple[str, str]:
    """Draw a question and a statement that answers it, or speaks of something else."""
    kind = pick(grammar.QUESTION_KINDS, rng)
    event = grammar.draw_event(rng, adjunct_kind=kind if kind in grammar.ADJUNCT_KINDS else None, adjunct_rate=0.5)
    answer = event
    if not answered:
        if kind in grammar.ADJUNCT_KINDS and rng.random() < 0.5:
            answer = replace(
                event, adjunct=grammar.draw_adjunct(rng, grammar.pick_other(grammar.ADJUNCT_KINDS, kind, rng))
            )
        else:
            answer = _change_claim(event, rng, asked=kind)
    return grammar.word_question(replace(event, adjunct=None), kind, rng), grammar.word_statement(answer, rng)


def _plain(event: Event) -> Event:
    """Return the event without its adjectives."""
    return replace(event, agent=replace(event.agent, adjective=()), patient=replace(event.patient, adjective=()))


def _change_claim(event: Event, rng: Random, asked: str = "") -> Event:
    """Change roles, verb or a noun, so that the event neither follows nor is contradicted; not the role asked for."""
    draw = rng.random()
    if event.verb.personal and draw < 0.5:
        return grammar.swap_roles(event)
    if draw < 0.75:
        return grammar.change_verb(event, rng)
    roles = [role for role in ("agent", "patient") if role != asked]
    return grammar.change_noun(event, pick(roles, rng), rng)


def _change_meaning(event: Event, rng: Random, asked: str = "") -> Event:
    """Change one thing, so that the wordings are no paraphrases; not the role asked for."""
    draw = rng.random()
    if event.adjunct and draw < 0.15:
        return grammar.change_adjunct(event, rng)
    for role in ("agent", "patient"):
        entity = getattr(event, role)
        if entity.adjective and role != asked and draw > 0.85:
            return replace(event, **{role: replace(entity, adjective=lexicon.ADJECTIVE_ANTONYMS[entity.adjective])})
    return grammar.oppose(event) if rng.random() < 0.3 else _change_claim(event, rng, asked)


def _draw_texts(task: str, label: int, rng: Random) -> tuple[str, ...]:
    if task == "syn_rte":
        return draw_inference("entailment" if label == 0 else pick(_NLI[1:], rng), rng)
    if task == "syn_mnli":
        return draw_inference(_NLI[label], rng)
    if task == "syn_qnli":
        return draw_answer(label == 0, rng)
    if task == "syn_cola":
        return (word_clause(bool(label), rng),)
    if task == "syn_sst2":
        return (word_opinion(bool(label), rng),)
    pairs: dict[str, Callable[[Any, Random], tuple[str, str]]] = {
        "syn_mrpc": draw_paraphrase,
        "syn_qqp": draw_question_pair,
        "syn_stsb": draw_similarity,
    }
    return pairs[task](label, rng)


def generate_rows(task: str, split: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Generate distinct rows of a task with its classes in equal numbers, give or take one.

    Args:
        task: a name from `SYNTHETIC_TASKS`.
        split: "pretrain", "train", "validation" or "test".
        count: how many rows.
        seed: rows of one split and different seeds are drawn independently.

    Returns:
        Dictionaries of the task's fields and a "label": the index of the label, for syn_stsb the score.
    """
    if task not in SYNTHETIC_TASKS:
        raise ValueError(f"generate_rows: task must be one of {', '.join(SYNTHETIC_TASKS)}, got {task!r}")
    if split not in SPLITS:
        raise ValueError(f"generate_rows: split must be one of {', '.join(SPLITS)}, got {split!r}")
    if count < 0:
        raise ValueError(f"generate_rows: count must not be negative, got {count}")
    rng = Random(f"{task} {split} {seed}")
    fields, labels = SYNTHETIC_TASKS[task]["fields"], SYNTHETIC_TASKS[task]["labels"]
    rows: list[dict[str, Any]] = []
    seen: set[tuple[str, ...]] = set()
    # Classes come in shuffled rounds, so that any leading part of the rows is balanced too.
    order: list[int] = []
    while len(rows) < count:
        if not order:
            order = rng.sample(range(len(labels)), len(labels))
        texts = _draw_texts(task, order[-1], rng)
        if texts in seen or split_of(*texts) != split:
            continue
        seen.add(texts)
        label = order.pop()
        rows.append(dict(zip(fields, texts, strict=True)) | {"label": float(label) if task == "syn_stsb" else label})
    return rows

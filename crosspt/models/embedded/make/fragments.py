"""Fragments of the suite's sentences, a word or a phrase long: first lessons for the embedded model.

They are never rows of a task: a row is a sentence or a pair of sentences.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from crosspt.tasks.embedded import lexicon
from crosspt.tasks.embedded.grammar import ADJUNCT_KINDS, Entity, draw_adjective, draw_adjunct, pick
from crosspt.tasks.embedded.lexicon import Concept


def draw_fragment(task: str, rng: Random) -> tuple[tuple[str, ...], int]:
    """Draw the texts of a fragment and the label that the task would give it."""
    if task == "syn_sst2":
        positive, negated = rng.random() < 0.5, rng.random() < 0.5
        text = pick(lexicon.PRAISE if positive != negated else lexicon.SCORN, rng)
        if negated:
            text = f"{pick(('not', 'never', 'hardly', 'far from', 'anything but'), rng)} {text}"
        return (text,), int(positive)
    if task == "syn_cola":
        return _draw_clause(rng)
    if task == "syn_qnli":
        kind, other = rng.sample(ADJUNCT_KINDS, 2)
        answered = rng.random() < 0.5
        return (f"{kind}?", pick(draw_adjunct(rng, kind if answered else other).words, rng)), int(not answered)
    return _draw_relation(task, rng)


def _draw_clause(rng: Random) -> tuple[tuple[str], int]:
    """Draw a noun with its determiner, or with a verb, in right or wrong number or order."""
    plural, acceptable = rng.random() < 0.5, rng.random() < 0.5
    noun = pick(pick(lexicon.PEOPLE + lexicon.THINGS, rng).words, rng)
    noun = lexicon.add_s(noun) if plural else noun
    agreeing = plural == acceptable
    if rng.random() < 0.3:
        text = f"the {noun}" if acceptable else f"{noun} the"
    elif rng.random() < 0.4:
        text = f"{pick(('these', 'those', 'many') if agreeing else ('this', 'that', 'every'), rng)} {noun}"
    else:
        verb = pick(pick(lexicon.PERSONAL_VERBS + lexicon.OBJECT_VERBS, rng).words, rng)
        if rng.random() < 0.3:
            verb = pick(("are", "were") if agreeing else ("is", "was"), rng)
        elif not agreeing:
            verb = lexicon.add_s(verb)
        text = f"the {noun} {verb}"
    return (text,), int(acceptable)


def _draw_relation(task: str, rng: Random) -> tuple[tuple[str, str], int]:
    """Draw two phrases that mean the same, or of which one is broader, opposite or different."""
    relation = pick(("same", "same", "broader", "narrower", "opposite", "opposite", "different"), rng)
    if task not in ("syn_mnli", "syn_rte") and relation != "same":
        relation = pick(("opposite", "different"), rng)
    if relation == "opposite" or (rng.random() < 0.4 and relation in ("same", "different")):
        texts = _word_verbs(relation, rng)
    else:
        texts = _word_nouns(relation, rng)
    label = {
        "syn_mnli": {"same": 0, "broader": 0, "opposite": 2}.get(relation, 1),
        "syn_rte": 0 if relation in ("same", "broader") else 1,
        "syn_stsb": 5 if relation == "same" else 0,
    }.get(task, int(relation == "same"))
    return texts, label


def _word_verbs(relation: str, rng: Random) -> tuple[str, str]:
    verbs = lexicon.PERSONAL_VERBS + lexicon.OBJECT_VERBS
    verb = pick(verbs, rng)
    other: Concept = verb.words
    if relation == "opposite":
        other = verb.antonyms
    elif relation == "different":
        while other in (verb.words, verb.antonyms):
            other = pick(verbs, rng).words
    return lexicon.past(pick(verb.words, rng)), lexicon.past(pick(other, rng))


def _word_nouns(relation: str, rng: Random) -> tuple[str, str]:
    nouns = lexicon.PEOPLE if rng.random() < 0.5 else lexicon.THINGS
    first = Entity(pick(nouns, rng))
    if rng.random() < 0.4:
        first = replace(first, adjective=draw_adjective(first.noun, rng))
    second = first
    if relation == "different":
        noun = first.noun
        while noun.hypernym == first.noun.hypernym:
            noun = pick(nouns, rng)
        second = replace(first, noun=noun)
    elif relation != "same":
        second = (
            replace(first, adjective=()) if first.adjective and rng.random() < 0.5 else replace(first, general=True)
        )
    texts = first.word(rng), second.word(rng)
    return texts[::-1] if relation == "narrower" else texts

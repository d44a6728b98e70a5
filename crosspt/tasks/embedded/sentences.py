"""Single sentences of the embedded suite: acceptable and unacceptable ones, and opinions with their polarity."""

from __future__ import annotations

from random import Random

from crosspt.tasks.embedded import lexicon
from crosspt.tasks.embedded.grammar import draw_adjective, pick

_DETERMINERS = (("the", "the", "this", "that", "every"), ("the", "the", "these", "those", "many"))
_BE = (("is", "was"), ("are", "were"))


def _draw_noun_phrase(rng: Random, nouns: list[lexicon.Noun]) -> tuple[list[str], bool]:
    """Return a determiner, perhaps an adjective, and a noun; and whether it is plural."""
    noun = pick(nouns, rng)
    plural = rng.random() < 0.5
    word = pick(noun.words, rng)
    adjective = [pick(draw_adjective(noun, rng), rng)] if rng.random() < 0.3 else []
    return [pick(_DETERMINERS[plural], rng), *adjective, lexicon.add_s(word) if plural else word], plural


def _flip_number(phrase: list[str], nouns: list[lexicon.Noun]) -> list[str]:
    """Return a noun phrase with its noun in the other number and its determiner as it was."""
    for noun in nouns:
        for word in noun.words:
            if phrase[-1] in (word, lexicon.add_s(word)):
                return [*phrase[:-1], lexicon.add_s(word) if phrase[-1] == word else word]
    raise ValueError(f"_flip_number: expected a phrase that ends in a noun of the lexicon, got {phrase}")


def _disorder(phrase: list[str], rng: Random) -> list[str]:
    """Return a noun phrase with its determiner behind the next word or behind the noun."""
    place = 1 if rng.random() < 0.5 else len(phrase) - 1
    return [*phrase[1 : place + 1], phrase[0], *phrase[place + 1 :]]


def word_clause(acceptable: bool, rng: Random) -> str:
    """Word a clause in the present tense or the passive, with at most one error of agreement or of word order.

    The clause is drawn before the error, and the error adds no word of its own: which words occur says little of it.
    """
    personal = rng.random() < 0.6
    others = lexicon.PEOPLE if personal else lexicon.THINGS
    verb = pick(pick(lexicon.PERSONAL_VERBS if personal else lexicon.OBJECT_VERBS, rng).words, rng)
    passive, attracted, placed = rng.random() < 0.35, rng.random() < 0.3, rng.random() < 0.4
    pools = [others, lexicon.PEOPLE] if passive else [lexicon.PEOPLE, others]
    (subject, plural), (complement, _) = (_draw_noun_phrase(rng, pool) for pool in pools)
    attractor = ["near", *_draw_noun_phrase(rng, lexicon.THINGS)[0]] if attracted else []
    place = pick(pick(lexicon.ADJUNCTS["where"], rng).words, rng).split() if placed else []
    error = "" if acceptable else pick(("verb", "verb", "noun", "phrase", "clause", "clause"), rng)
    if error == "noun":
        specific = [index for index, phrase in enumerate((subject, complement)) if phrase[0] != "the"]
        if not specific:
            error = "verb"
        elif pick(specific, rng):
            complement = _flip_number(complement, pools[1])
        else:
            subject = _flip_number(subject, pools[0])
    agreeing = plural != (error == "verb")
    if error == "phrase":
        if rng.random() < 0.5:
            subject = _disorder(subject, rng)
        else:
            complement = _disorder(complement, rng)
    if passive:
        action, link = [pick(_BE[agreeing], rng), lexicon.past(verb)], ["by"]
    else:
        action, link = [verb if agreeing else lexicon.add_s(verb)], []
    parts = [subject + attractor, action, link + complement, place]
    if error == "clause":
        order = pick(((0, 2, 1, 3), (1, 0, 2, 3), (1, 2, 0, 3)) if not passive else ((0, 2, 1, 3), (2, 0, 1, 3)), rng)
        if passive and order == (2, 0, 1, 3):
            parts[1] = parts[1][::-1]
        parts = [parts[index] for index in order]
    return " ".join(word for part in parts for word in part)


def word_opinion(positive: bool, rng: Random) -> str:
    """Word an opinion of the given polarity, negated half of the time."""
    subject, other = f"the {pick(lexicon.REVIEWED, rng)}", f"the {pick(lexicon.REVIEWED, rng)}"
    reviewer = f"the {pick(lexicon.REVIEWERS, rng)}"
    negated = rng.random() < 0.5
    words = lexicon.PRAISE if positive != negated else lexicon.SCORN
    contrary = pick(lexicon.SCORN if positive else lexicon.PRAISE, rng)
    word = pick(words, rng)
    if rng.random() < 0.3:
        word = f"{pick(('very', 'truly', 'rather', 'quite'), rng)} {word}"
    if negated:
        forms = (
            f"{subject} was not {word}",
            f"{subject} was never {word}",
            f"{subject} was hardly {word}",
            f"{subject} was far from {word}",
            f"{subject} was anything but {word}",
            f"{reviewer} did not find {subject} {word}",
            f"nobody found {subject} {word}",
            f"{reviewer} would not call {subject} {word}",
            f"{subject} was not {word} for {reviewer}",
        )
    else:
        forms = (
            f"{subject} was {word}",
            f"{subject} seemed {word} to {reviewer}",
            f"{reviewer} found {subject} {word}",
            f"{reviewer} called {subject} {word}",
            f"everybody found {subject} {word}",
            f"{subject} was {word} and never {contrary}",
            f"although {other} was {contrary} {subject} was {word}",
            f"{subject} was {word} although {other} was {contrary}",
            f"{subject} was {word} for {reviewer}",
        )
    return pick(forms, rng)

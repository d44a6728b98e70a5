"""The two forms of text in the embedded suite, sentences and pairs of statements, with some of their slots *marked*.

A slot of a pair is marked where the statements differ in it, one of a sentence where it is unfriendly or ungrammatical.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import TypeVar

from crosspt.tasks.embedded.lexicon import (
    CONCEPTS,
    DETERMINERS,
    NEUTRAL_VERBS,
    POLAR,
    REVIEWERS,
    WORKS,
    Concept,
    add_s,
    past,
)

Item = TypeVar("Item")


@dataclass(frozen=True)
class Form:
    """Texts of one shape: their fields, the slots of their two sides, what draws them and what reads them.

    `draw(marked, rng, shown)` words the slots `shown`, those in `marked` as marked; `read` finds the marked slots of a
    text that shows all of them.
    """

    fields: tuple[str, ...]
    sides: tuple[tuple[str, ...], tuple[str, ...]]
    draw: Callable[[Collection[str], Random, Collection[str]], tuple[str, ...]]
    read: Callable[..., set[str]]

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """The names of all slots."""
        return self.sides[0] + self.sides[1]

    @cached_property
    def partners(self) -> dict[str, str]:
        """The partner of each slot: that of the other side in its place."""
        return dict(zip(self.slots, self.sides[1] + self.sides[0], strict=True))


def pick(items: Sequence[Item], rng: Random) -> Item:
    """Return a random item; `Random.choice` takes twice as long."""
    return items[int(rng.random() * len(items))]


def draw_sentence(marked: Collection[str], rng: Random, shown: Collection[str]) -> tuple[str]:
    """Draw a sentence such as `these kind readers gladly praise this superb novel in the garden`.

    Marked, its determiners and its verb disagree with their nouns, the place stands in disorder, and the other four
    slots hold unfriendly words.
    """
    words = {slot: pick(sides[slot in marked], rng) if slot in shown else "" for slot, sides in POLAR.items()}
    plural, many = rng.random() < 0.5, rng.random() < 0.5
    noun, work = pick(REVIEWERS, rng), pick(WORKS, rng)
    determiner, article = (
        pick(DETERMINERS[number != (slot in marked)], rng) if slot in shown else "the"
        for slot, number in (("determiner", plural), ("article", many))
    )
    verb = words["verdict"] or pick(NEUTRAL_VERBS, rng)
    if "agreement" not in shown:
        verb = past(verb)
    elif plural == ("agreement" in marked):
        verb = add_s(verb)
    place: tuple[str, ...] = tuple(pick(pick(CONCEPTS["place"], rng), rng).split()) if "order" in shown else ()
    if "order" in marked and place:
        place = place[1:] + place[:1] if rng.random() < 0.5 else (place[0], *place[:0:-1])
    subject = (determiner, words["character"], add_s(noun) if plural else noun)
    parts = (*subject, words["mood"], verb, article, words["merit"], add_s(work) if many else work, *place)
    return (" ".join(filter(None, parts)),)


def draw_pair(marked: Collection[str], rng: Random, shown: Collection[str]) -> tuple[str, str]:
    """Draw two statements such as `the tall nurse quietly lifted the heavy drum in the park on monday`.

    They agree in the slots that are not marked, though not always in the words for them or in voice and order.
    """
    first = {slot: pick(CONCEPTS[slot], rng) for slot in PAIR.slots if slot in shown}
    second = {slot: _pick_other(CONCEPTS[slot], first[slot], rng) if slot in marked else first[slot] for slot in first}
    return _word_statement(first, rng), _word_statement(second, rng)


def _pick_other(concepts: Sequence[Concept], current: Concept, rng: Random) -> Concept:
    while (concept := pick(concepts, rng)) == current:
        pass
    return concept


def _word_statement(event: Mapping[str, Concept], rng: Random) -> str:
    """Word an event, active or passive, with place and time in front or at the end."""
    words = {slot: pick(concept, rng) for slot, concept in event.items()}
    subject, patient = (
        " ".join(["the", *found]) if (found := [words[slot] for slot in slots if slot in words]) else ""
        for slots in (("quality", "agent"), ("feature", "patient"))
    )
    manner, action = words.get("manner", ""), past(words["action"]) if "action" in words else ""
    if subject and patient and action and rng.random() < 0.3:
        clause = [patient, "was", manner, action, "by", subject]
    else:
        clause = [subject, manner, action, patient]
    around = [words[slot] for slot in ("place", "time") if slot in words]
    if rng.random() < 0.5:
        around.reverse()
    front = [around.pop()] if around and rng.random() < 0.3 else []
    return " ".join(filter(None, [*front, *clause, *around]))


def read_sentence(text: str) -> set[str]:
    """Return the marked slots of a whole sentence."""
    determiner, character, noun, mood, verb, article, merit, work, *place = text.split()
    words = {"character": character, "mood": mood, "verdict": verb, "merit": merit}
    friendly = {slot: {form for word in POLAR[slot][0] for form in (word, add_s(word))} for slot in POLAR}
    plural, many = (word not in singular for word, singular in ((noun, REVIEWERS), (work, WORKS)))
    marked = {slot for slot, word in words.items() if word not in friendly[slot]}
    found = {
        "determiner": determiner in DETERMINERS[not plural],
        "agreement": verb in _BASES if not plural else verb not in _BASES,
        "article": article in DETERMINERS[not many],
        "order": place[:2] != ["in", "the"],
    }
    return marked | {slot for slot, wrong in found.items() if wrong}


def read_pair(first: str, second: str) -> set[str]:
    """Return the marked slots of a whole pair of statements."""
    one, other = ({_SLOTS[word] for word in text.split() if word in _SLOTS} for text in (first, second))
    return {slot for slot, _ in one ^ other}


_BASES = {word for side in POLAR["verdict"] for word in side}
# The slot and the concept that a word of a statement stands for; of a phrase it is the last one that tells.
_SLOTS = {
    (past(word) if slot == "action" else word.split()[-1]): (slot, concept)
    for slot, concepts in CONCEPTS.items()
    for concept in concepts
    for word in concept
}
SENTENCE = Form(
    ("sentence",),
    (("determiner", "agreement", "article", "order"), ("character", "verdict", "mood", "merit")),
    draw_sentence,
    read_sentence,
)
PAIR = Form(
    ("sentence1", "sentence2"),
    (("agent", "quality", "patient", "feature"), ("action", "manner", "place", "time")),
    draw_pair,
    read_pair,
)

"""Events of the controlled English: how they are drawn, worded and changed.

An `Event` says who did what to whom, perhaps with a place, time or manner. It holds concepts, not words: every wording
draws its own synonyms, and may turn active into passive and move the adjunct to the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

from crosspt.tasks.embedded import lexicon
from crosspt.tasks.embedded.lexicon import Adjunct, Concept, Noun, Verb

Item = TypeVar("Item")

ADJUNCT_KINDS = ("where", "when", "how")
QUESTION_KINDS = ("agent", "patient", *ADJUNCT_KINDS)


@dataclass(frozen=True)
class Entity:
    """A noun phrase: a noun, or its hypernym where `general`, and at most one adjective."""

    noun: Noun
    adjective: Concept = ()
    general: bool = False

    def word(self, rng: Random) -> str:
        """Return the phrase in words of the generator's choice."""
        noun = self.noun.hypernym if self.general else pick(self.noun.words, rng)
        return f"the {pick(self.adjective, rng)} {noun}" if self.adjective else f"the {noun}"


@dataclass(frozen=True)
class Event:
    """Who did what to whom; `adjunct` says where, when or how, and `negated` that it did not happen."""

    agent: Entity
    verb: Verb
    patient: Entity
    adjunct: Adjunct | None = None
    negated: bool = False


def pick(items: Sequence[Item], rng: Random) -> Item:
    """Return a random item; `Random.choice` takes twice as long."""
    return items[int(rng.random() * len(items))]


def pick_other(items: Sequence[Item], current: Item, rng: Random) -> Item:
    """Return a random item that differs from the current one."""
    while (item := pick(items, rng)) == current:
        pass
    return item


def draw_event(rng: Random, *, adjunct_kind: str | None = None, adjunct_rate: float = 0.6) -> Event:
    """Draw an event whose nouns share no hypernym, and with an adjunct of the given kind or at the given rate."""
    personal = rng.random() < 0.6
    verb = pick(lexicon.PERSONAL_VERBS if personal else lexicon.OBJECT_VERBS, rng)
    agent = pick(lexicon.PEOPLE, rng)
    patient = pick(lexicon.PEOPLE if personal else lexicon.THINGS, rng)
    while patient.hypernym == agent.hypernym:
        patient = pick(lexicon.PEOPLE, rng)
    adjunct = draw_adjunct(rng, adjunct_kind) if adjunct_kind or rng.random() < adjunct_rate else None
    adjectives: list[Concept] = [(), ()]
    side = int(rng.random() * 4)
    if side < 2:
        adjectives[side] = draw_adjective((agent, patient)[side], rng)
    return Event(Entity(agent, adjectives[0]), verb, Entity(patient, adjectives[1]), adjunct)


def draw_adjective(noun: Noun, rng: Random) -> Concept:
    """Draw an adjective that suits the noun."""
    return pick(lexicon.PERSON_ADJECTIVES if noun.animate else lexicon.THING_ADJECTIVES, rng)


def draw_adjunct(rng: Random, kind: str | None = None) -> Adjunct:
    """Draw a place, a time or a manner."""
    return pick(lexicon.ADJUNCTS[kind or pick(ADJUNCT_KINDS, rng)], rng)


def swap_roles(event: Event) -> Event:
    """Return the event with agent and patient exchanged; only personal verbs allow it."""
    return replace(event, agent=event.patient, patient=event.agent)


def oppose(event: Event) -> Event:
    """Return the event with the opposite verb."""
    return replace(event, verb=Verb(event.verb.antonyms, event.verb.words, event.verb.personal))


def change_verb(event: Event, rng: Random) -> Event:
    """Return the event with a verb that is neither a synonym nor an antonym."""
    verbs = lexicon.PERSONAL_VERBS if event.verb.personal else lexicon.OBJECT_VERBS
    verb = pick_other(verbs, event.verb, rng)
    return replace(event, verb=verb) if verb.words != event.verb.antonyms else change_verb(event, rng)


def change_noun(event: Event, role: str, rng: Random) -> Event:
    """Return the event with another noun in the role "agent" or "patient", of a hypernym that no role has yet."""
    entity = getattr(event, role)
    taken = (event.agent.noun.hypernym, event.patient.noun.hypernym)
    nouns = lexicon.PEOPLE if entity.noun.animate else lexicon.THINGS
    while (noun := pick(nouns, rng)).hypernym in taken:
        pass
    return replace(event, **{role: replace(entity, noun=noun)})


def change_adjunct(event: Event, rng: Random) -> Event:
    """Return the event with another adjunct of the same kind, or with one where there was none."""
    if event.adjunct is None:
        return replace(event, adjunct=draw_adjunct(rng))
    return replace(event, adjunct=pick_other(lexicon.ADJUNCTS[event.adjunct.kind], event.adjunct, rng))


def generalise(event: Event, rng: Random, *, strictly: bool = False) -> Event:
    """Return an event that follows from this one: hypernyms for nouns, adjectives and adjunct left out, at random.

    With `strictly` at least one thing changes, so that the converse does not follow.
    """
    agent, patient, adjunct = event.agent, event.patient, event.adjunct
    if rng.random() < 0.35:
        agent = replace(agent, general=True)
    if rng.random() < 0.35:
        patient = replace(patient, general=True)
    if rng.random() < 0.5:
        agent, patient = replace(agent, adjective=()), replace(patient, adjective=())
    if rng.random() < 0.5:
        adjunct = None
    result = replace(event, agent=agent, patient=patient, adjunct=adjunct)
    return generalise(event, rng, strictly=True) if strictly and result == event else result


def word_statement(event: Event, rng: Random, *, passive: bool | None = None) -> str:
    """Word an event as a statement: `the doctor praised the poet in the garden`."""
    passive = rng.random() < 0.4 if passive is None else passive
    agent, patient, verb = event.agent.word(rng), event.patient.word(rng), pick(event.verb.words, rng)
    if passive:
        text = f"{patient} was {'not ' if event.negated else ''}{lexicon.past(verb)} by {agent}"
    else:
        text = f"{agent} {'did not ' + verb if event.negated else lexicon.past(verb)} {patient}"
    if event.adjunct is None:
        return text
    adjunct = pick(event.adjunct.words, rng)
    return f"{adjunct} {text}" if rng.random() < 0.25 else f"{text} {adjunct}"


def word_question(event: Event, kind: str, rng: Random, *, passive: bool | None = None) -> str:
    """Word a question about an event: for its agent, its patient, or with a question word such as where or why.

    An adjunct of the kind that is asked for is left out, any other is kept.
    """
    passive = rng.random() < 0.4 if passive is None else passive
    agent, patient, verb = event.agent.word(rng), event.patient.word(rng), pick(event.verb.words, rng)
    adjunct = f" {pick(event.adjunct.words, rng)}" if event.adjunct and event.adjunct.kind != kind else ""
    thing = "who" if event.patient.noun.animate else "what"
    if kind == "agent":
        text = f"by whom was {patient} {lexicon.past(verb)}" if passive else f"who {lexicon.past(verb)} {patient}"
    elif kind == "patient":
        text = f"{thing} was {lexicon.past(verb)} by {agent}" if passive else f"{thing} did {agent} {verb}"
    elif passive:
        text = f"{kind} was {patient} {lexicon.past(verb)} by {agent}"
    else:
        text = f"{kind} did {agent} {verb} {patient}"
    return f"{text}{adjunct}?"

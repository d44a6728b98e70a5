"""The words of the embedded task suite: concepts with synonyms, antonyms, hypernyms, polarity and roles.

A *concept* is a tuple of words that may replace each other. The tables below write it as `doctor/physician`; two
concepts written as `tall : short` are antonyms.
"""

from __future__ import annotations

from typing import NamedTuple

Concept = tuple[str, ...]


class Noun(NamedTuple):
    """A noun concept with the broader word it falls under; only animate nouns act."""

    words: Concept
    hypernym: str
    animate: bool


class Verb(NamedTuple):
    """A transitive verb concept with its opposite; `personal` verbs take persons on both sides."""

    words: Concept
    antonyms: Concept
    personal: bool


class Adjunct(NamedTuple):
    """A place, a time or a manner: kind is the question word that it answers."""

    words: Concept
    kind: str


_PEOPLE = {
    "medic": "doctor/physician nurse surgeon dentist",
    "artist": "painter poet singer/vocalist dancer actor/performer sculptor",
    "labourer": "builder plumber carpenter/joiner miner welder",
    "athlete": "sprinter swimmer boxer skater climber/mountaineer rower",
    "relative": "uncle cousin sister mother/mum father/dad nephew",
    "ruler": "king/sovereign queen emperor prince duke",
    "scholar": "chemist historian linguist botanist",
    "criminal": "robber/bandit smuggler pirate forger/counterfeiter",
    "official": "mayor judge senator ambassador/envoy",
    "youngster": "boy/lad girl/lass toddler pupil/learner",
    "traveller": "tourist/sightseer sailor/mariner pilgrim explorer",
    "cook": "baker chef butcher",
}

_THINGS = {
    "vehicle": "car/automobile truck/lorry bicycle/bike tractor van",
    "instrument": "violin/fiddle piano guitar trumpet drum",
    "tool": "hammer/mallet chisel spade/shovel wrench/spanner drill",
    "garment": "coat hat/cap skirt glove shirt",
    "container": "bucket/pail barrel/keg jar bag/sack basket",
    "building": "house/home tower barn temple cottage/cabin",
    "vessel": "boat ferry canoe raft",
    "jewel": "ruby diamond emerald pearl",
    "weapon": "sword/blade spear/lance dagger pistol/handgun",
    "document": "letter map/chart contract diary/journal ticket",
    "machine": "engine/motor computer printer pump robot",
}

_PERSONAL_VERBS = """
    praise/commend : blame/criticize; help/assist : hinder/obstruct; love/adore : hate/detest;
    hire/employ : dismiss/sack; reward : punish; welcome/greet : shun/ignore;
    attack/assault : defend/protect; obey : defy; please : annoy/irritate; soothe/calm : scare/frighten;
    free/release : capture/seize; follow/trail : lead/guide; support/back : oppose/resist; trust : doubt;
    thank : curse
"""

_OBJECT_VERBS = """
    buy/purchase : sell; build/construct : destroy/demolish; find/discover : lose; lock : unlock;
    fix/repair : damage; conceal : reveal/display; lift/raise : lower; clean/wash : soil/stain;
    push/shove : pull/drag; fill : empty; lend : borrow; accept : refuse/decline; start : stop/halt;
    heat/warm : cool/chill; wrap : unwrap; send : receive
"""

_PERSON_ADJECTIVES = """
    tall : short; old/elderly : young/youthful; rich/wealthy : poor/needy; brave/bold : timid/shy;
    clever/smart : foolish/silly; polite/courteous : rude; calm/serene : nervous/anxious;
    strong : weak/feeble; lazy/idle : eager/keen; famous/renowned : unknown; honest/truthful : deceitful
"""

_THING_ADJECTIVES = """
    big/large : small/little; heavy : light; new/modern : ancient; dirty/filthy : spotless;
    cheap/inexpensive : costly/expensive; wet/damp : dry; long : brief; wide/broad : narrow; bright : dark;
    smooth/even : rough/uneven; complete/whole : partial
"""

_PLACES = """
    garden kitchen park market/bazaar station harbour/port library museum school church hotel/inn office
    forest/wood square/plaza castle/fortress village/hamlet theatre factory prison/jail hospital/clinic valley
    street/road
"""

_TIMES = """
    on:monday on:tuesday on:wednesday on:thursday on:friday on:saturday on:sunday at:noon/at:midday
    at:dawn/at:daybreak at:dusk/at:sunset at:midnight in:spring in:summer in:autumn in:winter yesterday
"""

_MANNERS = """
    quietly/silently loudly/noisily gladly/happily reluctantly/unwillingly quickly/rapidly slowly
    carefully/cautiously carelessly/recklessly secretly/covertly openly/publicly
"""

_PRAISE = """
    good great superb delightful charming brilliant wonderful lovely excellent moving funny witty clever fresh
    gripping tender graceful splendid enjoyable inspired memorable touching elegant thrilling satisfying lively
    warm honest radiant marvellous amusing engaging beautiful rewarding impressive captivating
"""

_SCORN = """
    bad awful dull terrible boring dreadful poor tedious clumsy stale bland lifeless horrible silly shallow ugly
    painful tiresome messy weak annoying pointless dismal feeble hollow pathetic dreary laughable predictable
    disappointing confusing sloppy mediocre unpleasant forgettable tasteless
"""

_REVIEWED = """
    film movie plot story song novel play concert dialogue ending script album comedy drama dance scene cast show
    poem tale opera sequel
"""

_REVIEWERS = """
    critic audience director crowd viewer reader listener host
"""

_IRREGULAR_PAST = {
    "buy": "bought",
    "sell": "sold",
    "build": "built",
    "find": "found",
    "lose": "lost",
    "lend": "lent",
    "send": "sent",
    "lead": "led",
    "shun": "shunned",
    "trust": "trusted",
    "sack": "sacked",
    "fix": "fixed",
    "stop": "stopped",
    "wrap": "wrapped",
    "unwrap": "unwrapped",
    "drag": "dragged",
    "obey": "obeyed",
    "annoy": "annoyed",
    "destroy": "destroyed",
    "employ": "employed",
    "display": "displayed",
}


def past(verb: str) -> str:
    """Return the past tense of a verb, which is also its participle throughout this lexicon."""
    if verb in _IRREGULAR_PAST:
        return _IRREGULAR_PAST[verb]
    if verb.endswith("e"):
        return verb + "d"
    return verb[:-1] + "ied" if verb.endswith("y") else verb + "ed"


def add_s(word: str) -> str:
    """Return the plural of a noun, or the third person singular of a verb."""
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    return word[:-1] + "ies" if word.endswith("y") and word[-2] not in "aeou" else word + "s"


def _concepts(text: str) -> list[Concept]:
    return [tuple(word.replace(":", " ") for word in item.split("/")) for item in text.split()]


def _opposites(text: str) -> list[tuple[Concept, Concept]]:
    pairs = [pair.split(" : ") for pair in text.split(";")]
    sides = [(_concepts(left)[0], _concepts(right)[0]) for left, right in pairs]
    return sides + [(right, left) for left, right in sides]


def _nouns(table: dict[str, str], animate: bool) -> list[Noun]:
    return [Noun(words, hypernym, animate) for hypernym, text in table.items() for words in _concepts(text)]


PRAISE, SCORN, REVIEWED, REVIEWERS = (tuple(text.split()) for text in (_PRAISE, _SCORN, _REVIEWED, _REVIEWERS))
PEOPLE = _nouns(_PEOPLE, animate=True)
THINGS = _nouns(_THINGS, animate=False)
HYPERNYMS = {noun.hypernym: noun.animate for noun in PEOPLE + THINGS}
PERSONAL_VERBS = [Verb(words, antonyms, True) for words, antonyms in _opposites(_PERSONAL_VERBS)]
OBJECT_VERBS = [Verb(words, antonyms, False) for words, antonyms in _opposites(_OBJECT_VERBS)]
PERSON_ADJECTIVES = [words for words, _ in _opposites(_PERSON_ADJECTIVES)]
THING_ADJECTIVES = [words for words, _ in _opposites(_THING_ADJECTIVES)]
ADJECTIVE_ANTONYMS = dict(_opposites(_PERSON_ADJECTIVES) + _opposites(_THING_ADJECTIVES))
ADJUNCTS = {
    "where": [Adjunct(tuple(f"in the {word}" for word in words), "where") for words in _concepts(_PLACES)],
    "when": [Adjunct(words, "when") for words in _concepts(_TIMES)],
    "how": [Adjunct(words, "how") for words in _concepts(_MANNERS)],
}


def content_words() -> set[str]:
    """Return the base forms of all content words: nouns, verbs, adjectives, adverbs, places and times."""
    concepts = [noun.words for noun in PEOPLE + THINGS] + [verb.words for verb in PERSONAL_VERBS + OBJECT_VERBS]
    concepts += PERSON_ADJECTIVES + THING_ADJECTIVES + [PRAISE, SCORN, REVIEWED, REVIEWERS, tuple(HYPERNYMS)]
    concepts += [adjunct.words for adjuncts in ADJUNCTS.values() for adjunct in adjuncts]
    return {phrase.split()[-1] for words in concepts for phrase in words}


def word_forms() -> set[str]:
    """Return every form of the content words that the suite uses: plurals, past and third person included."""
    nouns = [word for noun in PEOPLE + THINGS for word in noun.words]
    verbs = [word for verb in PERSONAL_VERBS + OBJECT_VERBS for word in verb.words]
    return content_words() | {add_s(word) for word in nouns + verbs} | {past(verb) for verb in verbs}

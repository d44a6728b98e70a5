"""The words of the embedded task suite, by the slot of a sentence that they fill.

A *concept* is a tuple of words that may replace each other. The tables below write it as `doctor/physician`; a colon
stands for a space.
"""

from __future__ import annotations

Concept = tuple[str, ...]

_AGENTS = """
    doctor/physician nurse surgeon dentist painter poet singer/vocalist dancer actor/performer sculptor builder plumber
    carpenter/joiner miner welder sprinter swimmer boxer skater climber/mountaineer uncle cousin sister mother/mum
    father/dad nephew king/sovereign queen emperor prince chemist historian linguist botanist robber/bandit smuggler
    pirate forger/counterfeiter mayor judge senator ambassador/envoy boy/lad girl/lass toddler pupil/learner
    tourist/sightseer sailor/mariner pilgrim explorer baker chef butcher
"""

_QUALITIES = """
    tall short old/elderly young/youthful rich/wealthy poor/needy brave/bold timid/shy clever/smart foolish/silly
    polite/courteous rude calm/serene nervous/anxious strong weak/feeble lazy/idle eager/keen famous/renowned unknown
"""

_ACTIONS = """
    buy/purchase sell build/construct destroy/demolish find/discover lose lock unlock fix/repair damage conceal
    reveal/display lift/raise lower clean/wash soil/stain push/shove pull/drag fill empty lend borrow accept
    refuse/decline start stop/halt heat/warm cool/chill wrap send receive
"""

_PATIENTS = """
    car/automobile truck/lorry bicycle/bike tractor van violin/fiddle piano guitar trumpet drum hammer/mallet chisel
    spade/shovel wrench/spanner drill coat hat/cap skirt glove shirt bucket/pail barrel/keg jar bag/sack basket
    house/home tower barn temple cottage/cabin boat ferry canoe raft ruby diamond emerald pearl sword/blade spear/lance
    dagger pistol/handgun letter map/chart contract diary/journal ticket engine/motor computer printer pump robot
"""

_FEATURES = """
    big/large small/little heavy light new/modern ancient dirty/filthy spotless cheap/inexpensive costly/expensive
    wet/damp dry long brief wide/broad narrow bright dark smooth/even rough/uneven complete/whole partial
"""

_MANNERS = """
    quietly/silently loudly/noisily quickly/rapidly slowly secretly/covertly openly/publicly carefully/cautiously
    casually twice/doubly once
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

_VIRTUES = """
    kind honest wise generous patient loyal cheerful gentle modest friendly graceful diligent helpful noble sincere
"""

_VICES = """
    cruel deceitful stupid greedy impatient disloyal grumpy brutal vain hostile clumsy careless selfish wicked jealous
"""

_KINDLY = """
    gladly happily warmly eagerly tenderly fondly proudly
"""

_UNKINDLY = """
    reluctantly angrily coldly grudgingly harshly bitterly wearily
"""

_APPLAUD = """
    praise admire recommend applaud enjoy adore welcome support
"""

_MOCK = """
    mock criticize detest condemn despise ridicule reject resent
"""

_MENTION = """
    watch mention describe observe
"""

_PRAISE = """
    good great superb delightful charming brilliant wonderful lovely excellent moving funny witty fresh gripping
    splendid enjoyable inspired memorable touching elegant thrilling satisfying lively radiant marvellous amusing
    engaging beautiful rewarding impressive captivating
"""

_SCORN = """
    bad awful dull terrible boring dreadful tedious stale bland lifeless horrible shallow ugly painful tiresome messy
    annoying pointless dismal hollow pathetic dreary laughable predictable disappointing confusing sloppy mediocre
    unpleasant forgettable tasteless
"""

_REVIEWERS = """
    critic reader viewer listener host director author editor student teacher guest visitor neighbour colleague stranger
    curator
"""

_WORKS = """
    film movie plot story song novel play concert dialogue ending script album drama dance scene cast show poem tale
    opera sequel
"""

DETERMINERS = (("this", "that", "every"), ("these", "those", "many"))
"""Of the singular and of the plural."""

_IRREGULAR_PAST = {
    "buy": "bought",
    "sell": "sold",
    "build": "built",
    "find": "found",
    "lose": "lost",
    "lend": "lent",
    "send": "sent",
    "fix": "fixed",
    "stop": "stopped",
    "wrap": "wrapped",
    "drag": "dragged",
    "destroy": "destroyed",
    "display": "displayed",
    "enjoy": "enjoyed",
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


CONCEPTS = {
    "agent": _concepts(_AGENTS),
    "quality": _concepts(_QUALITIES),
    "action": _concepts(_ACTIONS),
    "patient": _concepts(_PATIENTS),
    "feature": _concepts(_FEATURES),
    "manner": _concepts(_MANNERS),
    "place": [tuple(f"in the {word}" for word in concept) for concept in _concepts(_PLACES)],
    "time": _concepts(_TIMES),
}
"""What may fill each slot of a statement."""

REVIEWERS, WORKS, NEUTRAL_VERBS = _REVIEWERS.split(), _WORKS.split(), _MENTION.split()
POLAR = {
    "character": (_VIRTUES.split(), _VICES.split()),
    "mood": (_KINDLY.split(), _UNKINDLY.split()),
    "verdict": (_APPLAUD.split(), _MOCK.split()),
    "merit": (_PRAISE.split(), _SCORN.split()),
}
"""What may fill each slot of a sentence that judges, friendly words and unfriendly ones."""


def word_forms() -> set[str]:
    """Return every word that the suite uses, plurals, past and third person included."""
    concepts = [word.split()[-1] for slot in CONCEPTS.values() for concept in slot for word in concept]
    polar = [word for sides in POLAR.values() for side in sides for word in side]
    nouns = REVIEWERS + WORKS
    judged = [*(word for side in POLAR["verdict"] for word in side), *NEUTRAL_VERBS]
    actions = [word for concept in CONCEPTS["action"] for word in concept]
    words = {*concepts, *polar, *nouns, *judged} | {add_s(word) for word in nouns + judged}
    words |= {past(word) for word in actions + judged} | {word for side in DETERMINERS for word in side}
    return words | {"the", "was", "by", "in", "on", "at"}

import random
import time
from collections import Counter
from random import Random

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from crosspt.models.embedded.make.fragments import draw_fragment
from crosspt.tasks.embedded import grammar, lexicon, sentences
from crosspt.tasks.embedded.grammar import Entity, Event
from crosspt.tasks.embedded.lexicon import Adjunct, Noun, Verb
from crosspt.tasks.embedded.synthetic import (
    SPLITS,
    SYNTHETIC_TASKS,
    draw_inference,
    draw_similarity,
    format_label,
    generate_rows,
    split_of,
)

TASKS = list(SYNTHETIC_TASKS)

DOCTOR = Entity(Noun(("doctor",), "medic", True))
POET = Entity(Noun(("poet",), "artist", True), ("tall",))
PRAISE = Verb(("praise",), ("blame",), True)
EVENT = Event(DOCTOR, PRAISE, POET, Adjunct(("in the garden",), "where"))


@pytest.fixture
def few_verbs(monkeypatch):
    """Put the verb of the hand-written event into the lexicon in place of its synonyms."""
    verbs = [PRAISE, Verb(("blame",), ("praise",), True), Verb(("help",), ("hinder",), True)]
    monkeypatch.setattr(lexicon, "PERSONAL_VERBS", verbs)


def texts_of(task, rows):
    return [" ".join(row[field] for field in SYNTHETIC_TASKS[task]["fields"]) for row in rows]


@pytest.mark.parametrize("task", TASKS)
def test_rows_have_the_fields_of_their_task(task):
    for row in generate_rows(task, "train", 50):
        assert set(row) == {*SYNTHETIC_TASKS[task]["fields"], "label"}
        assert format_label(task, row["label"]) in SYNTHETIC_TASKS[task]["labels"]
        assert isinstance(row["label"], float if task == "syn_stsb" else int)


def test_fields_are_shared_by_tasks_of_one_shape():
    assert {spec["fields"] for spec in SYNTHETIC_TASKS.values()} == {("sentence",), ("sentence1", "sentence2")}


@pytest.mark.parametrize("task", TASKS)
def test_rows_depend_on_the_seed_alone(task):
    random.seed(1)
    rows = generate_rows(task, "test", 40, seed=3)
    state = random.getstate()
    random.seed(2)
    assert generate_rows(task, "test", 40, seed=3) == rows
    assert generate_rows(task, "test", 40, seed=4) != rows
    random.seed(1)
    assert random.getstate() == state


def test_more_rows_begin_with_the_fewer():
    assert generate_rows("syn_mnli", "train", 90)[:30] == generate_rows("syn_mnli", "train", 30)


def test_splits_are_disjoint_across_seeds_and_tasks():
    seen: dict[str, set] = {split: set() for split in SPLITS}
    for split in SPLITS:
        for task in TASKS:
            for seed in (0, 1):
                for row in generate_rows(task, split, 300, seed=seed):
                    seen[split].add(tuple(sorted(row[field] for field in SYNTHETIC_TASKS[task]["fields"])))
    assert all(len(texts) > 4000 for texts in seen.values())
    for first in SPLITS:
        for second in SPLITS:
            assert first == second or not seen[first] & seen[second]


def test_the_split_of_a_pair_does_not_depend_on_its_order():
    for row in generate_rows("syn_mrpc", "validation", 20):
        assert split_of(row["sentence2"], row["sentence1"]) == "validation"


@pytest.mark.parametrize("task", TASKS)
def test_rows_are_balanced_and_distinct(task):
    rows = generate_rows(task, "train", 122)
    counts = Counter(row["label"] for row in rows)
    assert len(counts) == len(SYNTHETIC_TASKS[task]["labels"])
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(set(texts_of(task, rows))) == len(rows)
    first_labels = [row["label"] for row in rows[: len(counts) * 4]]
    assert set(Counter(first_labels).values()) == {4}


def test_no_row_comes_twice_where_texts_are_scarce():
    rows = generate_rows("syn_sst2", "validation", 4000)
    assert len({row["sentence"] for row in rows}) == 4000


def test_there_are_at_least_300_content_words():
    words = lexicon.content_words()
    assert len(words) >= 300
    used = set()
    for task in TASKS:
        for text in texts_of(task, generate_rows(task, "pretrain", 2000)):
            used |= set(text.replace("?", "").split())
    assert words <= used


@pytest.mark.parametrize("task", ["syn_cola", "syn_mrpc", "syn_qqp", "syn_mnli", "syn_qnli", "syn_rte"])
def test_a_bag_of_words_does_not_solve_the_task(task):
    train, test = (generate_rows(task, split, count) for split, count in (("train", 2000), ("test", 1000)))
    vectorizer = CountVectorizer(token_pattern=r"\S+")
    features = vectorizer.fit_transform(texts_of(task, train))
    model = LogisticRegression(max_iter=300).fit(features, [row["label"] for row in train])
    accuracy = model.score(vectorizer.transform(texts_of(task, test)), [row["label"] for row in test])
    assert accuracy <= 0.70


def test_thousands_of_rows_a_second():
    started = time.process_time()
    generate_rows("syn_stsb", "train", 2000)
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    ("task", "split", "count", "message"),
    [
        ("cola", "train", 1, "generate_rows: task must be one of syn_cola, .*, got 'cola'"),
        ("syn_cola", "dev", 1, "generate_rows: split must be one of pretrain, .*, got 'dev'"),
        ("syn_cola", "train", -1, "generate_rows: count must not be negative, got -1"),
    ],
)
def test_wrong_arguments_are_refused(task, split, count, message):
    with pytest.raises(ValueError, match=message):
        generate_rows(task, split, count)


def test_word_forms():
    assert [lexicon.past(verb) for verb in ("praise", "buy", "defy", "obey", "stop", "help")] == [
        "praised", "bought", "defied", "obeyed", "stopped", "helped",
    ]  # fmt: skip
    assert [lexicon.add_s(word) for word in ("doctor", "lass", "lorry", "boy", "wrench", "fix", "empty")] == [
        "doctors", "lasses", "lorries", "boys", "wrenches", "fixes", "empties",
    ]  # fmt: skip


def test_antonyms_are_mutual_and_no_word_is_its_own_opposite():
    verbs = lexicon.PERSONAL_VERBS + lexicon.OBJECT_VERBS
    opposites = {verb.words: verb.antonyms for verb in verbs}
    assert all(opposites[antonyms] == words and words != antonyms for words, antonyms in opposites.items())
    assert not set(lexicon.PRAISE) & set(lexicon.SCORN)


@pytest.mark.parametrize("concepts", [[n.words for n in lexicon.PEOPLE + lexicon.THINGS],
                                      [v.words for v in lexicon.PERSONAL_VERBS + lexicon.OBJECT_VERBS],
                                      lexicon.PERSON_ADJECTIVES + lexicon.THING_ADJECTIVES])  # fmt: skip
def test_a_word_belongs_to_one_concept_of_its_class(concepts):
    words = [word for concept in concepts for word in concept]
    assert len(set(words)) == len(words)


@pytest.mark.parametrize("seed", range(5))
def test_statements(seed):
    rng = Random(seed)
    core = {"the doctor praised the tall poet", "the tall poet was praised by the doctor"}
    texts = {form for text in core for form in (f"{text} in the garden", f"in the garden {text}")}
    assert grammar.word_statement(EVENT, rng) in texts
    denied = Event(DOCTOR, PRAISE, POET, negated=True)
    assert grammar.word_statement(denied, rng, passive=False) == "the doctor did not praise the tall poet"
    assert grammar.word_statement(denied, rng, passive=True) == "the tall poet was not praised by the doctor"


@pytest.mark.parametrize(
    ("kind", "passive", "text"),
    [
        ("agent", False, "who praised the tall poet in the garden?"),
        ("agent", True, "by whom was the tall poet praised in the garden?"),
        ("patient", False, "who did the doctor praise in the garden?"),
        ("patient", True, "who was praised by the doctor in the garden?"),
        ("where", False, "where did the doctor praise the tall poet?"),
        ("when", True, "when was the tall poet praised by the doctor in the garden?"),
    ],
)
def test_questions(kind, passive, text):
    assert grammar.word_question(EVENT, kind, Random(0), passive=passive) == text


def test_changes_of_an_event(few_verbs):
    def wording(event):
        return grammar.word_statement(event, Random(0), passive=False)

    assert "the tall poet praised the doctor" in wording(grammar.swap_roles(EVENT))
    assert "the doctor blamed the tall poet" in wording(grammar.oppose(EVENT))
    for seed in range(50):
        rng = Random(seed)
        changed = grammar.change_verb(EVENT, rng).verb.words
        assert changed != PRAISE.words
        assert changed != PRAISE.antonyms
        assert grammar.change_noun(EVENT, "patient", rng).patient.noun.hypernym not in ("medic", "artist")
        assert grammar.generalise(EVENT, rng, strictly=True) != EVENT
        noun_words = {"medic", "doctor", "artist", "poet"}
        general = wording(grammar.generalise(EVENT, rng))
        assert set(general.split()) <= noun_words | {"the", "tall", "praised", "in", "garden"}


def claims(event_text):
    """Parse a plain active or passive statement into what it claims."""
    words = event_text.split()
    if "by" in words:
        by = words.index("by")
        return words[by + 2], words[by - 1], words[1]
    return words[1], words[2], words[4]


def test_similarity_counts_what_is_shared():
    meanings: dict[str, lexicon.Concept] = {}
    for noun in lexicon.PEOPLE + lexicon.THINGS:
        meanings |= dict.fromkeys(noun.words, noun.words)
    verbs: dict[str, lexicon.Concept] = {}
    for verb in lexicon.PERSONAL_VERBS + lexicon.OBJECT_VERBS:
        verbs |= {lexicon.past(word): verb.words for word in verb.words}
    adjuncts = {
        word: adjunct.words for group in lexicon.ADJUNCTS.values() for adjunct in group for word in adjunct.words
    }

    def parse(text):
        for adjunct, concept in sorted(adjuncts.items(), key=lambda item: -len(item[0])):
            if text.startswith(adjunct + " ") or text.endswith(" " + adjunct):
                agent, verb, patient = claims(text.removeprefix(adjunct + " ").removesuffix(" " + adjunct))
                return meanings[agent], meanings[patient], concept, verbs[verb]
        raise AssertionError(text)

    for seed in range(300):
        score = seed % 6
        first, second = (parse(text) for text in draw_similarity(score, Random(seed)))
        worth = (1, 1, 1, 2)
        assert sum(value for value, left, right in zip(worth, first, second, strict=True) if left == right) == score


def test_inference_by_swapped_roles_is_neutral_and_by_opposite_verbs_a_contradiction(monkeypatch, few_verbs):
    monkeypatch.setattr(grammar, "draw_event", lambda rng: Event(DOCTOR, PRAISE, POET))
    found = {
        label: {draw_inference(label, Random(seed)) for seed in range(400)}
        for label in SYNTHETIC_TASKS["syn_mnli"]["labels"]
    }
    premise = "the doctor praised the tall poet"
    assert (premise, "the medic praised the artist") in found["entailment"]
    assert (premise, "the artist was praised by the doctor") in found["entailment"]
    assert (premise, "the poet praised the doctor") in found["neutral"]
    assert ("the medic praised the artist", premise) in found["neutral"]
    assert (premise, "the doctor blamed the poet") in found["contradiction"]
    assert (premise, "the doctor did not praise the artist") in found["contradiction"]
    assert not found["entailment"] & (found["neutral"] | found["contradiction"])
    assert not found["neutral"] & found["contradiction"]


def test_acceptable_clauses_agree_and_errors_break_something():
    plurals = {lexicon.add_s(word) for noun in lexicon.PEOPLE + lexicon.THINGS for word in noun.words}
    determiners = {"this": False, "that": False, "every": False, "these": True, "those": True, "many": True}
    be = {"is": False, "was": False, "are": True, "were": True}
    nouns = plurals | {word for noun in lexicon.PEOPLE + lexicon.THINGS for word in noun.words}
    for seed in range(300):
        words = sentences.word_clause(True, Random(seed)).split()
        subject = next(word for word in words if word in nouns)
        for index, word in enumerate(words):
            if word in determiners:
                assert next(later in plurals for later in words[index:] if later in nouns) == determiners[word]
            if word in be:
                assert (subject in plurals) == be[word]
    good = {sentences.word_clause(True, Random(seed)) for seed in range(3000)}
    bad = {sentences.word_clause(False, Random(seed)) for seed in range(3000)}
    assert not good & bad


def test_opinions_turn_with_negation():
    for seed in range(300):
        positive = seed % 2 == 0
        text = sentences.word_opinion(positive, Random(seed))
        main = text.split(" although ")[0]
        if text.startswith("although"):
            main = " ".join(text.split()[5:])
        main = main.split(" and never ")[0]
        negators = ("not", "never", "hardly", "far from", "anything but", "nobody")
        negated = any(f" {negator} " in f" {main} " for negator in negators)
        praised = any(word in lexicon.PRAISE for word in main.split())
        assert (praised != negated) == positive, text


def test_fragments_of_paraphrases_are_labelled_by_their_concepts():
    concepts: dict[str, lexicon.Concept] = {}
    for noun in lexicon.PEOPLE + lexicon.THINGS:
        concepts |= dict.fromkeys(noun.words, noun.words)
    for verb in lexicon.PERSONAL_VERBS + lexicon.OBJECT_VERBS:
        concepts |= {lexicon.past(word): verb.words for word in verb.words}
    labels: Counter = Counter()
    for seed in range(300):
        (first, second), label = draw_fragment("syn_mrpc", Random(seed))
        labels[label] += 1
        assert (concepts[first.split()[-1]] == concepts[second.split()[-1]]) == bool(label)
    assert min(labels[0], labels[1]) > 60


@pytest.mark.parametrize(
    ("task", "fragment"),
    [
        ("syn_sst2", (("not awful",), 1)),
        ("syn_sst2", (("superb",), 1)),
        ("syn_sst2", (("far from good",), 0)),
        ("syn_cola", (("these doctors",), 1)),
        ("syn_cola", (("doctor the",), 0)),
        ("syn_qnli", (("where?", "in the garden"), 0)),
        ("syn_qnli", (("when?", "in the garden"), 1)),
        ("syn_mnli", (("praised", "blamed"), 2)),
        ("syn_mnli", (("the doctor", "the medic"), 0)),
        ("syn_rte", (("the medic", "the doctor"), 1)),
        ("syn_stsb", (("praised", "commended"), 5)),
    ],
)
def test_fragments(task, fragment):
    found = dict(draw_fragment(task, Random(seed)) for seed in range(20_000))
    texts, label = fragment
    assert found[texts] == label

import random
import time
from collections import Counter
from itertools import combinations
from random import Random

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from crosspt.tasks.embedded import lexicon
from crosspt.tasks.embedded.sentences import PAIR, SENTENCE
from crosspt.tasks.embedded.synthetic import (
    SPLITS,
    SYNTHETIC_TASKS,
    generate_rows,
    marks_of,
    read_label,
    split_of,
)

TASKS = list(SYNTHETIC_TASKS)
FORMS = {"sentence": SENTENCE, "pair": PAIR}


def texts_of(task, rows):
    return [" ".join(row[field] for field in SYNTHETIC_TASKS[task].question.form.fields) for row in rows]


@pytest.mark.parametrize("task", TASKS)
def test_rows_have_the_fields_of_their_task(task):
    for row in generate_rows(task, "train", 50):
        assert set(row) == {*SYNTHETIC_TASKS[task].question.form.fields, "label"}
        assert row["label"] in range(len(SYNTHETIC_TASKS[task].labels))


def test_fields_are_shared_by_tasks_of_one_form():
    assert {task.question.form.fields for task in SYNTHETIC_TASKS.values()} == {
        ("sentence",),
        ("sentence1", "sentence2"),
    }


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
                    seen[split].add(tuple(sorted(row[field] for field in SYNTHETIC_TASKS[task].question.form.fields)))
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
    assert len(counts) == len(SYNTHETIC_TASKS[task].labels)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(set(texts_of(task, rows))) == len(rows)
    first_labels = [row["label"] for row in rows[: len(counts) * 4]]
    assert set(Counter(first_labels).values()) == {4}


@pytest.mark.parametrize("task", TASKS)
def test_the_words_of_a_row_say_its_label(task):
    assert all(read_label(task, row) == row["label"] for row in generate_rows(task, "test", 500))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_text_is_read_as_it_was_drawn(form):
    rng = Random(0)
    for count in range(len(form.slots) + 1):
        for marked in combinations(form.slots, count):
            assert form.read(*form.draw(marked, rng, form.slots)) == {*marked}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_only_the_slots_that_are_shown_are_worded(form):
    rng = Random(0)
    for slot in form.slots:
        texts = form.draw((), rng, (slot,))
        whole = form.draw((), rng, form.slots)
        assert all(len(text.split()) < len(other.split()) for text, other in zip(texts, whole, strict=True))


@pytest.mark.parametrize("task", TASKS)
def test_every_answer_has_its_marks(task):
    question = SYNTHETIC_TASKS[task].question
    assert sorted(question.answers) == list(range(len(SYNTHETIC_TASKS[task].labels)))
    sets = marks_of(question)
    assert sum(map(len, sets)) == 2 ** len(question.slots)
    assert all({min(len(marks), len(sets) - 1) for marks in each} == {count} for count, each in enumerate(sets))


@pytest.mark.parametrize(("split", "rate"), [("train", 0.85), ("test", 0.7), ("pretrain", 0.5)])
@pytest.mark.parametrize("task", TASKS)
def test_slots_agree_with_their_partners_in_rows_to_train_on_alone(task, split, rate):
    form, slots, _ = SYNTHETIC_TASKS[task].question
    rows = generate_rows(task, split, 1000)
    marks = [form.read(*(row[field] for field in form.fields)) for row in rows]
    for slot in slots:
        agreeing = sum((slot in marked) == (form.partners[slot] in marked) for marked in marks)
        assert agreeing / len(marks) == pytest.approx(rate, abs=0.06)
        assert form.partners[slot] not in slots


def test_tasks_of_a_family_share_slots_and_others_none():
    families = [("syn_mrpc", "syn_qqp", "syn_stsb"), ("syn_mnli", "syn_qnli", "syn_rte"), ("syn_cola",), ("syn_sst2",)]
    slots = {task: {*SYNTHETIC_TASKS[task].question.slots} for task in TASKS}
    for first, second in combinations(TASKS, 2):
        related = any({first, second} <= {*family} for family in families)
        assert len(slots[first] & slots[second]) >= 2 if related else not slots[first] & slots[second]


@pytest.mark.parametrize("task", [task for task in TASKS if task != "syn_sst2"])
def test_a_bag_of_words_does_not_solve_the_task(task):
    train, test = (generate_rows(task, split, count) for split, count in (("train", 2000), ("test", 1000)))
    vectorizer = CountVectorizer(token_pattern=r"\S+")
    features = vectorizer.fit_transform(texts_of(task, train))
    model = LogisticRegression(max_iter=300).fit(features, [row["label"] for row in train])
    accuracy = model.score(vectorizer.transform(texts_of(task, test)), [row["label"] for row in test])
    assert accuracy <= 1 / len(SYNTHETIC_TASKS[task].labels) + 0.2


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
    assert [lexicon.past(verb) for verb in ("praise", "buy", "empty", "enjoy", "stop", "help")] == [
        "praised", "bought", "emptied", "enjoyed", "stopped", "helped",
    ]  # fmt: skip
    assert [lexicon.add_s(word) for word in ("doctor", "lass", "story", "boy", "sketch", "fix")] == [
        "doctors", "lasses", "stories", "boys", "sketches", "fixes",
    ]  # fmt: skip


def test_a_word_belongs_to_one_concept():
    words = [word.split()[-1] for slot in lexicon.CONCEPTS.values() for concept in slot for word in concept]
    words += [lexicon.past(word) for concept in lexicon.CONCEPTS["action"] for word in concept]
    assert len(set(words)) == len(words)
    polar = [word for sides in lexicon.POLAR.values() for side in sides for word in side]
    assert len(set(polar)) == len(polar)


@pytest.mark.parametrize("task", ["syn_sst2", "syn_mrpc"])
def test_every_word_of_the_lexicon_is_known(task):
    used = {word for text in texts_of(task, generate_rows(task, "pretrain", 2000)) for word in text.split()}
    assert used <= lexicon.word_forms()

import dataclasses
import pickle
from dataclasses import replace
from typing import Any

import pytest

from crosspt.tasks.scale import scale_texts
from crosspt.tasks.task import LABEL_SETS, Task, task_letter

PAIR = Task(name="pair", fields=("left", "right"), labels=("no", "yes"))
WORDS = Task(name="words", fields=("text",), labels=("entailment", "neutral"), label_values=("entails", "neutral"))
BINS = Task(name="bins", fields=("text",), labels=("low", "medium", "high"), bin_edges=(5 / 3, 10 / 3))
SCORE = Task(name="score", fields=("text",), metrics=("pearson", "spearman"), regression=True)


@pytest.mark.parametrize(
    ("index", "letter"), [(0, "A"), (1, "B"), (25, "Z"), (26, "AA"), (27, "AB"), (51, "AZ"), (52, "BA"), (702, "AAA")]
)
def test_task_letters(index: int, letter: str) -> None:
    assert task_letter(index) == letter


def test_negative_letter() -> None:
    with pytest.raises(ValueError, match="task_letter: index must be 0 or more, got -1"):
        task_letter(-1)


def test_label_sets() -> None:
    assert PAIR.label_words() == ("no", "yes")
    assert PAIR.label_words("synthetic", "C") == ("C0", "C1")
    assert BINS.label_words("numeric") == ("0", "1", "2")
    assert [SCORE.label_words(label_set) for label_set in LABEL_SETS] == [(), (), ()]
    with pytest.raises(ValueError, match="label_set must be one of natural, synthetic, numeric, got 'letters'"):
        PAIR.label_words("letters")


def test_format_input() -> None:
    row = {"label": 1, "right": "two\n\tlines ", "left": "  some   text"}
    assert PAIR.format_input(row, prefix=True) == "pair left: some text right: two lines"
    assert PAIR.format_input(row, prefix=False) == "left: some text right: two lines"


def test_a_prefix_of_its_own_stands_in_place_of_the_name() -> None:
    task = dataclasses.replace(PAIR, prefix=" are both\nalike ")
    assert task.format_input({"left": "a", "right": "b"}, prefix=True) == "are both alike left: a right: b"
    assert task.format_input({"left": "a", "right": "b"}, prefix=False) == "left: a right: b"


def test_format_input_of_an_empty_text() -> None:
    assert PAIR.format_input({"left": " ", "right": "b"}, prefix=True) == "pair left: right: b"


def test_format_input_errors() -> None:
    with pytest.raises(ValueError, match="task 'pair': column 'right' is missing, the row has left, label"):
        PAIR.format_input({"left": "a", "label": 0}, prefix=True)
    with pytest.raises(ValueError, match="task 'pair': column 'left' must hold text, got None"):
        PAIR.format_input({"left": None, "right": "a"}, prefix=True)


@pytest.mark.parametrize("value", [1, 1.0, "1", " 1 "])
def test_class_targets(value: Any) -> None:
    assert PAIR.target(value) == 1
    assert PAIR.target_text({"label": value}, ("A0", "A1")) == "A1"


def test_text_label_values() -> None:
    assert WORDS.target_text({"label": "entails"}, WORDS.label_words()) == "entailment"
    digits = replace(WORDS, label_values=("7", "3"))
    assert [digits.target(value) for value in (3, 3.0, "3.0", "3", 7.0)] == [1, 1, 1, 1, 0]
    padded = replace(WORDS, label_values=("01", "1"))
    assert [padded.target(value) for value in ("01", "1", 1)] == [0, 1, 1]
    with pytest.raises(ValueError, match=r"a label must be one of '01', '1', got '1\.0'"):
        padded.target("1.0")


def test_numbers_are_texts_too() -> None:
    assert PAIR.format_input({"left": 7, "right": 2.5}, prefix=False) == "left: 7 right: 2.5"
    with pytest.raises(ValueError, match=r"column 'right' must hold text, got \['a'\]"):
        PAIR.format_input({"left": 7, "right": ["a"]}, prefix=False)


@pytest.mark.parametrize("value", [-1, 2, "yes", None, 0.5])
def test_unknown_label(value: Any) -> None:
    with pytest.raises(ValueError, match=f"task 'pair': a label must be one of 0, 1, got {value!r}"):
        PAIR.target_text({"label": value}, PAIR.labels)


def test_target_text_errors() -> None:
    with pytest.raises(ValueError, match="task 'pair': column 'label' is missing, the row has left"):
        PAIR.target_text({"left": "a"}, PAIR.labels)
    with pytest.raises(ValueError, match=r"task 'pair': words must be 2, one for each class, got \('yes',\)"):
        PAIR.target_text({"label": 0}, ("yes",))


@pytest.mark.parametrize(
    ("score", "text"), [(3.8, "3.8"), (3.75, "3.8"), (0, "0.0"), ("2.52", "2.6"), (4.91, "5.0"), (1.09, "1.0")]
)
def test_score_text(score: Any, text: str) -> None:
    assert SCORE.target_text({"label": score}, ()) == text


@pytest.mark.parametrize(
    ("score", "label"), [(0, "low"), (1.66, "low"), (5 / 3, "medium"), (3.3, "medium"), (3.34, "high"), ("5.0", "high")]
)
def test_binned_score(score: Any, label: str) -> None:
    assert BINS.target_text({"label": score}, BINS.labels) == label


@pytest.mark.parametrize("task", [SCORE, BINS])
@pytest.mark.parametrize("score", [-1.0, 5.1, float("nan"), "high", None])
def test_score_out_of_range(task: Task, score: Any) -> None:
    with pytest.raises(ValueError, match=f"task {task.name!r}: a score must be a number from 0 to 5, got"):
        task.target(score)


def test_defaults() -> None:
    assert PAIR.label_values == (0, 1)
    assert PAIR.data_folders == ("pair",)
    assert BINS.label_values == ()
    assert PAIR.hub_splits == {"train": "train", "validation": "validation", "test": "test"}


def test_tasks_are_values() -> None:
    assert pickle.loads(pickle.dumps(PAIR)) == PAIR
    assert len({PAIR, replace(PAIR), WORDS}) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "My Task"}, "task 'My Task': name must be lower-case letters"),
        ({"name": ""}, "name must be"),
        ({"fields": ()}, "fields must be one or more distinct column names"),
        ({"fields": ("a", "a")}, "fields must be one or more distinct"),
        ({"label_column": "left"}, "label_column must be a column outside fields, got 'left'"),
        ({"label_column": ""}, "label_column must be a column"),
        ({"labels": ("yes",), "label_values": (0,)}, "labels must be two or more distinct words"),
        ({"labels": ("yes", "yes")}, "labels must be two or more distinct words"),
        ({"labels": ("yes", " no")}, "labels must be two or more distinct words"),
        ({"label_values": (0, 1, 2)}, "label_values must be 2 distinct values"),
        ({"label_values": (1, 1)}, "label_values must be 2 distinct values"),
        ({"label_values": (0, "1")}, "label_values must be 2 distinct values, all int or all str"),
        ({"label_values": (False, True)}, "all int or all str"),
        ({"metrics": ()}, "metrics must be distinct names out of accuracy, f1, macro_f1, matthews"),
        ({"metrics": ("accuracy", "accuracy")}, "metrics must be distinct"),
        ({"metrics": ("pearson",)}, "metrics must be distinct names out of accuracy"),
        ({"labels": ("a", "b", "c"), "label_values": (0, 1, 2), "metrics": ("f1",)}, "f1 needs exactly two labels"),
        ({"bin_edges": (2.5,)}, "a task with bin_edges has no label_values"),
        ({"bin_edges": (3.0, 2.0), "label_values": ()}, "bin_edges must be 1 ascending scores"),
        ({"bin_edges": (5.0,), "label_values": ()}, "bin_edges must be 1 ascending scores"),
        ({"regression": True}, "a regression task has no labels"),
        ({"regression": True, "labels": (), "label_values": ()}, "metrics must be distinct names out of pearson"),
        *(
            ({"regression": True, "labels": (), "label_values": (), "scale": scale}, "a scale must be the least score")
            for scale in (
                (1, 5),
                (5, 1, 1),
                (1, 5, 0),
                (1, 5, 3),
                (0, 5, 0.01),
                (0, float("inf"), 1),
                (0, 1, float("nan")),
            )
        ),
        ({"hub_splits": {"dev": "validation"}}, "hub_splits must have keys out of train, validation, test"),
        ({"data_files": {"dev": "a.csv"}}, "data_files must have keys out of train, validation, test"),
    ],
)
def test_contradictions(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PAIR, **changes)


@pytest.mark.parametrize(
    ("scale", "texts", "targets"),
    [
        ((1, 5, 1), ["1", "2", "3", "4", "5"], {1: "1", 2.4: "2", "4.6": "5", 5.0: "5"}),
        ((-1, 1, 0.5), ["-1.0", "-0.5", "0.0", "0.5", "1.0"], {-1: "-1.0", -0.2: "0.0", 0.3: "0.5"}),
        ((0, 100, 25), ["0", "25", "50", "75", "100"], {12: "0", 13: "25", 99: "100"}),
        ((0.25, 1, 0.25), ["0.25", "0.50", "0.75", "1.00"], {0.25: "0.25", 0.6: "0.50"}),
    ],
)
def test_scores_of_a_scale(scale: Any, texts: list[str], targets: dict[Any, str]) -> None:
    task = Task("scored", ("text",), metrics=("pearson",), regression=True, scale=scale)
    assert scale_texts(task.scale) == texts
    assert {value: task.target_text({"label": value}, ()) for value in targets} == targets
    low, high, _ = scale
    for value in (low - 0.1, high + 0.1, "many"):
        with pytest.raises(ValueError, match=f"a score must be a number from {low:g} to {high:g}"):
            task.target(value)


@pytest.mark.parametrize(
    "attribute", ["fields", "labels", "label_values", "bin_edges", "metrics", "scale", "data_folders"]
)
def test_sequences_are_tuples(attribute: str) -> None:
    changes: dict[str, Any] = {attribute: ["a"]}
    with pytest.raises(TypeError, match=rf"task 'pair': {attribute} must be a tuple, got \['a'\]"):
        replace(PAIR, **changes)


def test_weights_of_classes() -> None:
    assert PAIR.row_weights([0, 1, 0]) is None
    assert replace(PAIR, class_weights={"yes": 5, "no": 0.5}).row_weights([0, 1, 0]) == [0.5, 5.0, 0.5]
    balanced = replace(BINS, class_weights="balanced")
    weights = balanced.row_weights([2, 0, 2, 2])
    assert weights is not None
    assert weights == pytest.approx([4 / 6, 2, 4 / 6, 4 / 6])
    assert weights[0] * 3 == pytest.approx(weights[1]), "the classes that there are count alike"
    assert balanced.row_weights([]) == []


@pytest.mark.parametrize(
    ("task", "weights", "message"),
    [
        (SCORE, "balanced", "class_weights are for tasks with labels, got 'balanced'"),
        (PAIR, "equal", "class_weights must be balanced or a weight for each of no, yes, got 'equal'"),
        (PAIR, [1, 2], "class_weights must be balanced or a weight for each of no, yes"),
        (PAIR, {"no": 1}, "class_weights must be balanced or a weight for each of no, yes"),
        (PAIR, {"no": 1, "yes": 1, "maybe": 1}, "class_weights must be balanced or a weight for each of no, yes"),
        (PAIR, {"no": 1, "yes": 0}, "class_weights must be positive and finite"),
        (PAIR, {"no": 1, "yes": True}, "class_weights must be positive and finite"),
        (PAIR, {"no": 1, "yes": float("inf")}, "class_weights must be positive and finite"),
    ],
)
def test_weights_that_do_not_fit(task: Task, weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^task {task.name!r}: {message}"):
        replace(task, class_weights=weights)

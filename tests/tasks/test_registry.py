import pytest

from crosspt.tasks import registry
from crosspt.tasks.registry import SUITES, get_task, register_task, task_names
from crosspt.tasks.task import Task


def test_suites_hold_registered_tasks() -> None:
    assert {name for suite in SUITES.values() for name in suite} == set(task_names())
    assert {name: len(suite) for name, suite in SUITES.items()} == {"embedded": 8, "plain": 2, "glue": 8, "group2": 7}
    assert task_names()[:8] == list(SUITES["glue"])


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("mrpc", "mrpc"),
        ("CoLA", "cola"),
        ("SST-2", "sst2"),
        ("STS-B", "stsb"),
        ("STSB2", "stsb2"),
        ("MultiNLI", "multi_nli"),
        ("SciTail", "scitail"),
        ("Yelp", "yelp_polarity"),
        ("Yelp-Polarity", "yelp_polarity"),
    ],
)
def test_spellings(spelling: str, name: str) -> None:
    assert get_task(spelling).name == name


@pytest.mark.parametrize(
    ("name", "row", "text", "target"),
    [
        ("cola", {"sentence": "a", "label": 0}, "cola sentence: a", "unacceptable"),
        ("sst2", {"sentence": "a ", "label": 1}, "sst2 sentence: a", "positive"),
        ("mrpc", {"sentence1": "a", "sentence2": "b", "label": 1}, "mrpc sentence1: a sentence2: b", "equivalent"),
        ("qqp", {"question1": "a", "question2": "b", "label": 0}, "qqp question1: a question2: b", "not_duplicate"),
        ("stsb", {"sentence1": "a", "sentence2": "b", "label": 3.8}, "stsb sentence1: a sentence2: b", "3.8"),
        ("mnli", {"premise": "a", "hypothesis": "b", "label": 2}, "mnli premise: a hypothesis: b", "contradiction"),
        ("qnli", {"question": "a", "sentence": "b", "label": 0}, "qnli question: a sentence: b", "entailment"),
        ("rte", {"sentence1": "a", "sentence2": "b", "label": 1}, "rte sentence1: a sentence2: b", "not_entailment"),
        ("scitail", {"premise": "a", "hypothesis": "b", "label": "entails"}, "scitail premise: a hypothesis: b",
         "entailment"),
        ("paws", {"sentence1": "a", "sentence2": "b", "label": 1}, "paws sentence1: a sentence2: b", "paraphrase"),
        ("imdb", {"text": "a", "label": 0}, "imdb text: a", "negative"),
        ("yelp_polarity", {"text": "a", "label": 1}, "yelp_polarity text: a", "positive"),
        ("multi_nli", {"premise": "a", "hypothesis": "b", "label": 1}, "multi_nli premise: a hypothesis: b", "neutral"),
        ("stsb2", {"sentence1": "a", "sentence2": "b", "label": 3.8}, "stsb2 sentence1: a sentence2: b", "high"),
    ],
)  # fmt: skip
def test_definitions(name: str, row: dict[str, object], text: str, target: str) -> None:
    task = get_task(name)
    assert task.format_input(row, prefix=True) == text
    assert task.target_text(row, task.label_words()) == target


@pytest.mark.parametrize(
    ("name", "place", "validation", "test_public", "folders"),
    [
        ("cola", ("nyu-mll/glue", "cola"), "validation", False, ("cola",)),
        ("sst2", ("nyu-mll/glue", "sst2"), "validation", False, ("sst2",)),
        ("mrpc", ("nyu-mll/glue", "mrpc"), "validation", True, ("mrpc",)),
        ("qqp", ("nyu-mll/glue", "qqp"), "validation", False, ("qqp",)),
        ("stsb", ("nyu-mll/glue", "stsb"), "validation", False, ("stsb",)),
        ("mnli", ("nyu-mll/glue", "mnli"), "validation_matched", False, ("mnli",)),
        ("qnli", ("nyu-mll/glue", "qnli"), "validation", False, ("qnli",)),
        ("rte", ("nyu-mll/glue", "rte"), "validation", False, ("rte",)),
        ("scitail", ("allenai/scitail", "tsv_format"), "validation", True, ("scitail",)),
        ("paws", ("google-research-datasets/paws", "labeled_final"), "validation", True, ("paws",)),
        ("imdb", ("stanfordnlp/imdb", None), None, True, ("imdb",)),
        ("yelp_polarity", ("fancyzhx/yelp_polarity", None), None, True, ("yelp_polarity",)),
        ("multi_nli", ("nyu-mll/multi_nli", None), "validation_matched", False, ("multi_nli", "mnli")),
        ("stsb2", ("nyu-mll/glue", "stsb"), "validation", False, ("stsb2", "stsb")),
    ],
)
def test_places(
    name: str, place: tuple[str, str | None], validation: str | None, test_public: bool, folders: tuple[str, ...]
) -> None:
    task = get_task(name)
    assert (task.hub, task.hub_config) == place
    assert task.hub_splits.get("validation") == validation
    assert ("test" in task.hub_splits and task.test_labels_public) == test_public
    assert task.data_folders == folders


def test_metrics_of_the_paper() -> None:
    expected = {
        "cola": ("accuracy", "matthews"),
        "mrpc": ("accuracy", "f1"),
        "qqp": ("accuracy", "f1"),
        "stsb": ("pearson", "spearman"),
    }
    names = [*SUITES["glue"], *SUITES["group2"]]
    assert {name: get_task(name).metrics for name in names} == {
        name: expected.get(name, ("accuracy",)) for name in names
    }


def test_unknown_task_suggests_a_name() -> None:
    with pytest.raises(ValueError, match="get_task: unknown task 'scitial', did you mean scitail"):
        get_task("scitial")
    with pytest.raises(ValueError, match="get_task: unknown task 'wikitext', the tasks are cola, sst2"):
        get_task("wikitext")


def test_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))
    task = Task(name="my_task", fields=("text",), labels=("no", "yes"))
    register_task(task)
    assert get_task("My-Task") is task
    assert task_names()[-1] == "my_task"
    with pytest.raises(ValueError, match="register_task: the name 'my-task' is taken by the task 'my_task'"):
        register_task(Task(name="my-task", fields=("text",), labels=("no", "yes")))

from pathlib import Path

import pytest

from crosspt.tasks.registry import get_task
from crosspt.tasks.scale import scale_texts
from crosspt.tasks.task_file import copy_task_file, is_task_file, load_task_file

GOOD = """
name: spam
fields: [subject, body]
labels: [ham, spam]
label_column: class
label_values: [H, S]
metrics: [accuracy, f1]
prefix: is it spam
data_files: {train: data/train.csv, validation: dev.tsv}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "spam.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_names_of_files() -> None:
    assert all(map(is_task_file, ("spam.yaml", "spam.yml", "a b/SPAM.YAML", "Spam.Yml")))
    assert not any(map(is_task_file, ("spam", "yaml", "spam.yaml.gz", "spam.yaml/")))


def test_files(tmp_path: Path) -> None:
    task = load_task_file(write(tmp_path, GOOD))
    assert task.name == "spam"
    assert task.fields == ("subject", "body")
    assert task.labels == ("ham", "spam")
    assert (task.label_column, task.label_values) == ("class", ("H", "S"))
    assert task.metrics == ("accuracy", "f1")
    assert task.prefix == "is it spam"
    assert task.class_weights is None
    weighed = load_task_file(write(tmp_path, GOOD + "class_weights: {ham: 1, spam: 9.5}\n"))
    assert weighed.class_weights == {"ham": 1, "spam": 9.5}
    copy_task_file(tmp_path / "spam.yaml", tmp_path / "copy" / "spam.yaml")
    assert load_task_file(tmp_path / "copy" / "spam.yaml").class_weights == weighed.class_weights
    assert task.data_files == {"train": tmp_path / "data/train.csv", "validation": tmp_path / "dev.tsv"}


def test_scores(tmp_path: Path) -> None:
    text = "name: stars\nfields: [text]\nscale: [1, 5, 0.5]\ndata_files: {train: a.csv, test: b.csv}\n"
    task = load_task_file(write(tmp_path, text))
    assert (task.regression, task.labels, task.metrics) == (True, (), ("pearson", "spearman"))
    assert scale_texts(task.scale) == ["1.0", "1.5", "2.0", "2.5", "3.0", "3.5", "4.0", "4.5", "5.0"]
    assert load_task_file(write(tmp_path, text + "metrics: [spearman]\n")).metrics == ("spearman",)


def test_hub(tmp_path: Path) -> None:
    text = "name: spam\nfields: [text]\nlabels: [ham, spam]\nhub: someone/spam\nhub_config: plain\n"
    task = get_task(str(write(tmp_path, text + "hub_splits: {train: train, test: eval}\n")))
    assert (task.hub, task.hub_config, task.hub_splits) == ("someone/spam", "plain", {"train": "train", "test": "eval"})
    assert (task.label_column, task.label_values, task.metrics) == ("label", (0, 1), ("accuracy",))
    assert task.prefix == "spam"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("fields:", "feilds:", "unknown key 'feilds', did you mean 'fields'?"),
        ("name: spam", "name: spam\nxyz: 1", "unknown key 'xyz'; the keys are name, fields"),
        ("fields: [subject, body]", "", "missing key 'fields'"),
        ("labels: [ham, spam]", "", "a task needs either labels, the scale .* or the target_column .*, got none"),
        ("name: spam", "name: spam\nscale: [1, 5, 1]", "a task needs either labels, the .*, got labels and scale"),
        ("labels: [ham, spam]", "target_column: body2", "label_column goes with labels or a scale; target_column"),
        ("name: spam", "name: spam\nmax_target_length: 8", "max_target_length goes with target_column"),
        ("labels: [ham, spam]", "scale: [1, five, 1]", "scale must be numbers, got 'five'"),
        ("labels: [ham, spam]", "scale: 5", "scale must be a list, got 5"),
        ("labels: [ham, spam]", "scale: [1, 5, 1]", "task 'spam': a regression task has no labels, label_values"),
        (
            "name: spam",
            "name: spam\nclass_weights: {ham: 1}",
            "task 'spam': class_weights must be balanced or a weight",
        ),
        (
            "name: spam",
            "name: spam\nclass_weights: {ham: 1, spam: five}",
            "task 'spam': class_weights must be positive",
        ),
        ("name: spam", "name: 3", r"name must be text, got 3 \(YAML reads a bare"),
        ("[ham, spam]", "[no, yes]", r"labels must be text, got False \(YAML reads a bare yes, no or number"),
        ("[ham, spam]", "ham", "labels must be a list, got 'ham'"),
        ("[H, S]", "H", "label_values must be a list, got 'H'"),
        (
            "[H, S]",
            "[no, yes]",
            r"label_values must be text or whole numbers, got False \(YAML reads a bare yes, no or",
        ),
        ("[H, S]", "[H, S, T]", "task 'spam': label_values must be 2 distinct values"),
        ("[H, S]", "[[H], S]", "task 'spam': label_values must be 2 distinct values"),
        ("[accuracy, f1]", "[precision]", "task 'spam': metrics must be distinct names out of accuracy"),
        ("{train: data/train.csv, validation: dev.tsv}", "train.csv", "data_files must map train and"),
        ("train: data", "dev: data", "data_files must map train and validation or test"),
        ("train: data/train.csv, ", "", "data_files must map train and validation or test"),
        ("dev.tsv", "5", "data_files.validation must be text, got 5"),
        ("name: spam", "name: spam\nhub: a/b", "a task needs either data_files or hub, got both"),
        ("data_files: {train: data/train.csv, validation: dev.tsv}", "", "a task needs .* data_files or hub, got none"),
        ("name: spam", "name: spam\nhub_config: x", "hub_config and hub_splits need hub"),
        ("name: spam", "name: [spam", "cannot be read as YAML"),
        ("name: spam", "name: 2001-99-99", "cannot be read as YAML: month must be in 1..12"),
        ("name: spam", "name: !!bool spam", "cannot be read as YAML: 'spam'"),
        ("name: spam", f"name: {'[' * 2000}", "cannot be read as YAML: maximum recursion depth"),
    ],
)
def test_errors_name_the_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ValueError, match=rf"spam\.yaml: {message}") as caught:
        load_task_file(write(tmp_path, GOOD.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_not_a_mapping(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"spam\.yaml: must hold keys and values such as 'name: ...', got list"):
        load_task_file(write(tmp_path, "- spam"))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yml: no such task file"):
        get_task(str(tmp_path / "none.yml"))
    with pytest.raises(ValueError, match="cannot be read as YAML"):
        load_task_file(tmp_path)

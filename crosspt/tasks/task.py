"""What a task is: which columns it reads, which words it answers with, where its rows come from."""

import json
import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosspt.tasks.scale import MOST_STEPS, SCORE_RANGE, Scale, is_scale, nearest_text
from crosspt.tasks.values import as_number, as_text, as_texts, is_missing, show

LABEL_SETS = ("natural", "synthetic", "numeric")
SPLITS = ("train", "validation", "test")
CLASS_METRICS = ("accuracy", "f1", "macro_f1", "matthews")
SCORE_METRICS = ("pearson", "spearman")
TEXT_METRICS = ("exact_match", "token_f1", "rouge1", "rouge2", "rougeL")
BALANCED = "balanced"


def task_letter(index: int) -> str:
    """Returns the letter of the task at a position of a run: A, B, ..., Z, AA, AB, ...

    Raises:
        ValueError: for a negative index.
    """
    if index < 0:
        raise ValueError(f"task_letter: index must be 0 or more, got {index}")
    letters = ""
    index += 1
    while index > 0:
        index, letter = divmod(index - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters


@dataclass(frozen=True)
class Task:
    """A text task: classification over a few label words, a score, or free text.

    Attributes:
        name: lower-case identifier.
        fields: text columns, in the order in which the input names them.
        labels: natural label words; the index is the class id. Empty for regression and free text.
        label_column: column that holds the label, the score or the free text.
        label_values: values the label column holds, in the order of `labels`; 0, 1, ... by default.
        bin_edges: for classes cut out of a score: the inner edges of the bins, one fewer than `labels`; a score on an
            edge belongs to the upper bin. `label_values` is then empty.
        metrics: names of the task's metrics; the first is primary. Correlations need a score or numeric labels.
        regression: whether the label is a score that is answered as text, rounded to the nearest step of its scale.
        scale: the least score, the largest, and the step between two that can be answered.
        free_text: whether the label column holds text that the model is to write, or a list of texts of which each is
            right and the first is trained on.
        max_target_length: most tokens of free text, the end token included: a longer target loses its end, and a
            generated answer ends there.
        class_weights: how much a training row of each class counts, by label, or `balanced`, so that all classes that
            there are count alike; 1 by default.
        prefix: text before the input where it carries one, such as an instruction; the task's name by default.
        hub: dataset on the Hugging Face hub.
        hub_config: configuration of that dataset.
        hub_splits: names on the hub of the train, validation and test split; a split that is left out does not exist.
        test_labels_public: whether the hub's test split carries its labels.
        data_folders: folders under a data directory, tried in order; the task's name by default.
        data_files: a file for each split, for a task whose rows lie outside a data directory.
        generate: makes the rows of a split, for a task that is generated where no data directory is given.

    Raises:
        TypeError: when a sequence is not a tuple.
        ValueError: when the parts contradict each other.
    """

    name: str
    fields: tuple[str, ...]
    labels: tuple[str, ...] = ()
    label_column: str = "label"
    label_values: tuple[int | str, ...] = ()
    bin_edges: tuple[float, ...] = ()
    metrics: tuple[str, ...] = ("accuracy",)
    regression: bool = False
    scale: Scale = (*SCORE_RANGE, 0.2)
    free_text: bool = False
    max_target_length: int = 64
    class_weights: Mapping[str, float] | str | None = field(default=None, hash=False)
    prefix: str = ""
    hub: str | None = None
    hub_config: str | None = None
    hub_splits: Mapping[str, str] = field(default_factory=lambda: {split: split for split in SPLITS}, hash=False)
    test_labels_public: bool = True
    data_folders: tuple[str, ...] = ()
    data_files: Mapping[str, Path] = field(default_factory=dict, hash=False)
    generate: Callable[[str], list[dict[str, Any]]] | None = None

    def __post_init__(self) -> None:
        for attribute in ("fields", "labels", "label_values", "bin_edges", "metrics", "scale", "data_folders"):
            value = getattr(self, attribute)
            if not isinstance(value, tuple):
                raise TypeError(f"task {self.name!r}: {attribute} must be a tuple, got {value!r}")
        if not self.label_values and not self.bin_edges:
            object.__setattr__(self, "label_values", tuple(range(len(self.labels))))
        object.__setattr__(self, "prefix", " ".join(self.prefix.split()) or self.name)
        if not self.data_folders:
            object.__setattr__(self, "data_folders", (self.name,))
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.name):
            raise self._error("name must be lower-case letters, digits, _ and -", self.name)
        if not self.fields or not _distinct_text(self.fields):
            raise self._error("fields must be one or more distinct column names", self.fields)
        if not self.label_column or self.label_column in self.fields:
            key = "target_column" if self.free_text else "label_column"
            raise self._error(f"{key} must be a column outside fields", self.label_column)
        for attribute in ("hub_splits", "data_files"):
            splits = getattr(self, attribute)
            if not set(splits) <= set(SPLITS):
                raise self._error(f"{attribute} must have keys out of {', '.join(SPLITS)}", sorted(splits))
        self._check_labels()
        known: tuple[str, ...] = TEXT_METRICS if self.free_text else SCORE_METRICS if self.regression else CLASS_METRICS
        if self.labels and all(label.replace(".", "", 1).isdigit() for label in self.labels):
            known = (*CLASS_METRICS, *SCORE_METRICS)
        if not self.metrics or len(set(self.metrics)) < len(self.metrics) or not set(self.metrics) <= set(known):
            raise self._error(f"metrics must be distinct names out of {', '.join(known)}", self.metrics)
        if "f1" in self.metrics and len(self.labels) != 2:
            raise self._error("f1 needs exactly two labels", self.labels)

        self._check_class_weights()

    def _check_class_weights(self) -> None:
        given = self.class_weights
        if given is None:
            return
        if not self.labels:
            raise self._error("class_weights are for tasks with labels", given)
        if given == BALANCED:
            return
        if not isinstance(given, Mapping) or given.keys() != set(self.labels):
            raise self._error(
                f"class_weights must be {BALANCED} or a weight for each of {', '.join(self.labels)}", given
            )
        if not all(_is_positive(weight) for weight in given.values()):
            raise self._error("class_weights must be positive and finite", dict(given))

    def _check_labels(self) -> None:
        if self.free_text:
            if self.labels or self.label_values or self.bin_edges or self.regression:
                raise self._error("a task of free text has no labels, label_values, bin_edges or scores", self.labels)
            if self.max_target_length < 1:
                raise self._error("max_target_length must be at least 1", self.max_target_length)
            return
        if self.regression:
            if self.labels or self.label_values or self.bin_edges:
                raise self._error("a regression task has no labels, label_values or bin_edges", self.labels)
            if not is_scale(self.scale):
                raise self._error(
                    f"a scale must be the least score, the largest and a step that 1 to {MOST_STEPS} of lead from one "
                    "to the other",
                    self.scale,
                )
            return
        if len(self.labels) < 2 or not _distinct_text(self.labels):
            raise self._error("labels must be two or more distinct words", self.labels)
        if self.bin_edges:
            if self.label_values:
                raise self._error("a task with bin_edges has no label_values", self.label_values)
            edges = (SCORE_RANGE[0], *self.bin_edges, SCORE_RANGE[1])
            if len(self.bin_edges) != len(self.labels) - 1 or list(edges) != sorted(set(edges)):
                raise self._error(f"bin_edges must be {len(self.labels) - 1} ascending scores", self.bin_edges)
            return
        texts = {str(value) for value in self.label_values}
        kinds = {type(value) for value in self.label_values}
        if len(texts) != len(self.labels) or len(self.label_values) != len(self.labels) or kinds not in ({int}, {str}):
            raise self._error(
                f"label_values must be {len(self.labels)} distinct values, all int or all str", self.label_values
            )

    def _error(self, expected: str, got: object) -> ValueError:
        return ValueError(f"task {self.name!r}: {expected}, got {show(got)}")

    def label_words(self, label_set: str = "natural", letter: str = "A") -> tuple[str, ...]:
        """Returns the words that stand for the classes, by class id; empty for regression, which answers a score.

        Args:
            label_set: `natural` words, `synthetic` (letter and class id: A0, A1) or `numeric` (0, 1, 2).
            letter: the task's letter among the tasks of a run, see `task_letter`.

        Raises:
            ValueError: for an unknown label set.
        """
        if label_set == "natural":
            return self.labels
        if label_set == "synthetic":
            return tuple(f"{letter}{index}" for index in range(len(self.labels)))
        if label_set == "numeric":
            return tuple(str(index) for index in range(len(self.labels)))
        raise ValueError(f"label_words: label_set must be one of {', '.join(LABEL_SETS)}, got {label_set!r}")

    def input_parts(self, row: Mapping[str, Any], prefix: bool) -> list[tuple[str, str]]:
        """Returns the input as one (heading, text) pair a field; the first heading carries the prefix.

        Runs of white space in a text become one space.

        Raises:
            ValueError: when a column is missing or does not hold text.
        """
        parts = []
        for index, column in enumerate(self.fields):
            value = self._value(row, column)
            text = None if value is None else as_text(value)
            if text is None:
                raise self._error(f"column {column!r} must hold text", value)
            heading = f"{self.prefix} {column}:" if prefix and index == 0 else f"{column}:"
            parts.append((heading, " ".join(text.split())))
        return parts

    def format_input(self, row: Mapping[str, Any], prefix: bool) -> str:
        """Returns the input text, such as `mrpc sentence1: ... sentence2: ...`; without prefix, minus `mrpc`.

        Raises:
            ValueError: when a column is missing or does not hold text.
        """
        return " ".join(piece for part in self.input_parts(row, prefix) for piece in part if piece)

    def target(self, value: Any) -> int | float:
        """Returns the class id of a value of the label column, the score for regression, or 0 for free text.

        A number is understood however its file writes it: 1, 1.0, "1" and "1.0" are one label.

        Raises:
            ValueError: when the value is no label of the task.
        """
        if self.free_text:
            self.references(value)
            return 0
        if self.regression:
            return self._score(value)
        if self.bin_edges:
            return bisect_right(self.bin_edges, self._score(value))
        index = self._find_label(value)
        if index is None:
            raise self._error(f"a label must be one of {', '.join(map(repr, self.label_values))}", value)
        return index

    def references(self, value: Any) -> tuple[str, ...]:
        """Returns the texts that a value of the label column holds, for free text.

        Raises:
            ValueError: when it is neither a text nor a list of one or more, or one of them is blank.
        """
        texts = as_texts(value)
        if texts is None:
            raise self._error(
                f"column {self.label_column!r} must hold a text, or a list of one or more, none of them empty", value
            )
        return texts

    def label_value(self, value: Any) -> int | str | float | list[str]:
        """Returns a value of the label column in the task's own type: a label value, a score, or texts of free text.

        Raises:
            ValueError: when the value is no label of the task.
        """
        if self.free_text:
            return list(self.references(value))
        target = self.target(value)
        return self.label_values[int(target)] if self.label_values else self._score(value)

    def is_hidden(self, value: Any) -> bool:
        """Tells whether a label is withheld: missing, or -1, as the hub marks it, where that is none of the task's."""
        if self.free_text:
            return is_missing(value) or value == []
        if self.regression:
            return is_missing(value) or as_number(value) == -1 < self.scale[0]
        return (is_missing(value) or as_number(value) == -1) and self._find_label(value) is None

    def target_text(self, row: Mapping[str, Any], words: Sequence[str]) -> str:
        """Returns the text the model should answer: the class's word, the score at the nearest step ("3.8"), free text.

        Args:
            row: a row with the label column.
            words: one word a class, from `label_words`; read for classes alone.

        Raises:
            ValueError: when the label column is missing, its value is no label, or the words do not fit the classes.
        """
        if self.free_text:
            return self.references(self._value(row, self.label_column))[0]
        target = self.target(self._value(row, self.label_column))
        if self.regression:
            return nearest_text(self.scale, target)
        if len(words) != len(self.labels):
            raise self._error(f"words must be {len(self.labels)}, one for each class", tuple(words))
        return words[int(target)]

    def reference_text(self, row: Mapping[str, Any], words: Sequence[str]) -> str:
        """Returns what answers are compared with: `target_text`, or of free text all references as a JSON list."""
        if self.free_text:
            return json.dumps(self.references(self._value(row, self.label_column)), ensure_ascii=False)
        return self.target_text(row, words)

    def row_weights(self, targets: Sequence[int | float]) -> list[float] | None:
        """Returns how much each of the rows to train on counts, given their targets; None where all count alike."""
        if self.class_weights is None:
            return None
        if isinstance(self.class_weights, Mapping):
            return [float(self.class_weights[self.labels[int(target)]]) for target in targets]
        counts = Counter(targets)
        return [len(targets) / (len(counts) * counts[target]) for target in targets]

    def _value(self, row: Mapping[str, Any], column: str) -> Any:
        if column not in row:
            raise ValueError(f"task {self.name!r}: column {column!r} is missing, the row has {', '.join(row)}")
        return row[column]

    def _find_label(self, value: Any) -> int | None:
        """Returns the class id of a label value, as it is written or, where one value alone has it, by its number."""
        text, number = str(value).strip(), as_number(value)
        for index, known in enumerate(self.label_values):
            if text == str(known):
                return index
        equal = [index for index, known in enumerate(self.label_values) if number == as_number(known) is not None]
        return equal[0] if len(equal) == 1 else None

    def _score(self, value: Any) -> float:
        number = as_number(value)
        score = math.nan if number is None else number
        low, high, _ = self.scale
        if not low <= score <= high:
            raise self._error(f"a score must be a number from {low:g} to {high:g}", value)
        return score


def _is_positive(weight: Any) -> bool:
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    return number and math.isfinite(weight) and bool(weight > 0)


def _distinct_text(words: tuple[str, ...]) -> bool:
    """Tells whether all are text, none is blank or padded with spaces and no two are the same."""
    return all(isinstance(word, str) and word and word == word.strip() for word in words) and len(set(words)) == len(
        words
    )

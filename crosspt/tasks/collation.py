"""Turns rows of text into token ids, and token ids into padded batches."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from crosspt.tasks.answers import encode_answers, encode_free_text, input_frame, tokenize
from crosspt.tasks.task import Task

IGNORED_LABEL = -100
"""The label that the cross entropy of a language model leaves out."""


def encode_inputs(
    task: Task,
    rows: Iterable[Mapping[str, Any]],
    tokenizer: Any,
    *,
    prefix: bool,
    max_length: int,
    causal: bool = False,
) -> list[list[int]]:
    """Returns the token ids of each row's input text, `task.format_input`, in its frame, see :func:`input_frame`.

    A row that is too long loses tokens from the ends of its texts, the longest first, never of a heading: the room is
    shared evenly, and what a short text leaves goes to the longer ones. A warning tells how many rows are cut.

    Args:
        task: the task of the rows.
        rows: rows with the task's text columns.
        tokenizer: a transformers tokenizer.
        prefix: whether the task's prefix comes first.
        max_length: most tokens of an input.
        causal: whether the answer continues the text.

    Raises:
        ValueError: when max_length has no room for one token of each text, a row lacks a text, or a row that is too
            long has a piece that spans a heading and a text.
    """
    encoded, cut = fit_inputs(task, rows, tokenizer, prefix=prefix, max_length=max_length, causal=causal)
    warn_of_cut(task, cut, len(encoded), max_length)
    return encoded


def warn_of_cut(task: Task, cut: int, rows: int, max_length: int) -> None:
    """Warns where some of these rows are too long."""
    if cut:
        warnings.warn(
            f"task {task.name!r}: {cut} of {rows} rows have more than {max_length} tokens and lose the ends of their "
            "texts",
            stacklevel=3,
        )


def fit_inputs(
    task: Task,
    rows: Iterable[Mapping[str, Any]],
    tokenizer: Any,
    *,
    prefix: bool,
    max_length: int,
    causal: bool = False,
) -> tuple[list[list[int]], int]:
    """Returns what :func:`encode_inputs` does, and the number of rows that are cut, of which nothing warns."""
    parts = [task.input_parts(row, prefix) for row in rows]
    if not parts:
        return [], 0
    frame = input_frame(tokenizer, causal=causal)
    room = max_length - frame.length
    _check_room(task, tokenizer, " ".join(heading for heading, _ in parts[0]), len(task.fields), room, max_length)
    encoded = tokenize(tokenizer, [_beginnings(part)[-1] for part in parts])
    long = [row for row, ids in enumerate(encoded) if len(ids) > room]
    beginnings = tokenize(tokenizer, [text for row in long for text in _beginnings(parts[row])[:-1]])
    each = 2 * len(task.fields) - 1
    for position, row in enumerate(long):
        known = beginnings[position * each : (position + 1) * each]
        if any(encoded[row][: len(beginning)] != beginning for beginning in known):
            raise ValueError(
                f"encode_inputs: row {row + 1} of task {task.name!r} has {len(encoded[row]) + frame.length} tokens, "
                f"which this tokenizer cannot cut between its columns; give a max_length of as many, got {max_length}"
            )
        encoded[row] = _cut(encoded[row], [0, *map(len, known), len(encoded[row])], room)
    return [frame.around(ids) for ids in encoded], len(long)


def encode_texts(texts: Sequence[str], tokenizer: Any, *, max_length: int, causal: bool = False) -> list[list[int]]:
    """Returns the token ids of formatted texts in their frame; what is longer than max_length is cut at its end."""
    frame = input_frame(tokenizer, causal=causal)
    return [frame.around(ids[: max_length - frame.length]) for ids in tokenize(tokenizer, list(texts))]


def encode_rows(
    task: Task,
    rows: Iterable[Mapping[str, Any]],
    tokenizer: Any,
    *,
    task_id: int,
    words: Sequence[str],
    prefix: bool,
    max_length: int,
    max_target_length: int = 16,
    causal: bool = False,
) -> list[dict[str, Any]]:
    """Encodes labelled rows for training: input_ids, labels (token ids) and task_ids (an int) of each row.

    Args:
        task: the task of the rows.
        rows: rows with the task's text columns and label column.
        tokenizer: a transformers tokenizer.
        task_id: the task's number in the model.
        words: the word of each class, from `Task.label_words`.
        prefix: whether the task's prefix comes first in the input.
        max_length: most tokens of an input, see `encode_inputs`.
        max_target_length: most tokens of a label or score; a longer one is an error, since cut words can be told apart
            no more. Free text has the task's own limit, see `encode_free_text`.
        causal: whether the answer continues the text.

    Raises:
        ValueError: as `encode_inputs`; as `encode_answers`, for every word, or `encode_free_text`; when a label is not
            the task's or too long.
    """
    rows = list(rows)
    inputs = encode_inputs(task, rows, tokenizer, prefix=prefix, max_length=max_length, causal=causal)
    targets = [task.target_text(row, words) for row in rows]
    if task.free_text:
        labels = encode_free_text(task, targets, tokenizer)
    else:
        answers = encode_answers(list(dict.fromkeys([*words, *targets])), tokenizer, task.name)
        for text, (ids, _) in answers.items():
            if len(ids) > max_target_length:
                raise ValueError(
                    f"encode_rows: the target {text!r} of task {task.name!r} has {len(ids)} tokens, "
                    f"max_target_length is {max_target_length}"
                )
        labels = [answers[target].ids for target in targets]
    return [
        {"input_ids": ids, "labels": target, "task_ids": task_id} for ids, target in zip(inputs, labels, strict=True)
    ]


class PromptCollator:
    """Pads encoded rows, of one task or of several, into a batch.

    Padding is always on the right: a prompt is put in front of the tokens.

    Args:
        tokenizer: a transformers tokenizer; its pad token fills input_ids.
        pad_to_multiple_of: round L (and the length of the labels) up to a multiple of this.
        causal: whether labels continue the inputs, as a causal model reads them.

    Raises:
        ValueError: when the tokenizer has no pad token or pad_to_multiple_of is below 1.
    """

    def __init__(self, tokenizer: Any, pad_to_multiple_of: int = 1, *, causal: bool = False):
        if tokenizer.pad_token_id is None:
            raise ValueError("PromptCollator: the tokenizer must have a pad token, got None")
        if pad_to_multiple_of < 1:
            raise ValueError(f"PromptCollator: pad_to_multiple_of must be 1 or more, got {pad_to_multiple_of}")
        self.pad_token_id: int = tokenizer.pad_token_id
        self.pad_to_multiple_of = pad_to_multiple_of
        self.causal = causal

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Returns int64 tensors: input_ids and attention_mask (B, L), task_ids (B,), and labels where rows have them.

        Where any row has a weight there are weights (B,) float32, of the others 1.

        Labels (B, longest target) are padded with -100; of a causal model they are (B, L), -100 over the text, and the
        input holds the answer too. The mask goes by length: a pad token inside a text counts.
        """
        inputs = [row["input_ids"] for row in rows]
        labels = [row["labels"] for row in rows] if "labels" in rows[0] else None
        if self.causal and labels is not None:
            texts, answers = inputs, labels
            inputs = [[*text, *answer] for text, answer in zip(texts, answers, strict=True)]
            labels = [[*[IGNORED_LABEL] * len(text), *answer] for text, answer in zip(texts, answers, strict=True)]
        batch = {
            "input_ids": self._pad(inputs, self.pad_token_id),
            "attention_mask": self._pad([[1] * len(ids) for ids in inputs], 0),
            "task_ids": torch.tensor([row["task_ids"] for row in rows], dtype=torch.int64),
        }
        if labels is not None:
            batch["labels"] = self._pad(labels, IGNORED_LABEL)
        if any("weight" in row for row in rows):
            batch["weights"] = torch.tensor([row.get("weight", 1.0) for row in rows], dtype=torch.float32)
        return batch

    def _pad(self, sequences: list[Sequence[int]] | list[list[int]], value: int) -> torch.Tensor:
        tensors = [torch.as_tensor(sequence, dtype=torch.int64) for sequence in sequences]
        padded = pad_sequence(tensors, batch_first=True, padding_value=value)
        return torch.nn.functional.pad(padded, (0, -padded.shape[1] % self.pad_to_multiple_of), value=value)


def _beginnings(parts: Sequence[tuple[str, str]]) -> list[str]:
    """Returns the input up to the end of each heading and each text; the last is the whole."""
    texts = [""]
    for piece in (piece for part in parts for piece in part):
        texts.append(" ".join(filter(None, (texts[-1], piece))))
    return texts[1:]


def _check_room(task: Task, tokenizer: Any, headings: str, texts: int, room: int, max_length: int) -> None:
    needed = len(tokenize(tokenizer, [headings])[0]) + texts
    if room < needed:
        raise ValueError(
            f"encode_inputs: task {task.name!r} needs max_length {needed + max_length - room} or more "
            f"for its headings and one token of each text, got {max_length}"
        )


def _cut(ids: list[int], bounds: Sequence[int], room: int) -> list[int]:
    """Returns the ids of a row without the ends of its texts, which lie behind each a heading between the bounds."""
    pieces = [ids[start:end] for start, end in pairwise(bounds)]
    headings, texts = pieces[::2], pieces[1::2]
    kept = _share([len(text) for text in texts], room - sum(map(len, headings)))
    cut = zip(headings, texts, kept, strict=True)
    return [token for heading, text, length in cut for token in [*heading, *text[:length]]]


def _share(lengths: list[int], room: int) -> list[int]:
    """Returns how much of each length fits into the room when the longest are cut first."""
    kept = [0] * len(lengths)
    shortest_first = sorted(range(len(lengths)), key=lengths.__getitem__)
    for position, index in enumerate(shortest_first):
        kept[index] = min(lengths[index], room // (len(lengths) - position))
        room -= kept[index]
    return kept

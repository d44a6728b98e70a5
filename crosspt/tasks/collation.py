"""Turns rows of text into token ids, and token ids into padded batches."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from crosspt.tasks.task import Task
from crosspt.tasks.values import same_text

IGNORED_LABEL = -100
"""The label that the cross entropy of a T5 leaves out."""


def encode_inputs(
    task: Task, rows: Iterable[Mapping[str, Any]], tokenizer: Any, *, prefix: bool, max_length: int
) -> list[list[int]]:
    """Returns the token ids of each row's input text, end-of-sequence token included.

    They are those of `task.format_input`. A row that is too long loses the ends of its texts, the longest first, never
    a heading: the room is shared evenly, and what a short text leaves goes to the longer ones. For that, headings and
    texts are tokenized apart, as a tokenizer allows whose pieces span no space; a warning tells how many rows are cut.

    Args:
        task: the task of the rows.
        rows: rows with the task's text columns.
        tokenizer: a transformers tokenizer.
        prefix: whether the task's name comes first.
        max_length: most tokens of an input.

    Raises:
        ValueError: when max_length has no room for one token of each text, a row lacks a text, or one is too long and
            the tokenizer's pieces span its headings and texts.
    """
    rows = list(rows)
    parts = [task.input_parts(row, prefix) for row in rows]
    if not parts:
        return []
    headings = _tokenize(tokenizer, [heading for heading, _ in parts[0]])
    room = max_length - sum(map(len, headings)) - 1
    if room < len(headings):
        raise ValueError(
            f"encode_inputs: task {task.name!r} needs max_length {max_length - room + len(headings)} or more "
            f"for its headings and one token of each text, got {max_length}"
        )
    eos = _end_token(tokenizer)
    wholes = _tokenize(tokenizer, [task.format_input(row, prefix) for row in rows])
    long = [number for number, ids in enumerate(wholes) if len(ids) + 1 > max_length]
    for number in long:
        texts = _tokenize(tokenizer, [text for _, text in parts[number]])
        if [token for part in zip(headings, texts, strict=True) for ids in part for token in ids] != wholes[number]:
            raise ValueError(
                f"encode_inputs: row {number + 1} of task {task.name!r} has {len(wholes[number]) + 1} tokens, which "
                f"this tokenizer cannot cut between its columns; give a max_length of as many, got {max_length}"
            )
        kept = _share([len(text) for text in texts], room)
        cut = zip(headings, texts, kept, strict=True)
        wholes[number] = [token for heading, text, length in cut for token in heading + text[:length]]
    if long:
        warnings.warn(
            f"task {task.name!r}: {len(long)} of {len(rows)} rows have more than {max_length} tokens and lose the "
            "ends of their texts",
            stacklevel=2,
        )
    return [[*ids, eos] for ids in wholes]


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
) -> list[dict[str, Any]]:
    """Encodes labelled rows for training: input_ids, labels (token ids) and task_ids (an int) of each row.

    Args:
        task: the task of the rows.
        rows: rows with the task's text columns and label column.
        tokenizer: a transformers tokenizer.
        task_id: the task's number in the model.
        words: the word of each class, from `Task.label_words`.
        prefix: whether the task's name comes first in the input.
        max_length: most tokens of an input, see `encode_inputs`.
        max_target_length: most tokens of a target; a longer one is an error, since cut words can be told apart no more.

    Raises:
        ValueError: as `encode_inputs`; when a label is not the task's; when a target is too long, or the tokenizer
            lacks tokens for it; when the tokenizer makes another text of a label word, or one of two.
    """
    rows = list(rows)
    _check_words(task, words, tokenizer)
    inputs = encode_inputs(task, rows, tokenizer, prefix=prefix, max_length=max_length)
    targets = [task.target_text(row, words) for row in rows]
    distinct = list(dict.fromkeys(targets))
    eos = _end_token(tokenizer)
    ids = {text: [*tokens, eos] for text, tokens in zip(distinct, _tokenize(tokenizer, distinct), strict=True)}
    for text, tokens in ids.items():
        if tokenizer.unk_token_id in tokens:
            raise ValueError(
                f"encode_rows: the tokenizer has no tokens for the target {text!r} of task {task.name!r}, "
                f"got {tokenizer.convert_ids_to_tokens(tokens)}"
            )
        if len(tokens) > max_target_length:
            raise ValueError(
                f"encode_rows: the target {text!r} of task {task.name!r} has {len(tokens)} tokens, "
                f"max_target_length is {max_target_length}"
            )
    return [
        {"input_ids": tokens, "labels": ids[target], "task_ids": task_id}
        for tokens, target in zip(inputs, targets, strict=True)
    ]


def _check_words(task: Task, words: Sequence[str], tokenizer: Any) -> None:
    """Raises ValueError unless every label word comes out of the tokenizer as it went in, and no two as one."""
    seen: dict[str, str] = {}
    for word, ids in zip(words, _tokenize(tokenizer, list(words)), strict=True):
        if tokenizer.unk_token_id in ids:
            continue  # told of where a row has it
        decoded = tokenizer.decode(ids, skip_special_tokens=True)
        if same_text(decoded) != same_text(word) or not same_text(word):
            raise ValueError(
                f"encode_rows: the tokenizer makes {decoded!r} of the label {word!r} of task {task.name!r}, so that no "
                "answer could be right; choose another word"
            )
        other = seen.setdefault(same_text(word), word)
        if other != word:
            raise ValueError(
                f"encode_rows: the labels {other!r} and {word!r} of task {task.name!r} have the same tokens"
            )


class PromptCollator:
    """Pads encoded rows, of one task or of several, into a batch.

    Padding is always on the right: a prompt is put in front of the tokens.

    Args:
        tokenizer: a transformers tokenizer; its pad token fills input_ids.
        pad_to_multiple_of: round L (and the length of the labels) up to a multiple of this.

    Raises:
        ValueError: when the tokenizer has no pad token or pad_to_multiple_of is below 1.
    """

    def __init__(self, tokenizer: Any, pad_to_multiple_of: int = 1):
        if tokenizer.pad_token_id is None:
            raise ValueError("PromptCollator: the tokenizer must have a pad token, got None")
        if pad_to_multiple_of < 1:
            raise ValueError(f"PromptCollator: pad_to_multiple_of must be 1 or more, got {pad_to_multiple_of}")
        self.pad_token_id: int = tokenizer.pad_token_id
        self.pad_to_multiple_of = pad_to_multiple_of

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Returns int64 tensors: input_ids and attention_mask (B, L), task_ids (B,), and labels where rows have them.

        Labels (B, longest target) are padded with -100. The mask goes by length: a pad token inside a text counts.
        """
        inputs = [row["input_ids"] for row in rows]
        batch = {
            "input_ids": self._pad(inputs, self.pad_token_id),
            "attention_mask": self._pad([[1] * len(ids) for ids in inputs], 0),
            "task_ids": torch.tensor([row["task_ids"] for row in rows], dtype=torch.int64),
        }
        if "labels" in rows[0]:
            batch["labels"] = self._pad([row["labels"] for row in rows], IGNORED_LABEL)
        return batch

    def _pad(self, sequences: list[Sequence[int]] | list[list[int]], value: int) -> torch.Tensor:
        tensors = [torch.as_tensor(sequence, dtype=torch.int64) for sequence in sequences]
        padded = pad_sequence(tensors, batch_first=True, padding_value=value)
        return torch.nn.functional.pad(padded, (0, -padded.shape[1] % self.pad_to_multiple_of), value=value)


def _tokenize(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    if not texts:
        return []
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]


def _end_token(tokenizer: Any) -> int:
    if tokenizer.eos_token_id is None:
        raise ValueError("encode_inputs: the tokenizer must have an end-of-sequence token, got None")
    return tokenizer.eos_token_id


def _share(lengths: list[int], room: int) -> list[int]:
    """Returns how much of each length fits into the room when the longest are cut first."""
    kept = [0] * len(lengths)
    shortest_first = sorted(range(len(lengths)), key=lengths.__getitem__)
    for position, index in enumerate(shortest_first):
        kept[index] = min(lengths[index], room // (len(lengths) - position))
        room -= kept[index]
    return kept

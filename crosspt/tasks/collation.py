"""Turns rows of text into token ids, and token ids into padded batches."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

from crosspt.tasks.task import Task

IGNORED_LABEL = -100
"""The label that the cross entropy of a language model leaves out."""


class Frame(NamedTuple):
    """The tokens that a model is used to before and behind a text."""

    begin: list[int]
    end: list[int]

    def around(self, ids: list[int]) -> list[int]:
        """Returns the tokens with these around them."""
        return [*self.begin, *ids, *self.end]

    @property
    def length(self) -> int:
        """Number of tokens."""
        return len(self.begin) + len(self.end)


class Answer(NamedTuple):
    """An answer as a model gives it.

    Attributes:
        ids: its tokens, end-of-sequence token included.
        text: what they are read as, which need not be what was written: a tokenizer may normalise or lower its case.
    """

    ids: list[int]
    text: str


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
    encoded = _tokenize(tokenizer, [_beginnings(part)[-1] for part in parts])
    long = [row for row, ids in enumerate(encoded) if len(ids) > room]
    beginnings = _tokenize(tokenizer, [text for row in long for text in _beginnings(parts[row])[:-1]])
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
    return [frame.around(ids[: max_length - frame.length]) for ids in _tokenize(tokenizer, list(texts))]


def input_frame(tokenizer: Any, *, causal: bool) -> Frame:
    """Returns what goes around an input: the tokenizer's own template where that ends a text.

    Where it does not, the end token follows the text or, where the answer is to continue it, a line break.

    Raises:
        ValueError: when the tokenizer has no end-of-sequence token.
    """
    end = _end_token(tokenizer)
    begin, template_end = _template(tokenizer)
    if causal:
        return Frame(begin, _tokenize(tokenizer, ["\n"])[0])
    return Frame(begin, template_end or [end])


def encode_answers(answers: Sequence[str], tokenizer: Any, task: str | None = None) -> dict[str, Answer]:
    """Returns the tokens of answers, and what they are read as.

    Args:
        answers: distinct texts.
        tokenizer: a transformers tokenizer.
        task: name of the task, for messages.

    Raises:
        ValueError: when the tokenizer lacks tokens for an answer, leaves nothing of it, takes a part of it for a
            special token, or does not tell it from another.
    """
    end = _end_token(tokenizer)
    frame = Frame(*_template(tokenizer))
    if not frame.end:
        frame = Frame([], [end])
    special = set(tokenizer.all_special_ids)
    of_task = "" if task is None else f" of task {task!r}"
    encoded: dict[str, Answer] = {}
    seen: dict[str, str] = {}
    for answer, ids in zip(answers, _tokenize(tokenizer, list(answers)), strict=True):
        text = tokenizer.decode(ids, skip_special_tokens=True).strip()
        if tokenizer.unk_token_id in ids:
            raise ValueError(
                f"encode_answers: the tokenizer has no tokens for the target {answer!r}{of_task}, "
                f"got {tokenizer.convert_ids_to_tokens(ids)}"
            )
        if not text or special & set(ids):
            raise ValueError(
                f"encode_answers: the tokenizer makes {text!r} of the target {answer!r}{of_task}, out of "
                f"{tokenizer.convert_ids_to_tokens(ids)}, so that no answer could be right; choose another word"
            )
        other = seen.setdefault(text, answer)
        if other != answer:
            raise ValueError(
                f"encode_answers: the targets {other!r} and {answer!r}{of_task} have the same tokens, those of {text!r}"
            )
        encoded[answer] = Answer(frame.around(ids), text)
    return encoded


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
        max_target_length: most tokens of a target; a longer one is an error, since cut words can be told apart no more.
        causal: whether the answer continues the text.

    Raises:
        ValueError: as `encode_inputs`; as `encode_answers`, for every word; when a label is not the task's or a target
            is too long.
    """
    rows = list(rows)
    inputs = encode_inputs(task, rows, tokenizer, prefix=prefix, max_length=max_length, causal=causal)
    targets = [task.target_text(row, words) for row in rows]
    answers = encode_answers(list(dict.fromkeys([*words, *targets])), tokenizer, task.name)
    for text, (ids, _) in answers.items():
        if len(ids) > max_target_length:
            raise ValueError(
                f"encode_rows: the target {text!r} of task {task.name!r} has {len(ids)} tokens, "
                f"max_target_length is {max_target_length}"
            )
    return [
        {"input_ids": ids, "labels": answers[target].ids, "task_ids": task_id}
        for ids, target in zip(inputs, targets, strict=True)
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


def _tokenize(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    if not texts:
        return []
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]


def _template(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Returns the special tokens that the tokenizer puts before and behind a text."""
    bare, whole = _tokenize(tokenizer, ["a"])[0], tokenizer(["a"], return_attention_mask=False)["input_ids"][0]
    place = next(start for start in range(len(whole) + 1) if whole[start : start + len(bare)] == bare)
    return whole[:place], whole[place + len(bare) :]


def _end_token(tokenizer: Any) -> int:
    if tokenizer.eos_token_id is None:
        raise ValueError("encode_inputs: the tokenizer must have an end-of-sequence token, got None")
    return tokenizer.eos_token_id


def _beginnings(parts: Sequence[tuple[str, str]]) -> list[str]:
    """Returns the input up to the end of each heading and each text; the last is the whole."""
    texts = [""]
    for piece in (piece for part in parts for piece in part):
        texts.append(" ".join(filter(None, (texts[-1], piece))))
    return texts[1:]


def _check_room(task: Task, tokenizer: Any, headings: str, texts: int, room: int, max_length: int) -> None:
    needed = len(_tokenize(tokenizer, [headings])[0]) + texts
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

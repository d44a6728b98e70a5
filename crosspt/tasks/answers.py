"""Answers as a model gives them: the tokens of label words and of free text, and what stands around them."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from crosspt.tasks.task import Task
from crosspt.tasks.values import show


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


def input_frame(tokenizer: Any, *, causal: bool) -> Frame:
    """Returns what goes around an input: the tokenizer's own template where that ends a text.

    Where it does not, the end token follows the text or, where the answer is to continue it, a line break.

    Raises:
        ValueError: when the tokenizer has no end-of-sequence token.
    """
    end = _end_token(tokenizer)
    begin, template_end = _template(tokenizer)
    if causal:
        return Frame(begin, tokenize(tokenizer, ["\n"])[0])
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
    frame = _answer_frame(tokenizer)
    special = set(tokenizer.all_special_ids)
    of_task = "" if task is None else f" of task {task!r}"
    encoded: dict[str, Answer] = {}
    seen: dict[str, str] = {}
    for answer, ids in zip(answers, tokenize(tokenizer, list(answers)), strict=True):
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


def encode_free_text(task: Task, targets: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """Returns the tokens of targets of free text, the end-of-sequence token included.

    A target of more than `task.max_target_length` tokens loses its end, and keeps the end token. Warnings tell how many
    do, and in how many there are characters that the tokenizer has no tokens for.

    Raises:
        ValueError: when the tokenizer leaves nothing of a target or takes a part of it for a special token, or there is
            no room for a token beside those that it puts around a text.
    """
    frame = _answer_frame(tokenizer)
    room = task.max_target_length - frame.length
    if room < 1:
        raise ValueError(
            f"encode_free_text: task {task.name!r} needs a max_target_length of {frame.length + 1} or more, "
            f"got {task.max_target_length}"
        )
    unknown = tokenizer.unk_token_id
    special = set(tokenizer.all_special_ids) - ({unknown} - {tokenizer.eos_token_id})
    encoded, cut, lacking = [], 0, 0
    for target, ids in zip(targets, tokenize(tokenizer, list(targets)), strict=True):
        if found := special & set(ids):
            raise ValueError(
                f"encode_free_text: the target {show(target)} of task {task.name!r} holds "
                f"{', '.join(tokenizer.convert_ids_to_tokens(sorted(found)))}, which the tokenizer takes for a special "
                "token"
            )
        if not tokenizer.decode(ids, skip_special_tokens=True).strip():
            raise ValueError(
                f"encode_free_text: the tokenizer leaves nothing of the target {show(target)} of task {task.name!r}"
            )
        cut += len(ids) > room
        lacking += unknown in ids
        encoded.append(frame.around(ids[:room]))
    if cut:
        warnings.warn(
            f"task {task.name!r}: {cut} of {len(targets)} targets have more than {task.max_target_length} tokens and "
            "lose their ends; max_target_length of the task makes room",
            stacklevel=3,
        )
    if lacking:
        warnings.warn(
            f"task {task.name!r}: {lacking} of {len(targets)} targets hold characters that the tokenizer has no tokens "
            "for",
            stacklevel=3,
        )
    return encoded


def tokenize(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Returns the tokens of texts, without special ones around them."""
    if not texts:
        return []
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]


def _answer_frame(tokenizer: Any) -> Frame:
    end = _end_token(tokenizer)
    frame = Frame(*_template(tokenizer))
    return frame if frame.end else Frame([], [end])


def _template(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Returns the special tokens that the tokenizer puts before and behind a text."""
    bare, whole = tokenize(tokenizer, ["a"])[0], tokenizer(["a"], return_attention_mask=False)["input_ids"][0]
    place = next(start for start in range(len(whole) + 1) if whole[start : start + len(bare)] == bare)
    return whole[:place], whole[place + len(bare) :]


def _end_token(tokenizer: Any) -> int:
    if tokenizer.eos_token_id is None:
        raise ValueError("encode_inputs: the tokenizer must have an end-of-sequence token, got None")
    return tokenizer.eos_token_id

from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from crosspt.tasks.collation import PromptCollator, encode_inputs, encode_rows
from crosspt.tasks.task import Task

PAIR = Task(name="pair", fields=("left", "right"), labels=("no", "yes"))
ONE = Task(name="one", fields=("text",), labels=("no", "yes"))


def words(count: int, start: int = 0) -> str:
    return " ".join(f"w{i}" for i in range(start, start + count))


def decode(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids)


def test_a_row_that_fits_is_its_text(tokenizer: PreTrainedTokenizerFast) -> None:
    row = {"left": words(3), "right": words(2, 5), "label": 1}
    for prefix in (True, False):
        (ids,) = encode_inputs(PAIR, [row], tokenizer, prefix=prefix, max_length=20)
        assert ids == tokenizer(PAIR.format_input(row, prefix)).input_ids
    (ids,) = encode_inputs(PAIR, [row], tokenizer, prefix=False, max_length=20)
    assert ids == [5, 8, 9, 10, 6, 13, 14, 1]


@pytest.mark.parametrize(
    ("left", "right", "room", "kept"),
    [(3, 3, 6, (3, 3)), (9, 2, 6, (4, 2)), (2, 9, 6, (2, 4)), (9, 9, 6, (3, 3)), (9, 9, 7, (3, 4)), (0, 9, 6, (0, 6))],
)
def test_the_longest_text_is_cut_first(
    tokenizer: PreTrainedTokenizerFast, left: int, right: int, room: int, kept: tuple[int, int]
) -> None:
    row = {"left": words(left), "right": words(right, 9)}
    (ids,) = encode_inputs(PAIR, [row], tokenizer, prefix=True, max_length=room + 4)
    expected = f"pair left: {words(kept[0])} right: {words(kept[1], 9)} </s>"
    assert decode(tokenizer, ids) == " ".join(expected.split())


def test_max_length_counts_the_end_token(tokenizer: PreTrainedTokenizerFast) -> None:
    row = {"text": words(9)}
    (ids,) = encode_inputs(ONE, [row], tokenizer, prefix=False, max_length=5)
    assert ids == [7, 8, 9, 10, 1]
    (ids,) = encode_inputs(ONE, [row], tokenizer, prefix=False, max_length=11)
    assert len(ids) == 11


def test_no_rows(tokenizer: PreTrainedTokenizerFast) -> None:
    assert encode_inputs(ONE, [], tokenizer, prefix=True, max_length=8) == []
    assert encode_rows(ONE, [], tokenizer, task_id=0, words=ONE.labels, prefix=True, max_length=8) == []


def test_no_room(tokenizer: PreTrainedTokenizerFast) -> None:
    row = {"left": "w0", "right": "w1", "label": 0}
    assert len(encode_inputs(PAIR, [row], tokenizer, prefix=True, max_length=6)[0]) == 6
    with pytest.raises(
        ValueError, match=r"encode_inputs: task 'pair' needs max_length 6 or more for its head.*, got 5"
    ):
        encode_inputs(PAIR, [row], tokenizer, prefix=True, max_length=5)


def test_encoded_rows(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [{"text": "w0", "label": 1}, {"text": "w1 w2", "label": 0}]
    encoded = encode_rows(ONE, iter(rows), tokenizer, task_id=3, words=("w5", "w6 w7"), prefix=False, max_length=7)
    assert encoded == [
        {"input_ids": [7, 8, 1], "labels": [14, 15, 1], "task_ids": 3},
        {"input_ids": [7, 9, 10, 1], "labels": [13, 1], "task_ids": 3},
    ]


def test_a_target_is_never_cut(tokenizer: PreTrainedTokenizerFast) -> None:
    arguments: dict[str, Any] = {"task_id": 0, "words": ("w5", "w6 w7"), "prefix": False, "max_length": 8}
    row = {"text": "w0", "label": 1}
    assert len(encode_rows(ONE, [row], tokenizer, **arguments, max_target_length=3)) == 1
    with pytest.raises(ValueError, match="the target 'w6 w7' of task 'one' has 3 tokens, max_target_length is 2"):
        encode_rows(ONE, [row], tokenizer, **arguments, max_target_length=2)


def test_errors_of_the_row_pass_through(tokenizer: PreTrainedTokenizerFast) -> None:
    arguments: dict[str, Any] = {"task_id": 0, "words": ONE.labels, "prefix": False, "max_length": 8}
    with pytest.raises(ValueError, match="task 'one': column 'text' is missing"):
        encode_rows(ONE, [{"label": 1}], tokenizer, **arguments)
    with pytest.raises(ValueError, match="task 'one': a label must be one of 0, 1, got 5"):
        encode_rows(ONE, [{"text": "w0", "label": 5}], tokenizer, **arguments)


def test_tokenizer_without_special_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(ValueError, match="the tokenizer must have an end-of-sequence token, got None"):
        encode_inputs(ONE, [{"text": "w0"}], bare, prefix=True, max_length=8)
    with pytest.raises(ValueError, match="PromptCollator: the tokenizer must have a pad token, got None"):
        PromptCollator(bare)


def test_batch(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [
        {"input_ids": [7, 0, 1], "labels": [9, 1], "task_ids": 2},
        {"input_ids": [7, 8, 9, 10, 1], "labels": [9, 9, 1], "task_ids": 0},
    ]
    batch = PromptCollator(tokenizer)(rows)
    assert {name: (tensor.dtype, tensor.tolist()) for name, tensor in batch.items()} == {
        "input_ids": (torch.int64, [[7, 0, 1, 0, 0], [7, 8, 9, 10, 1]]),
        "attention_mask": (torch.int64, [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
        "task_ids": (torch.int64, [2, 0]),
        "labels": (torch.int64, [[9, 1, -100], [9, 9, 1]]),
    }


def test_batch_of_a_left_padding_tokenizer_with_another_pad_token(tokenizer: PreTrainedTokenizerFast) -> None:
    left = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, pad_token="<unk>", eos_token="</s>", padding_side="left"
    )
    batch = PromptCollator(left)([{"input_ids": [7, 1], "task_ids": 0}, {"input_ids": [1], "task_ids": 0}])
    assert batch["input_ids"].tolist() == [[7, 1], [1, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert "labels" not in batch


@pytest.mark.parametrize(("length", "padded"), [(3, 4), (4, 4), (5, 8)])
def test_pad_to_multiple(tokenizer: PreTrainedTokenizerFast, length: int, padded: int) -> None:
    row = {"input_ids": [7] * length, "labels": [9, 1], "task_ids": 0}
    batch = PromptCollator(tokenizer, pad_to_multiple_of=4)([row])
    assert batch["input_ids"].tolist() == [[7] * length + [0] * (padded - length)]
    assert batch["attention_mask"].sum() == length
    assert batch["labels"].tolist() == [[9, 1, -100, -100]]
    with pytest.raises(ValueError, match="PromptCollator: pad_to_multiple_of must be 1 or more, got 0"):
        PromptCollator(tokenizer, pad_to_multiple_of=0)


def test_a_target_that_the_tokenizer_lacks(tokenizer: PreTrainedTokenizerFast) -> None:
    arguments: dict[str, Any] = {"task_id": 0, "prefix": False, "max_length": 8}
    rows = [{"text": "w0", "label": 0}, {"text": "never seen", "label": 1}]
    assert len(encode_rows(ONE, rows, tokenizer, words=("w5", "w6"), **arguments)) == 2
    with pytest.raises(ValueError, match="the tokenizer has no tokens for the target 'w6 maybe' of task 'one', got "):
        encode_rows(ONE, rows, tokenizer, words=("w5", "w6 maybe"), **arguments)


class Chunks:
    """A tokenizer whose pieces are three characters long, wherever words begin."""

    eos_token_id = 1

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        pieces = [[text[start : start + 3] for start in range(0, len(text), 3)] for text in texts]
        return {"input_ids": [[sum(map(ord, piece)) for piece in row] for row in pieces]}


def test_ids_are_those_of_the_whole_text_or_refused() -> None:
    row = {"left": "abcd", "right": "efg"}
    (ids,) = encode_inputs(PAIR, [row], Chunks(), prefix=False, max_length=99)
    assert ids == [*Chunks()([PAIR.format_input(row, False)])["input_ids"][0], 1]
    with pytest.raises(ValueError, match=r"row 1 of task 'pair' has 8 tokens, which this tokenizer cannot cut"):
        encode_inputs(PAIR, [row], Chunks(), prefix=False, max_length=7)


def test_a_warning_tells_of_cut_rows(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [{"text": words(9)}, {"text": words(2)}]
    with pytest.warns(UserWarning, match=r"task 'one': 1 of 2 rows have more than 6 tokens and lose the ends"):
        encode_inputs(ONE, rows, tokenizer, prefix=False, max_length=6)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("w1", "</s>"), r"makes '' of the target '</s>' of task 'own', out of .*, so that no answer could be right"),
        (("w1 w2", "w1  w2"), r"the targets 'w1 w2' and 'w1  w2' of task 'own' have the same tokens"),
    ],
)
def test_labels_that_no_answer_could_be(
    tokenizer: PreTrainedTokenizerFast, labels: tuple[str, str], message: str
) -> None:
    task = Task(name="own", fields=("text",), labels=labels)
    with pytest.raises(ValueError, match=message):
        encode_rows(task, [{"text": "w1", "label": 0}], tokenizer, task_id=0, words=labels, prefix=False, max_length=9)

"""Texts through tokenizers of every kind: the ids are those of the whole text, and an answer is what its tokens say."""

import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from crosspt.evaluation.metrics import compute_metrics
from crosspt.tasks.answers import encode_answers
from crosspt.tasks.collation import encode_inputs, encode_rows
from crosspt.tasks.task import Task

PAIR = Task(name="pair", fields=("left", "right"), labels=("no", "yes"))
ONE = Task(name="one", fields=("text",), labels=("no", "yes"))
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZéï0123456789.:?_▁"


def pieces(*longer: str, split: bool = True, normalizer: Any = None) -> PreTrainedTokenizerFast:
    """As a T5's: pieces with their likelihood, spaces as ▁; without `split` a piece may span spaces."""
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("<extra_id_0>", 0.0), *((c, -9.0) for c in LETTERS)]
    unigram = Tokenizer(models.Unigram([*vocabulary, *((piece, -1.0) for piece in longer)], unk_id=2))
    if normalizer is not None:
        unigram.normalizer = normalizer
    unigram.pre_tokenizer = pre_tokenizers.Metaspace(split=split)
    unigram.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=unigram,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<extra_id_0>"],
    )


def with_added_tokens() -> PreTrainedTokenizerFast:
    tokenizer = pieces("▁left:", "▁text:")
    tokenizer.add_tokens([AddedToken("ab", lstrip=True, rstrip=True), AddedToken("c", single_word=True)])
    return tokenizer


KINDS = {
    "pieces": pieces("▁left:", "▁ab", "ab"),
    "spanning": pieces("▁left:▁a", "b▁right", "text:▁ab", "▁b▁b", split=False),
    "bytes": ByT5Tokenizer(),
    "added": with_added_tokens(),
    "lower": pieces("▁ab", normalizer=normalizers.Lowercase()),
}
TEXTS = st.text("abc. BC\u0301", max_size=12)


def whole(tokenizer: Any, text: str) -> list[int]:
    return [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]


@pytest.mark.parametrize("kind", KINDS)
@given(left=TEXTS, right=TEXTS, max_length=st.integers(24, 60))
def test_the_ids_are_those_of_the_whole_text(kind: str, left: str, right: str, max_length: int) -> None:
    tokenizer, row = KINDS[kind], {"left": left, "right": right}
    expected = whole(tokenizer, PAIR.format_input(row, prefix=False))
    if kind == "spanning":
        max_length = max(max_length, len(expected))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (ids,) = encode_inputs(PAIR, [row], tokenizer, prefix=False, max_length=max_length)
    if len(expected) <= max_length:
        assert ids == expected
    else:
        assert len(ids) == max_length
        rest = iter(expected)
        assert all(token in rest for token in ids)


def test_a_row_is_not_cut_through_a_piece_of_a_heading() -> None:
    row = {"left": "ab" * 20, "right": "b"}
    with pytest.raises(ValueError, match=r"row 1 of task 'pair' has .. tokens, which this tokenizer cannot cut"):
        encode_inputs(PAIR, [row], KINDS["spanning"], prefix=False, max_length=24)


def test_a_row_of_bytes_is_cut_at_the_ends_of_its_texts() -> None:
    tokenizer = KINDS["bytes"]
    row = {"left": "a" * 30, "right": "bc"}
    with pytest.warns(UserWarning, match="task 'pair': 1 of 2 rows have more than 20 tokens"):
        ids, short = encode_inputs(PAIR, [row, {"left": "a", "right": "b"}], tokenizer, prefix=False, max_length=20)
    assert tokenizer.decode(ids, skip_special_tokens=True) == "left: aaa right: bc"
    assert tokenizer.decode(short, skip_special_tokens=True) == "left: a right: b"


NFKC = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
LABELS = [
    ("ne\u0301gatif", "positif"),
    ("good\u2026", "bad\u2026"),
    ("not  ok", "ok"),
    ("\uff15", "\uff14"),
    ("5\u00a0stars", "1\u00a0star"),
]


@pytest.mark.parametrize("words", LABELS)
def test_an_answer_of_the_targets_tokens_is_right(words: tuple[str, str]) -> None:
    tokenizer = pieces(normalizer=NFKC)
    labels = [0, 1, 0, 1]
    rows = [{"text": "a", "label": label} for label in labels]
    options: dict[str, Any] = {"task_id": 0, "words": words, "prefix": False, "max_length": 40}
    encoded = encode_rows(ONE, rows, tokenizer, **options)
    answers = tokenizer.batch_decode([row["labels"] for row in encoded], skip_special_tokens=True)
    scores = compute_metrics(ONE, answers, [words[label] for label in labels], words)
    assert (scores.values, scores.invalid_rate) == ({"accuracy": 100}, 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("Yes", "yes"), "the targets 'Yes' and 'yes' of task 'one' have the same tokens, those of 'yes'"),
        (("yes", "no", "No"), "the targets 'no' and 'No' of task 'one' have"),
        (("yes", "<extra_id_0>"), "the tokenizer makes '' of the target '<extra_id_0>' of task 'one', out of"),
        (("yes", "no</s>b"), "makes 'no b' of the target 'no</s>b' of task 'one', out of"),
        (
            ("yes", "\u200b"),
            "makes '' of the target '.u200b' of task 'one', out of .*, so that no answer could be right",
        ),
        (("yes", "~"), "the tokenizer has no tokens for the target '~' of task 'one'"),
    ],
)
def test_targets_that_a_model_cannot_answer(words: tuple[str, ...], message: str) -> None:
    folding = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace("\u200b", "")])
    with pytest.raises(ValueError, match=message) as caught:
        encode_answers(words, pieces(normalizer=folding), "one")
    assert "\n" not in str(caught.value)


def test_every_word_is_checked_before_training() -> None:
    rows = [{"text": "a", "label": 0}]
    options: dict[str, Any] = {"task_id": 0, "prefix": False, "max_length": 20}
    with pytest.raises(ValueError, match="the targets 'Yes' and 'yes' of task 'one' have"):
        encode_rows(ONE, rows, KINDS["lower"], words=("Yes", "yes"), **options)

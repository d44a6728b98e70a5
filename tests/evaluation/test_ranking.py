from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.config.run import Compute
from crosspt.evaluation.prediction import (
    BareModel,
    answer_rows,
    greedy_decoder,
    make_decoder,
    possible_answers,
    ranking_decoder,
)
from crosspt.tasks.task import Task
from tests.conftest import make_t5
from tests.workspace import make_tokenizer

WORDS = ["w1", "w2 w3 w4", "w2 w3", "positive"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


def make_model(version: str = "1.0", prefix_mode: Any = "full") -> CrossPTModel:
    torch.manual_seed(0)
    t5 = make_t5(version, initializer_factor=3.0).double()
    config = CrossPTConfig(tasks=["mrpc", "rte"], scheme="SLPN", prompt_length=3, prefix_mode=prefix_mode)
    return CrossPTModel(t5, config).eval()


def rank(
    model: CrossPTModel, tokenizer: Any, inputs: list[list[int]], answers: list[str], task_id: int, **options: Any
) -> list[str]:
    decoders = [ranking_decoder(model, tokenizer, answers)]
    return answer_rows(model, tokenizer, inputs, decoders, Compute(**options), task_id=task_id)[0].texts


def losses(ask: Callable[..., Any], batch: Mapping[str, Tensor], answers: list[list[int]]) -> Tensor:
    """The log-likelihoods as the T5's own loss gives them: one row and one answer at a time, without padding."""
    found = []
    for row, length in enumerate(batch["attention_mask"].sum(dim=1).tolist()):
        alone = {"input_ids": batch["input_ids"][row : row + 1, :length], "task_ids": batch["task_ids"][row : row + 1]}
        found.append([-len(ids) * ask(**alone, labels=torch.tensor([ids])).loss for ids in answers])
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("kind", ["full", "isolated", "bare"])
@torch.no_grad()
def test_all_answers_at_once_as_one_at_a_time(
    version: str, kind: str, batch: Callable[..., dict[str, Tensor]], tokenizer: PreTrainedTokenizerFast
) -> None:
    bare = kind == "bare"
    model = make_model(version, "full" if bare else kind)
    inputs = batch()
    del inputs["labels"]
    answers = tokenizer(WORDS).input_ids
    longest = max(map(len, answers))
    labels = torch.tensor([ids + [-100] * (longest - len(ids)) for ids in answers])
    asked: Any = BareModel(model.base_model) if bare else model
    expected = losses((lambda task_ids, **rest: model.base_model(**rest)) if bare else model, inputs, answers)
    states, mask = asked.encode(**inputs)
    found = model.family.log_likelihoods(model.base_model, states, mask, labels)
    torch.testing.assert_close(found, expected)
    assert found.dtype == torch.float64


@torch.no_grad()
def test_the_likeliest_answer_wins_whatever_the_batch(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model()
    inputs = [[25 + (row * 7 + token) % 20 for token in range(1 + row * 5 % 8)] + [1] for row in range(12)]
    expected = []
    for ids in inputs:
        row = {name: torch.tensor([value]) for name, value in (("input_ids", ids), ("attention_mask", [1] * len(ids)))}
        row["task_ids"] = torch.tensor([1])
        expected.append(WORDS[int(losses(model, row, tokenizer(WORDS).input_ids)[0].argmax())])
    assert len(set(expected)) > 1
    for batch_size in (1, 5, 100):
        assert rank(model, tokenizer, inputs, WORDS, task_id=1, batch_size=batch_size) == expected


@torch.no_grad()
def test_log_probabilities_have_the_order_of_rows_and_answers(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model()
    inputs = [[25, 1], [26, 27, 28, 1], [29, 30, 1]]
    decoders = [greedy_decoder(model, tokenizer, 1), ranking_decoder(model, tokenizer, WORDS)]
    generated, ranked = answer_rows(model, tokenizer, inputs, decoders, Compute(batch_size=2), task_id=1)
    assert generated.log_probabilities is None
    expected: list[Tensor] = []
    for ids in inputs:
        row = {name: torch.tensor([value]) for name, value in (("input_ids", ids), ("attention_mask", [1] * len(ids)))}
        expected += losses(model, row | {"task_ids": torch.tensor([1])}, tokenizer(WORDS).input_ids)
    assert ranked.log_probabilities is not None
    assert ranked.log_probabilities.dtype == np.float32
    torch.testing.assert_close(torch.tensor(ranked.log_probabilities), torch.stack(expected).float())
    assert ranked.texts == [WORDS[best] for best in ranked.log_probabilities.argmax(axis=1)]


def test_one_encoder_pass_for_all_decoders(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model()
    rows: dict[str, list[int]] = {"encoder": [], "decoder": []}
    for name, seen in rows.items():
        stack = getattr(model.base_model, name)
        stack.final_layer_norm.register_forward_hook(lambda _, inputs, __, seen=seen: seen.append(len(inputs[0])))
    decoders = [greedy_decoder(model, tokenizer, 1), ranking_decoder(model, tokenizer, WORDS)]
    answer_rows(model, tokenizer, [[25, 1], [26, 27, 1]], decoders, Compute(), task_id=0)
    assert rows == {"encoder": [2], "decoder": [2, 2 * len(WORDS)]}


def test_of_equal_answers_the_first_wins(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model()
    model.base_model.lm_head.weight.data.zero_()
    assert rank(model, tokenizer, [[25, 1]], ["w2", "w1"], task_id=0) == ["w2"]


def test_answers_the_tokenizer_cannot_tell_apart(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="the targets 'w2 w3' and 'w2  w3' have the same tokens"):
        ranking_decoder(make_model(), tokenizer, ["w1", "w2 w3", "w2  w3"])
    with pytest.raises(ValueError, match="the tokenizer has no tokens for the target 'foo', got "):
        ranking_decoder(make_model(), tokenizer, ["w1", "foo", "bar"])


def test_what_a_task_may_answer(tokenizer: PreTrainedTokenizerFast) -> None:
    classes = Task(name="rte", fields=("sentence",), labels=("positive", "negative"))
    assert possible_answers(classes, ("A0", "A1")) == ["A0", "A1"]
    scores = Task(name="stsb", fields=("sentence",), regression=True, metrics=("pearson",))
    texts = possible_answers(scores, ())
    assert (len(texts), texts[:2], texts[-2:]) == (26, ["0.0", "0.2"], ["4.8", "5.0"])
    assert {scores.target_text({"label": hundredth / 100}, ()) for hundredth in range(501)} == set(texts)
    model = make_model()
    decoder = make_decoder("rank", model, tokenizer, classes, ("A0", "A1"))
    (ranked,) = answer_rows(model, tokenizer, [[25, 1]], [decoder], Compute(), task_id=0)
    assert ranked.texts[0] in ("A0", "A1")

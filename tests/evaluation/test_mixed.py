from typing import Any, get_args

import numpy as np
import pytest
import torch

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.config.run import Compute, Decode
from crosspt.evaluation.mixed import Question, Way, answer_batch, answer_questions
from crosspt.evaluation.prediction import BareModel, answer_rows, greedy_decoder, ranking_decoder, tokens_to_generate
from crosspt.methods import find_method
from crosspt.tasks.answers import encode_answers
from crosspt.tasks.task import Task
from tests.conftest import make_t5
from tests.models.causal_models import make_causal
from tests.workspace import VOCABULARY, make_tokenizer

TASKS = ["mrpc", "rte", "sst2", "free"]
FREE = Task("free", ("text",), free_text=True, max_target_length=4, metrics=("exact_match",))
WORDS = [["w1", "w2 w3 w4"], ["A0", "w5 w6", "B1"], ["good", "bad"]]
INPUTS = [[25 + (row * 7 + token) % 20 for token in range(1 + row * 5 % 8)] + [1] for row in range(9)]


def make_model(kind: Any) -> Any:
    torch.manual_seed(0)
    if kind == "causal":
        config = CrossPTConfig(tasks=TASKS, prompt_length=3, prefix_mode="isolated")
        return CrossPTModel(make_causal("llama", torch.float64, vocab_size=len(VOCABULARY)), config).eval()
    t5 = make_t5(vocab_size=len(VOCABULARY), initializer_factor=3.0).double()
    if kind == "bare":
        return BareModel(t5)
    if kind in ("hyperformer", "hyperdecoder"):
        model = find_method(kind).build(t5, CrossPTConfig(tasks=TASKS)).eval()
        with torch.no_grad():
            for parameter in model.learned().values():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        return model
    return CrossPTModel(t5, CrossPTConfig(tasks=TASKS, prompt_length=3, prefix_mode=kind)).eval()


def make_ways(tokenizer: Any) -> list[Way]:
    ways = []
    for task_id, words in enumerate(WORDS):
        answers = encode_answers(words, tokenizer)
        ways.append(Way(task_id, answers, tokens_to_generate(Task("some", ("text",), tuple(words)), answers)))
    return [*ways, Way(len(WORDS), {}, FREE.max_target_length)]


@pytest.mark.parametrize("kind", ["full", "isolated", "causal", "bare", "hyperformer", "hyperdecoder"])
def test_a_mixed_batch_answers_as_each_task_alone(kind: str) -> None:
    tokenizer, model = make_tokenizer(), make_model(kind)
    ways = make_ways(tokenizer)
    questions, expected = [], []
    for row, ids in enumerate(INPUTS):
        for decode in get_args(Decode):
            task_id = (row + 1) % 3 if decode == "rank" else row % 4
            way = ways[task_id]
            questions.append(Question(ids, way, decode))
            decoder = (
                ranking_decoder(model, tokenizer, WORDS[task_id])
                if decode == "rank"
                else greedy_decoder(model, tokenizer, way.most_tokens, way.answers)
            )
            (answers,) = answer_rows(model, tokenizer, [ids], [decoder], Compute(progress=False), task_id=task_id)
            expected.append((answers.texts[0], answers.log_probabilities))
    replies = answer_batch(model, tokenizer, questions)
    assert [reply.text for reply in replies] == [text for text, _ in expected]
    assert len({text for text, _ in expected}) > 4
    for reply, (_, likelihoods) in zip(replies, expected, strict=True):
        if likelihoods is None:
            assert reply.probability is None
        else:
            shares = np.exp(likelihoods[0].astype(np.float64))
            assert reply.probability == pytest.approx(float(shares.max() / shares.sum()), rel=1e-4)


def test_any_number_of_rows_in_their_order() -> None:
    tokenizer, model = make_tokenizer(), make_model("full")
    questions = [Question(ids, make_ways(tokenizer)[row % 3], "rank") for row, ids in enumerate(INPUTS)]
    whole = answer_questions(model, tokenizer, questions, Compute(progress=False))
    for size in (1, 4):
        assert [r.text for r in answer_questions(model, tokenizer, questions, Compute(size, progress=False))] == [
            r.text for r in whole
        ]
    assert answer_questions(model, tokenizer, [], Compute(progress=False)) == []


def test_a_generated_answer_has_its_own_tasks_tokens_at_most() -> None:
    """Beside a task whose answers are longer, and where nothing ends the text."""
    tokenizer, model = make_tokenizer(), make_model("bare")
    model.base_model.generation_config.eos_token_id = None
    replies = answer_batch(model, tokenizer, [Question([25, 1], way, "generate") for way in make_ways(tokenizer)])
    assert [len(reply.text.split()) for reply in replies] == [5, 4, 3, 4]

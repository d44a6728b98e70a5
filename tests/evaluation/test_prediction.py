from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import torch
from tokenizers.normalizers import Lowercase
from transformers import PreTrainedTokenizerFast

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.config.data import DataConfig
from crosspt.config.run import Compute
from crosspt.evaluation.prediction import answer_rows, answer_task, greedy_decoder, make_decoder, reference_texts
from crosspt.evaluation.results import score_predictions
from crosspt.models.encoder_decoder import EncoderDecoder
from crosspt.tasks.rows import TaskRows
from crosspt.tasks.task import Task
from tests.workspace import make_answering_t5, make_rows, make_tokenizer

PAIR = Task(name="rte", fields=("sentence1", "sentence2"), labels=("entailment", "not_entailment"))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture(scope="module")
def model() -> CrossPTModel:
    torch.manual_seed(0)
    config = CrossPTConfig(
        tasks=["mrpc", "rte"], scheme="P", prompt_length=1, encoder="none", initialization="vocabulary"
    )
    return CrossPTModel(make_answering_t5(), config).eval()


def asked(answer: Any) -> Any:
    """A model whose encoder hands its inputs on, and whose T5 answers them with token ids."""

    def generate(encoder_outputs: Any, **options: Any) -> torch.Tensor:
        return answer(**encoder_outputs, **options)

    t5 = SimpleNamespace(generate=generate)
    cpu = torch.device("cpu")
    return SimpleNamespace(
        base_model=t5,
        family=EncoderDecoder(),
        device=cpu,
        encode=lambda **batch: (batch, batch.pop("attention_mask")),
    )


def generate(
    model: Any, tokenizer: Any, inputs: list[list[int]], tokens: int = 3, *, task_id: int, **options: Any
) -> list[str]:
    decoders = [greedy_decoder(model, tokenizer, tokens)]
    return answer_rows(model, tokenizer, inputs, decoders, Compute(**options), task_id=task_id)[0].texts


def make_inputs(count: int = 12) -> list[list[int]]:
    return [[25 + (row * 7 + token) % 20 for token in range(1 + row * 5 % 8)] + [1] for row in range(count)]


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_a_mixed_length_batch_answers_as_single_rows_do(
    model: CrossPTModel, tokenizer: PreTrainedTokenizerFast, batch_size: int
) -> None:
    inputs = make_inputs()
    alone = [generate(model, tokenizer, [ids], task_id=1)[0] for ids in inputs]
    assert len(set(alone)) > 2
    assert generate(model, tokenizer, inputs, task_id=1, batch_size=batch_size) == alone


def test_the_task_decides(model: CrossPTModel, tokenizer: PreTrainedTokenizerFast) -> None:
    answers = [generate(model, tokenizer, make_inputs(), task_id=t) for t in (0, 1)]
    assert answers[0] != answers[1]


def test_what_the_model_is_asked(tokenizer: PreTrainedTokenizerFast) -> None:
    calls: list[dict[str, Any]] = []

    def answer(**arguments: Any) -> torch.Tensor:
        calls.append(arguments)
        return arguments["input_ids"][:, :1]

    inputs = [[25, 1], [26, 27, 28, 1], [29, 30, 1]]
    texts = generate(asked(answer), tokenizer, inputs, 4, task_id=1, batch_size=2)
    assert texts == [tokenizer.decode([ids[0]]) for ids in inputs]
    assert [call["input_ids"].tolist() for call in calls] == [[[26, 27, 28, 1], [29, 30, 1, 0]], [[25, 1]]]
    assert calls[0]["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert calls[0]["task_ids"].tolist() == [1, 1]
    assert all((call["do_sample"], call["num_beams"], call["max_new_tokens"]) == (False, 1, 4) for call in calls)


def test_no_rows_and_no_batches(tokenizer: PreTrainedTokenizerFast, model: CrossPTModel) -> None:
    assert generate(model, tokenizer, [], task_id=0) == []
    for batch_size in (0, -1):
        with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {batch_size}"):
            Compute(batch_size=batch_size)


def test_progress_goes_to_stderr(
    model: CrossPTModel, tokenizer: PreTrainedTokenizerFast, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(model, tokenizer, make_inputs(), task_id=0, progress=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("words", "length"), [(PAIR.labels, 3), (("A0", "A0 A1 B0"), 5)])
def test_the_length_of_answers(tokenizer: PreTrainedTokenizerFast, words: tuple[str, ...], length: int) -> None:
    asked_for = []

    def answer(max_new_tokens: int, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        asked_for.append(max_new_tokens)
        return input_ids

    model = asked(answer)
    decoder = make_decoder("generate", model, tokenizer, PAIR, words)
    answer_rows(model, tokenizer, [[25, 1]], [decoder], Compute(), task_id=0)
    assert asked_for == [length]


def test_an_answer_is_spelled_as_the_task_has_it() -> None:
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = Lowercase()
    ids = {word: tokenizer(word).input_ids for word in ("good", "bad", "w3")}
    model = asked(lambda **_: torch.tensor(list(ids.values())))
    decoder = make_decoder("generate", model, tokenizer, PAIR, ("GOOD", "Bad"))
    inputs = [[25, 1]] * 3
    (answers,) = answer_rows(model, tokenizer, inputs, [decoder], Compute(), task_id=0)
    assert answers.texts == ["GOOD", "Bad", "w3"]


def test_answers_to_a_task(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = make_rows(PAIR.fields, 4)
    task_rows = TaskRows(PAIR, PAIR.labels, datasets.Dataset.from_dict({}), datasets.Dataset.from_list(rows))
    assert reference_texts(task_rows) == ["entailment", "not_entailment"] * 2
    answers = ["entailment", "entailment", "w3", "not_entailment"]
    by_text = {
        tuple(tokenizer(PAIR.format_input(row, prefix=True)).input_ids): answer
        for row, answer in zip(rows, answers, strict=True)
    }

    def answer(input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> torch.Tensor:
        texts = [tuple(ids[mask == 1].tolist()) for ids, mask in zip(input_ids, attention_mask, strict=True)]
        return torch.tensor([tokenizer(by_text[text]).input_ids for text in texts])

    data, compute = DataConfig(prefix=True), Compute(batch_size=3)
    kept = answer_task(asked(answer), tokenizer, task_rows, data, compute, scheme="SL", decode="generate")
    assert kept.rows["answer"].tolist() == answers
    assert kept.rows["valid"].tolist() == [True, True, False, True]
    assert kept.rows["reference"].tolist() == ["entailment", "not_entailment"] * 2
    accuracy, majority = score_predictions(kept, cell="run", seed=None, shots=None)
    assert (accuracy["value"], accuracy["count"], accuracy["invalid_rate"]) == (50.0, 4, 25.0)
    assert (majority["scheme"], majority["value"], majority["invalid_rate"]) == ("majority", 50.0, 0.0)

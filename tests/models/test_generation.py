"""Generation takes every option of transformers' own, in both prefix modes, with a task for every row."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation import utils as generation
from transformers.generation.streamers import BaseStreamer

from crosspt import CrossPTConfig, CrossPTModel
from tests.conftest import make_t5

MODES = ["full", "isolated"]
Batch = Callable[..., dict[str, Tensor]]


def make_model(mode: str) -> CrossPTModel:
    settings: dict[str, Any] = {"prefix_mode": mode}
    torch.manual_seed(0)
    return CrossPTModel(make_t5(), CrossPTConfig(tasks=["a", "b"], prompt_length=3, **settings)).eval()


def inputs(batch: Batch) -> dict[str, Tensor]:
    rows = batch()
    rows.pop("labels")
    return rows


class Forbid(LogitsProcessor):
    """Leaves one token."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return torch.full_like(scores, float("-inf")).index_fill(1, torch.tensor([7]), 0.0)


class Listener(BaseStreamer):
    """Collects what is streamed."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def put(self, value: Tensor) -> None:
        self.seen.append(value)

    def end(self) -> None:
        self.seen.append(torch.empty(0))


@pytest.mark.parametrize("mode", MODES)
def test_token_ids_go_by_both_names(mode: str, batch: Batch) -> None:
    model, rows = make_model(mode), inputs(batch)
    expected = model.generate(**rows, max_new_tokens=4)
    ids = rows.pop("input_ids")
    assert torch.equal(model.generate(ids, **rows, max_new_tokens=4), expected)
    assert torch.equal(model.generate(inputs=ids, **rows, max_new_tokens=4), expected)
    for given in ({}, {"inputs": ids, "input_ids": ids}):
        with pytest.raises(ValueError, match="give the token ids either as inputs or as input_ids"):
            model.generate(**given, **rows)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("option", "processor"),
    [
        ({"encoder_no_repeat_ngram_size": 2}, "EncoderNoRepeatNGramLogitsProcessor"),
        ({"encoder_repetition_penalty": 1.5}, "EncoderRepetitionPenaltyLogitsProcessor"),
    ],
)
def test_options_that_look_at_the_input_see_its_tokens(
    mode: str, option: dict[str, Any], processor: str, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = make_model(mode), inputs(batch)
    theirs: Any = getattr(generation, processor)
    seen: list[Any] = []

    def make(*arguments: Any, **settings: Any) -> Any:
        seen.append(settings.get("encoder_input_ids", arguments[-1] if arguments else None))
        return theirs(*arguments, **settings)

    monkeypatch.setattr(generation, processor, make)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.generate(**rows, max_new_tokens=4, **option)
    assert torch.equal(seen[0], rows["input_ids"])


@pytest.mark.parametrize("mode", MODES)
def test_processors_streamers_and_configurations(mode: str, batch: Batch) -> None:
    model, rows = make_model(mode), inputs(batch)
    forbidden = model.generate(**rows, max_new_tokens=4, logits_processor=LogitsProcessorList([Forbid()]))
    assert (forbidden[:, 1:] == 7).all()
    listener = Listener()
    row = {name: value[:1] for name, value in rows.items()}
    answer = model.generate(**row, max_new_tokens=4, streamer=listener)
    assert torch.cat([value.flatten() for value in listener.seen]).tolist() == answer[0].tolist()
    model.generation_config = GenerationConfig(max_new_tokens=2, decoder_start_token_id=0, pad_token_id=0)
    assert model.generate(**rows).shape[1] == 3
    told = GenerationConfig(max_new_tokens=3, decoder_start_token_id=0, pad_token_id=0, output_hidden_states=True)
    told.return_dict_in_generate = True
    output = model.generate(**rows, generation_config=told)
    assert output.sequences.shape[1] == 4
    assert len(output.encoder_hidden_states) == 3


@pytest.mark.parametrize("mode", MODES)
def test_a_draft_model_changes_no_answer(mode: str, batch: Batch) -> None:
    model, rows = make_model(mode), inputs(batch)
    row = {name: value[:1] for name, value in rows.items()}
    for draft in (make_t5(), make_t5(seed=5)):
        assisted = model.generate(**row, max_new_tokens=6, do_sample=False, assistant_model=draft)
        assert torch.equal(assisted, model.generate(**row, max_new_tokens=6, do_sample=False))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", [{"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}], ids=str)
def test_rows_encoded_once_serve_many_generations(mode: str, options: dict[str, int], batch: Batch) -> None:
    model, rows = make_model(mode), inputs(batch)
    t5: Any = model.base_model
    beams: Any = {"max_new_tokens": 4, **options}
    expected = model.generate(**rows, **beams)
    encoded, mask = model.encode(**rows)
    for _ in range(2):
        given = {"encoder_outputs": encoded, "attention_mask": mask}
        assert torch.equal(t5.generate(**given, **beams), expected)
    assert encoded.last_hidden_state is not None
    assert len(encoded.last_hidden_state) == 4


@pytest.mark.parametrize("mode", MODES)
def test_rows_do_not_depend_on_the_padding_beside_them(mode: str) -> None:
    model, labels = make_model(mode), torch.tensor([[5, 1]])
    alone = model(torch.tensor([[5, 9, 4, 1]]), task_ids=torch.tensor([1]), labels=labels)
    for before, after in ((0, 3), (3, 0), (2, 1)):
        ids = torch.tensor([[0] * before + [5, 9, 4, 1] + [0] * after])
        mask = torch.tensor([[0] * before + [1] * 4 + [0] * after])
        padded = model(ids, mask, torch.tensor([1]), labels=labels)
        torch.testing.assert_close(padded.logits, alone.logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_the_present_embedding_of_the_t5_is_used(mode: str, batch: Batch) -> None:
    model, rows = make_model(mode), batch()
    model.base_model.set_input_embeddings(torch.nn.Embedding(60, 16))
    fresh = CrossPTModel(model.base_model, model.config, initialize=False).eval()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(model(**rows).logits, fresh(**rows).logits)

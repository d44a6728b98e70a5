"""Causal language models: what is read from the cache is what rows with their prompts give, each row as if alone."""

from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from crosspt import CrossPTModel
from crosspt.config.prompts import PrefixMode
from crosspt.models.family import CAUSAL
from tests.models.causal_models import SETTINGS, make_causal
from tests.models.prompted import BEAMS, LABELS, OPTIONS, M, batch, prompt


def make_model(model_type: str, mode: PrefixMode, **settings: Any) -> CrossPTModel:
    return prompt(make_causal(model_type, **settings), mode)


def alone(model: CrossPTModel, inputs: dict[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each row's ids without padding, and its prompt and text embedded."""
    embedding: Any = model.get_input_embeddings()
    prompts = model.embedding.compose()
    for ids, mask, task in zip(inputs["input_ids"], inputs["attention_mask"], inputs["task_ids"], strict=True):
        text = ids[mask.bool()]
        yield text, torch.cat([prompts[task], embedding(text)])[None]


def test_every_family_is_tried() -> None:
    assert set(SETTINGS) == set(CAUSAL)


MODES: tuple[PrefixMode, ...] = ("full", "isolated")
SIDES = ("right", "left")


class Alone(NamedTuple):
    """What a plain model makes of one row behind its prompt."""

    text: Tensor
    logits: Tensor
    answer: Tensor
    beams: Tensor
    likelihoods: Tensor


def answers_alone(model: CrossPTModel, inputs: dict[str, Tensor]) -> Iterator[Alone]:
    plain, embedding = model.base_model, model.get_input_embeddings()
    for text, embeds in alone(model, inputs):
        found = []
        for tokens in (label[label >= 0] for label in LABELS):
            rows = torch.cat([embeds, embedding(tokens[None])], dim=1)
            told = plain(inputs_embeds=rows).logits[0, -len(tokens) - 1 : -1].log_softmax(-1)
            found.append(told.gather(1, tokens[:, None]).sum())
        logits = plain(inputs_embeds=embeds).logits[0, M:]
        answer = plain.generate(inputs_embeds=embeds, **OPTIONS)[0]
        yield Alone(text, logits, answer, plain.generate(inputs_embeds=embeds, **BEAMS), torch.stack(found))


@pytest.mark.parametrize("model_type", CAUSAL)
@torch.no_grad()
def test_rows_are_what_each_is_alone(model_type: str) -> None:
    wanted = list(answers_alone(make_model(model_type, "full"), batch()))
    for mode, side in product(MODES, SIDES):
        model, inputs = make_model(model_type, mode), batch(side)
        logits = model(**inputs).logits[:, -inputs["input_ids"].shape[1] :]
        states, mask = model.encode(**inputs)
        ranked = model.family.log_likelihoods(model.base_model, states, mask, LABELS)
        answers = model.family.answer(model.base_model, states, mask, **OPTIONS)
        generated = model.generate(**inputs, **OPTIONS)
        beams = model.generate(**inputs, **BEAMS)
        for row, one in enumerate(wanted):
            torch.testing.assert_close(logits[row, : len(one.text)], one.logits, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(ranked[row], one.likelihoods, rtol=1e-5, atol=1e-5)
            assert torch.equal(answers[row], one.answer)
            assert torch.equal(generated[row, -len(one.text) - 4 :], torch.cat([one.text, one.answer]))
            assert torch.equal(beams[2 * row : 2 * row + 2, -4:], one.beams)


@pytest.mark.parametrize("model_type", CAUSAL)
def test_loss_and_gradients_are_those_of_rows_with_prompts(model_type: str) -> None:
    model = make_model(model_type, "full").train()
    losses = []
    for text, embeds in alone(model, batch()):
        told = model.base_model(inputs_embeds=embeds).logits[0, M - 1 : -1].log_softmax(-1)
        losses.append(told.gather(1, text[:, None]).neg().flatten())
    wanted = torch.cat(losses).mean()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    truth = torch.autograd.grad(wanted, learned)
    assert all(gradient.abs().sum() > 0 for gradient in truth)
    for mode, side in product(MODES, SIDES):
        model, inputs = make_model(model_type, mode).train(), batch(side)
        labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
        loss = model(**inputs, labels=labels).loss
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(torch.autograd.grad(loss, learned), truth, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model_type", "told"), [*((name, 2) for name in CAUSAL), ("llama", 1), ("gpt2", 6), ("gemma3_text", 6)]
)
def test_the_loss_of_rows_ends_needs_no_other_logits(model_type: str, told: int) -> None:
    """With all six tokens told, some rows' first is, which only rows with their prompts in front can tell."""
    for mode, side in product(MODES, SIDES):
        model, inputs = make_model(model_type, mode).train(), batch(side)
        mask = inputs["attention_mask"]
        behind = mask.flip(1).cumsum(dim=1).flip(1)  # of a token and those after it
        labels = inputs["input_ids"].masked_fill((mask == 0) | (behind > told), -100)
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        wanted = model(**inputs, labels=labels).loss
        output = model(**inputs, labels=labels, logits_to_keep=told + 1)
        assert output.logits.shape[:2] == (len(mask), told + 1)
        torch.testing.assert_close(output.loss, wanted, rtol=1e-5, atol=1e-5)
        truth = torch.autograd.grad(wanted, learned)
        torch.testing.assert_close(torch.autograd.grad(output.loss, learned), truth, rtol=1e-4, atol=1e-5)
        with pytest.raises(ValueError, match=rf"logits_to_keep={told} leaves \d+ of \d+ labels"):
            model(**inputs, labels=labels, logits_to_keep=told)


@pytest.mark.parametrize("model_type", ["mistral", "gemma2", "gemma3_text"])
@pytest.mark.parametrize("longest", [6, 13])
@pytest.mark.parametrize("window", [4, 5, 6, 9, 12])
def test_beyond_a_window_a_token_sees_what_it_sees_alone(model_type: str, window: int, longest: int) -> None:
    model, inputs = make_model(model_type, "isolated", sliding_window=window), batch("left", longest)
    options: dict[str, Any] = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    with torch.no_grad():
        logits = model(**inputs).logits[:, -longest:]
        labels = inputs["input_ids"].masked_fill(inputs["attention_mask"].flip(1).cumsum(dim=1).flip(1) != 1, -100)
        wanted, got = (model(**inputs, labels=labels, logits_to_keep=kept).loss for kept in (0, 2))
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
        states, mask = model.encode(**inputs)
        ranked = model.family.log_likelihoods(model.base_model, states, mask, LABELS[:1])
        answers = model.family.answer(model.base_model, states, mask, **options)
        for row, (text, embeds) in enumerate(alone(model, inputs)):
            whole = model.base_model(inputs_embeds=embeds, use_cache=False).logits[0]
            torch.testing.assert_close(logits[row, : len(text)], whole[M:], rtol=1e-5, atol=1e-5)
            wanted = model.base_model.generate(inputs_embeds=embeds, **options)[0]
            assert torch.equal(answers[row], wanted)
            tokens = LABELS[0, :3]
            rows = torch.cat([embeds, model.get_input_embeddings()(tokens[None])], dim=1)
            told = model.base_model(inputs_embeds=rows).logits[0, -4:-1].log_softmax(-1)
            torch.testing.assert_close(ranked[row, 0], told.gather(1, tokens[:, None]).sum(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma3_text"])
def test_gradient_checkpointing_reads_the_prompts_too(model_type: str) -> None:
    found = []
    for checkpointing in (False, True):
        model, inputs = make_model(model_type, "isolated").train(), batch()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        loss = model(**inputs, labels=inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)).loss
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in model.parameters() if p.requires_grad)])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_prefixes_are_computed_for_the_tasks_of_a_batch_or_once_in_a_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = make_model("llama", "isolated"), batch()
    computed: list[int] = []
    theirs = model.family.prefix

    def counted(base_model: Any, prompts: Tensor) -> Any:
        computed.append(len(prompts))
        return theirs(base_model, prompts)

    monkeypatch.setattr(model.family, "prefix", counted)
    inputs["task_ids"] = torch.tensor([2, 0, 2, 2])
    with torch.no_grad():
        outside = model(**inputs).logits
        with model.keep_prompts():
            inside = [model(**inputs).logits for _ in range(3)]
            assert model.prefix_cache.nbytes > 0
    assert computed == [2, 3]
    torch.testing.assert_close(inside, [outside] * 3)
    assert model.prefix_cache.nbytes == 0


def test_what_causal_models_refuse() -> None:
    model, inputs = make_model("llama", "isolated"), batch()
    with pytest.raises(ValueError, match=r"labels of a causal model must have shape \(B, L\) = \(4, 6\), got \(4, 3\)"):
        model(**inputs, labels=LABELS[[0, 1, 2, 0]][:, :3])
    for mode in ("full", "isolated"):
        short = make_model("gpt2", mode, n_positions=M + 5)
        with pytest.raises(ValueError, match=r"the 10 positions of a GPT2LMHeadModel, got m \+ L = 5 \+ 6 = 11"):
            short(**inputs)
    with pytest.raises(ValueError, match="a draft model cannot read the prompts"):
        model.generate(**inputs, assistant_model=model.base_model)

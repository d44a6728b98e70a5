"""Encoder-decoders beside T5 and mT5: each row is what plain transformers give for it alone, its prompt in front."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BartForCausalLM

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.config.prompts import PrefixMode
from crosspt.models.family import ENCODER_DECODERS, describe, width
from tests.models.encoder_decoder_models import POSITIONS, SETTINGS, VOCABULARY, make_encoder_decoder, make_plain
from tests.models.prompted import BEAMS, LABELS, OPTIONS, TASKS, M, batch, prompt

MODELS = [*ENCODER_DECODERS, "umt5"]
SCALED = [kind for kind, settings in SETTINGS.items() if "scale_embedding" in settings]


def make_model(model_type: str, mode: PrefixMode = "full", **settings: Any) -> CrossPTModel:
    return prompt(make_encoder_decoder(model_type, **settings), mode)


def alone(model: CrossPTModel, inputs: dict[str, Tensor]) -> Iterator[Tensor]:
    """Each row's prompt and text embedded (1, m + L, d), as its model embeds ids."""
    encoder = model.base_model.get_encoder()
    scale = encoder.config.d_model**0.5 if getattr(encoder.config, "scale_embedding", False) else 1
    prompts = model.embedding.compose()
    for ids, mask, task in zip(inputs["input_ids"], inputs["attention_mask"], inputs["task_ids"], strict=True):
        yield torch.cat([prompts[task], encoder.embed_tokens.weight[ids[mask.bool()]] * scale])[None]


def unpadded(labels: Tensor) -> Tensor:
    return labels[labels >= 0]


def test_every_family_is_tried() -> None:
    assert set(SETTINGS) == set(MODELS)


@pytest.mark.parametrize("model_type", MODELS)
def test_rows_are_what_each_is_alone(model_type: str) -> None:
    model, plain, labels = make_model(model_type), make_plain(model_type), LABELS[[0, 1, 2, 0]]
    with torch.no_grad():
        wanted = []
        for embeds, label in zip(alone(model, batch()), labels, strict=True):
            output = plain(inputs_embeds=embeds, labels=unpadded(label)[None])
            sums = [-plain(inputs_embeds=embeds, labels=told[None]).loss * len(told) for told in map(unpadded, LABELS)]
            greedy = plain.generate(inputs_embeds=embeds, **OPTIONS)[0]
            wanted.append((output, torch.stack(sums), greedy, plain.generate(inputs_embeds=embeds, **BEAMS)))
        assert len({tuple(greedy.tolist()) for _, _, greedy, _ in wanted}) == len(wanted)
        for side in ("right", "left"):
            inputs = batch(side)
            output = model(**inputs, labels=labels)
            states, mask = model.encode(**inputs)
            log_likelihoods = model.family.log_likelihoods(model.base_model, states, mask, LABELS)
            answers = model.family.answer(model.base_model, states, mask, **OPTIONS)
            generated, beams = model.generate(**inputs, **OPTIONS), model.generate(**inputs, **BEAMS)
            told = (labels >= 0).sum(dim=1)
            losses = torch.stack([row.loss for row, *_ in wanted])
            torch.testing.assert_close(output.loss, (losses * told).sum() / told.sum(), rtol=1e-5, atol=1e-5)
            for row, (expected, ranked, greedy, several) in enumerate(wanted):
                logits = expected.logits[0]
                torch.testing.assert_close(output.logits[row, : len(logits)], logits, rtol=1e-5, atol=1e-5)
                encoded = expected.encoder_last_hidden_state[0]
                found = output.encoder_last_hidden_state[row, : len(encoded)]
                torch.testing.assert_close(found, encoded, rtol=1e-5, atol=1e-5)
                torch.testing.assert_close(log_likelihoods[row], ranked, rtol=1e-5, atol=1e-5)
                assert torch.equal(answers[row], greedy)
                assert torch.equal(generated[row], greedy)
                assert torch.equal(beams[2 * row : 2 * row + 2], several)


@pytest.mark.parametrize("model_type", MODELS)
@torch.no_grad()
def test_keys_and_values_are_made_once_for_all_answers(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(model_type)
    base = model.base_model
    family: Any = model.family
    states, mask = model.encode(**batch())
    rows, labels = torch.tensor([2, 0, 2, 1]), LABELS[[0, 1, 2, 0]][:, None]
    wanted = family.log_likelihoods(base, states, mask, LABELS)
    projections, seen = family.cross_projections(base), []

    def count(given: Tensor, forward: Any) -> Tensor:
        seen.append(len(given))
        return forward(given)

    for module in projections:
        monkeypatch.setattr(module, "forward", partial(count, forward=module.forward))
    assert torch.equal(family.log_likelihoods(base, states, mask, LABELS), wanted)
    chosen = family.log_likelihoods(base, states, mask, labels, rows)
    torch.testing.assert_close(chosen[:, 0], wanted[rows, [0, 1, 2, 0]], rtol=1e-5, atol=1e-5)
    assert seen == [len(mask)] * len(projections) * 2
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in projections)
    with pytest.raises(IndexError):
        family.log_likelihoods(base, states, mask, LABELS, rows + 7)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in projections)


@pytest.mark.parametrize("model_type", MODELS)
def test_gradients_are_those_of_rows_alone(model_type: str) -> None:
    model, plain, labels = make_model(model_type), make_plain(model_type), LABELS[[0, 1, 2, 0]]
    parameters = [value for value in model.parameters() if value.requires_grad]
    total = sum(
        plain(inputs_embeds=embeds, labels=unpadded(label)[None]).loss * (label >= 0).sum()
        for embeds, label in zip(alone(model, batch()), labels, strict=True)
    )
    wanted = torch.autograd.grad(total / (labels >= 0).sum(), parameters)
    assert all(gradient.abs().sum() > 0 for gradient in wanted)
    for side in ("right", "left"):
        found = torch.autograd.grad(model(**batch(side), labels=labels).loss, parameters)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_isolated_prefixes_of_a_umt5_are_a_mask_of_blocks(checkpointing: bool) -> None:
    model, plain, labels = make_model("umt5", "isolated"), make_plain("umt5"), LABELS[[0, 1, 2, 0]]
    parameters = [value for value in model.parameters() if value.requires_grad]
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()  # at a dropout rate of 0
    total = torch.zeros(())
    answers, logits = [], []
    for embeds, label in zip(alone(model, batch()), labels, strict=True):
        mask = torch.zeros(1, 1, embeds.shape[1], embeds.shape[1])
        mask[:, :, :M, M:] = torch.finfo(torch.float32).min
        states = plain.encoder(inputs_embeds=embeds, attention_mask=mask)
        output = plain(encoder_outputs=states, labels=unpadded(label)[None])
        total = total + output.loss * (label >= 0).sum()
        logits.append(output.logits[0].detach())
        states.last_hidden_state = states.last_hidden_state.detach()
        answers.append(plain.generate(encoder_outputs=states, **BEAMS))
    wanted = torch.autograd.grad(total / (labels >= 0).sum(), parameters)
    for side in ("right", "left"):
        output = model(**batch(side), labels=labels)
        torch.testing.assert_close(torch.autograd.grad(output.loss, parameters), wanted, rtol=1e-4, atol=1e-5)
        for ours, theirs in zip(output.logits, logits, strict=True):
            torch.testing.assert_close(ours[: len(theirs)], theirs, rtol=1e-5, atol=1e-5)
        if not checkpointing:
            assert torch.equal(model.generate(**batch(side), **BEAMS), torch.cat(answers))


SCALES = [(kind, scaled) for kind in MODELS for scaled in ((True, False) if kind in SCALED else (None,))]


@pytest.mark.parametrize(("model_type", "scaled"), SCALES)
def test_a_prompt_of_token_rows_is_those_tokens(model_type: str, scaled: bool | None) -> None:
    settings: dict[str, Any] = {} if scaled is None else {"scale_embedding": scaled}
    base_model = make_encoder_decoder(model_type, **settings)
    config = CrossPTConfig(tasks=["a"], scheme="P", encoder="none", prompt_length=M)
    model, inputs = CrossPTModel(base_model, config).eval(), batch()
    tokens = torch.tensor([11, 12, 13, 11, 14])
    with torch.no_grad():
        model.embedding.bank.load_state_dict({"privates": model.get_input_embeddings()(tokens)[None]})
        for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True):
            text = ids[None, mask.bool()]
            together = base_model(input_ids=torch.cat([tokens[None], text], dim=1), labels=LABELS[2:]).logits
            torch.testing.assert_close(model(input_ids=text, labels=LABELS[2:]).logits, together, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model_type", SCALED)
def test_prompts_start_from_the_vocabulary_as_the_model_reads_it(model_type: str) -> None:
    base_model = make_encoder_decoder(model_type)
    model = CrossPTModel(
        base_model, CrossPTConfig(tasks=["a"], scheme="P", encoder="none", initialization="vocabulary")
    )
    table = base_model.get_encoder().embed_tokens.weight * base_model.config.d_model**0.5
    assert (model.embedding.compose()[0][:, None] == table).all(dim=2).any(dim=1).all()


@pytest.mark.parametrize("model_type", ["marian", "pegasus"])
def test_a_hook_or_another_table_reaches_the_rows_and_nothing_of_it_is_saved(model_type: str) -> None:
    model, inputs = make_model(model_type, tie_word_embeddings=True), batch()
    states = set(model.base_model.state_dict())
    ids, scale = inputs["input_ids"], model.config.d_model**0.5
    hook = model.get_input_embeddings().register_forward_hook(lambda module, args, output: output + 1)  # as NEFTune's
    table = model.base_model.get_input_embeddings()
    torch.testing.assert_close(model._inputs(**inputs)["inputs_embeds"][:, M:], table(ids) * scale + 1)
    hook.remove()
    torch.testing.assert_close(model._inputs(**inputs)["inputs_embeds"][:, M:], table(ids) * scale)
    model.base_model.resize_token_embeddings(VOCABULARY + 1)
    ids[0, 0] = VOCABULARY
    table = model.base_model.get_input_embeddings()
    torch.testing.assert_close(model._inputs(**inputs)["inputs_embeds"][:, M:], table(ids) * scale)
    other = torch.nn.Embedding(VOCABULARY + 1, model.config.d_model)
    model.base_model.set_input_embeddings(other)
    torch.testing.assert_close(model._inputs(**inputs)["inputs_embeds"][:, M:], other(ids) * scale)
    assert set(model.base_model.state_dict()) == states
    assert all(name.startswith(("embedding.bank.", "_extra_state")) for name in model.state_dict())
    parts = (model.base_model, model.embedding.bank)
    assert model.count_parameters()[1] == sum(p.numel() for part in parts for p in part.parameters())


@pytest.mark.parametrize("model_type", MODELS)
def test_rows_longer_than_the_positions_are_refused(model_type: str) -> None:
    model = make_model(model_type)
    fits = torch.full((1, POSITIONS - M), 7)
    longer = torch.full((1, POSITIONS - M + 1), 7)
    tasks = torch.tensor([1])
    model(input_ids=fits, task_ids=tasks, labels=LABELS[2:])
    model.generate(fits, task_ids=tasks, **OPTIONS)
    if model_type in ("umt5", "t5gemma", "m2m_100"):  # rotary, relative and counted positions have no end
        model(input_ids=longer, task_ids=tasks, labels=LABELS[2:])
        return
    message = r"^CrossPTModel: prompt and text must fit the 24 positions of a \w+, got m \+ L = 5 \+ 20 = 25$"
    for call in (model, model.generate):
        with pytest.raises(ValueError, match=message):
            call(input_ids=longer, task_ids=tasks)


def test_what_saved_prompts_say_of_a_model_of_two_widths() -> None:
    t5gemma = make_encoder_decoder("t5gemma")
    assert width(t5gemma) == t5gemma.config.encoder.hidden_size != t5gemma.config.decoder.hidden_size
    found = describe(t5gemma)
    assert (found["model_type"], found["d_model"], found["vocab_size"]) == ("t5gemma", 48, VOCABULARY)


def test_what_encoder_decoders_refuse() -> None:
    isolated = CrossPTConfig(tasks=TASKS, prefix_mode="isolated")
    with pytest.raises(
        ValueError, match=r"'isolated' needs a T5, mT5, UMT5 or a causal model, got BartForCond\w+; use"
    ):
        CrossPTModel(make_encoder_decoder("bart"), isolated)
    decoder = BartForCausalLM(make_encoder_decoder("bart").config)
    with pytest.raises(TypeError, match=r"expected a language model with a head of one of .*, got BartForCausalLM$"):
        CrossPTModel(decoder, CrossPTConfig(tasks=TASKS))

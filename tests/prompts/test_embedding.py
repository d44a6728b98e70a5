import copy
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from crosspt import CrossPTConfig, CrossPTEmbedding
from crosspt.prompts.bank import PromptBank

TASKS = ["mrpc", "rte"]
Batch = Callable[..., dict[str, Tensor]]


@pytest.fixture
def embed(t5: T5ForConditionalGeneration) -> CrossPTEmbedding:
    torch.manual_seed(0)
    return CrossPTEmbedding(t5.get_input_embeddings(), CrossPTConfig(tasks=TASKS, prompt_length=3))


def count_compositions(embed: CrossPTEmbedding, call: Callable[[], Any], calls: int = 1) -> int:
    with patch.object(PromptBank, "compose", autospec=True, side_effect=PromptBank.compose) as compose:
        for _ in range(calls):
            call()
    return compose.call_count


def test_rows_carry_the_prompt_of_their_task(embed: CrossPTEmbedding, batch: Batch) -> None:
    rows = batch(rows=5, tokens=7)
    embeds, mask = embed(rows["input_ids"], rows["attention_mask"], rows["task_ids"])
    prompts = embed.compose()
    assert prompts.shape == (2, 3, 16)
    torch.testing.assert_close(embeds[:, :3], prompts[rows["task_ids"]])
    assert torch.equal(embeds[:, 3:], embed.token_embedding(rows["input_ids"]))
    assert mask.dtype == torch.int64
    assert torch.equal(mask, torch.cat([torch.ones(5, 3, dtype=torch.int64), rows["attention_mask"]], dim=1))


def test_inference_equals_training(embed: CrossPTEmbedding, batch: Batch) -> None:
    rows = batch()
    nn.init.normal_(embed.bank.logits)
    expected = embed(rows["input_ids"], None, rows["task_ids"])[0]
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            torch.testing.assert_close(embed(rows["input_ids"], None, rows["task_ids"])[0], expected)


def test_one_task_needs_no_task_ids(t5: T5ForConditionalGeneration, batch: Batch) -> None:
    embed = CrossPTEmbedding(t5.get_input_embeddings(), CrossPTConfig(tasks=["rte"], scheme="P"))
    embeds, mask = embed(batch()["input_ids"])
    assert embeds.shape == (4, 17, 16)
    assert mask.min() == 1


def test_a_plain_training_loop_learns(t5: T5ForConditionalGeneration, embed: CrossPTEmbedding, batch: Batch) -> None:
    t5.requires_grad_(False)
    rows = batch(rows=8)
    optimizer = torch.optim.Adam(embed.bank.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        inputs_embeds, attention_mask = embed(rows["input_ids"], rows["attention_mask"], rows["task_ids"])
        loss = t5(inputs_embeds=inputs_embeds, attention_mask=attention_mask, labels=rows["labels"]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3


def test_composed_prompts_are_kept_while_nothing_changes(embed: CrossPTEmbedding, batch: Batch) -> None:
    rows = batch()

    def call() -> None:
        embed(rows["input_ids"], None, rows["task_ids"])

    with torch.no_grad():
        assert count_compositions(embed, call, calls=3) == 1
        assert count_compositions(embed, call) == 0
    with torch.inference_mode():
        assert count_compositions(embed, call) == 0
        assert embed.mixing_weights() is embed.mixing_weights()
    assert count_compositions(embed, embed.compose, calls=2) == 2  # gradients are wanted: nothing is kept


def changes() -> dict[str, Callable[[CrossPTEmbedding], Any]]:
    def step(embed: CrossPTEmbedding) -> None:
        optimizer = torch.optim.Adam(embed.bank.parameters())
        embed.compose().sum().backward()
        optimizer.step()

    def swap(embed: CrossPTEmbedding) -> None:
        assert embed.bank.sources is not None
        embed.bank.sources.data = embed.bank.sources.data + 1

    return {
        "optimizer step": step,
        "in place": lambda embed: nn.init.normal_(embed.bank.logits),
        "other storage": swap,
        "loaded state": lambda embed: embed.bank.load_state_dict(copy.deepcopy(embed.bank.state_dict())),
        "other parameter": lambda embed: setattr(embed.bank, "logits", nn.Parameter(torch.randn(2, 3))),
        "dtype": lambda embed: embed.double(),
        "clear_cache": lambda embed: embed.clear_cache(),
    }


@pytest.mark.parametrize("change", changes())
def test_a_changed_parameter_drops_what_is_kept(embed: CrossPTEmbedding, change: str) -> None:
    with torch.no_grad():
        embed.compose()
    changes()[change](embed)
    expected = embed.bank.compose().detach()
    with torch.no_grad():
        assert count_compositions(embed, embed.compose, calls=2) == 1
        torch.testing.assert_close(embed.compose(), expected)
        torch.testing.assert_close(embed.mixing_weights(), embed.bank.mixing_weights())


def test_what_was_kept_in_inference_mode_serves_training_later(embed: CrossPTEmbedding) -> None:
    with torch.inference_mode():
        embed.compose()
    with torch.no_grad():
        kept = embed.compose()
    (kept * torch.ones((), requires_grad=True)).sum().backward()


def test_parameters_made_in_inference_mode_are_not_watched(t5: T5ForConditionalGeneration) -> None:
    with torch.inference_mode():
        embed = CrossPTEmbedding(t5.get_input_embeddings(), CrossPTConfig(tasks=TASKS))
        assert count_compositions(embed, embed.compose, calls=2) == 2


def test_a_copy_keeps_nothing_of_the_original(embed: CrossPTEmbedding) -> None:
    with torch.no_grad():
        embed.compose()
        other = copy.deepcopy(embed)
        nn.init.normal_(other.bank.logits)
        torch.testing.assert_close(other.compose(), other.bank.compose())


def test_half_precision_table(batch: Batch, embed: CrossPTEmbedding) -> None:
    embed.token_embedding.to(torch.bfloat16)
    rows = batch()
    embeds, _ = embed(rows["input_ids"], rows["attention_mask"], rows["task_ids"])
    assert embeds.dtype == torch.bfloat16
    with torch.no_grad():
        assert torch.equal(embed(rows["input_ids"], rows["attention_mask"], rows["task_ids"])[0], embeds)


def test_errors(embed: CrossPTEmbedding, batch: Batch) -> None:
    rows = batch()
    with pytest.raises(
        ValueError, match=r"^CrossPTEmbedding: task_ids must say which of \['mrpc', 'rte'\] each row is"
    ):
        embed(rows["input_ids"])
    with pytest.raises(ValueError, match=r"attention_mask must have shape \(B, L\) = \(4, 7\), got \(4, 6\)"):
        embed(rows["input_ids"], rows["attention_mask"][:, 1:], rows["task_ids"])
    with pytest.raises(TypeError, match=r"embedding must be an nn.Embedding, got Linear"):
        CrossPTEmbedding(nn.Linear(2, 2), CrossPTConfig(tasks=TASKS))  # type: ignore[arg-type]  # the error under test

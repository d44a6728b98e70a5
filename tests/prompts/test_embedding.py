import contextlib
import copy
import pickle
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import peft
import pytest
import torch
import torch.nn.utils.prune
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration
from transformers.models.bart.modeling_bart import BartScaledWordEmbedding
from transformers.models.gemma.modeling_gemma import GemmaTextScaledWordEmbedding
from transformers.models.gemma2.modeling_gemma2 import Gemma2TextScaledWordEmbedding
from transformers.models.gemma3.modeling_gemma3 import Gemma3TextScaledWordEmbedding
from transformers.models.m2m_100.modeling_m2m_100 import M2M100ScaledWordEmbedding
from transformers.models.mbart.modeling_mbart import MBartScaledWordEmbedding

from crosspt import CrossPTConfig, CrossPTEmbedding
from crosspt.prompts.bank import PromptBank
from crosspt.prompts.rows import arrange_rows

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


def test_composed_prompts_are_kept_inside_the_scope_alone(embed: CrossPTEmbedding, batch: Batch) -> None:
    rows = batch()

    def call() -> Tensor:
        return embed(rows["input_ids"], None, rows["task_ids"])[0]

    with torch.no_grad():
        expected = call()
        with embed.keep_prompts():
            assert count_compositions(embed, call, calls=3) == 1
            with torch.inference_mode(), embed.keep_prompts():
                assert count_compositions(embed, call) == 0
            assert torch.equal(call(), expected)
            embed.clear_cache()
            assert count_compositions(embed, call) == 1
            with torch.enable_grad():
                assert count_compositions(embed, embed.compose, calls=2) == 2
        assert count_compositions(embed, embed.compose, calls=2) == 2


def changes() -> dict[str, Callable[[CrossPTEmbedding], Any]]:
    def step(embed: CrossPTEmbedding, **settings: Any) -> None:
        optimizer = torch.optim.AdamW(embed.bank.parameters(), lr=0.1, **settings)
        embed.compose().sum().backward()
        optimizer.step()

    def prune(embed: CrossPTEmbedding) -> None:
        torch.nn.utils.prune.random_unstructured(embed.bank, "privates", amount=0.5)

    return {
        "fused optimizer": lambda embed: step(embed, fused=True),
        "foreach optimizer": lambda embed: step(embed, foreach=True),
        "through data": lambda embed: embed.bank.logits.data.normal_(),
        "hook": lambda embed: embed.bank.encoder.register_forward_hook(lambda *_: None),
        "pruning": prune,
        "loaded state": lambda embed: embed.bank.load_state_dict(copy.deepcopy(embed.bank.state_dict())),
        "dtype": lambda embed: embed.double(),
    }


@pytest.mark.parametrize("change", changes())
@pytest.mark.parametrize("inside", [False, True])
def test_no_change_is_missed_between_calls(embed: CrossPTEmbedding, batch: Batch, change: str, inside: bool) -> None:
    rows = batch()
    with torch.no_grad(), embed.keep_prompts() if inside else contextlib.nullcontext():
        embed(rows["input_ids"], None, rows["task_ids"])
    changes()[change](embed)
    expected = embed.bank.compose()[rows["task_ids"]].detach()
    with torch.no_grad():
        ours = embed(rows["input_ids"], None, rows["task_ids"])[0][:, :3]
        torch.testing.assert_close(ours, expected.to(ours.dtype))


def test_what_was_kept_in_inference_mode_serves_training_later(embed: CrossPTEmbedding) -> None:
    with embed.keep_prompts():
        with torch.inference_mode():
            embed.compose()
        with torch.no_grad():
            kept = embed.compose()
    (kept * torch.ones((), requires_grad=True)).sum().backward()


def test_a_copy_keeps_nothing_of_the_original(embed: CrossPTEmbedding) -> None:
    with torch.no_grad(), embed.keep_prompts():
        embed.compose()
        for other in (copy.deepcopy(embed), pickle.loads(pickle.dumps(embed))):
            nn.init.normal_(other.bank.logits)
            torch.testing.assert_close(other.compose(), other.bank.compose())


class Quantised(nn.Embedding):
    def __init__(self, packed: int = 1) -> None:
        super().__init__(48, 16)
        self.weight = nn.Parameter(torch.randint(-9, 9, (48, 16 // packed), dtype=torch.int8), requires_grad=False)

    def forward(self, input: Tensor) -> Tensor:
        rows = self.weight[input] * 0.1
        return rows.repeat_interleave(16 // rows.shape[-1], dim=-1)


SCALED = [
    GemmaTextScaledWordEmbedding,
    Gemma2TextScaledWordEmbedding,
    Gemma3TextScaledWordEmbedding,
    BartScaledWordEmbedding,
    MBartScaledWordEmbedding,
    M2M100ScaledWordEmbedding,
]


def altered(kind: Any) -> Any:
    if isinstance(kind, type):
        return kind(48, 16, padding_idx=0, embed_scale=4.0)
    embedding: Any = nn.Embedding(48, 16)
    if kind == "quantised":
        return Quantised()
    if kind == "scaled lora":
        embedding, kind = altered(Gemma3TextScaledWordEmbedding), "lora"
    if kind == "hook":
        embedding.register_forward_hook(lambda _, inputs, output: output + 1)
    elif kind == "forward":
        theirs = embedding.forward
        embedding.forward = lambda ids: theirs(ids) - 2  # as offloading does
    elif kind == "max_norm":
        embedding.max_norm = 0.5
    elif kind == "parametrized":
        nn.utils.parametrizations.weight_norm(embedding)
    elif kind == "lora":
        wrapped: Any = peft.get_peft_model(
            nn.Sequential(embedding), peft.LoraConfig(target_modules=["0"], init_lora_weights=False)
        )
        return wrapped.base_model.model[0]
    return embedding


KINDS = ["plain", "hook", "forward", "max_norm", "parametrized", "lora", "scaled lora", "quantised", *SCALED]


@pytest.mark.parametrize("kind", KINDS)
def test_token_rows_are_what_the_embedding_gives(kind: Any, batch: Batch) -> None:
    torch.manual_seed(0)
    rows, embedding = batch(), altered(kind)
    embed = CrossPTEmbedding(embedding, CrossPTConfig(tasks=TASKS, prompt_length=3))
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            embeds, _ = embed(rows["input_ids"], None, rows["task_ids"])
            assert torch.equal(embeds[:, 3:], embedding(rows["input_ids"]))
            torch.testing.assert_close(embeds[:, :3], embed.compose()[rows["task_ids"]])


def test_padding_on_the_left_is_moved_behind_the_text(embed: CrossPTEmbedding) -> None:
    ids = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 4], [0, 3, 0, 2], [0, 0, 0, 0]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]])
    moved, visible, _ = arrange_rows("embed", ["a"], ids, mask, torch.zeros(4, dtype=torch.int64))
    assert moved.tolist() == [[5, 6, 0, 0], [7, 8, 9, 4], [3, 0, 2, 0], [0, 0, 0, 0]]
    assert visible.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_any_integers_are_ids(embed: CrossPTEmbedding, batch: Batch, dtype: torch.dtype) -> None:
    rows = batch()
    expected = embed(rows["input_ids"], None, rows["task_ids"])[0]
    assert torch.equal(embed(rows["input_ids"].to(dtype), None, rows["task_ids"].to(dtype))[0], expected)


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
    with pytest.raises(TypeError, match=r"^CrossPTEmbedding: task_ids must be integers, got torch.float32"):
        embed(rows["input_ids"], rows["attention_mask"], rows["task_ids"].float())


NO_EMBEDDINGS = [
    (nn.ReLU(), "ReLU$"),
    (nn.EmbeddingBag(48, 16), r"EmbeddingBag with a weight \(48, 16\), which gives \(1, 16\) for \(1, 1\)$"),
    (nn.Linear(16, 48), r"Linear with a weight \(48, 16\), which raises .* dtype"),
    (Quantised(packed=2), r"Quantised with a weight \(48, 8\), which gives \(1, 1, 16\) for \(1, 1\)$"),
]


@pytest.mark.parametrize(("module", "found"), NO_EMBEDDINGS)
def test_what_is_no_token_embedding(module: nn.Module, found: str) -> None:
    with pytest.raises(
        TypeError, match=rf"^CrossPTEmbedding: embedding must be a module .* rows \(B, L, d\).* got {found}"
    ):
        CrossPTEmbedding(module, CrossPTConfig(tasks=TASKS))

"""Our attention in every model that is made of T5's, beside eager attention, and what it refuses."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    DynamicCache,
    EncoderDecoderCache,
    PreTrainedModel,
    StaticCache,
    T5Config,
    T5EncoderModel,
    T5ForQuestionAnswering,
    T5ForSequenceClassification,
    T5ForTokenClassification,
    T5Model,
    UMT5Config,
    UMT5EncoderModel,
    UMT5ForConditionalGeneration,
    UMT5ForSequenceClassification,
)

from crosspt.models.t5.attention import IMPLEMENTATIONS
from tests.conftest import VOCABULARY
from tests.models.test_attention import frozen, plain

Batch = Callable[..., dict[str, Tensor]]
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "d_kv": 4,
    "d_ff": 32,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def build(kind: Any, implementation: str, **settings: Any) -> Any:
    """A frozen model with large weights, so that what attention reads shows in the outputs."""
    config = (UMT5Config if kind.__name__.startswith("UMT5") else T5Config)(**{**SIZES, **settings})
    config._attn_implementation = implementation
    torch.manual_seed(0)
    model = kind(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def ending(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every row with its end of sentence, which a classifier reads."""
    rows, last = plain(rows), rows["attention_mask"].sum(dim=1) - 1
    rows["input_ids"][torch.arange(len(last)), last] = 1
    return rows


def first_output(model: Any, rows: dict[str, Tensor]) -> Tensor:
    if isinstance(model, T5Model):
        rows = rows | {"decoder_input_ids": rows["input_ids"][:, :3]}
    return model(**rows)[0]


MODELS: list[type[PreTrainedModel]] = [
    T5Model,
    T5EncoderModel,
    T5ForSequenceClassification,
    T5ForTokenClassification,
    T5ForQuestionAnswering,
    UMT5EncoderModel,
    UMT5ForSequenceClassification,
]


@pytest.mark.parametrize("loaded", [True, False], ids=["loaded with it", "set"])
@pytest.mark.parametrize("kind", MODELS)
def test_equal_to_eager(kind: type[PreTrainedModel], loaded: bool, batch: Batch) -> None:
    rows = ending(batch())
    expected = first_output(build(kind, "eager"), rows)
    model = build(kind, "crosspt" if loaded else "sdpa")
    if not loaded:
        model.set_attn_implementation("crosspt")
    kept = rows["attention_mask"].bool() if expected.shape[:2] == rows["input_ids"].shape else slice(None)
    for _ in range(2):
        torch.testing.assert_close(first_output(model, rows)[kept], expected[kept], rtol=1e-4, atol=1e-5)
    parts = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
    assert {part.config._attn_implementation for part in parts} == {"crosspt"}


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"cache_implementation": "static"}, {"use_cache": False}])
def test_umt5_generates_as_with_eager(options: dict[str, Any], batch: Batch) -> None:
    rows, options = plain(batch()), {"max_new_tokens": 7, "min_new_tokens": 6, **options}
    with torch.no_grad():
        expected = build(UMT5ForConditionalGeneration, "eager").generate(**rows, **options)
        assert torch.equal(build(UMT5ForConditionalGeneration, "crosspt").generate(**rows, **options), expected)


@pytest.mark.parametrize("static", [False, True])
def test_umt5_reuses_a_cache_in_chunks(static: bool, batch: Batch) -> None:
    rows, ids = batch(), torch.randint(3, VOCABULARY, (4, 6), generator=torch.Generator().manual_seed(5))
    padded = torch.ones_like(ids).index_put((torch.tensor([1, 2, 2]), torch.tensor([0, 0, 1])), torch.tensor(0))
    t5 = build(UMT5ForConditionalGeneration, "crosspt")
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    if static:
        cache = EncoderDecoderCache(
            StaticCache(config=t5.config, max_cache_len=10), StaticCache(config=t5.config, max_cache_len=7)
        )
    with torch.no_grad():
        expected = build(UMT5ForConditionalGeneration, "eager")(
            **plain(rows), decoder_input_ids=ids, decoder_attention_mask=padded
        ).logits
        steps, seen = [], 0
        for chunk in ids.split([3, 2, 1], dim=1):
            seen += chunk.shape[1]
            inputs = {"decoder_input_ids": chunk, "decoder_attention_mask": padded[:, :seen]}
            steps.append(t5(**plain(rows), **inputs, past_key_values=cache, use_cache=True).logits)
    torch.testing.assert_close(torch.cat(steps, dim=1)[padded.bool()], expected[padded.bool()], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_queries_that_see_no_key_get_what_eager_gives(implementation: str, batch: Batch) -> None:
    rows, layers = batch(), 1 if implementation == "crosspt_triton" else 2  # the interpreter is slow
    rows.pop("task_ids")
    rows["attention_mask"][2] = 0
    rows["decoder_attention_mask"] = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0]])
    t5 = frozen("1.1", implementation, num_layers=layers)
    with torch.no_grad():
        expected = frozen("1.1", "eager", num_layers=layers)(**rows)
        for _ in range(2):
            output = t5(**rows)
            torch.testing.assert_close(output.logits, expected.logits, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(output[-1], expected[-1], rtol=1e-4, atol=1e-5)


def test_refused_in_one_line(batch: Batch) -> None:
    rows = plain(batch())
    for shape in ((4, 7, 7), (4, 1, 7, 7)):
        with pytest.raises(ValueError, match=r"masks must have shape \(B, L\).*got \(4, (1, )?7, 7\); use .* eager"):
            frozen("1.0", "crosspt").encoder(input_ids=rows["input_ids"], attention_mask=torch.ones(shape))
    refusal = r"weights are never formed, so output_attentions must be False, got True; use attn_implementation eager"
    with pytest.raises(ValueError, match=refusal):
        frozen("1.0", "crosspt")(**rows, decoder_input_ids=rows["input_ids"], output_attentions=True)
    with pytest.raises(ValueError, match=refusal):
        frozen("1.0", "crosspt").generate(**rows, output_attentions=True, return_dict_in_generate=True)
    t5 = frozen("1.0", "eager")
    t5.encoder.config.output_attentions = True
    t5.set_attn_implementation("crosspt")
    with pytest.raises(ValueError, match=refusal):
        t5.encoder(**rows)
    sizes: Any = {"vocab_size": 48, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "attn_implementation": "crosspt"}
    bert = BertModel(BertConfig(**sizes))
    with pytest.raises(TypeError, match=r"expected the attention of a T5, mT5 or UMT5, got BertSelfAttention"):
        bert(**rows)

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForSeq2SeqLM,
    DynamicCache,
    EncoderDecoderCache,
    MT5Config,
    MT5ForConditionalGeneration,
    StaticCache,
    T5EncoderModel,
)

import crosspt.models.t5.attention
import crosspt.models.t5.masks
from crosspt import CrossPTConfig, CrossPTModel
from crosspt.models.t5.attention import IMPLEMENTATIONS
from tests.conftest import VOCABULARY, make_t5

Batch = Callable[..., dict[str, Tensor]]


def make_mt5(**settings: Any) -> Any:
    config = MT5Config(
        vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=32, num_heads=2, decoder_start_token_id=0, **settings
    )
    torch.manual_seed(0)
    return MT5ForConditionalGeneration(config).eval()


MAKERS: dict[str, Callable[..., Any]] = {
    "1.0": functools.partial(make_t5, "1.0"),
    "1.1": functools.partial(make_t5, "1.1"),
    "mt5": functools.partial(make_mt5, num_layers=2),
}


def set_theirs(t5: Any, implementation: str) -> None:
    """Set one of transformers' own; before 5.20 the method of the whole does not reach the stacks."""
    for part in (t5, t5.encoder, t5.decoder):
        part.set_attn_implementation(implementation)


def frozen(kind: str, implementation: str, **settings: Any) -> Any:
    """A T5 that is as a user of transformers alone would freeze it."""
    t5 = MAKERS[kind](**settings).requires_grad_(False)
    if implementation in IMPLEMENTATIONS:
        t5.set_attn_implementation(implementation)
    else:
        set_theirs(t5, implementation)
    return t5


def plain(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in rows.items() if name in ("input_ids", "attention_mask")}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", MAKERS)
def test_a_plain_t5_equals_eager(kind: str, implementation: str, batch: Batch) -> None:
    rows, layers = batch(), 1 if implementation == "crosspt_triton" else 2  # the interpreter is slow
    rows.pop("task_ids")
    with torch.no_grad():
        expected = frozen(kind, "eager", num_layers=layers)(**rows)
        output = frozen(kind, implementation, num_layers=layers)(**rows)
    kept = rows["attention_mask"].bool()
    torch.testing.assert_close(output.logits, expected.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.loss, expected.loss)
    torch.testing.assert_close(
        output.encoder_last_hidden_state[kept], expected.encoder_last_hidden_state[kept], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("version", "scheme", "backend"),
    [
        ("1.0", "SLPN", "crosspt_torch"),
        ("1.1", "SILP", "crosspt_torch"),
        ("1.0", "SILP", "crosspt_triton"),
        ("1.1", "SLPN", "crosspt_triton"),
    ],
)
def test_prompts_get_the_gradients_of_eager(version: str, scheme: str, backend: str, batch: Batch) -> None:
    gradients, logits = [], []
    for implementation in ("eager", backend):
        torch.manual_seed(0)
        tasks, sources = ["mrpc", "rte"], {"mrpc": torch.randn(3, 16), "rte": torch.randn(3, 16)}
        t5 = make_t5(version, num_layers=1 if backend == "crosspt_triton" else 2)
        t5.set_attn_implementation(implementation)
        model = CrossPTModel(t5, CrossPTConfig(tasks=tasks, scheme=scheme, prompt_length=3), source_prompts=sources)
        output = model(**batch())
        output.loss.backward()
        logits.append(output.logits)
        gradients.append({name: p.grad for name, p in model.embedding.bank.named_parameters()})
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)
    for name, expected in gradients[0].items():
        assert expected is not None
        assert expected.abs().max() > 0
        torch.testing.assert_close(gradients[1][name], expected, rtol=1e-3, atol=1e-6)


GENERATION: list[dict[str, Any]] = [
    {},
    {"use_cache": False},
    {"num_beams": 3},
    {"num_beams": 3, "num_return_sequences": 2, "use_cache": False},
    {"do_sample": True, "top_k": 5},
    {"cache_implementation": "static"},
    {"cache_implementation": "static", "num_beams": 2},
]


@pytest.mark.parametrize("options", GENERATION, ids=str)
@pytest.mark.parametrize("kind", ["1.0", "1.1", "mt5"])
def test_generated_ids_equal_eager(kind: str, options: dict[str, Any], batch: Batch) -> None:
    answers = []
    for implementation in ("eager", "crosspt"):
        torch.manual_seed(1)
        t5 = frozen(kind, implementation)
        answers.append(t5.generate(**plain(batch()), max_new_tokens=9, min_new_tokens=7, **options))
    assert torch.equal(*answers)


@pytest.mark.parametrize("static", [False, True])
def test_a_cache_is_reused_in_chunks(static: bool, batch: Batch) -> None:
    rows = batch()
    decoder_ids = torch.randint(3, VOCABULARY, (4, 6), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = frozen("1.0", "eager")(**plain(rows), decoder_input_ids=decoder_ids).logits
        t5 = frozen("1.0", "crosspt")
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        if static:
            cache = EncoderDecoderCache(
                StaticCache(config=t5.config, max_cache_len=10), StaticCache(config=t5.config, max_cache_len=7)
            )
        steps = [
            t5(**plain(rows), decoder_input_ids=chunk, past_key_values=cache, use_cache=True).logits
            for chunk in decoder_ids.split([3, 2, 1], dim=1)
        ]
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, rtol=1e-4, atol=1e-5)


def test_padded_decoder_inputs(batch: Batch) -> None:
    rows = batch()
    decoder_mask = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 1, 1]])
    rows |= {"decoder_input_ids": rows.pop("labels").clamp(min=0), "decoder_attention_mask": decoder_mask}
    rows.pop("task_ids")
    with torch.no_grad():
        logits = [frozen("1.1", name)(**rows).logits[decoder_mask.bool()] for name in ("eager", "crosspt")]
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)


def test_setting_another_implementation_restores_transformers(batch: Batch) -> None:
    rows = batch()
    rows.pop("task_ids")
    t5 = frozen("1.0", "eager")
    with torch.no_grad():
        expected = t5(**rows).logits
        t5.set_attn_implementation("crosspt")
        t5(**rows)
        t5.set_attn_implementation("eager")
        assert torch.equal(t5(**rows).logits, expected)
        assert t5(**rows, output_attentions=True).encoder_attentions[0].shape == (4, 4, 7, 7)
    attention = t5.encoder.block[0].layer[0].SelfAttention
    assert attention.compute_bias(3, 5).shape == (1, 4, 3, 5)


def test_dropout_is_repeatable_and_right_in_the_mean(batch: Batch) -> None:
    rows = batch()
    t5 = frozen("1.0", "crosspt").encoder
    attention = t5.block[0].layer[0].SelfAttention
    attention.dropout = 0.1
    hidden = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))
    mask = rows["attention_mask"][:2, :6].bool()
    with torch.no_grad():
        expected = attention(hidden, mask=mask)[0]
        attention.train()
        outputs = []
        for seed in (*range(300), 0):
            torch.manual_seed(seed)
            outputs.append(attention(hidden, mask=mask)[0])
    assert torch.equal(outputs[0], outputs[-1])
    assert not torch.equal(outputs[0], outputs[1])
    spread = torch.stack(outputs).std(dim=0) / 300**0.5
    assert ((torch.stack(outputs).mean(dim=0) - expected).abs() < 5 * spread + 1e-6).all()


@pytest.mark.parametrize(
    ("implementation", "use_reentrant"),
    [("crosspt_torch", False), ("crosspt_torch", True), ("crosspt_triton", False)],
)
def test_gradient_checkpointing_gives_the_same_gradients(
    implementation: str, use_reentrant: bool, batch: Batch
) -> None:
    gradients, size = [], 1 if implementation == "crosspt_triton" else 2  # the interpreter is slow
    for checkpointing in (False, True):
        torch.manual_seed(0)
        t5 = frozen("1.0", implementation, num_layers=size, num_heads=size, dropout_rate=0.1)
        model = CrossPTModel(t5, CrossPTConfig(tasks=["mrpc", "rte"], prompt_length=3)).train()
        if checkpointing:
            t5.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
        torch.manual_seed(3)
        model(**batch(rows=2)).loss.backward()
        gradients.append([p.grad for p in model.embedding.bank.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_save_and_load(tmp_path: Any, batch: Batch) -> None:
    t5 = frozen("1.1", "crosspt")
    t5.save_pretrained(tmp_path)
    assert "crosspt" not in (tmp_path / "config.json").read_text()
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, attn_implementation="crosspt").eval()
    assert loaded.decoder.config._attn_implementation == "crosspt"
    rows = batch()
    rows.pop("task_ids")
    with torch.no_grad():
        assert torch.equal(loaded(**rows).logits, t5(**rows).logits)
    encoder = T5EncoderModel.from_pretrained(tmp_path, attn_implementation="crosspt").eval()
    with torch.no_grad():
        assert torch.equal(encoder(**plain(rows)).last_hidden_state, t5.encoder(**plain(rows)).last_hidden_state)


def test_the_encoder_compiles_into_one_graph(batch: Batch) -> None:
    rows = plain(batch())
    encoder = frozen("1.0", "crosspt").encoder
    compiled = torch.compile(encoder, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(**rows).last_hidden_state, encoder(**rows).last_hidden_state)


def test_no_matrix_of_biases_is_made(monkeypatch: pytest.MonkeyPatch, batch: Batch) -> None:
    shapes = []
    theirs = crosspt.models.t5.attention.attention

    def spy(*args: Any, **kwargs: Any) -> Tensor:
        shapes.append([None if tensor is None else tuple(tensor.shape) for tensor in args[3:5]])
        return theirs(*args, **kwargs)

    monkeypatch.setattr(crosspt.models.t5.attention, "attention", spy)
    rows = batch()
    rows.pop("task_ids")
    with torch.no_grad():
        frozen("1.0", "crosspt", num_layers=1)(**rows)
    assert shapes == [[(4, 13), (4, 7)], [(4, 5), None], [None, (4, 7)]]


def test_biases_of_one_query_lie_as_torch_takes_them_on_a_gpu() -> None:
    attention = frozen("1.0", "crosspt").decoder.block[0].layer[0].SelfAttention
    for keys in (8, 13):
        bias = crosspt.models.t5.attention.relative_bias(attention, 1, keys, "cpu", keys - 1)
        assert torch.equal(bias[None, :, None], attention.compute_bias(keys, keys)[:, :, -1:])
        assert bias.stride() == (keys + -keys % 8, 1)
    assert crosspt.models.t5.attention.relative_bias(attention, 3, 5, "cpu").is_contiguous()


def test_errors(batch: Batch) -> None:
    rows = batch()
    t5 = frozen("1.0", "crosspt")
    with pytest.raises(ValueError, match=r"masks must have shape \(B, L\).*got \(4, 1, 7, 7\)"):
        t5.encoder(input_ids=rows["input_ids"], attention_mask=torch.zeros(4, 1, 7, 7))
    states = torch.zeros(1, 1, 1, 1)
    with pytest.raises(TypeError, match=r"expected the attention of a T5, mT5 or UMT5, got Linear"):
        crosspt.models.t5.attention.attention_forward(torch.nn.Linear(1, 1), states, states, states, None)


def test_rows_without_a_visible_token_are_found_once_a_mask(monkeypatch: pytest.MonkeyPatch, batch: Batch) -> None:
    """And anew in every call, also where a mask has changed in place."""
    calls = []
    theirs = crosspt.models.t5.masks._find_blind

    def spy(mask: Tensor, causal: int | None) -> Tensor | None:
        found = theirs(mask, causal)
        calls.append((causal, None if found is None else tuple(found.shape)))
        return found

    monkeypatch.setattr(crosspt.models.t5.masks, "_find_blind", spy)
    ids, mask = batch()["input_ids"], torch.ones(4, 7, dtype=torch.bool)
    rows = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids, "decoder_attention_mask": mask}
    eager, ours = frozen("1.0", "eager"), frozen("1.0", "crosspt")
    for hidden in (0, 2, 7):
        mask[1, :hidden] = False
        calls.clear()
        with torch.no_grad():
            torch.testing.assert_close(ours(**rows).logits, eager(**rows).logits, rtol=1e-4, atol=1e-5)
        row = (None, (4, 1, 1, 1) if hidden == 7 else None)
        assert calls == [row, (7, (4, 7, 1, 1) if hidden else None), row]  # the last of cross-attention

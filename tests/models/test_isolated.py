import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

import crosspt.models.t5.family
from crosspt import CrossPTConfig, CrossPTModel
from crosspt.functional import Backend
from crosspt.models.t5.attention import IMPLEMENTATIONS
from crosspt.models.t5.prefix import Prefix, hand_on_prefix
from tests.conftest import make_t5

TASKS = ["mrpc", "rte"]
LENGTH = 3
Batch = Callable[..., dict[str, Tensor]]


def make_model(version: str = "1.0", *, backend: Backend = "auto", **settings: Any) -> CrossPTModel:
    torch.manual_seed(0)
    config = CrossPTConfig(tasks=TASKS, prompt_length=LENGTH, prefix_mode="isolated")
    return CrossPTModel(make_t5(version, **settings), config, backend=backend).eval()


def encode_concatenation(model: CrossPTModel, rows: dict[str, Tensor], eager: Any) -> tuple[BaseModelOutput, Tensor]:
    """The states (B, m + L, d) of eager attention on prompt and text under the mask of blocks, and their mask."""
    prompts = model.embedding.bank.compose("torch")[rows["task_ids"]]
    embeds = torch.cat([prompts, eager.get_input_embeddings()(rows["input_ids"])], dim=1)
    mask = torch.cat([rows["attention_mask"].new_ones(len(prompts), LENGTH), rows["attention_mask"]], dim=1)
    length = mask.shape[1]
    visible = mask[:, None, None, :].bool().repeat(1, 1, length, 1)
    visible[:, :, :LENGTH, LENGTH:] = False
    additive = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
    return eager.encoder(inputs_embeds=embeds, attention_mask=additive), mask


def make_eager(version: str, **settings: Any) -> Any:
    t5 = make_t5(version, **settings).requires_grad_(False)
    t5.set_attn_implementation("eager")
    return t5


TASK_IDS = {"mixed": [0, 1, 1, 0], "in order": [0, 0, 1, 1], "single": [1, 1, 1, 1]}


@pytest.mark.parametrize(
    ("version", "task_ids", "backend"),
    [
        *itertools.product(["1.0", "1.1"], TASK_IDS, ["torch"]),
        ("1.0", "mixed", "triton"),
        ("1.1", "single", "triton"),
    ],
)
def test_logits_and_gradients_equal_the_mask_of_blocks(
    version: str, task_ids: str, backend: Backend, batch: Batch
) -> None:
    rows = batch() | {"task_ids": torch.tensor(TASK_IDS[task_ids])}
    small = {"num_layers": 1, "num_heads": 2} if backend == "triton" else {}  # the interpreter is slow
    model, eager = make_model(version, backend=backend, **small), make_eager(version, **small)
    states, mask = encode_concatenation(model, rows, eager)
    expected = eager(encoder_outputs=states, attention_mask=mask, labels=rows["labels"])
    wanted = torch.autograd.grad(expected.loss, list(model.embedding.bank.parameters()))
    output = model(**rows)
    got = torch.autograd.grad(output.loss, list(model.embedding.bank.parameters()))
    torch.testing.assert_close(output.logits, expected.logits, rtol=1e-4, atol=1e-5)
    kept = rows["attention_mask"].bool()
    assert states.last_hidden_state is not None
    torch.testing.assert_close(
        output.encoder_last_hidden_state[kept], states.last_hidden_state[:, LENGTH:][kept], rtol=1e-4, atol=1e-5
    )
    for ours, theirs in zip(got, wanted, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
    with torch.no_grad():
        for _ in range(2):  # filled, and kept
            torch.testing.assert_close(model(**rows).logits, expected.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_cache": False},
        {"num_beams": 3},
        {"num_beams": 3, "num_return_sequences": 2, "use_cache": False},
        {"do_sample": True, "top_k": 5, "num_return_sequences": 2},
        {"cache_implementation": "static", "num_beams": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_generated_ids_equal_the_mask_of_blocks(version: str, options: dict[str, Any], batch: Batch) -> None:
    check_generation(version, "torch", {"max_new_tokens": 9, "min_new_tokens": 7, **options}, batch())


def test_generated_ids_of_the_kernels_equal_the_mask_of_blocks(batch: Batch) -> None:
    small = {"num_layers": 1, "num_heads": 2}
    check_generation("1.0", "triton", {"max_new_tokens": 2, "num_beams": 2}, batch(rows=2, tokens=5), **small)


def check_generation(
    version: str, backend: Backend, settings: dict[str, Any], rows: dict[str, Tensor], **architecture: Any
) -> None:
    rows.pop("labels")
    model, eager = make_model(version, backend=backend, **architecture), make_eager(version, **architecture)
    with torch.no_grad():
        states, mask = encode_concatenation(model, rows, eager)
    torch.manual_seed(1)
    expected = eager.generate(encoder_outputs=states, attention_mask=mask, **settings)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            torch.manual_seed(1)
            assert torch.equal(model.generate(**rows, **settings), expected)


def test_a_short_text_without_a_mask(batch: Batch) -> None:
    rows = batch(rows=2, tokens=1) | {"attention_mask": torch.ones(2, 1, dtype=torch.int64)}
    model = make_model()
    with torch.no_grad():
        expected = model(**rows)
        rows.pop("attention_mask")
        assert torch.equal(model(**rows).logits, expected.logits)
        rows.pop("labels")
        assert model.generate(**rows, max_new_tokens=2).shape == (2, 3)


def test_prompts_do_not_see_the_text(batch: Batch) -> None:
    rows, full = batch(), CrossPTConfig(tasks=TASKS, prompt_length=LENGTH)
    model = make_model()
    torch.manual_seed(0)
    other = CrossPTModel(make_t5(), full).eval()
    with torch.no_grad():
        assert (model(**rows).logits - other(**rows).logits).abs().max() > 1e-3


@pytest.mark.parametrize(("backend", "size"), [("torch", 2), ("triton", 1)])
def test_gradient_checkpointing_gives_the_same_gradients(backend: Backend, size: int, batch: Batch) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = make_model(backend=backend, num_layers=size, num_heads=size, dropout_rate=0.1).train()
        if checkpointing:
            model.base_model.gradient_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(3)
        model(**batch(rows=2)).loss.backward()
        gradients.append([p.grad for p in model.embedding.bank.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_dropout_is_repeatable_and_right_in_the_mean(batch: Batch) -> None:
    model, rows = make_model(num_layers=1), batch()
    layer: Any = model.base_model.get_submodule("encoder.block.0.layer.0.SelfAttention")
    with torch.no_grad():
        hidden = torch.randn(4, 7, 16, generator=torch.Generator().manual_seed(0))
        reads = {"mask": rows["attention_mask"].bool(), "prefix": model.prefix(), "task_ids": rows["task_ids"]}
        expected = layer(hidden, **reads)[0]
        layer.train()
        outputs = []
        for seed in (*range(300), 0):
            torch.manual_seed(seed)
            outputs.append(layer(hidden, **reads)[0])
    assert torch.equal(outputs[0], outputs[-1])
    assert not torch.equal(outputs[0], outputs[1])
    spread = torch.stack(outputs).std(dim=0) / 300**0.5
    assert ((torch.stack(outputs).mean(dim=0) - expected).abs() < 5 * spread + 1e-6).all()


def test_a_training_step_has_one_prefix_and_one_dropout_mask_a_task(
    monkeypatch: pytest.MonkeyPatch, batch: Batch
) -> None:
    prefixes: list[Prefix] = []
    theirs = crosspt.models.t5.family.compute_prefix

    def compute(*args: Any) -> Prefix:
        prefixes.append(theirs(*args))
        return prefixes[-1]

    monkeypatch.setattr(crosspt.models.t5.family, "compute_prefix", compute)
    model, rows = make_model(dropout_rate=0.1).train(), batch(rows=6)
    model(**rows).loss.backward()
    model(**rows).loss.backward()
    assert len(prefixes) == 2
    assert prefixes[0].encoder[1].keys.shape == (2, 4, LENGTH, 4)
    assert not torch.equal(prefixes[0].encoder[1].keys, prefixes[1].encoder[1].keys)
    with torch.no_grad():
        model(**rows)
    assert len(prefixes) == 3
    assert model.prefix_cache.nbytes == 0  # nothing with dropout in it is kept


@pytest.mark.parametrize("bfloat16", ["model", "autocast"])
def test_bfloat16(bfloat16: str, batch: Batch) -> None:
    rows, model = batch(), make_model()
    with torch.no_grad():
        expected = model(**rows).loss
    if bfloat16 == "model":
        model.base_model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16 == "autocast"):
        output = model(**rows)
        with torch.inference_mode():
            assert model(**rows).loss == output.loss
    output.loss.backward()
    assert {p.grad.dtype for p in model.embedding.bank.parameters() if p.grad is not None} == {torch.float32}
    torch.testing.assert_close(output.loss.float(), expected, rtol=0.03, atol=0.03)


def test_an_encoder_that_is_compiled(batch: Batch) -> None:
    rows, model = batch(), make_model()
    with torch.no_grad():
        expected = model(**rows).logits
        model.base_model.encoder.compile(backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(model(**rows).logits, expected, rtol=1e-4, atol=1e-5)


def test_save_and_load(tmp_path: Any, batch: Batch) -> None:
    model, rows = make_model(), batch()
    model.save_pretrained(tmp_path)
    loaded = CrossPTModel.from_pretrained(make_t5(), tmp_path).eval()
    assert loaded.config.prefix_mode == "isolated"
    with torch.no_grad():
        assert torch.equal(loaded(**rows).logits, model(**rows).logits)


def test_two_models_on_one_t5(batch: Batch) -> None:
    rows = batch()
    rows.pop("labels")
    first = make_model()
    second = CrossPTModel(first.base_model, CrossPTConfig(tasks=TASKS, prompt_length=5, prefix_mode="isolated")).eval()
    assert list(first.base_model._forward_pre_hooks.values()) == [hand_on_prefix]
    expected = make_model().generate(**rows, max_new_tokens=6)
    second.generate(**rows, max_new_tokens=6)
    assert torch.equal(first.generate(**rows, max_new_tokens=6), expected)
    plain: list[Any] = [first.base_model, make_t5()]
    rows.pop("task_ids")
    assert torch.equal(*(t5.generate(**rows, max_new_tokens=6) for t5 in plain))


def test_the_backend_decides_the_implementation() -> None:
    for name, backend in IMPLEMENTATIONS.items():
        assert make_model(backend=backend).base_model.encoder.config._attn_implementation == name
    full = CrossPTModel(make_t5(), CrossPTConfig(tasks=TASKS))
    assert full.base_model.config._attn_implementation == "sdpa"


def test_errors(batch: Batch) -> None:
    rows, model = batch(), make_model()
    with pytest.raises(ValueError, match=r"task_ids must say which of"):
        model(rows["input_ids"], labels=rows["labels"])
    with pytest.raises(ValueError, match=r"attention_mask must have shape \(B, L\) = \(4, 7\), got \(4, 6\)"):
        model(**{**rows, "attention_mask": rows["attention_mask"][:, 1:]})
    with pytest.raises(ValueError, match=r"task_ids must lie in \[0, 2\), got values from 0 to 2"):
        model(**{**rows, "task_ids": torch.tensor([0, 1, 2, 0])})
    with pytest.raises(ValueError, match=r"need prefix_mode 'full', got 'isolated'; use CrossPTModel"):
        model.embedding(rows["input_ids"], rows["attention_mask"], rows["task_ids"])
    model.base_model.gradient_checkpointing_enable({"use_reentrant": True})
    with pytest.raises(RuntimeError, match=r"needs gradient checkpointing with use_reentrant=False"):
        model(**rows)
    model.base_model.gradient_checkpointing_disable()
    model.base_model.decoder.set_attn_implementation("eager")
    with pytest.raises(RuntimeError, match=r"needs attn_implementation crosspt.*, got eager"):
        model(**rows)

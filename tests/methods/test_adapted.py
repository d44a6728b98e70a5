"""What each method that adapts a T5 computes, counts, learns and leaves alone."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration
from transformers.activations import ACT2FN

from crosspt import CrossPTConfig
from crosspt.config.training import TrainingConfig
from crosspt.methods import METHODS, find_method
from crosspt.methods.adapted import AdaptingMethod
from crosspt.methods.saved import WEIGHTS_NAME
from tests.conftest import make_t5

pytest.importorskip("peft")
Batch = Callable[..., dict[str, Tensor]]
ADAPTING = [name for name in METHODS if isinstance(find_method(name), AdaptingMethod)]
BY_ROW = ("hyperformer", "hyperdecoder")  # what they compute is in test_hyper.py
CONFIG = CrossPTConfig(tasks=["mrpc", "rte"], prompt_length=3)


def build(name: str, t5: T5ForConditionalGeneration) -> Any:
    """A model in eval mode, all that it learns moved away from where it starts."""
    torch.manual_seed(0)
    model = find_method(name).build(t5, CONFIG).eval()
    with torch.no_grad():
        for parameter in model.learned().values():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def base(t5: T5ForConditionalGeneration) -> Any:
    """A T5 that shares nothing, with the same weights."""
    other = T5ForConditionalGeneration(t5.config).eval()
    other.load_state_dict(t5.state_dict())
    return other


# The few-line definitions: what learned numbers make of a layer's input x and output y.
def bias(x: Tensor, y: Tensor, bias: Tensor) -> Tensor:
    return y + bias


def bottleneck(x: Tensor, y: Tensor, down: Tensor, b: Tensor, up: Tensor, c: Tensor) -> Tensor:
    return y + F.linear(ACT2FN["gelu_new"](F.linear(y, down, b)), up, c)


def low_rank(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return y + F.linear(F.linear(x, a), b)  # alpha / r = 1


def scale(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    return y * scale.flatten()


DEFINITIONS: dict[str, tuple[Callable[..., Tensor], str, tuple[str, ...]]] = {
    "bitfit": (bias, "", ("bias",)),
    "adapter": (bottleneck, "adapter.", ("down.weight", "down.bias", "up.weight", "up.bias")),
    "lora": (low_rank, "", ("lora_A.default.weight", "lora_B.default.weight")),
    "ia3": (scale, "", ("ia3_l.default",)),
}
"""What a layer comes to, and what of it is learned: the names below the layer."""


def redefine(t5: Any, learned: dict[str, Tensor], name: str) -> None:
    """Make a plain T5 compute what a method has learned."""
    state = t5.state_dict()
    for key, value in learned.items():
        key = key.removeprefix("base_model.")
        if key in state:  # fine-tuned weights, and the norms beside adapters
            t5.get_parameter(key).data = value
        elif name in DEFINITIONS:
            change, folder, parts = DEFINITIONS[name]
            if key.endswith(folder + parts[0]):
                place = key.removesuffix(f".{folder}{parts[0]}")
                numbers = [learned[f"base_model.{place}.{folder}{part}"] for part in parts]
                layer = t5.get_submodule(place)
                if name == "ia3" and place.endswith("wo"):  # it scales the hidden units, the layer's input
                    layer.register_forward_pre_hook(partial(scale_input, value))
                else:
                    layer.register_forward_hook(partial(hook, change, numbers))


def hook(change: Callable[..., Tensor], numbers: list[Tensor], _: Any, inputs: Any, output: Any) -> Any:
    if isinstance(output, tuple):
        return (change(None, output[0], *numbers), *output[1:])
    return change(*inputs, output, *numbers)


def scale_input(value: Tensor, _: Any, inputs: Any) -> Any:
    return (inputs[0] * value.flatten(),)


def prompt_of(learned: dict[str, Tensor], name: str) -> Tensor:
    root = "adapted.prompt_encoder.default."
    rows = learned[root + "embedding.weight"]
    if name == "prompt-tuning":
        return rows
    for layer in (0, 2):
        rows = F.relu(F.linear(rows, *(learned[f"{root}mlp_head.{layer}.{part}"] for part in ("weight", "bias"))))
    return F.linear(rows, *(learned[f"{root}mlp_head.4.{part}"] for part in ("weight", "bias")))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("name", [name for name in ADAPTING if name not in BY_ROW])
def test_it_computes_what_its_definition_says(name: str, version: str, batch: Batch) -> None:
    t5 = make_t5(version)
    other, inputs = base(t5), batch()
    model = build(name, t5)
    learned = {key: parameter.detach() for key, parameter in model.learned().items()}
    task_ids, labels = inputs.pop("task_ids"), inputs.pop("labels")
    plain = dict(inputs)
    if name in ("prompt-tuning", "p-tuning"):
        prompt = prompt_of(learned, name).expand(len(task_ids), -1, -1)
        embeds = torch.cat([prompt, other.shared(plain.pop("input_ids"))], dim=1)
        ones = torch.ones(len(task_ids), prompt.shape[1], dtype=torch.int64)
        plain = {"inputs_embeds": embeds, "attention_mask": torch.cat([ones, plain["attention_mask"]], dim=1)}
    redefine(other, learned, name)
    wanted = other(**plain, labels=labels)
    got = model(**inputs, task_ids=task_ids, labels=labels)
    torch.testing.assert_close(got.logits, wanted.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.loss, wanted.loss)
    assert not torch.allclose(got.logits, t5(**inputs, labels=labels).logits, atol=1e-3), "nothing was adapted"
    states, mask = model.encode(**inputs, task_ids=task_ids)
    ranked = model.base_model(encoder_outputs=states, attention_mask=mask, labels=labels).logits
    torch.testing.assert_close(ranked, got.logits, rtol=1e-4, atol=1e-5)
    options = {"max_new_tokens": 4, "do_sample": False}
    generated = other.generate(**plain, **options)
    assert torch.equal(model.generate(**inputs, task_ids=task_ids, **options), generated)


def t5_base() -> T5ForConditionalGeneration:
    sizes: dict[str, Any] = {
        "d_model": 768,
        "d_kv": 64,
        "d_ff": 3072,
        "num_layers": 12,
        "num_heads": 12,
        "vocab_size": 32128,
    }
    with torch.device("meta"):
        return T5ForConditionalGeneration(T5Config(**sizes))


D, M, HIDDEN, BLOCKS = 768, 3, 128, 12
ATTENTIONS, NORMS = 3 * BLOCKS, 5 * BLOCKS + 2
BOTTLENECK = 2 * D * 64 + 64 + D


def hyperformer_count(tasks: int) -> int:
    embeddings, project = (BLOCKS + 2) * 64, (3 * 64 + 1) * 128 + (128 + 1) * 64 + 2 * 64
    return 2 * (embeddings + project + (64 + 1) * (2 * D * 24 + 24 + D + 2 * D)) + tasks * 64 + NORMS * D


COUNTS = {
    "fine-tuning": 32128 * D + ATTENTIONS * 4 * D * D + 2 * BLOCKS * 2 * D * 3072 + NORMS * D + 2 * 32 * 12,
    "bitfit": ATTENTIONS * 4 * D + 2 * BLOCKS * (3072 + D) + NORMS * D + 32128,
    "adapter": 4 * BLOCKS * (2 * D * 24 + 24 + D) + NORMS * D,
    "hyperformer": hyperformer_count(len(CONFIG.tasks)),
    "hyperdecoder": BLOCKS * BOTTLENECK + 2 * (D * D + D) + BLOCKS * 10 + (D + 10 + 1) * 128 + (128 + 1) * BOTTLENECK,
    "lora": ATTENTIONS * 2 * 8 * (D + D),
    "ia3": ATTENTIONS * 2 * D + 2 * BLOCKS * 3072,
    "prompt-tuning": M * D,
    "p-tuning": M * D + (D * HIDDEN + HIDDEN) + (HIDDEN * HIDDEN + HIDDEN) + (HIDDEN * D + D),
}


def test_the_counts_are_those_that_were_published() -> None:
    assert COUNTS["fine-tuning"] == 222_903_552
    assert COUNTS["bitfit"] == 202_752 + 47_616 + 32_128 == 282_496
    assert COUNTS["adapter"] == 1_855_104
    assert round(hyperformer_count(8) / 8 / COUNTS["fine-tuning"], 4) == 0.0029, "of a T5, for each of 8 tasks"
    assert list(COUNTS) == ADAPTING


@pytest.mark.parametrize("name", ADAPTING)
def test_the_number_of_parameters_in_t5_base(name: str) -> None:
    model = find_method(name).build(t5_base(), CONFIG)
    assert model.count_parameters()[0] == COUNTS[name]


@pytest.mark.parametrize("name", ADAPTING)
def test_it_learns_and_leaves_the_shared_t5_as_it_is(name: str, batch: Batch) -> None:
    t5 = make_t5()
    before, inputs = {key: value.clone() for key, value in t5.state_dict().items()}, batch()
    method = find_method(name)
    torch.manual_seed(0)
    model = method.build(t5, CONFIG).eval()
    (group,) = method.groups(model, TrainingConfig(learning_rate=0.02))
    assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters() if p.requires_grad}
    optimizer = torch.optim.Adam([group])
    losses = []
    for _ in range(15):
        loss = model(**inputs).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1, losses
    assert {key: value.tolist() for key, value in t5.state_dict().items()} == {
        key: value.tolist() for key, value in before.items()
    }
    rows = {"input_ids": inputs["input_ids"], "labels": inputs["labels"]}
    assert torch.equal(t5(**rows).logits, base(t5).requires_grad_(False)(**rows).logits)  # no module was changed
    assert not any(parameter.requires_grad for parameter in t5.parameters())


@pytest.mark.parametrize("name", ADAPTING)
def test_what_stays_frozen_is_shared(name: str) -> None:
    t5 = make_t5()
    model = find_method(name).build(t5, CONFIG)
    shared = {id(parameter) for parameter in t5.parameters()}
    assert {id(p) for p in model.parameters() if p.requires_grad}.isdisjoint(shared)
    assert {id(p) for p in model.parameters() if not p.requires_grad} <= shared


@pytest.mark.parametrize("name", ADAPTING)
def test_saved_and_loaded(name: str, batch: Batch, tmp_path: Path) -> None:
    t5, method = make_t5(), find_method(name)
    model = build(name, t5)
    assert not method.is_saved(tmp_path)
    method.save(model, tmp_path)
    assert method.is_saved(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"method_config.json", WEIGHTS_NAME}
    torch.manual_seed(1)
    loaded = method.load(t5, tmp_path).eval()
    assert torch.equal(loaded(**batch()).logits, model(**batch()).logits)
    assert loaded.config == model.config
    other = next(method for method in map(find_method, ADAPTING) if method.name != name)
    with pytest.raises(ValueError, match=f"must be of method {other.name}, got '{name}'"):
        other.load(t5, tmp_path)
    wide = make_t5(d_model=32)
    with pytest.raises(ValueError, match=r"made for d_model 16 .*, the T5 has 32"):
        method.load(wide, tmp_path)
    (tmp_path / WEIGHTS_NAME).write_bytes(b"damaged")
    with pytest.raises(ValueError, match=f"^from_pretrained: .*{WEIGHTS_NAME} is not a readable safetensors file"):
        method.load(t5, tmp_path)


@pytest.mark.parametrize("name", ADAPTING)
def test_it_works_in_bfloat16(name: str, batch: Batch) -> None:
    model = build(name, make_t5().bfloat16())
    outputs = model(**batch())
    outputs.loss.backward()
    assert torch.isfinite(outputs.loss)
    assert all(parameter.grad is not None for parameter in model.learned().values())


def test_a_prepared_t5_with_the_own_attention_is_copied_with_its_hooks(batch: Batch) -> None:
    """The attention's hook must read the copy's table of biases, not the shared one's."""
    t5 = make_t5()
    t5.set_attn_implementation("crosspt_torch")
    inputs = batch()
    t5(input_ids=inputs["input_ids"], labels=inputs["labels"])  # puts the hooks on
    model = build("fine-tuning", t5)
    plain = base(make_t5())
    plain.load_state_dict(model.base_model.state_dict())
    wanted = plain(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=inputs["labels"])
    torch.testing.assert_close(model(**inputs).logits, wanted.logits, rtol=1e-4, atol=1e-5)

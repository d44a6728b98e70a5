"""What importing the package changes in transformers, and what a T5 keeps that once had our attention."""

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

import crosspt.models.t5.attention
from crosspt import CrossPTConfig, CrossPTModel
from crosspt.models.t5.attention import IMPLEMENTATIONS, HandVector
from tests.conftest import VOCABULARY, make_t5
from tests.models.test_attention import MAKERS, frozen, plain, set_theirs

Batch = Callable[..., dict[str, Tensor]]

IMPORTING = """
import inspect
import torch
import transformers
from transformers import AttentionInterface, AttentionMaskInterface, T5Config, T5ForConditionalGeneration
from transformers.models.mt5 import modeling_mt5
from transformers.models.t5 import modeling_t5
from transformers.models.umt5 import modeling_umt5

modules = (modeling_t5, modeling_mt5, modeling_umt5, transformers.modeling_utils, transformers.masking_utils)
names = set(AttentionInterface._global_mapping), set(AttentionMaskInterface._global_mapping)

def state():
    found = {}
    for module in modules:
        found |= {(module.__name__, name): value for name, value in vars(module).items() if callable(value)}
        for _, cls in inspect.getmembers(module, inspect.isclass):
            found |= {(cls.__module__, cls.__qualname__, name): value for name, value in vars(cls).items()}
    return found

def run(implementation):
    torch.manual_seed(0)
    config = T5Config(vocab_size=48, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4, decoder_start_token_id=0)
    config._attn_implementation = implementation
    ids = torch.arange(24).reshape(3, 8)
    return T5ForConditionalGeneration(config).eval()(input_ids=ids, labels=ids).logits

logits, before = [run("eager"), run("sdpa")], state()
import crosspt
import crosspt.models.model
after = state()
changed = {key for key in before.keys() | after.keys() if before.get(key) is not after.get(key)}
lazy = ("__slotnames__", "_can_set_attn_implementation_cached_value")
print(sorted(key[1:] for key in changed if key[-1] not in lazy))
print(all(map(torch.equal, logits, [run("eager"), run("sdpa")])))
for was, registry in zip(names, (AttentionInterface, AttentionMaskInterface)):
    print(sorted(set(registry._global_mapping) - was))
"""


def test_importing_registers_names_and_changes_nothing_else() -> None:
    run = subprocess.run([sys.executable, "-c", IMPORTING], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    changed, equal, functions, masks = map(eval, run.stdout.splitlines())
    families = ("MT5PreTrainedModel", "T5PreTrainedModel", "UMT5PreTrainedModel")
    old = crosspt.models.t5.attention.STACKS_ARE_REACHED is False
    assert changed == ([(family, "set_attn_implementation") for family in families] if old else [])
    assert equal
    assert functions == masks == sorted(IMPLEMENTATIONS)


def hooked(t5: Any) -> list[bool]:
    modules = [part for part in t5.modules() if hasattr(part, "relative_attention_num_buckets")]
    return [any(isinstance(hook, HandVector) for hook in module._forward_pre_hooks.values()) for module in modules]


@pytest.mark.parametrize("kind", MAKERS)
def test_only_the_t5_that_asks_is_touched_at_its_first_call(kind: str, batch: Batch) -> None:
    asks, other = frozen(kind, "crosspt"), frozen(kind, "sdpa")
    assert not any(hooked(asks))
    for t5 in (asks, other):
        t5(**plain(batch()), labels=batch()["labels"])
    assert hooked(asks) == [True] * 6
    assert hooked(other) == [False] * 6


def test_a_model_of_ours_touches_its_own_t5_before_the_first_call() -> None:
    t5, other = make_t5(), make_t5()
    CrossPTModel(t5, CrossPTConfig(tasks=["mrpc"], prefix_mode="isolated"))
    assert all(hooked(t5))
    assert not any(hooked(other))


def pickled(t5: Any) -> Any:
    return pickle.loads(pickle.dumps(t5))


def saved(t5: Any) -> Any:
    file = io.BytesIO()
    torch.save(t5, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled, saved], ids=["deepcopy", "pickle", "save"])
@pytest.mark.parametrize("called", [False, True])
def test_copies_are_right_and_switch_back(copied: Callable[[Any], Any], called: bool, batch: Batch) -> None:
    rows, t5 = batch(), frozen("1.0", "crosspt")
    rows.pop("task_ids")
    with torch.no_grad():
        if called:
            t5(**rows)
        twin = copied(t5)
        expected = t5(**rows).logits
        with torch.no_grad():
            t5.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.zero_()
        assert torch.equal(twin(**rows).logits, expected)
        for name in ("sdpa", "eager"):
            twin.set_attn_implementation("crosspt")
            twin.set_attn_implementation(name)
            assert torch.equal(twin(**rows).logits, frozen("1.0", name)(**rows).logits)


FIRST: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "no cache": {"use_cache": False},
    "static": {"cache_implementation": "static"},
    "prompted": {"decoder_input_ids": True},
    "prompted static": {"decoder_input_ids": True, "cache_implementation": "static"},
    "prompted, padded, static": {"decoder_input_ids": True, "padded": True, "cache_implementation": "static"},
}


@pytest.mark.parametrize("options", FIRST.values(), ids=FIRST)
def test_the_first_call_is_right_whatever_it_is(options: dict[str, Any], batch: Batch) -> None:
    options = {"max_new_tokens": 6, "min_new_tokens": 5, **options}
    if options.get("decoder_input_ids"):
        options["decoder_input_ids"] = torch.arange(12).reshape(4, 3) + 3
    if options.pop("padded", False):
        options["decoder_attention_mask"] = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 1, 1]])
    t5 = frozen("1.0", "crosspt")
    expected = frozen("1.0", "eager").generate(**plain(batch()), **options)
    for _ in range(2):
        assert torch.equal(t5.generate(**plain(batch()), **options), expected)


def test_reentrant_checkpointing_at_the_first_call(batch: Batch) -> None:
    rows, gradients = batch(), []
    for use_reentrant in (None, False, True):
        t5 = frozen("1.0", "crosspt").train()
        if use_reentrant is not None:
            t5.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
        embeds = t5.shared(rows["input_ids"]).requires_grad_()
        torch.manual_seed(0)
        t5(inputs_embeds=embeds, attention_mask=rows["attention_mask"], labels=rows["labels"]).loss.backward()
        gradients.append(embeds.grad)
    torch.testing.assert_close(gradients[1], gradients[0])
    torch.testing.assert_close(gradients[2], gradients[0])


@pytest.mark.parametrize("called", [False, True])
def test_the_encoder_is_compiled_for_any_length(called: bool) -> None:
    t5 = frozen("1.0", "crosspt_torch")
    rows = [torch.randint(3, VOCABULARY, (3, length)) for length in (5, 7, 9, 12, 15)]
    if called:
        t5.encoder(input_ids=rows[0], attention_mask=torch.ones_like(rows[0]))
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(t5.encoder, backend=counter)
    with torch.no_grad():
        ours = [compiled(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state for ids in rows]
        set_theirs(t5, "eager")
        theirs = [t5.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state for ids in rows]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert counter.frame_count <= 2


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("way", ["export", "trace"])
def test_the_encoder_is_recorded_for_any_length(way: str, called: bool, batch: Batch) -> None:
    rows, longer, t5 = plain(batch()), plain(batch(tokens=19, seed=1)), frozen("1.0", "crosspt_torch")
    longer["attention_mask"][2] = 0
    encode = Encode(t5.encoder)
    if called:
        encode(**rows)
    if way == "trace":
        recorded: Any = torch.jit.trace(encode, example_kwarg_inputs=rows)
    else:
        length = torch.export.Dim("length", min=2, max=64)
        recorded = torch.export.export(encode, (), rows, dynamic_shapes={name: {1: length} for name in rows}).module()
    ours = recorded(**longer)
    set_theirs(t5, "eager")
    torch.testing.assert_close(ours, encode(**longer), rtol=1e-4, atol=1e-5)


class Encode(torch.nn.Module):
    """An encoder that returns a tensor."""

    def __init__(self, encoder: Any):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

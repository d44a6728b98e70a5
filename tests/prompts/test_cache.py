import copy
import pickle
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import crosspt.models.t5.family
from crosspt import CrossPTConfig, CrossPTModel
from crosspt.prompts.cache import ScopedCache
from tests.conftest import make_t5

Batch = Callable[..., dict[str, Tensor]]


@pytest.fixture
def model() -> CrossPTModel:
    torch.manual_seed(0)
    config = CrossPTConfig(tasks=["mrpc", "rte"], prompt_length=3, prefix_mode="isolated")
    return CrossPTModel(make_t5(), config).eval()


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by an entry with every prefix that is computed."""
    entries: list[int] = []
    theirs = crosspt.models.t5.family.compute_prefix

    def compute(*args: Any) -> Any:
        entries.append(1)
        return theirs(*args)

    monkeypatch.setattr(crosspt.models.t5.family, "compute_prefix", compute)
    return entries


def test_filled_once_in_a_scope_and_read_by_every_call(model: CrossPTModel, computed: list[int], batch: Batch) -> None:
    rows = batch()
    with model.keep_prompts():
        assert model.prefix_cache.nbytes == 0
        with torch.no_grad():
            model(**rows)
        labels = rows.pop("labels")
        with torch.inference_mode():
            model.generate(**rows, max_new_tokens=3)
            for task in (0, 1):
                model(**{**rows, "task_ids": torch.full((4,), task)}, labels=labels)
        model.generate(**rows, max_new_tokens=3, num_beams=2)
        assert len(computed) == 1
        layers, floats = 2 + 2, 2 * 4 * 3 * 4  # T H m D
        assert model.prefix_cache.nbytes == 4 * 2 * layers * floats  # keys and values
        model(**rows, labels=labels).loss.backward()
        assert len(computed) == 2  # gradients are wanted
    assert model.prefix_cache.nbytes == 0
    with torch.no_grad():
        model(**rows, labels=labels)
        model(**rows, labels=labels)
    assert len(computed) == 4


def test_filled_in_inference_mode_it_serves_a_gradient_later(model: CrossPTModel) -> None:
    with model.keep_prompts():
        with torch.inference_mode():
            model.prefix()
        with torch.no_grad():
            kept = model.prefix().encoder[0].keys
    (kept * torch.ones((), requires_grad=True)).sum().backward()


def linear(model: CrossPTModel, path: str) -> nn.Parameter:
    module: Any = model.base_model.get_submodule(path)
    return module.weight


def hook(model: CrossPTModel) -> None:
    layer: Any = model.base_model.get_submodule("encoder.block.0.layer.1")
    layer.register_forward_hook(lambda _, inputs, output: output + 1)


CHANGES: dict[str, Callable[[CrossPTModel], Any]] = {
    "prompts": lambda model: nn.init.normal_(model.embedding.bank.logits),
    "encoder": lambda model: nn.init.normal_(linear(model, "encoder.block.1.layer.1.DenseReluDense.wo")),
    "encoder attention": lambda model: nn.init.normal_(linear(model, "encoder.block.1.layer.0.SelfAttention.k")),
    "final norm": lambda model: nn.init.normal_(linear(model, "encoder.final_layer_norm")),
    "relative bias": lambda model: nn.init.normal_(
        linear(model, "encoder.block.0.layer.0.SelfAttention.relative_attention_bias")
    ),
    "cross keys": lambda model: nn.init.normal_(linear(model, "decoder.block.1.layer.1.EncDecAttention.k")),
    "cross values": lambda model: nn.init.normal_(linear(model, "decoder.block.0.layer.1.EncDecAttention.v")),
    "another encoder": lambda model: setattr(model.base_model, "encoder", copy.deepcopy(model.base_model.encoder)),
    "loaded state": lambda model: model.load_state_dict(copy.deepcopy(model.state_dict())),
    "dtype": lambda model: model.double(),
    "through data": lambda model: linear(model, "encoder.block.0.layer.0.SelfAttention.v").data.normal_(),
    "hook": lambda model: model.base_model.get_submodule("encoder.block.0.layer.1").register_forward_hook(
        lambda _, inputs, output: output + 1
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_no_change_is_missed_between_calls(model: CrossPTModel, batch: Batch, change: str) -> None:
    rows = batch()
    with model.keep_prompts():
        before = model(**rows).logits
    CHANGES[change](model)
    fresh = copy.deepcopy(model)
    changed = model(**rows).logits
    assert torch.equal(changed, fresh(**rows).logits)
    assert change in ("loaded state", "another encoder") or not torch.equal(changed.float(), before)


@torch.no_grad()
def test_autocast_is_part_of_what_it_depends_on(model: CrossPTModel, computed: list[int]) -> None:
    dtypes = []
    with model.keep_prompts():
        for enabled in (False, True, True, False):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                dtypes.append(model.prefix().encoder[0].keys.dtype)
    assert dtypes == [torch.float32, torch.bfloat16, torch.bfloat16, torch.float32]
    assert len(computed) == 3


def test_another_stream_computes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing makes a stream wait for a result that another one is still computing."""
    streams = ["one", "one"]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_stream", streams.__getitem__)
    cache: ScopedCache[Tensor] = ScopedCache()
    with cache.scope(), torch.no_grad():
        first = cache.get(lambda: torch.zeros(1))
        assert cache.get(lambda: torch.zeros(1)) is first
        for device in (0, 1):
            streams[device] = "other"
            second = cache.get(lambda: torch.zeros(1))
            assert second is not first
            first = second
        assert cache.get(lambda: torch.zeros(1)) is first


@torch.no_grad()
def test_nothing_is_kept_above_the_limit(model: CrossPTModel, computed: list[int], batch: Batch) -> None:
    rows = batch()
    with model.keep_prompts():
        expected = model(**rows).logits
        size = model.prefix_cache.nbytes
        model.prefix_cache.clear()
        model.prefix_cache.limit = size - 1
        with pytest.warns(UserWarning, match=f"{size} bytes are above the limit of {size - 1}; nothing is kept"):
            assert torch.equal(model(**rows).logits, expected)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model(**rows)
        assert model.prefix_cache.nbytes == 0
        assert len(computed) == 3
        model.prefix_cache.limit = size
        model(**rows)
        model(**rows)
        assert model.prefix_cache.nbytes == size
        assert len(computed) == 4


def test_a_copy_keeps_nothing_of_the_original(model: CrossPTModel) -> None:
    with torch.no_grad(), model.keep_prompts():
        kept = model.prefix()
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert other.prefix_cache.nbytes == 0
            nn.init.normal_(other.embedding.bank.logits)
            assert not torch.equal(other.prefix().encoder[0].keys, kept.encoder[0].keys)


def test_a_served_model_answers_in_threads(model: CrossPTModel, batch: Batch) -> None:
    batches = [batch(seed=seed) for seed in range(3)]
    for rows in batches:
        rows.pop("labels")
    expected = [model.generate(**rows, max_new_tokens=5) for rows in batches]
    answers: dict[int, Tensor] = {}

    def answer(number: int) -> None:
        answers[number] = model.generate(**batches[number], max_new_tokens=5)

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(3)]
    with model.keep_prompts():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(torch.equal(answers[number], expected[number]) for number in range(3))

import copy
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import crosspt.models.model
from crosspt import CrossPTConfig, CrossPTModel
from crosspt.prompts.cache import ParameterCache
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
    theirs = crosspt.models.model.compute_prefix

    def compute(*args: Any) -> Any:
        entries.append(1)
        return theirs(*args)

    monkeypatch.setattr(crosspt.models.model, "compute_prefix", compute)
    return entries


def test_filled_once_and_read_by_every_call(model: CrossPTModel, computed: list[int], batch: Batch) -> None:
    rows = batch()
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
    assert model.prefix_cache.nbytes == 4 * (2 * (2 + 2)) * (
        2 * 4 * 3 * 4
    )  # floats, keys and values of 4 layers, T H m D
    model(**rows, labels=labels).loss.backward()
    assert len(computed) == 2  # gradients are wanted


def test_filled_in_inference_mode_it_serves_a_gradient_later(model: CrossPTModel) -> None:
    with torch.inference_mode():
        model.prefix()
    with torch.no_grad():
        kept = model.prefix().encoder[0].keys
    (kept * torch.ones((), requires_grad=True)).sum().backward()


def linear(model: CrossPTModel, path: str) -> nn.Parameter:
    module: Any = model.t5.get_submodule(path)
    return module.weight


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
    "another encoder": lambda model: setattr(model.t5, "encoder", copy.deepcopy(model.t5.encoder)),
    "loaded state": lambda model: model.load_state_dict(copy.deepcopy(model.state_dict())),
    "dtype": lambda model: model.double(),
    "clear": lambda model: model.prefix_cache.clear(),
}


@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_dropped_when_what_it_depends_on_changed(model: CrossPTModel, computed: list[int], change: str) -> None:
    model.prefix()
    CHANGES[change](model)
    kept, again = model.prefix(), model.prefix()
    assert len(computed) == 2
    assert kept is again
    model.prefix_cache.clear()
    for ours, expected in zip(kept.encoder + kept.cross, model.prefix().encoder + model.prefix().cross, strict=True):
        torch.testing.assert_close(ours, expected)


@torch.no_grad()
def test_kept_when_anything_else_changed(model: CrossPTModel, computed: list[int]) -> None:
    model.prefix()
    nn.init.normal_(linear(model, "decoder.block.0.layer.0.SelfAttention.k"))
    nn.init.normal_(linear(model, "decoder.block.0.layer.1.EncDecAttention.q"))
    model.train().eval()
    model.prefix()
    assert len(computed) == 1


@torch.no_grad()
def test_autocast_is_part_of_what_it_depends_on(model: CrossPTModel, computed: list[int]) -> None:
    dtypes = []
    for enabled in (False, True, True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            dtypes.append(model.prefix().encoder[0].keys.dtype)
    assert dtypes == [torch.float32, torch.bfloat16, torch.bfloat16, torch.float32]
    assert len(computed) == 3


@torch.no_grad()
def test_nothing_is_kept_above_the_limit(model: CrossPTModel, computed: list[int], batch: Batch) -> None:
    rows = batch()
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
    with torch.no_grad():
        model.prefix()
        other = copy.deepcopy(model)
        nn.init.normal_(other.embedding.bank.logits)
        assert not torch.equal(other.prefix().encoder[0].keys, model.prefix().encoder[0].keys)


def test_threads_get_what_belongs_to_the_parameters_they_ask_with() -> None:
    parameters = [torch.full((1,), float(number)) for number in range(4)]
    cache: ParameterCache[Tensor] = ParameterCache()
    wrong: list[tuple[int, float]] = []

    def ask(number: int) -> None:
        with torch.inference_mode():
            for _ in range(300):
                value = cache.get([parameters[number]], lambda: parameters[number] + 0)
                if value.item() != number:
                    wrong.append((number, value.item()))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_served_model_answers_in_threads(model: CrossPTModel, batch: Batch) -> None:
    batches = [batch(seed=seed) for seed in range(3)]
    for rows in batches:
        rows.pop("labels")
    expected = [model.generate(**rows, max_new_tokens=5) for rows in batches]
    model.prefix_cache.clear()
    answers: dict[int, Tensor] = {}

    def answer(number: int) -> None:
        answers[number] = model.generate(**batches[number], max_new_tokens=5)

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(answers[number], expected[number]) for number in range(3))

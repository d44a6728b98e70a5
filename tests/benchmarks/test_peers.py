import dataclasses

import pytest
import torch

from benchmarks import comparisons, peers, steps
from benchmarks.operations import EMBEDDING
from benchmarks.providers import Provider, UnavailableError, check
from benchmarks.shapes import TINY, Batch, Shape, make_batch

NAMES = [name for name in peers.PEERS if name not in ("torch.compile", "triton")]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_peers_agree_with_their_references(name: str, dtype: str) -> None:
    if name.startswith("PEFT"):
        pytest.importorskip("peft")
    shape = TINY.moved(dtype=dtype)
    batch = make_batch(shape)
    provider = peers.PEERS[name].build(shape, batch)
    assert provider.forward().dtype == shape.torch_dtype
    assert check(provider, batch.constant) is None


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda x: x * 1.01, "the output is off by 0.01"),
        (lambda x: x + (x - x.detach()), "the gradient of"),
        (lambda x: x[:, 1:], "the output has shape"),
        (lambda x: x.double(), "the output has dtype"),
        (lambda x: x * float("nan"), "the output is off by nan"),
    ],
)
def test_a_wrong_provider_is_reported_and_not_timed(
    wrong: object, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = peers.PEERS["torch"]

    def build(shape: Shape, batch: Batch) -> Provider:
        provider = peer.build(shape, batch)
        return dataclasses.replace(provider, forward=lambda: wrong(provider.forward()))  # type: ignore[operator]

    monkeypatch.setitem(peers.PEERS, "torch", dataclasses.replace(peer, build=build))
    for name in list(peers.PEERS):
        if name not in ("torch", "literal"):
            monkeypatch.delitem(peers.PEERS, name)
    rows = {
        (row["peer"], row.get("pass")): row for row in comparisons.compare_operation(EMBEDDING, TINY, "cpu", rounds=3)
    }
    assert rows["torch", None]["missing"].startswith(f"wrong: {complaint}")
    assert "seconds" not in rows["torch", None]
    assert "seconds" in rows["literal", "both"]


@pytest.mark.parametrize("name", steps.MODELS)
def test_models_agree_with_their_references(name: str) -> None:
    if name.startswith("PEFT"):
        pytest.importorskip("peft")
    bench = steps.make_bench(steps.T5_TINY, TINY)
    prompted = steps.MODELS[name](bench)
    assert steps.check(prompted, bench) is None
    before = [parameter.detach().clone() for parameter in prompted.learned]
    work = steps.training_work(prompted)
    work.run(*work.prepare())
    assert all(not torch.equal(old, new) for old, new in zip(before, prompted.learned, strict=True))
    assert all(parameter.grad is None for parameter in bench.t5.parameters())


def test_a_wrong_model_is_noticed() -> None:
    bench = steps.make_bench(steps.T5_TINY, TINY)
    prompted = steps.MODELS["bare prompt"](bench)
    assert "loss" in str(steps.check(dataclasses.replace(prompted, loss=lambda: prompted.loss() * 1.01), bench))
    silent = dataclasses.replace(prompted, generate=lambda tokens: prompted.generate(tokens) * 0)
    assert "answers" in str(steps.check(silent, bench))


def test_absent_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    batch = make_batch(TINY)
    for name, word in (("PEFT multitask", "peft is not installed"), ("torch.compile", "C\\+\\+ compiler")):
        with pytest.raises(UnavailableError, match=word):
            peers.PEERS[name].build(TINY, batch)

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks import models
from benchmarks.comparisons import Comparison
from benchmarks.embedding import EMBEDDING, Batch, make_batch
from benchmarks.peers import Built, UnavailableError
from benchmarks.shapes import TINY

PEERS = EMBEDDING.peers
NAMES = [name for name in PEERS if name not in ("torch.compile", "triton")]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_peers_agree_with_their_references(name: str, dtype: str) -> None:
    if name.startswith("PEFT"):
        pytest.importorskip("peft")
    shape = TINY.moved(dtype=dtype)
    built = PEERS[name].build(make_batch(shape))
    assert built.forward().dtype == shape.torch_dtype
    assert built.check() is None


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
def test_a_wrong_peer_is_reported_and_not_timed(wrong: Callable[[Tensor], Tensor], complaint: str) -> None:
    peer = PEERS["torch"]

    def build(batch: Batch) -> Built:
        built = peer.build(batch)
        return dataclasses.replace(built, forward=lambda: wrong(built.forward()))

    peers = {"literal": PEERS["literal"], "torch": dataclasses.replace(peer, build=build)}
    comparison = Comparison(dataclasses.replace(EMBEDDING, peers=peers), TINY, rounds=3)
    rows = {(row["peer"], row.get("pass")): row for row in comparison.measure("cpu").to_json()}
    assert rows["torch", None]["missing"].startswith(f"wrong: {complaint}")
    assert "seconds" not in rows["torch", None]
    assert "seconds" in rows["literal", "both"]


@pytest.mark.parametrize("name", models.MODELS)
def test_models_agree_with_their_references(name: str) -> None:
    if name.startswith("PEFT"):
        pytest.importorskip("peft")
    bench = models.make_bench(TINY)
    built = models.MODELS[name].build(bench)
    assert built.check() is None
    before = [parameter.detach().clone() for parameter in built.learned]
    work = built.work("step")
    work.run(*work.prepare())
    assert all(not torch.equal(old, new) for old, new in zip(before, built.learned, strict=True))
    assert all(parameter.grad is None for parameter in bench.t5.parameters())


def test_a_wrong_model_is_noticed() -> None:
    built = models.MODELS["bare prompt"].build(models.make_bench(TINY))
    assert "loss" in str(dataclasses.replace(built, loss=lambda: built.loss() * 1.01).check())
    silent = dataclasses.replace(built, generate=lambda tokens: built.generate(tokens) * 0)
    assert "answers" in str(silent.check())


def test_absent_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    batch = make_batch(TINY)
    for name, word in (("PEFT multitask", "peft is not installed"), ("torch.compile", "C\\+\\+ compiler")):
        with pytest.raises(UnavailableError, match=word):
            PEERS[name].build(batch)

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks import attention, comparisons
from benchmarks.attention import ATTENTION, PREFIX, REFERENCE, TINY, make_attention_batch
from benchmarks.comparisons import Comparison
from benchmarks.counter import count_operations
from benchmarks.peers import Built, UnavailableError
from benchmarks.shapes import AttentionShape

PEERS = ATTENTION.peers
NAMES = [name for name in PEERS if name not in ("flex attention", "triton")]
SHAPES = [TINY, TINY.moved(m=0, T=1, Lq=1), TINY.moved(dtype="bfloat16"), TINY.moved(B=1, dtype="float64")]


def test_floor_without_a_prefix() -> None:
    floors = attention.floors(REFERENCE)
    heads = 16 * 12 * 128 * 64 * 2  # queries, keys, values, output: bfloat16
    beside = 12 * (128 + 128 - 1) * 2 + 16 * 128  # the bias vector, and the mask of a byte a key
    sums = 16 * 12 * 128 * 4
    assert floors["forward"] == 4 * heads + beside + sums == 12_689_384
    # queries, keys, values, output and its gradient are read; three gradients are written
    assert floors["backward"] == 8 * heads + beside + sums == 25_272_296


def test_floor_with_a_prefix() -> None:
    shape = PREFIX.moved(B=3)
    heads = 3 * 8 * 24 * 64 * 2
    prefix = 2 * 8 * 100 * 64 * 2  # keys and values of a task
    beside = 8 * (24 + 100 + 24 - 1) * 2 + 3 * 24 + 3 * 8 * 24 * 4 + 3 * 8
    floors = attention.floors(shape)
    # The prefixes of three tasks are read; every task's has a gradient.
    assert floors["forward"] == 4 * heads + 3 * prefix + beside
    assert floors["backward"] == 8 * heads + (3 + 8) * prefix + beside


def test_sums_of_exponentials_are_kept_in_float64_for_float64() -> None:
    single, double = (attention.floors(TINY.moved(dtype=dtype)) for dtype in ("float32", "float64"))
    indices = TINY.B * TINY.Lk + 8 * TINY.B
    assert double["forward"] - indices == 2 * (single["forward"] - indices)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_peers_agree_with_the_reference_and_stay_above_the_floor(name: str, shape: AttentionShape) -> None:
    peer = PEERS[name]
    built = peer.build(make_attention_batch(shape))
    assert built.parameters.keys() >= {"query", "key", "value"}
    with count_operations() as forward:
        output = built.forward()
    gradient = torch.ones_like(output)
    with count_operations() as backward:
        torch.autograd.grad(output, list(built.parameters.values()), gradient)
    assert built.check() is None
    floors = peer.floors(shape)
    # Eager keeps all weights instead of their sums.
    saved = shape.B * shape.H * shape.Lq * max(shape.torch_dtype.itemsize, 4)
    assert forward.unique_bytes >= floors["forward"] - saved
    assert backward.unique_bytes >= floors["backward"] - saved


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda x: x * 1.01, "the output is off by 0.01"),
        (lambda x: x + (x - x.detach()), "the gradient of"),
        (lambda x: x.transpose(1, 2), "the output has shape"),
    ],
)
def test_a_wrong_peer_is_not_timed(
    wrong: Callable[[torch.Tensor], torch.Tensor], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = PEERS["torch"]

    def build(batch: Any) -> Built:
        built = peer.build(batch)
        return dataclasses.replace(built, forward=lambda: wrong(built.forward()))

    peers = {"eager": PEERS["eager"], "torch": dataclasses.replace(peer, build=build)}
    timed: list[str] = []

    def take_turns(works: dict[Any, Any], *_: Any, **__: Any) -> dict[str, Any]:
        timed.extend(name for _, name in works)
        return {}

    monkeypatch.setattr(comparisons, "take_turns", take_turns)
    operation = dataclasses.replace(ATTENTION, peers=peers)
    (row,) = Comparison(operation, TINY, rounds=3).measure("cpu").to_json()
    assert row["peer"] == "torch"
    assert row["missing"].startswith(f"wrong: {complaint}")
    assert set(timed) == {"eager"}


@pytest.mark.parametrize("part", ["the mask", "the bias", "the prefix"])
def test_the_check_sees_every_part(part: str) -> None:
    batch = make_attention_batch(TINY)
    changed = {
        "the mask": batch._replace(mask=torch.ones_like(batch.mask)),
        "the bias": batch._replace(bias=batch.bias.flip(1)),
        "the prefix": batch._replace(task_ids=1 - batch.task_ids),
    }[part]
    for name in NAMES:
        truth, other = (PEERS[name].build(values) for values in (batch, changed))
        mixed = dataclasses.replace(other, reference=truth.reference, constant=truth.constant)
        assert "the output is off" in str(mixed.check())


def test_flex_attention_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UnavailableError, match=r"C\+\+ compiler"):
        PEERS["flex attention"].build(make_attention_batch(TINY))

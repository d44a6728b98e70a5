"""Which GPU takes whose tiles, and which none: with properties in place of GPUs."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch

from crosspt.functional import library, routing
from crosspt.kernels import architecture
from crosspt.kernels.mixed_tiles import ENCODE
from crosspt.kernels.tiles import ATTENTION, WITH_ALL, WITH_DROPOUT, attention_tiles

GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    architecture.architecture.cache_clear()
    yield
    architecture.architecture.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Make every device a GPU of an architecture."""
    if name.startswith("gfx"):
        properties = SimpleNamespace(gcnArchName=f"{name}:sramecc+:xnack-", major=9, minor=4)
    else:
        major, minor = divmod(int(name.removeprefix("sm_")), 10)
        properties = SimpleNamespace(major=major, minor=minor)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.version, "hip", "7.0" if name.startswith("gfx") else None)


TILES = {
    "sm_80": "sm_80", "sm_86": "sm_86", "sm_87": "sm_86", "sm_89": "sm_86", "sm_90": "sm_90", "sm_100": "sm_100",
    "sm_103": "sm_100", "sm_110": "sm_86", "sm_120": "sm_86", "sm_121": "sm_86", "gfx942": "gfx942",
}  # fmt: skip


@pytest.mark.parametrize("name", TILES)
def test_gpus_that_the_kernels_run_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, name)
    assert architecture.architecture(GPU) == (name, TILES[name], "")
    assert architecture.tile_class(GPU) == TILES[name]
    on_gpu: Any = SimpleNamespace(is_cuda=True, device=GPU)
    on_cpu: Any = SimpleNamespace(is_cuda=False)
    assert routing.runs_triton("attention", "auto", on_gpu)
    assert not routing.runs_triton("attention", "torch", on_gpu)
    assert not routing.runs_triton("attention", "auto", on_cpu)


@pytest.mark.parametrize("name", ["sm_61", "sm_70", "sm_75", "gfx90a", "gfx950", "gfx1100", "gfx1201"])
def test_on_other_gpus_auto_takes_torch_and_triton_says_why(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, name)
    reason = architecture.refusal(GPU)
    assert reason.startswith("needs an NVIDIA GPU of compute capability 8.0 or newer or an AMD gfx942")
    assert reason.endswith(f"got {name}; use backend='torch'")
    on_gpu: Any = SimpleNamespace(is_cuda=True, device=GPU, dtype=torch.float32)
    assert not routing.runs_triton("attention", "auto", on_gpu)
    assert routing.runs_triton("attention", "triton", on_gpu)
    with pytest.raises(RuntimeError) as raised:
        library._launchers("attention_backward", [on_gpu], [0])
    assert str(raised.value) == f"attention: backend 'triton' {reason}"


def test_tensors_on_no_gpu_take_the_tiles_of_one_architecture() -> None:
    for device in ("cpu", "meta"):
        assert architecture.tile_class(torch.device(device)) == "any"
        with mock.patch.object(architecture, "WITHOUT_GPU", "sm_90"):
            assert architecture.tile_class(torch.device(device)) == "sm_90"


def test_every_class_has_tiles() -> None:
    assert tuple(ATTENTION) == tuple(ENCODE) == architecture.CLASSES
    assert len({tuple(tiles) for tiles in ATTENTION.values()}) == 1
    for tiles in ATTENTION.values():
        assert all(rows % keys == 0 for rows, keys, *_ in tiles["attention_bias"].values())
        assert all(128 in of for of in tiles.values())
    assert all(
        limits.keys() <= ATTENTION[tiles][launch].keys() and launch != "attention_bias"
        for (tiles, launch), limits in (WITH_DROPOUT | WITH_ALL).items()
    )


def test_tiles_of_heads_of_any_width_and_with_dropout() -> None:
    def tiles(width: int, dropout: bool = False) -> tuple[int, ...]:
        found = attention_tiles("attention_key", width, torch.bfloat16, "sm_90", dropout)
        return (found.BM, found.BN, found.num_warps, found.num_stages)

    wanted = ATTENTION["sm_90"]["attention_key"]
    dropped = WITH_DROPOUT["sm_90", "attention_key"]
    assert tiles(5) == tiles(64) == wanted[64]
    assert tiles(5, True) == tiles(64, True) == dropped[64] != wanted[64]
    assert tiles(65) == tiles(128) == wanted[128]
    assert tiles(128, True) == dropped[128] != wanted[128]
    assert tiles(129) == tiles(256, True) == ATTENTION["any"]["attention_key"][128]


def test_tiles_of_a_launch_with_bias_mask_and_prefix() -> None:
    for dropout in (False, True):
        for name in architecture.CLASSES:
            alone, all_there = (
                attention_tiles("attention_key", 128, torch.bfloat16, name, dropout, everything)
                for everything in (False, True)
            )
            assert (alone == all_there) == (dropout or name != "sm_86")


def test_the_compiler_takes_the_choice_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "sm_75")

    @torch.compile(backend="eager", fullgraph=True)
    def chosen(x: torch.Tensor) -> torch.Tensor:
        return x if architecture.refusal(GPU) else -x

    assert chosen(torch.ones(1)).item() == 1

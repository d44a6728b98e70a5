"""The verdict on a shape: eager peers alone, and with them what torch.compile makes."""

import pytest

from benchmarks.verdicts import _verdict


@pytest.mark.parametrize(
    ("shape", "ours", "eager", "compiled"),
    [
        ("(a) bfloat16", 0.89, ("win", "triton"), ("win", "triton")),
        ("(a) float32", 1.05, ("win", "triton"), ("tie", "torch")),
        ("(c) bfloat16", 1.2, ("win", "triton"), ("lose", "torch")),
        ("(b) float32", 2.3, ("lose", "torch"), ("lose", "torch")),
    ],
)
def test_verdict(shape: str, ours: float, eager: tuple[str, str], compiled: tuple[str, str]) -> None:
    row = _verdict(shape, "training", {"triton": ours, "torch": 2.0, "torch.compile": 1.0})
    assert (row["eager"]["verdict"], row["eager"]["auto"]) == eager
    assert (row["compiled"]["verdict"], row["compiled"]["auto"]) == compiled
    assert row["seconds"] == ours
    assert set(row["peers"]) == {"torch", "torch.compile"}

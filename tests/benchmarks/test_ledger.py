import json
import subprocess
import sys
from pathlib import Path

import pytest

FIGURES = {
    "peer", "operation", "shape", "pass", "launches", "bytes", "unique_bytes", "flops", "floor_bytes", "ratio",
    "estimated_seconds",
}  # fmt: skip


@pytest.mark.slow
def test_command() -> None:
    """The whole command on a small shape, in a process that interprets Triton whatever the machine."""
    sizes = "B=3,L=5,m=2,d=16,n=2,T=2,V=32"
    heads = "B=3,H=2,Lq=5,Lk=13,D=16,m=3,T=2,dtype=float32"
    command = [sys.executable, "-m", "benchmarks.ledger", "--json", "--no-step", "--shape", sizes, "--attention", heads]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=250
    )
    ledger = json.loads(done.stdout)
    assert ledger["schema"] == 2
    rows = {(row["peer"], row.get("pass")): row for row in ledger["rows"] if row["operation"] == "embedding"}
    attention = {(row["peer"], row.get("pass")): row for row in ledger["rows"] if row["operation"] == "attention"}
    assert not any(row.get("missing", "").startswith("wrong") for row in ledger["rows"])
    for row in ledger["rows"]:
        if "missing" not in row:
            assert row.keys() >= FIGURES
            assert row["ratio"] is None or row["ratio"] == row["unique_bytes"] / row["floor_bytes"]
            assert 0 < row["unique_bytes"] <= row["bytes"]
    assert rows["triton", "forward"]["launches"] == 1
    assert rows["triton", "backward"]["launches"] <= 3
    assert rows["triton", "forward"]["bytes"] < rows["torch", "forward"]["bytes"] < rows["literal", "forward"]["bytes"]
    if ("torch.compile", "forward") in rows:
        assert 1 < rows["torch.compile", "forward"]["launches"] < rows["torch", "forward"]["launches"]
    for what, launches, goal in (("forward", 1, 1.3), ("backward", 2, 1.7)):
        ours, theirs = attention["triton", what], attention["eager", what]
        assert ours["launches"] == launches
        assert 1 <= ours["ratio"] <= goal
        assert ours["unique_bytes"] < theirs["unique_bytes"]
    assert attention["triton", "forward"]["unique_bytes"] < attention["sdpa", "forward"]["unique_bytes"]
    # PyTorch's way on a GPU, not the grouped products of a CPU.
    assert attention["torch", "backward"]["launches"] == attention["sdpa", "backward"]["launches"]
    if ("flex attention", "forward") in attention:
        assert attention["flex attention", "forward"]["flops"] == attention["eager", "forward"]["flops"]

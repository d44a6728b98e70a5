import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_command() -> None:
    """In a process that compiles kernels; a call costs the host no more than a few of those that transformers makes."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "benchmarks.host_time", "--rounds", "20", "--json"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True, timeout=250)
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) == 20
    assert all(0 < row["least"] <= row["median"] for row in rows)
    for what, most in (("inference", 4), ("training", 6)):
        assert max(row["ratios"][1] for row in rows if row["pass"] == what) < most

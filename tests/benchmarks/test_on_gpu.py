"""What runs on a GPU, as far as that goes without one."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from torch.profiler import ProfilerActivity

from benchmarks import gpu_parts, models, on_gpu
from benchmarks.shapes import TINY
from benchmarks.suites import tiny_suites
from benchmarks.timing import Work
from crosspt.kernels.tools.dropped import keep_factors

ROOT = Path(__file__).parents[2]
absent = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    every = [sys.executable, "-m", "benchmarks.on_gpu", *arguments]
    return subprocess.run(every, cwd=ROOT, capture_output=True, text=True, check=False)


@absent
def test_without_a_gpu_a_line_says_what_it_needs() -> None:
    done = command()
    assert done.returncode == 1
    assert done.stderr == "on_gpu: needs a GPU that torch sees; --target cuda:90 compiles for one that is not there\n"


@absent
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_parts_compile_for_a_gpu_that_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "on_gpu.json"
    parts = ("--only", "suites", "kernels", "steps")
    done = command("--target", "cuda:90", "--output", str(path), "--limit", "800", *parts)  # whatever else runs here
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no times" in done.stdout
    found = json.loads(path.read_text())
    assert found.keys() == {"schema", "environment", "versions", "target", "parts"}
    assert list(found["parts"]) == ["steps", "kernels"]
    for part in found["parts"].values():
        assert part.keys() == {"status", "seconds", "error", "rows"}
        assert (part["status"], part["error"]) == ("passed", "")
    assert len(found["parts"]["steps"]["rows"]) == 12
    launched = {row["what"]: row["us"] for row in found["parts"]["kernels"]["rows"]}
    assert len({name for names in launched.values() for name in names}) == 11  # every kernel of kernels/triton
    assert not any(time for times in launched.values() for time in times.values())


def test_a_part_that_fails_or_takes_too_long_is_named() -> None:
    failed, stopped = on_gpu.run_part("nothing", 100, None), on_gpu.run_part("steps", 0.01, None)
    assert (failed["status"], failed["error"]) == ("failed", "exit status 1: KeyError: 'nothing'")
    assert (stopped["status"], stopped["error"]) == ("failed", "stopped after 0 s")
    shown = on_gpu.table({"nothing": failed, "steps": {**stopped, "rows": [{"what": "full", "failed": "off"}]}})
    assert [line.split() for line in shown.splitlines()] == [
        ["steps", "full", "FAILED:", "off"],
        ["nothing", "failed", *failed["error"].split()],
        ["steps", "failed", *stopped["error"].split()],
    ]


def test_failed_tests_are_found_in_what_pytest_prints() -> None:
    failed = ["FAILED tests/a.py::b - off", "tests/a.py::b FAILED   [ 3%]", "[gw0] [ 3%] ERROR tests/a.py::b"]
    assert all(map(on_gpu.FAILED_TEST.search, failed))
    passed = ["tests/a.py::test_FAILED PASSED [ 3%]", "[gw0] [ 3%] PASSED tests/a.py::b[FAILED]", "1 failed, 2 passed"]
    assert not any(map(on_gpu.FAILED_TEST.search, passed))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("mode", ["full", "isolated"])
def test_steps_of_both_backends_drop_the_same(mode: str) -> None:
    bench = models.make_bench(TINY)
    row = gpu_parts.compare_steps(bench, mode, mode == "full", True)
    assert "failed" not in row
    assert row["errors"].keys() >= {"loss", "embedding."}
    assert max(row["errors"].values()) < 1e-5
    if mode == "full":
        assert row["errors"]["relative_attention_bias"] > 0
    with mock.patch.object(gpu_parts, "keep_factors", lambda *sizes: keep_factors(*sizes).flip(-1)):
        assert "failed" in gpu_parts.compare_steps(bench, mode, False, True)


def test_a_piece_that_raises_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> Any:
        raise ValueError("no such thing\nand more")

    pieces = {"steps": lambda target: iter([("one", broken), ("two", lambda: {"result": target})])}
    with mock.patch.object(gpu_parts, "PARTS", pieces):
        gpu_parts.main("steps", "cuda:90")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == [{"what": "one", "failed": "ValueError: no such thing"}, {"what": "two", "result": "cuda:90"}]


def test_the_profiler_times_the_kernels_of_a_pass() -> None:
    def kernel(name: str) -> Any:
        return type(name, (), {})

    on_cpu = mock.patch.object(gpu_parts, "ProfilerActivity", SimpleNamespace(CUDA=ProfilerActivity.CPU))
    work = Work(lambda: (torch.ones(1000),), lambda x: (x.cos(), x.cos()))
    with on_cpu, mock.patch.object(gpu_parts, "CACHE_BYTES", 1):
        found = gpu_parts._profiled(work, {kernel("aten::cos"): 2})
        with pytest.raises(RuntimeError, match="did not see all of aten::sin"):
            gpu_parts._profiled(work, {kernel("aten::sin"): 1})
    assert found.keys() == {"aten::cos"}
    assert 0.1 < found["aten::cos"] < 1e5


def test_suites() -> None:
    tiny = {name: some[:1] for name, some in tiny_suites().items() if name in ("goals", "generation")}
    with mock.patch.object(gpu_parts.suites, "suites", return_value=tiny):
        rows = {what: work() for what, work in gpu_parts.timed_suites(None)}
    assert list(rows) == [f"{name}: {some[0]}" for name, some in tiny.items()]
    assert all("CrossPTModel" in row["result"] for row in rows.values())
    assert [len(row["goals"]) for row in rows.values()] == [0, 3]

"""Measures and counts everything: ``python -m benchmarks [--grid small|full] [--output folder]``.

Writes ``results.json``, ``results.md`` and ``growth.png``. A machine with a GPU measures on it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console

from benchmarks import growth, report, steps
from benchmarks.attentions import compare_attentions
from benchmarks.comparisons import compare_operation, time_models
from benchmarks.operations import EMBEDDING
from benchmarks.prefix_modes import SHAPES, compare_prefix_modes
from benchmarks.shapes import REFERENCE
from crosspt.evaluation.results import environment, package_versions, write_json

ROOT = Path(__file__).parent.parent
BUDGETS = {"small": 12.0, "full": 120.0}
"""Seconds for the rounds of each growing size."""
SUITE_ROUNDS = {"small": 3, "full": 7}
"""Timed calls of each benchmark in the suites, whose times are not compared: peers take turns elsewhere."""


def run_suites(grid: str) -> dict[str, Any]:
    """Run pytest-benchmark in a process of its own; its machine and its statistics."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "suites.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "benchmarks",
            "--quiet",
            "--no-header",
            "--timeout=0",
            f"--grid={grid}",
            f"--rounds={SUITE_ROUNDS[grid]}",
        ]
        command += [f"--benchmark-json={path}", "--benchmark-quiet"]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if not path.exists() or not path.stat().st_size:
            raise RuntimeError(f"pytest wrote no results:\n{done.stdout}")
        written = json.loads(path.read_text())
    rows = [
        {**entry["extra_info"], "name": entry["name"], "seconds": {k: entry["stats"][k] for k in STATISTICS}}
        for entry in written["benchmarks"]
    ]
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return {
        "cpu": written["machine_info"]["cpu"].get("brand_raw", platform.processor()),
        "rows": rows,
        "failed": failed,
    }


STATISTICS = ("min", "q1", "median", "q3", "max", "mean", "stddev", "rounds")


def run_ledger() -> dict[str, Any]:
    """Count in a process of its own, where kernels are interpreted."""
    command = [sys.executable, "-m", "benchmarks.ledger", "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def commit() -> str:
    """The commit that is measured, with a mark where files were changed; unknown outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def measure(grid: str, tell: Callable[[str], None]) -> dict[str, Any]:
    """Everything that ``results.json`` holds."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loads, start = [os.getloadavg()[0]], time.perf_counter()
    tell("measuring peers beside each other")
    comparisons = compare_operation(EMBEDDING, REFERENCE, device, rounds=31)
    bench = steps.make_bench(steps.T5_SMALL, REFERENCE, device)
    budget = 3 * BUDGETS[grid]
    comparisons += time_models("training_step", bench, steps.MODELS, 11, "bare prompt", budget)[0]
    tell("attentions of a plain T5")
    comparisons += compare_attentions(bench, rounds=7, budget=BUDGETS[grid])
    tell("full and isolated prefixes")
    prefixed, goals = compare_prefix_modes(steps.T5_SMALL, SHAPES, device, rounds=7, budget=budget)
    comparisons += prefixed
    rows: list[dict[str, Any]] = []
    for size, values in growth.VALUES.items():
        tell(f"growth with {size}")
        rows += growth.grow_embedding(size, values, device, rounds=15, budget=BUDGETS[grid])
    tell("growth of a training step with n")
    rows += growth.grow_step(steps.T5_SMALL, growth.VALUES["n"], device, rounds=9, budget=budget)
    tell("pytest-benchmark suites")
    suites = run_suites(grid)
    loads.append(os.getloadavg()[0])
    tell("the ledger")
    ledger = run_ledger()
    return {
        "schema": 1,
        "grid": grid,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "machine": {"cpu": suites.pop("cpu"), "cores": os.cpu_count()},
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "environment": environment(),
        "versions": package_versions(),
        "load_average": loads,
        "seconds": time.perf_counter() - start,
        "comparisons": comparisons,
        "goals": goals,
        "growth": rows,
        "slopes": growth.slopes(rows),
        "suites": suites,
        "ledger": ledger,
    }


def main() -> None:
    """Measure, count, write and render."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--grid", choices=list(BUDGETS), default="small", help="sizes of the suites")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="folder that is written")
    options = parser.parse_args()
    console = Console(stderr=True)
    results = measure(options.grid, console.log)
    write_json(options.output / "results.json", results)
    (options.output / "results.md").write_text(report.markdown(results), encoding="utf-8")
    report.figure(results, options.output / "growth.png")
    console.log(f"{options.output}: results.json, results.md and growth.png, after {results['seconds']:.0f} s")
    if results["suites"]["failed"]:
        parser.exit(1, "\n".join(results["suites"]["failed"]) + "\n")


if __name__ == "__main__":
    main()

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
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks import report
from benchmarks.comparisons import slopes
from crosspt.config.files import write_json
from crosspt.evaluation.results import environment, package_versions

ROOT = Path(__file__).parent.parent
STATISTICS = ("min", "q1", "median", "q3", "max", "mean", "stddev", "rounds")


def run_suites(grid: str) -> dict[str, Any]:
    """Run pytest-benchmark in a process of its own, whose lines go to stderr; what it writes, and ``failed`` tests."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "suites.json"
        command = [sys.executable, "-m", "pytest", "benchmarks", "--no-header", "--timeout=0", f"--grid={grid}"]
        command += ["-v", "-rfE", f"--benchmark-json={path}", "--benchmark-quiet"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        failed = []
        for line in process.stdout or ():
            print(line, end="", file=sys.stderr, flush=True)
            failed += [line.rstrip()] if line.startswith(("FAILED", "ERROR")) else []
        process.wait()
        if not path.exists() or not path.stat().st_size:
            raise RuntimeError(f"pytest wrote no results and ended with status {process.returncode}")
        return {**json.loads(path.read_text()), "failed": failed}


def measure(grid: str) -> dict[str, Any]:
    """Everything that ``results.json`` holds."""
    loads, start = [os.getloadavg()[0]], time.perf_counter()
    suites = run_suites(grid)
    loads.append(os.getloadavg()[0])
    counting = [sys.executable, "-m", "benchmarks.ledger", "--json"]  # in a process that interprets kernels
    ledger = subprocess.run(counting, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    stats = [(entry["name"], entry["stats"]) for entry in suites["benchmarks"]]
    rows = [{"name": name, "seconds": {key: found[key] for key in STATISTICS}} for name, found in stats]
    commit, cpu = suites["commit_info"], suites["machine_info"]["cpu"].get("brand_raw", platform.processor())
    return {
        "schema": 1,
        "grid": grid,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": f"{commit['id'][:12]}{'-dirty' if commit.get('dirty') else ''}",
        "machine": {"cpu": cpu, "cores": os.cpu_count()},
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "environment": environment(),
        "versions": package_versions(),
        "load_average": loads,
        "comparisons": suites["comparisons"],
        "goals": suites["goals"],
        "growth": suites["growth"],
        "slopes": slopes(suites["growth"]),
        "suites": {"rows": rows, "failed": suites["failed"]},
        "ledger": json.loads(ledger),
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    """Measure, count, write and render."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--grid", choices=("small", "full"), default="small", help="sizes of the suites")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="folder that is written")
    options = parser.parse_args()
    results = measure(options.grid)
    write_json(options.output / "results.json", results)
    (options.output / "results.md").write_text(report.markdown(results), encoding="utf-8")
    report.figure(results, options.output / "growth.png")
    print(f"{options.output}: results.json, .md and growth.png, after {results['seconds']:.0f} s", file=sys.stderr)
    if results["suites"]["failed"]:
        parser.exit(1, "\n".join(results["suites"]["failed"]) + "\n")


if __name__ == "__main__":
    main()

"""Checks and times everything on a GPU, without a network: ``python -m benchmarks.on_gpu [--only steps kernels]``.

The tests that need a GPU, training steps of both backends beside each other, every kernel's time beside the ledger's
estimate, and the suites, each in a process and a share of the time of its own: one JSON, one table, and exit status 1
if anything failed. ``--target cuda:90`` compiles for a GPU that is not there, and times nothing.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch

from crosspt.config.files import write_json
from crosspt.evaluation.results import environment, package_versions

SHARES = {"tests": 4, "steps": 2, "kernels": 1.5, "ledger": 1.5, "suites": 3}  # of the time left
NEED_A_GPU = ("tests", "suites")
PYTEST = ("-m", "pytest", "tests/kernels", "-m", "gpu", "-v", "-rfE", "-p", "no:cacheprovider", "-n", "8")
FAILED_TEST = re.compile(r"^(FAILED|ERROR) |[ \]](FAILED|ERROR) .*%]|%] (FAILED|ERROR)")  # at the end or before


def run_part(name: str, seconds: float, target: str | None) -> dict[str, Any]:
    """Run a part for so many seconds at most: {status, seconds, error, rows}, with the rows of a stopped one too."""
    start, command = time.monotonic(), ["-m", "benchmarks.gpu_parts", name, *([target] if target else [])]
    command = [sys.executable, *(PYTEST if name == "tests" else command)]
    variables = {**os.environ, "TRITON_INTERPRET": str(int(name == "ledger")), "HF_HUB_OFFLINE": "1"}
    variables |= {"CUDA_VISIBLE_DEVICES": ""} if target else {}
    with TemporaryFile("w+") as output, TemporaryFile("w+") as log:
        streams: Any = {"stdout": output, "stderr": log, "cwd": Path(__file__).parents[1], "env": variables}
        process = subprocess.Popen(command, **streams, start_new_session=True)
        try:
            error = f"exit status {process.returncode}: " if process.wait(seconds) else ""
        except subprocess.TimeoutExpired:
            error = f"stopped after {seconds:.0f} s"
        finally:
            with suppress(ProcessLookupError):  # with what it has started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        lines, said = ((file.seek(0), list(filter(str.strip, file)))[1] for file in (output, log))
    rows = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")]
    if name == "tests":
        rows = [{"what": "pytest", "result": "".join(lines[-1:]).strip()}]
        rows += [{"what": "pytest", "failed": line.strip()} for line in lines if FAILED_TEST.search(line)]
    error += (said or lines or [""])[-1].strip() if error.endswith(": ") else ""
    status = "failed" if error or not rows or any("failed" in row for row in rows) else "passed"
    return {"status": status, "seconds": time.monotonic() - start, "error": error, "rows": rows}


def table(parts: dict[str, dict[str, Any]]) -> str:
    """A line for each row of each part; the ledger's estimates stand beside what was measured."""
    rows = [(name, row["what"], row) for name, part in parts.items() for row in part["rows"]]
    rows.sort(key=lambda line: (line[0].replace("ledger", "kernels"), line[1]))
    rows += [(name, part["status"], {"result": part["error"]}) for name, part in parts.items()]
    width = max(len(what) for _, what, _ in rows)
    texts = [row["result"] if "result" in row else f"FAILED: {row['failed']}" for _, _, row in rows]
    return "\n".join(f"{name:8} {what:{width}} {text}" for (name, what, _), text in zip(rows, texts, strict=True))


def main() -> None:
    """Run the parts, write the JSON and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SHARES, default=list(SHARES), help="parts to run")
    parser.add_argument("--limit", type=float, default=510, help="seconds that all parts may take together")
    parser.add_argument("--target", help="compile for this GPU in place of one that is there, such as cuda:90")
    parser.add_argument("--output", type=Path, default=Path("on_gpu.json"), help="file that is written")
    options = parser.parse_args()
    if not (options.target or torch.cuda.is_available()):
        parser.exit(1, "on_gpu: needs a GPU that torch sees; --target cuda:90 compiles for one that is not there\n")
    waiting = [name for name in SHARES if name in options.only and not (options.target and name in NEED_A_GPU)]
    end, parts = time.monotonic() + options.limit, {}
    for number, name in enumerate(waiting):
        share = SHARES[name] / sum(SHARES[later] for later in waiting[number:])
        parts[name] = run_part(name, share * (end - time.monotonic()), options.target)
        print(f"{name}: {parts[name]['status']} after {parts[name]['seconds']:.0f} s", file=sys.stderr, flush=True)
        about = {"schema": 1, "environment": environment(), "versions": package_versions(), "target": options.target}
        write_json(options.output, {**about, "parts": parts})
    print(table(parts))
    if options.target:
        print(f"compiled for {options.target}, not run: no times; {' and '.join(NEED_A_GPU)} need a GPU")
    sys.exit(any(part["status"] == "failed" for part in parts.values()))


if __name__ == "__main__":
    main()

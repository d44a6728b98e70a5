"""Every method on given tasks: trained, killed, resumed, evaluated, asked for answers; what each learned and cost.

``python -m benchmarks.methods --output DIR --model DIR --tasks sst2,mnli --data-dir DIR --shots 32``: what is not an
option of this command goes to ``crosspt train``. A method that DIR holds already is not trained again.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from crosspt.methods import METHODS

CROSSPT = [sys.executable, "-m", "crosspt.cli"]


class Ended(NamedTuple):
    """How a command ended: its status, the peak of its memory in MB, what it printed."""

    status: int
    peak: int
    output: str


def finish(command: list[object], folder: Path, kill_at: str | None = None) -> Ended:
    """Run a ``crosspt`` command; kill it as soon as a file of this pattern lies in the folder."""
    log = folder.with_suffix(".log")
    with log.open("w+", encoding="utf-8") as output:
        process = subprocess.Popen([*CROSSPT, *map(str, command)], stdout=output, stderr=subprocess.STDOUT)
        while kill_at and process.poll() is None:
            if next(folder.glob(kill_at), None):
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.02)
        _, status, usage = os.wait4(process.pid, 0) if process.returncode is None else (0, process.returncode, None)
        output.seek(0)
        return Ended(status, usage.ru_maxrss // 1024 if usage else 0, output.read())


def measure(name: str, folder: Path, settings: list[str]) -> dict[str, Any]:
    """Take a method through all commands. Raises RuntimeError where one fails, or where two answer differently."""
    record = folder.with_suffix(".json")
    if record.is_file():
        found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return found
    train = ["train", "--method", name, *settings, "--output", folder, "--resume"]
    killed = finish(train, folder, kill_at="**/checkpoint-*")
    if killed.status != signal.SIGKILL:
        raise RuntimeError(f"{name}: expected to be killed at its first checkpoint: {killed.output[-500:]}")
    resumed = finish(train, folder)
    evaluated = finish(["evaluate", "--checkpoint", folder, "--output", folder / "again"], folder)
    for ended in (resumed, evaluated):
        if ended.status:
            raise RuntimeError(f"{name}: {ended.output[-500:]}")
    content, again = (json.loads((place / "results.json").read_text()) for place in (folder, folder / "again"))
    if content["results"] != again["results"]:
        raise RuntimeError(f"{name}: evaluated again, the results differ")
    for task in content["config"]["prompts"]["tasks"]:
        asked = finish(
            ["predict", "--checkpoint", folder, "--task", task, "--text", "a row", "--decode", "rank"], folder
        )
        if asked.status or not asked.output.strip():
            raise RuntimeError(f"{name}: {asked.output[-500:]}")
    scores = {
        f"{row['task']} {row['decode']}": row["value"]
        for row in content["results"]
        if row["scheme"] != "majority" and row["metric"] == "accuracy"
    }
    cost = {key: content["method"][key] for key in ("trainable_parameters", "seconds_per_step")}
    found = {"method": name, **scores, **cost, "peak_mb": resumed.peak}
    record.write_text(json.dumps(found), encoding="utf-8")
    return found


def main() -> None:
    """Print one row a method; exit 1 where one did not go through."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods", description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--output", type=Path, required=True)
    options, settings = parser.parse_known_args()
    options.output.mkdir(parents=True, exist_ok=True)
    rows, failed = [], []
    for name in options.methods.split(","):
        try:
            rows.append(measure(name, options.output / name, settings))
        except RuntimeError as error:
            failed.append(str(error))
    if rows:
        table = Table(*rows[0])
        for row in rows:
            table.add_row(*(value if isinstance(value, str) else f"{round(value, 3):,}" for value in row.values()))
        Console(width=max(140, Console().width)).print(table)
    if failed:
        parser.exit(1, "\n".join(failed) + "\n")


if __name__ == "__main__":
    main()

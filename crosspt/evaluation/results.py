"""``results.json``: what was run, on what, and the metrics of every task."""

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from rich.text import Text

from crosspt.evaluation.metrics import Scores
from crosspt.storage import write_atomically

SCHEMA = 1
RESULTS_NAME = "results.json"
PACKAGES = ("crosspt", "torch", "triton", "transformers", "datasets", "numpy")


def package_versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that matter; None where a package is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def environment() -> dict[str, Any]:
    """The machine a run was made on."""
    return {
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": sys.argv,
    }


def result_rows(
    scores: Scores, *, cell: str, scheme: str, seed: int | None, shots: int | None, task: str
) -> list[dict[str, Any]]:
    """One row for every metric of a task; values and the rate of invalid answers in percent, null where undefined."""
    return [
        {
            "cell": cell,
            "scheme": scheme,
            "seed": seed,
            "shots": shots,
            "task": task,
            "metric": metric,
            "primary": position == 0,
            "value": value,
            "count": scores.count,
            "invalid_rate": scores.invalid_rate,
        }
        for position, (metric, value) in enumerate(scores.values.items())
    ]


def make_results(config: dict[str, Any], seconds: dict[str, float], rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The object that ``results.json`` holds."""
    return {
        "schema": SCHEMA,
        "config": config,
        "versions": package_versions(),
        "environment": environment(),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "results": list(rows),
    }


def write_json(path: Path, content: Any) -> None:
    """Write an object atomically; its folder is made when missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def results_table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    """A table with a row for every scheme, task and metric, and the mean of the primary metrics of each scheme."""
    table = Table(title=Text(title))
    for heading in ("scheme", "task", "metric", "value", "invalid", "rows"):
        table.add_column(heading, justify="left" if heading in ("scheme", "task", "metric") else "right")
    for scheme in dict.fromkeys(row["scheme"] for row in rows):
        mine = [row for row in rows if row["scheme"] == scheme]
        for row in mine:
            metric = row["metric"] + (" *" if row["primary"] else "")
            invalid = f"{row['invalid_rate']:.1f}%"
            table.add_row(scheme, row["task"], metric, _percent(row["value"]), invalid, str(row["count"]))
        primary = [row["value"] for row in mine if row["primary"]]
        mean = None if None in primary else sum(primary) / len(primary)
        table.add_row(scheme, "mean", "primary *", _percent(mean), "", "", end_section=True)
    return table


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1f}"

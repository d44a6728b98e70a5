"""``results.json``: what was run, on what, and the metrics of every task."""

import os
import platform
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from crosspt.config.files import SCHEMA, read_json, write_json
from crosspt.config.layout import PREDICTIONS_NAME, RESULTS_NAME
from crosspt.config.run import Decode
from crosspt.config.values import check_types
from crosspt.evaluation.answers import GROUP, Predictions, write_predictions
from crosspt.evaluation.metrics import MAJORITY, Scores, compute_metrics, majority_baseline

PACKAGES = ("crosspt", "torch", "triton", "transformers", "datasets", "numpy")
RESULTS = {
    "config": dict,
    "versions": dict,
    "environment": dict,
    "seconds": dict[str, float],
    "results": list,
    "analysis": list,
}
ROW = {
    "cell": str,
    "scheme": str,
    "seed": int | None,
    "shots": int | None,
    "task": str,
    "metric": str,
    "primary": bool,
    "value": float | None,
    "count": int,
    "invalid_rate": float,
}


def package_versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that matter; None where a package is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions | {"torch": str(torch.__version__)}  # with its build (+cpu, +cu130), which metadata may leave out


def environment() -> dict[str, Any]:
    """The machine a run was made on."""
    return {
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def result_rows(
    scores: Scores, *, cell: str, scheme: str, seed: int | None, shots: int | None, task: str, decode: str
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
            "decode": decode,
        }
        for position, (metric, value) in enumerate(scores.values.items())
    ]


def score_predictions(
    predictions: Predictions, *, cell: str, seed: int | None, shots: int | None
) -> Iterator[dict[str, Any]]:
    """Rows of results: the metrics of every scheme, task and way of decoding, each beside the majority baseline's.

    Args:
        predictions: the answers.
        cell: what the rows carry.
        seed: likewise.
        shots: likewise.
    """
    for (scheme, task, decode), rows in predictions.rows.groupby(GROUP, observed=True, sort=False):
        asked, answers, references = predictions.tasks[task], list(rows["answer"]), list(rows["reference"])
        for name, scores in (
            (scheme, compute_metrics(asked.task, answers, references, asked.answers)),
            (MAJORITY, majority_baseline(asked.task, references, asked.answers)),
        ):
            yield from result_rows(scores, cell=cell, scheme=name, seed=seed, shots=shots, task=task, decode=decode)


def make_results(
    config: dict[str, Any],
    seconds: dict[str, float],
    rows: Iterable[dict[str, Any]],
    analysis: Iterable[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The object that ``results.json`` holds.

    Args:
        config: the settings.
        seconds: wall time of each part.
        rows: from :func:`score_predictions`.
        analysis: an object for each bank of prompts, from :func:`crosspt.evaluation.analysis.analyse`.
    """
    return {
        "schema": SCHEMA,
        "config": config,
        "versions": package_versions(),
        "environment": environment(),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "results": list(rows),
        "analysis": list(analysis),
    }


def save_evaluation(folder: Path, content: dict[str, Any], predictions: Predictions) -> None:
    """Write ``predictions.parquet``, then ``results.json``: where there are results, the answers are theirs.

    Of processes that were started together the first one writes.

    Args:
        folder: where to; it is made when missing, and what it holds of an earlier evaluation is replaced.
        content: from :func:`make_results`.
        predictions: the answers that the results are computed from.
    """
    if not PartialState().is_main_process:
        return
    (folder / RESULTS_NAME).unlink(missing_ok=True)
    write_predictions(folder / PREDICTIONS_NAME, predictions)
    write_json(folder / RESULTS_NAME, content)


def read_results(path: Path) -> dict[str, Any]:
    """The content of a ``results.json``; a row that does not say how it was answered is of generated answers.

    Raises:
        ValueError: it cannot be read, or a part of it is missing or of the wrong type; the message names the file.
    """
    content = read_json(path)
    check_types(path, content, RESULTS)
    check_types(path, {"method": {}, **content}, {"method": dict})
    for number, row in enumerate(content["results"], start=1):
        check_types(f"{path}: row {number} of results", row, ROW)
        row.setdefault("decode", "generate")
        check_types(f"{path}: row {number} of results", row, {"decode": Decode})
    for number, bank in enumerate(content["analysis"], start=1):
        check_types(f"{path}: bank {number} of analysis", bank, {"tasks": list, "candidates": list})
    return content

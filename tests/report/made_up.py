"""Experiments that no model ran: their folders, with numbers from a seeded generator."""

import contextlib
import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crosspt.config.run import Decode
from crosspt.config.scheme import Scheme
from crosspt.evaluation.answers import Answers, Asked, Predictions, join_predictions, keep_answers, write_predictions
from crosspt.tasks.task import Task

GLUE = ["cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte"]
SYNTHETIC = [f"syn_{task}" for task in GLUE]
SCHEMES = ["SLPN", "SILP", "SLP", "SIL", "SLN", "SIP", "SL", "PI", "P"]
COUNT = 300  # of the rows of a task
METRICS = {"cola": ("accuracy", "matthews"), "stsb": ("pearson", "spearman"), "mrpc": ("accuracy", "f1")}


def make_experiment(
    folder: Path,
    *,
    name: str = "figure-2",
    suite: str = "embedded",
    tasks: Sequence[str] = SYNTHETIC,
    axes: Mapping[str, Sequence[Any]] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    figures: Sequence[Mapping[str, Any]] = (),
    decided: bool = False,
    decodes: Sequence[Decode] = ("generate",),
) -> Path:
    """Write an experiment whose cells have all finished.

    Args:
        folder: where to.
        name: of the experiment.
        suite: of the tasks.
        tasks: names of the tasks.
        axes: values of each axis; by default the nine schemes at 32 shots.
        seeds: seeds of every condition.
        figures: the definition's hints.
        decided: whether its outcome is decided by construction.
        decodes: ways of answering that every cell has rows of.
    """
    axes = {"scheme": SCHEMES, "shots": [32]} if axes is None else dict(axes)
    cells = []
    for values in itertools.product(*axes.values(), seeds):
        settings = dict(zip(axes, values[:-1], strict=True))
        words = [settings["scheme"], *(f"{axis}{settings[axis]}" for axis in axes if axis != "scheme")]
        cell = {
            "cell": "-".join([*words, f"seed{values[-1]}"]),
            "scheme": settings["scheme"],
            "seed": values[-1],
            "shots": settings.get("shots", 32),
            "settings": settings,
        }
        cells.append(cell)
        place = folder / "cells" / cell["cell"]
        place.mkdir(parents=True)
        write(place / "cell.json", {"schema": 1, **cell, "config": {}})
        write(place / "results.json", make_results(cell, tasks, decodes))
        write_predictions(place / "predictions.parquet", make_predictions(cell["scheme"], tasks, decodes))
    content = {
        "schema": 1,
        "experiment": name,
        "title": f"Comparison <of> {name}",
        "suite": suite,
        "model": suite if suite == "embedded" else "t5-base",
        "seeds": list(seeds),
        "axes": list(axes),
        "decided_by_construction": decided,
        "cells": cells,
        "definition": {"name": name, **({"figures": list(figures)} if figures else {})},
    }
    write(folder / "experiment.json", content)
    return folder


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, allow_nan=False))


def make_results(cell: Mapping[str, Any], tasks: Sequence[str], decodes: Sequence[Decode]) -> dict[str, Any]:
    generator = random.Random(cell["cell"])
    scheme = Scheme.parse(cell["scheme"])
    level = 55 + 4 * scheme.uses_privates + 12 * scheme.uses_sources + generator.gauss(0, 2)
    rows = []
    for decode, task in itertools.product(decodes, tasks):
        for position, metric in enumerate(METRICS.get(task.removeprefix("syn_"), ("accuracy",))):
            value = min(100.0, max(0.0, level + 3 * len(task) % 20 + generator.gauss(0, 5) - 8 * position))
            fields = {"cell": cell["cell"], "scheme": scheme.name, "seed": cell["seed"], "shots": cell["shots"]}
            invalid = generator.choice([0.0, 0.3, 1.7]) if decode == "generate" else 0.0
            scores = {"task": task, "metric": metric, "primary": position == 0, "value": value, "count": COUNT}
            rows.append({**fields, **scores, "invalid_rate": invalid, "decode": decode})
            rows.append({**rows[-1], "scheme": "majority", "value": 50.0 + len(task) / 10, "invalid_rate": 0.0})
    return {
        "schema": 1,
        "config": {"model": "embedded", "prompts": {"scheme": scheme.name}, "training": {"seed": cell["seed"]}},
        "versions": {"python": "3.11.0", "torch": "2.13.0"},
        "environment": {"platform": "Linux", "cpu_count": 2, "gpu": None, "command": ["crosspt"]},
        "seconds": {"train": 20.0, "evaluate": 2.5},
        "results": rows,
        "analysis": [make_bank(generator, scheme, tasks)],
    }


def make_predictions(scheme: str, tasks: Sequence[str], decodes: Sequence[Decode]) -> Predictions:
    """As many answers as the results are said to be of; they do not come to their values."""
    references = ["no", "yes"] * (COUNT // 2)
    ranked = np.tile(np.array([[-0.5, -1.0]], dtype=np.float32), (COUNT, 1))
    given: dict[Decode, Answers] = {
        "generate": Answers(["yes"] * (COUNT - 1) + ["maybe"]),
        "rank": Answers(["no"] * COUNT, ranked),
    }
    parts = []
    for task in tasks:
        asked = Asked(Task(name=task, fields=("text",), labels=("no", "yes")), ("no", "yes"))
        parts.append(keep_answers(scheme, asked, references, {way: given[way] for way in decodes}))
    return join_predictions(parts)


def make_bank(generator: random.Random, scheme: Scheme, tasks: Sequence[str]) -> dict[str, Any]:
    sources = scheme.num_sources(len(tasks), len(tasks))
    names = list(tasks) if scheme.initializes_sources else [f"source {number + 1}" for number in range(sources)]
    candidates = names + ["private"] * scheme.uses_privates
    raw = [[generator.random() ** 4 + 0.01 for _ in candidates] for _ in tasks]
    weights = [[value / sum(row) for value in row] for row in raw]
    similarity = [[generator.uniform(-0.2, 1.0) for _ in candidates] for _ in tasks]
    if len(candidates) == 1:
        similarity = [[1.0] for _ in tasks]
    pairs = zip(weights, similarity, strict=True)
    wssp = [
        100 * sum(a * s for a, s in zip(*pair, strict=True)) for pair in ((w[:sources], s[:sources]) for w, s in pairs)
    ]
    likeness = [[1.0 if one == other else generator.uniform(-0.3, 0.9) for other in tasks] for one in tasks]
    return {
        "folder": ".",
        "tasks": list(tasks),
        "candidates": candidates,
        "weights": weights,
        "similarity": similarity,
        "task_similarity": likeness,
        "wssp": sum(wssp) / len(wssp) if sources else None,
        "trainable_parameters": (sources + len(tasks) * scheme.uses_privates) * 10 * 64 + 64 * 64 + 64,
        "inference_cost": {"prompt_rows": 10 * len(candidates), "multiplications": 64 * 64 * 10},
    }


@contextlib.contextmanager
def edit(path: Path) -> Iterator[Any]:
    """Change the content of a JSON file."""
    content = json.loads(path.read_text())
    yield content
    write(path, content)

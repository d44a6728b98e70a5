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
from crosspt.evaluation.results import score_predictions
from crosspt.tasks.task import Task

GLUE = ["cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte"]
SYNTHETIC = [f"syn_{task}" for task in GLUE]
SCHEMES = ["SLPN", "SILP", "SLP", "SIL", "SLN", "SIP", "SL", "PI", "P"]
COUNT = 300  # of the rows of a task
METRICS = {"cola": ("accuracy", "matthews"), "mrpc": ("accuracy", "f1")}


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
    means: Mapping[str, Sequence[float]] | None = None,
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
        means: of the seeds of each scheme, again and again; by default they are random.
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
        generator, scheme = random.Random(cell["cell"]), Scheme.parse(cell["scheme"])
        level = 55 + 4 * scheme.uses_privates + 12 * scheme.uses_sources + generator.gauss(0, 2)
        levels = {task: min(98.0, level + 3 * len(task) % 20 + generator.gauss(0, 5)) for task in tasks}
        if means is not None:
            known = means[cell["scheme"]]
            levels = dict.fromkeys(tasks, known[values[-1] % len(known)])
        finish(place, cell, dict.fromkeys(decodes, levels))
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


def finish(place: Path, cell: Mapping[str, Any], levels: Mapping[Decode, Mapping[str, float]]) -> None:
    """Write a cell's answers, of these accuracies in percent to whole rows, and the results that they come to."""
    generator = random.Random(cell["cell"])
    scheme, tasks = Scheme.parse(cell["scheme"]), list(next(iter(levels.values())))
    predictions = join_predictions([make_answers(cell, task, levels) for task in tasks])
    write_predictions(place / "predictions.parquet", predictions)
    content = {
        "schema": 1,
        "config": {"model": "embedded", "prompts": {"scheme": scheme.name}, "training": {"seed": cell["seed"]}},
        "versions": {"python": "3.11.0", "torch": "2.13.0"},
        "environment": {"platform": "Linux", "cpu_count": 2, "gpu": None, "command": ["crosspt"]},
        "seconds": {"train": 20.0, "evaluate": 2.5},
        "results": list(score_predictions(predictions, cell=cell["cell"], seed=cell["seed"], shots=cell["shots"])),
        "analysis": [make_bank(generator, scheme, tasks)],
    }
    write(place / "results.json", content)


def finish_again(folder: Path, name: str, level: float | Mapping[str, float]) -> None:
    """Give a cell of an experiment other answers: of these accuracies of all tasks or of each."""
    (cell,) = (cell for cell in json.loads((folder / "experiment.json").read_text())["cells"] if cell["cell"] == name)
    rows = json.loads((folder / "cells" / name / "results.json").read_text())["results"]
    levels: dict[Decode, dict[str, float]] = {}
    for row in rows:
        levels.setdefault(row["decode"], {})[row["task"]] = level if isinstance(level, float) else level[row["task"]]
    finish(folder / "cells" / name, cell, levels)


def make_answers(cell: Mapping[str, Any], task: str, levels: Mapping[Decode, Mapping[str, float]]) -> Predictions:
    """Answers to a task, right in rows that differ between cells; one that is generated is no label."""
    generator, references = random.Random(f"{cell['cell']} {task}"), ["no", "yes"] * (COUNT // 2)
    labels, given = ("no", "yes"), {}
    for decode in levels:
        wrong = generator.sample(range(COUNT), COUNT - round(levels[decode][task] * COUNT / 100))
        texts = list(references)
        for place in wrong:
            texts[place] = "no" if references[place] == "yes" else "yes"
        if wrong and decode == "generate":
            texts[wrong[0]] = "maybe"
        ranked = np.tile(np.array([[-0.5, -1.0]], dtype=np.float32), (COUNT, 1))
        given[decode] = Answers(texts, ranked if decode == "rank" else None)
    metrics = METRICS.get(task.removeprefix("syn_"), ("accuracy",))
    asked = Asked(Task(name=task, fields=("text",), labels=labels, metrics=metrics), labels)
    return keep_answers(Scheme.parse(cell["scheme"]).name, asked, references, given)


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

"""Whether schemes can be told apart on the embedded suite, from scheme P, the T5 alone and its text prefixes.

    python -m crosspt.runs.suite_check

Prints each number beside its limit and exits with 1 where one is missed. No other scheme is looked at.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from crosspt.config.data import DataConfig
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import EMBEDDED, Compute, Decode, RunConfig
from crosspt.config.training import TrainingConfig
from crosspt.evaluation.metrics import MAJORITY
from crosspt.models.family import width
from crosspt.models.loading import load_model
from crosspt.runs.evaluate import evaluate_bare, evaluate_prompts, score_prompts
from crosspt.runs.train import train
from crosspt.storage import load_source_prompts
from crosspt.tasks.embedded.synthetic import generate_rows, read_label
from crosspt.tasks.registry import SUITES, get_task
from crosspt.tasks.rows import load_rows
from crosspt.training.stages import Job, run_job

TASKS = list(SUITES["embedded"])
FAMILIES = (("syn_mrpc", "syn_qqp", "syn_stsb"), ("syn_mnli", "syn_qnli", "syn_rte"))
FEW, SOME, MANY = 8, 32, 512
EPOCHS = {MANY: 6}  # 1536 steps, where P's own 30 epochs of 32 rows are 480


class Check(NamedTuple):
    """A number of the suite and the least and the most that it may be."""

    name: str
    value: float
    least: float
    most: float

    @property
    def holds(self) -> bool:
        """Whether the number is within its limits."""
        return self.least <= self.value <= self.most


def measure_seed(seed: int, folder: Path, model: str) -> list[dict[str, Any]]:
    """Train P on few, some and many rows a task, then PI on few rows from prompts of related and of unrelated tasks.

    Returns:
        Rows of results with the ``condition`` that they are of.
    """
    results = []
    for shots in (FEW, SOME, MANY):
        run = _make_run("P", seed, shots, model)
        content = train(run, folder / f"P-{shots}-{seed}", resume=True, device="cpu", progress=False)
        results += [{**row, "condition": f"P at {shots} rows"} for row in content["results"]]
    base_model, tokenizer = load_model(model)
    learned = load_source_prompts([folder / f"P-{MANY}-{seed}"], width(base_model))
    run = _make_run("PI", seed, FEW, model)
    rows = load_rows({position: get_task(name) for position, name in enumerate(TASKS)}, run.data)
    for condition, start in starts(seed).items():
        target = folder / f"{condition}-{seed}"
        job = Job("", run.prompts, run.training)
        if not job.is_finished(target):
            given = {task: learned[start[task]] for task in TASKS}
            run_job(job, target, base_model, tokenizer, rows, run.data, source_prompts=given, device="cpu")
        answers = evaluate_prompts(target, base_model, tokenizer, rows, run, Compute(device="cpu", progress=False))
        results += [{**row, "condition": condition} for row in score_prompts(target, run, answers)]
    return [row for row in results if row["scheme"] != MAJORITY]


def starts(seed: int) -> dict[str, dict[str, str]]:
    """Return the task whose prompt each task starts from: of its family, and of the other family; they vary by seed."""
    related, unrelated = ({name: name for name in TASKS} for _ in range(2))
    for family, other in (FAMILIES, FAMILIES[::-1]):
        for place, name in enumerate(family):
            related[name] = family[(place + 1 + seed % 2) % len(family)]
            unrelated[name] = other[(place + seed) % len(other)]
    return {"related start": related, "unrelated start": unrelated}


def check(results: pd.DataFrame, bare: pd.DataFrame) -> Iterator[Check]:
    """Compare the measured numbers with their limits.

    Args:
        results: what :func:`measure_seed` gave for every seed.
        bare: rows of results of ``majority``, ``bare`` and ``prefix``.
    """
    alone = bare[bare.primary].pivot_table(index="task", columns=["decode", "scheme"], values="value")
    majority = alone["rank"]["majority"]
    wrong = sum(
        row["label"] != read_label(name, row)
        for name in TASKS
        for split in ("train", "test")
        for row in generate_rows(name, split, 2000)
    )
    yield Check("labels that the text does not bear out", wrong, 0, 0)
    yield Check("T5 without prompt over majority, rank", (alone["rank"]["bare"] - majority).mean(), -100, 8)
    for decode in ("generate", "rank"):
        of = partial(_means, results[results.primary & (results.decode == decode)])
        ceiling = alone[decode]["prefix"]
        few, some, many = (of(f"P at {shots} rows") for shots in (FEW, SOME, MANY))
        way = 100 * (some.mean(axis=1) - majority) / (ceiling - majority)
        total = 100 * (some.mean(axis=1) - majority).mean() / (ceiling - majority).mean()
        yield Check(f"T5 with text prefix, {decode}", ceiling.mean(), 90, 100)
        yield Check(f"P at {SOME} rows, percent of the way to it, {decode}", total, 50, 85)
        yield Check(f"P at {SOME} rows over {FEW}, {decode}", (some - few).mean(axis=None), 6, 100)
        yield Check(f"P at {MANY} rows over {SOME}, {decode}", (many - some).mean(axis=None), 5, 100)
        yield Check(f"deviation over seeds at {SOME} rows, {decode}", some.mean().std(), 0, 2.5)
        yield Check(f"tasks 30 to 95 percent of the way, {decode}", int(way.between(30, 95).sum()), 6, len(TASKS))
        kin = [name for family in FAMILIES for name in family]
        gain = of("related start").loc[kin] - of("unrelated start").loc[kin]
        yield Check(f"related over unrelated start at {FEW} rows, {decode}", gain.mean(axis=None), 3, 100)


def _start_worker() -> None:
    torch.set_num_threads(1)
    sys.stdout = sys.stderr  # the Trainer logs to stdout


def _means(rows: pd.DataFrame, condition: str) -> pd.DataFrame:
    """The metric of each task (rows) and seed (columns) in a condition."""
    return rows[rows.condition == condition].pivot_table(index="task", columns="seed", values="value")


def _make_run(scheme: str, seed: int, shots: int, model: str) -> RunConfig:
    return RunConfig(
        model=model,
        task_files={},
        source_prompts=[],
        prompts=CrossPTConfig(tasks=TASKS, scheme=scheme),
        training=TrainingConfig(seed=seed, epochs=EPOCHS.get(shots)),
        data=DataConfig(shots=shots, data_seed=seed),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and exit with 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description="Check that the embedded suite can tell schemes apart.")
    parser.add_argument("--seeds", type=int, default=10, help="seeds from 0 (default: 10)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--model", default=EMBEDDED, help="another T5 (default: the embedded one)")
    parser.add_argument("--output", type=Path, default=Path("runs/suite-check"), help="for runs; it is resumed")
    options = parser.parse_args(arguments)
    tasks = [get_task(name) for name in TASKS]
    alone = [
        evaluate_bare(options.model, tasks, DataConfig(prefix=prefix, test_rows=1000), Compute(progress=False))[0]
        for prefix in (False, True)
    ]
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), _start_worker) as pool:
        work = partial(measure_seed, folder=options.output, model=options.model)
        results = pd.DataFrame([row for rows in pool.map(work, range(options.seeds)) for row in rows])
    bare = pd.DataFrame([row for part in alone for row in part["results"]])
    console = Console()
    primary = results[results.primary]
    for decode in ("generate", "rank"):
        console.print(_task_table(primary[primary.decode == decode], bare, decode))
    table = Table("number", "measured", "limits", "")
    checks = list(check(results, bare))
    for one in checks:
        table.add_row(one.name, f"{one.value:.1f}", f"{one.least} to {one.most}", "" if one.holds else "missed")
    console.print(table)
    sys.exit(not all(one.holds for one in checks))


def _task_table(primary: pd.DataFrame, bare: pd.DataFrame, decode: Decode) -> Table:
    """The mean over seeds of every task in every condition, beside the T5 alone."""
    alone = bare[bare.primary & (bare.decode == decode)].pivot_table(index="scheme", columns="task", values="value")
    means = pd.concat([alone, primary.pivot_table(index="condition", columns="task", values="value", sort=False)])
    table = Table(decode, *(name.removeprefix("syn_") for name in TASKS), "mean")
    for name, values in means[TASKS].iterrows():
        table.add_row(str(name), *(f"{value:.1f}" for value in values), f"{values.mean():.1f}")
    return table


if __name__ == "__main__":
    main()

"""How long a grid will take, from a few steps and answers of the real model on the real rows."""

import dataclasses
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets

from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import CROSSPT, Compute, RunConfig
from crosspt.config.training import TrainingConfig
from crosspt.methods import find_method
from crosspt.methods.method import Job, source_jobs, target_jobs
from crosspt.models.loading import pick_device
from crosspt.runs.evaluate import evaluate_prompts
from crosspt.runs.experiments.grid import Grid, most_rows
from crosspt.runs.train import Preparation, prepare
from crosspt.tasks.rows import TaskRows
from crosspt.tasks.sampling import dev_count
from crosspt.training.stages import run_job

FEW, MANY = 1, 5  # batches of two trainings; what they differ in is not the constant part
ANSWERS = 32  # of each task: a batch


def estimate_seconds(grid: Grid, *, jobs: int, device: str = "auto") -> dict[str, float]:
    """Measure one cell's parts and add up the grid's.

    All cells are taken to have the batches and answers of the one with the most rows, so an axis that changes their
    length, the prompt's or the method is not told apart. A method that starts from source prompts is taken for CrossPT.
    Jobs are taken not to slow each other, and trainings not to end early.

    Returns:
        ``load`` seconds of a run, ``batch`` and ``answer`` seconds each, and ``total`` seconds over all processes.
    """
    run = most_rows(grid.cells).run
    device = pick_device(device).type
    prepare(run)  # the rows of the embedded suite are drawn once in a process
    started = time.perf_counter()
    ready = prepare(run)
    load = time.perf_counter() - started
    batch, answer = _measure(run, ready, device)
    lengths = {name: (len(rows.train), len(rows.test)) for name, rows in ready.rows.items()}
    jobs_of = [(cell.run, target_jobs(cell.run)) for cell in grid.cells]
    jobs_of += [(shared, source_jobs(shared)) for shared in grid.source_runs.values()]
    batches = sum(_batches(job, run, lengths) for run, planned in jobs_of for job in planned)
    answers = sum(_selecting_answers(job, run, lengths) for run, planned in jobs_of for job in planned)
    longest = max(test for _, test in lengths.values())
    for cell in grid.cells:
        answers += sum(lengths.get(task, (0, longest))[1] for task in cell.run.prompts.tasks)
    runs = len(grid.cells) + len(grid.source_runs)
    total = (runs * load + batches * batch + answers * answer) / min(jobs, runs)
    return {"load": load, "batch": batch, "answer": answer, "total": total}


def _batches(job: Job, run: RunConfig, lengths: Mapping[str, tuple[int, int]]) -> int:
    rows = sum(run.data.shots or length for length in _train_lengths(job, lengths))
    return -(-rows // job.training.batch_size) * find_method(job.method).epochs(job.config, job.training)


def _selecting_answers(job: Job, run: RunConfig, lengths: Mapping[str, tuple[int, int]]) -> int:
    """Answers to development rows, in a training that does not end early."""
    if job.training.select == "last":
        return 0
    evaluations = find_method(job.method).epochs(job.config, job.training)
    if job.training.eval_steps:
        steps = _batches(job, run, lengths) // job.training.gradient_accumulation_steps
        evaluations = -(-steps // job.training.eval_steps)
    rows = sum(dev_count(length, run.data.shots, run.data.dev_rows) for length in _train_lengths(job, lengths))
    return evaluations * rows


def _train_lengths(job: Job, lengths: Mapping[str, tuple[int, int]]) -> list[int]:
    longest = max(train for train, _ in lengths.values())
    return [lengths.get(task, (longest, 0))[0] for task in job.config.tasks]


def _measure(run: RunConfig, ready: Preparation, device: str) -> tuple[float, float]:
    """Seconds of a batch in training, and of an answer."""
    tasks = run.prompts.tasks
    settings = run.prompts
    prompts = CrossPTConfig(tasks, prompt_length=settings.prompt_length, encoder=settings.encoder)
    training = TrainingConfig(epochs=1, batch_size=run.training.batch_size, bf16=run.training.bf16)
    if find_method(run.method).needs_source_prompts(prompts):
        run = dataclasses.replace(run, method=CROSSPT)  # what it would start from is not there
    job = Job("", prompts, training, run.method)
    options: dict[str, Any] = {"data": run.data, "device": device}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def train(batches: int) -> float:
            share = -(-batches * training.batch_size // len(tasks))
            rows = {
                task: dataclasses.replace(ready.rows[task], train=_take(ready.rows[task].train, share))
                for task in tasks
            }
            started = time.perf_counter()
            run_job(job, folder, ready.base_model, ready.tokenizer, rows, **options)
            return time.perf_counter() - started

        train(FEW)  # warms up
        batch = max(train(MANY) - train(FEW), 0.0) / (MANY - FEW)
        rows = {task: dataclasses.replace(ready.rows[task], test=_first(ready.rows[task])) for task in tasks}
        started = time.perf_counter()
        compute = Compute(device=device, bf16=training.bf16, progress=False)
        evaluate_prompts(folder, ready.base_model, ready.tokenizer, rows, run, compute)
        answer = (time.perf_counter() - started) / sum(len(part.test) for part in rows.values())
    return batch, answer


def _take(rows: datasets.Dataset, count: int) -> datasets.Dataset:
    """That many rows, the same ones again where there are too few."""
    return rows.select([number % len(rows) for number in range(count)])


def _first(rows: TaskRows) -> datasets.Dataset:
    return rows.test.select(range(min(ANSWERS, len(rows.test))))

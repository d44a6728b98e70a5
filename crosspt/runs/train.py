"""The command ``train``: both stages of a run, then its results."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor
from transformers import T5ForConditionalGeneration

from crosspt.evaluation.analysis import analyse
from crosspt.evaluation.results import RESULTS_NAME, make_results, read_results, write_json
from crosspt.models.model import CrossPTModel
from crosspt.prompts.storage import load_source_prompts
from crosspt.runs.evaluate import evaluate_prompts
from crosspt.runs.folder import RunConfig, load_t5, pick_device, prepare_folder
from crosspt.tasks.collation import PromptCollator, encode_rows
from crosspt.tasks.rows import DataConfig, TaskRows, load_rows
from crosspt.tasks.task import Task
from crosspt.training.stages import CHECKPOINTS, Job, plan_stage1, plan_stage2, run_job


@dataclass
class Preparation:
    """A run that is ready to start.

    Attributes:
        t5: the frozen model.
        tokenizer: its tokenizer.
        rows: the rows of the targets and of the source tasks that stage 1 trains on, by name.
        stage1: jobs that train the missing source prompts.
        stage2: jobs that train the targets' prompts.
    """

    t5: T5ForConditionalGeneration
    tokenizer: Any
    rows: dict[str, TaskRows]
    stage1: list[Job]
    stage2: list[Job]

    def check(self, data: DataConfig, given: Mapping[str, Tensor]) -> None:
        """Encode a row of every target text and start every bank, so that what does not fit raises before training.

        Args:
            data: how rows are encoded.
            given: source prompts (m, d) by task that are not trained.
        """
        PromptCollator(self.tokenizer)
        for task_rows in self.rows.values():
            encode_rows(
                task_rows.task,
                [row for part in (task_rows.train, task_rows.test) for row in _row_of_each_label(task_rows.task, part)],
                self.tokenizer,
                task_id=0,
                words=task_rows.words,
                prefix=data.prefix,
                max_length=data.max_length,
            )
        prompts = dict(given)
        with torch.no_grad():
            for job in [*self.stage1, *self.stage2]:
                model = CrossPTModel(self.t5, job.config, source_prompts=prompts, tokenizer=self.tokenizer)
                prompts |= dict(zip(job.config.tasks, model.embedding.compose(), strict=True))

    def describe(self, run: RunConfig) -> list[dict[str, Any]]:
        """What each job would do: its folder, scheme, tasks, rows, optimizer steps, parameters and learning rates."""
        described = []
        for job in [*self.stage1, *self.stage2]:
            model = CrossPTModel(self.t5, job.config, initialize=False)
            rows = sum(len(self.rows[task].train) for task in job.config.tasks)
            batches = -(-rows // job.training.batch_size)
            steps = -(-batches // job.training.gradient_accumulation_steps)
            described.append(
                {
                    "folder": job.folder or ".",
                    "scheme": job.config.scheme,
                    "tasks": job.config.tasks,
                    "rows": rows,
                    "steps": steps * job.training.resolved_epochs(job.config.parsed_scheme),
                    "trainable_parameters": model.count_parameters()[0],
                    "learning_rates": job.training.learning_rates(job.config),
                }
            )
        return described


def _row_of_each_label(task: Task, rows: datasets.Dataset) -> datasets.Dataset:
    labels = list(rows[task.label_column]) if len(rows) else []
    return rows.select(sorted({label: number for number, label in enumerate(labels)}.values()))


def prepare(run: RunConfig) -> Preparation:
    """Load the model and the rows and plan the jobs; every setting that does not fit raises here."""
    run.check()
    t5, tokenizer = load_t5(run.model)
    given = load_source_prompts(run.source_prompts, t5.config.d_model)
    stage1 = plan_stage1(run.prompts, run.training, given)
    stage2 = plan_stage2(run.prompts, run.training)
    trained = {task for job in stage1 for task in job.config.tasks}
    positions = run.positions()
    targets = {position: task for position, task in positions.items() if task.name in run.prompts.tasks}
    sources = {
        position: task for position, task in positions.items() if position not in targets and task.name in trained
    }
    rows = load_rows(targets, run.data) | load_rows(sources, run.data, test=False)
    ready = Preparation(t5, tokenizer, rows, stage1, stage2)
    ready.check(run.data, given)
    return ready


def train_source_prompts(run: RunConfig, folder: Path, *, device: str = "auto", progress: bool = True) -> None:
    """Train the stage-1 prompts that a run starts from, or go on with it, and nothing else.

    Args:
        run: the settings.
        folder: where everything goes; :func:`train` takes it as ``stage1``.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: whether to show progress bars.
    """
    place = pick_device(device)
    ready = prepare(run)
    prepare_folder(run, folder, resume=True)
    _run_jobs(ready, ready.stage1, run, folder, folder, device=place.type, progress=progress)


def train(
    run: RunConfig,
    folder: Path,
    *,
    stage1: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Train a run, report on its test rows and write ``results.json``.

    A run that was stopped at any moment and is resumed ends with the prompts of an unbroken one; a finished one is left
    as it is.

    Args:
        run: the settings.
        folder: where everything goes.
        stage1: folder that holds the stage-1 prompts, where several runs share them; by default the run's own.
        resume: whether the folder may hold this run already.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: whether to show progress bars.

    Returns:
        The content of ``results.json``.
    """
    started = time.perf_counter()
    place = pick_device(device)
    ready = prepare(run)
    prepare_folder(run, folder, resume)
    results = folder / RESULTS_NAME
    if results.is_file():
        return read_results(results)
    loaded = time.perf_counter()
    stage1 = stage1 or folder
    _run_jobs(ready, ready.stage1, run, stage1, stage1, device=place.type, progress=progress)
    _run_jobs(ready, ready.stage2, run, folder, stage1, device=place.type, progress=progress)
    trained = time.perf_counter()
    rows = evaluate_prompts(
        folder,
        ready.t5.to(place),  # type: ignore[arg-type]  # transformers wraps to() without its overloads
        ready.tokenizer,
        {name: ready.rows[name] for name in run.prompts.tasks},
        run.data,
        cell=folder.name,
        seed=run.training.seed,
        decode=run.decode,
        bf16=run.training.bf16,
        progress=progress,
    )
    seconds = {"load": loaded - started, "train": trained - loaded, "evaluate": time.perf_counter() - trained}
    content = make_results(run.to_dict(), seconds, rows, analyse(folder, run.prompts.tasks))
    write_json(results, content)
    return content


def _run_jobs(
    ready: Preparation,
    jobs: Sequence[Job],
    run: RunConfig,
    folder: Path,
    stage1: Path,
    *,
    device: str,
    progress: bool,
) -> None:
    """Run those jobs that are not finished in a folder, starting from the stage-1 prompts in another."""
    for job in jobs:
        if job.is_finished(folder):
            shutil.rmtree(folder / job.folder / CHECKPOINTS, ignore_errors=True)
            continue
        source_prompts = None
        if job.config.parsed_scheme.needs_source_prompts:
            trained = [stage1 / earlier.folder for earlier in ready.stage1]
            source_prompts = load_source_prompts([*run.source_prompts, *trained], ready.t5.config.d_model)
        run_job(
            job,
            folder,
            ready.t5,
            ready.tokenizer,
            ready.rows,
            run.data,
            source_prompts=source_prompts,
            device=device,
            progress=progress,
        )

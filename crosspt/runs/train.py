"""The command ``train``: both stages of a run, then its results."""

import dataclasses
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate import PartialState
from torch import Tensor

from crosspt.config.files import read_json
from crosspt.config.layout import CHECKPOINTS, RESULTS_NAME, RUN_NAME, SELECTION_NAME
from crosspt.config.run import CROSSPT, Compute, ReportTo, RunConfig
from crosspt.config.values import check_types
from crosspt.evaluation.analysis import analyse
from crosspt.evaluation.answers import join_predictions
from crosspt.evaluation.results import make_results, read_results, save_evaluation
from crosspt.methods import find_method
from crosspt.methods.method import Job, source_jobs, target_jobs
from crosspt.models.family import find_family, width
from crosspt.models.loading import load_model, pick_device
from crosspt.runs.evaluate import evaluate_prompts, score_prompts
from crosspt.runs.extend import earlier_answers, shared_bank
from crosspt.runs.folder import check_run, open_folder
from crosspt.runs.free_text import check_free_text, check_room
from crosspt.runs.select import make_score, selecting_decode
from crosspt.runs.tasks import run_tasks
from crosspt.storage import load_source_prompts
from crosspt.tasks.collation import PromptCollator, encode_rows
from crosspt.tasks.rows import TaskRows, load_rows
from crosspt.tasks.task import Task
from crosspt.training.processes import check_launcher, from_first, join_processes
from crosspt.training.reporting import check_reporting
from crosspt.training.stages import run_job


@dataclass
class Preparation:
    """A run that is ready to start.

    Attributes:
        run: its settings.
        base_model: the frozen model.
        tokenizer: its tokenizer.
        rows: the rows of the targets and of the source tasks that stage 1 trains on, by name.
        source_jobs: stage 1, which trains the missing source prompts.
        target_jobs: stage 2, which trains the targets.
        trainable_parameters: how many stage 2 trains, over all its jobs; known once it is checked.
    """

    run: RunConfig
    base_model: Any
    tokenizer: Any
    rows: dict[str, TaskRows]
    source_jobs: list[Job]
    target_jobs: list[Job]
    trainable_parameters: int = 0

    def check(self, given: Mapping[str, Tensor]) -> None:
        """Encode a row of every target text and start every model, so that what does not fit raises before training.

        Args:
            given: source prompts (m, d) by task that are not trained.
        """
        PromptCollator(self.tokenizer)
        causal = find_family(self.base_model, "train").causal
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of rows that are cut: all rows are counted when they are encoded
            for task_rows in self.rows.values():
                task, parts = task_rows.task, (task_rows.train, task_rows.dev, task_rows.test)
                some = [row for part in parts for row in _row_of_each_label(task, part)]
                encode_rows(
                    task,
                    list(task_rows.train) if task.free_text else some,
                    self.tokenizer,
                    task_id=0,
                    words=task_rows.words,
                    prefix=self.run.data.prefix,
                    max_length=self.run.data.max_length,
                    causal=causal,
                )
        prompts = dict(given)
        with torch.no_grad():
            for job in [*self.source_jobs, *self.target_jobs]:
                method = find_method(job.method)
                model = method.build(self.base_model, job.config, source_prompts=prompts, tokenizer=self.tokenizer)
                shared = shared_bank(self.run, job)
                if shared is not None:
                    method.take_shared(model, shared)
                prompts |= method.prompts(model)
                if job in self.target_jobs:
                    self.trainable_parameters += model.count_parameters()[0]

    def describe(self) -> list[dict[str, Any]]:
        """What each job would do: its folder, scheme, tasks, rows to train and select on, steps, parameters, rates.

        ``added_bytes`` is what it takes beside the language model, without activations: the weights of its own, and of
        those that learn their gradients and Adam's two moments.
        """
        frozen = {id(parameter) for parameter in self.base_model.parameters()}
        described = []
        for job in [*self.source_jobs, *self.target_jobs]:
            method = find_method(job.method)
            model = method.build(self.base_model, job.config, initialize=False)
            own = sum(parameter.nbytes for parameter in model.parameters() if id(parameter) not in frozen)
            learned = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
            rows = sum(len(self.rows[task].train) for task in job.config.tasks)
            epochs = method.epochs(job.config, job.training)
            described.append(
                {
                    "folder": job.folder or ".",
                    "scheme": job.scheme,
                    "tasks": job.config.tasks,
                    "rows": rows,
                    "dev_rows": sum(len(self.rows[task].dev) for task in job.config.tasks),
                    "steps": job.training.steps_per_epoch(rows, self.run.processes) * epochs,
                    "trainable_parameters": model.count_parameters()[0],
                    "learning_rates": {group["name"]: group["lr"] for group in method.groups(model, job.training)},
                    "added_bytes": own + 3 * learned,
                }
            )
        return described


def _row_of_each_label(task: Task, rows: datasets.Dataset) -> datasets.Dataset:
    labels = list(rows[task.label_column]) if len(rows) and not task.free_text else []
    return rows.select(sorted({label: number for number, label in enumerate(labels)}.values()))


def prepare(run: RunConfig) -> Preparation:
    """Load the model and the rows and plan the jobs; every setting that does not fit raises here."""
    check_launcher(run.training.bf16)
    find_method(run.method).check(run)
    base_model, tokenizer = load_model(run.model)
    given = load_source_prompts(run.source_prompts, width(base_model))
    stage1 = source_jobs(run, given)
    trained = {task for job in stage1 for task in job.config.tasks}
    tasks = run_tasks(run)
    check_free_text(tasks.values(), run.decode)
    check_room(tasks.values(), run.data, run.prompts.prompt_length, base_model)
    targets = {position: task for position, task in tasks.items() if task.name in run.learned_tasks}
    sources = {position: task for position, task in tasks.items() if position not in targets and task.name in trained}
    dev = run.training.select == "best"
    rows = load_rows(targets, run.data, dev=dev) | load_rows(sources, run.data, test=False, dev=dev)
    ready = Preparation(run, base_model, tokenizer, rows, stage1, target_jobs(run))
    ready.check(given)
    return ready


def train_source_prompts(
    run: RunConfig, folder: Path, *, report_to: ReportTo = "none", device: str = "auto", progress: bool = True
) -> None:
    """Train the stage-1 prompts that a run starts from, or go on with it, and nothing else.

    Args:
        run: the settings.
        folder: where everything goes; :func:`train` takes it as ``source_folder``.
        report_to: see :func:`train`.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: whether to show progress bars.
    """
    device = pick_device(device).type
    run = dataclasses.replace(run, processes=join_processes(device))
    ready = prepare(run)
    with open_folder(run, folder, resume=True):
        compute = Compute(device=device, bf16=run.training.bf16, progress=progress)
        _run_jobs(ready, ready.source_jobs, folder, folder, compute, report_to)


def train(
    run: RunConfig,
    folder: Path,
    *,
    source_folder: Path | None = None,
    resume: bool = False,
    report_to: ReportTo = "none",
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Train a run, report on its test rows and write ``predictions.parquet`` and ``results.json``.

    A run that was stopped at any moment and is resumed ends with the prompts of an unbroken one; a finished one is left
    as it is. Processes that were started together train and answer together; the first of them writes.

    Args:
        run: the settings.
        folder: where everything goes.
        source_folder: folder that holds the stage-1 prompts, where several runs share them; by default the run's own.
        resume: whether the folder may hold this run already.
        report_to: what the curves of the training are logged for, in ``logs`` in the folder; no setting of the run.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: whether to show progress bars.

    Returns:
        The content of ``results.json``.

    Raises:
        ValueError: a setting does not fit, the package that logs are written with is not installed, or the folder holds
            something else or a run that another process works on.
    """
    started = time.perf_counter()
    check_reporting(report_to)
    compute = Compute(device=pick_device(device).type, bf16=run.training.bf16, progress=progress)
    run = dataclasses.replace(run, processes=join_processes(compute.device))
    ready = prepare(run)
    method, results = find_method(run.method), folder / RESULTS_NAME
    if from_first(lambda: (folder / RUN_NAME).is_file() and results.is_file()):
        check_run(run, folder, resume)
        return read_results(results)
    loaded = time.perf_counter()
    source_folder = source_folder or folder
    with open_folder(run, folder, resume):
        _run_jobs(ready, ready.source_jobs, source_folder, source_folder, compute, report_to)
        taught = time.perf_counter()
        steps = _run_jobs(ready, ready.target_jobs, folder, source_folder, compute, report_to)
        trained = time.perf_counter()
        targets = {name: ready.rows[name] for name in run.learned_tasks}
        predictions = evaluate_prompts(folder, ready.base_model, ready.tokenizer, targets, run, compute)
        if run.extends is not None:
            predictions = join_predictions([earlier_answers(run, folder), predictions])
        rows = score_prompts(folder, run, predictions)
        seconds = {"load": loaded - started, "train": trained - loaded, "evaluate": time.perf_counter() - trained}
        content = make_results(run.to_dict(), seconds, rows, analyse(method, folder, run.prompts.tasks))
        content["method"] = {
            **method.describe(run, find_family(ready.base_model, "train")),
            "trainable_parameters": ready.trainable_parameters,
            "seconds_per_step": round((trained - taught) / steps, 4)
            if steps
            else None,  # of stage 2, checkpoints included
        }
        selected = (*_selected(ready.source_jobs, source_folder, run), *_selected(ready.target_jobs, folder, run))
        content["selection"] = list(selected)
        save_evaluation(folder, content, predictions)
    return content


def _selected(jobs: Sequence[Job], folder: Path, run: RunConfig) -> Iterator[dict[str, Any]]:
    """What was selected in each of the jobs, and how the development rows were answered."""
    for job in jobs:
        if job.training.select == "best":
            path = folder / job.folder / SELECTION_NAME
            content = read_json(path)
            check_types(path, content, {"step": int, "score": float, "history": list[dict]})
            del content["schema"]
            yield {"folder": job.folder or ".", "decode": selecting_decode(run.decode), **content}


def _run_jobs(
    ready: Preparation,
    jobs: Sequence[Job],
    folder: Path,
    source_folder: Path,
    compute: Compute,
    report_to: ReportTo,
) -> int:
    """Run those jobs that are not finished in a folder, starting from the stage-1 prompts in another.

    Returns:
        The number of optimizer steps that were made.
    """
    steps = 0
    finished = from_first(lambda: [job.is_finished(folder) for job in jobs])
    for number, job in enumerate(jobs):
        if finished[number]:
            if PartialState().is_main_process:
                shutil.rmtree(folder / job.folder / CHECKPOINTS, ignore_errors=True)
            continue
        source_prompts = None
        if find_method(job.method).needs_source_prompts(job.config):
            earlier = jobs[:number] if jobs is ready.source_jobs else ready.source_jobs
            source_prompts = _source_prompts(ready, earlier, source_folder)
        score = None
        if job.training.select == "best":
            rows = {task: ready.rows[task] for task in job.config.tasks}
            causal = find_family(ready.base_model, "train").causal
            score = make_score(ready.run, rows, ready.tokenizer, compute, causal=causal)
        steps += run_job(
            job,
            folder,
            ready.base_model,
            ready.tokenizer,
            ready.rows,
            ready.run.data,
            source_prompts=source_prompts,
            shared=shared_bank(ready.run, job, folder),
            score=score,
            report_to=report_to,
            device=compute.device,
            progress=_name(ready, job) if compute.progress else "",
        )
    return steps


def _name(ready: Preparation, job: Job) -> str:
    """What a progress bar says of a job: the run's scheme, the stage, the tasks."""
    stage = "stage 1" if job in ready.source_jobs else "stage 2" if ready.source_jobs else "training"
    tasks = job.config.tasks
    return f"{ready.run.scheme}, {stage}, {tasks[0] if len(tasks) == 1 else f'{len(tasks)} tasks'}"


def _source_prompts(ready: Preparation, jobs: Sequence[Job], folder: Path) -> Mapping[str, Tensor]:
    """What is given and what finished jobs of stage 1 have learned for others to start from."""
    trained = [folder / job.folder for job in jobs if job.method == CROSSPT]
    found = load_source_prompts([*ready.run.source_prompts, *trained], width(ready.base_model))
    for job in jobs:
        if job.method != CROSSPT:
            method = find_method(job.method)
            found.update(method.prompts(method.load(ready.base_model, folder / job.folder)))
    return found

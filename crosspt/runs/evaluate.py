"""The command ``evaluate`` over what a run has learned."""

import dataclasses
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crosspt.config.data import DataConfig
from crosspt.config.layout import EXTENDED, RUN_NAME
from crosspt.config.run import Compute, DecodeChoice, RunConfig
from crosspt.config.training import TrainingConfig
from crosspt.evaluation.analysis import analyse
from crosspt.evaluation.answers import Predictions, join_predictions
from crosspt.evaluation.prediction import BareModel, answer_task
from crosspt.evaluation.results import make_results, score_predictions
from crosspt.methods import find_method, saved_method
from crosspt.models.family import find_family
from crosspt.models.loading import load_model, pick_device
from crosspt.runs.folder import task_copy
from crosspt.runs.free_text import check_free_text, check_room
from crosspt.runs.tasks import find_task, run_tasks
from crosspt.tasks.files import MissingRowsError
from crosspt.tasks.rows import TaskRows, load_rows
from crosspt.tasks.task import Task
from crosspt.tasks.values import show
from crosspt.training.processes import join_processes


def open_checkpoint(folder: Path, model: str | None = None) -> RunConfig:
    """The settings of a run's folder, or of a folder that ``save_pretrained`` wrote or another method saved into.

    Args:
        folder: the folder.
        model: the language model to use instead of the one that it was trained on.

    Raises:
        ValueError: the folder holds nothing that was saved.
    """
    if not folder.is_dir():
        raise ValueError(f"checkpoint {folder}: no such folder")
    if (folder / RUN_NAME).is_file():
        run = RunConfig.load(folder)
        find_method(run.method, folder / RUN_NAME)
        copies = {task: task_copy(folder, task) for task in run.task_files}
        run.task_files |= {task: str(copy) for task, copy in copies.items() if copy.is_file()}
        if model is not None:
            run.model = model
        return run
    method = saved_method(folder)
    config, base_model = method.read(folder)
    name = model or base_model.get("name")
    if not name:
        raise ValueError(f"{folder} does not say which model its prompts were trained on; name it with --model")
    return RunConfig(name, {}, [], config, TrainingConfig(), DataConfig(), method=method.name)


def load_run_model(run: RunConfig) -> tuple[Any, Any]:
    """The language model of a run and its tokenizer, see :func:`crosspt.models.loading.load_model`."""
    path = Path(run.model)
    if path.is_absolute() and not path.exists():
        raise ValueError(f"the model of the prompts, {path}, is not there; if it has moved, give --model")
    return load_model(run.model)


def evaluate_prompts(
    checkpoint: Path,
    base_model: Any,
    tokenizer: Any,
    rows: Mapping[str, TaskRows],
    run: RunConfig,
    compute: Compute,
) -> Predictions:
    """The answers to the test rows of every task with what was learned of it.

    Args:
        checkpoint: a run's folder, or one that ``save_pretrained`` wrote.
        base_model: the language model, which is put on the device.
        tokenizer: its tokenizer.
        rows: test rows by task.
        run: the settings; how rows are encoded and answered is read.
        compute: how rows are answered.
    """
    device = pick_device(compute.device)
    method = find_method(run.method)
    parts: list[Predictions] = []
    model: Any = None
    loaded = None
    for name, task_rows in rows.items():
        folder = method.folder_of(checkpoint, name)
        if folder != loaded:
            model, loaded = None, folder  # one at a time: each may hold weights of its size
            model = method.load(base_model, folder).eval().to(device)
        task_id = model.config.tasks.index(name)
        with model.keep_prompts():
            answers = answer_task(
                model,
                tokenizer,
                task_rows,
                run.data,
                compute,
                scheme=run.scheme,
                task_id=task_id,
                decode=run.decode,
            )
        _warn_of_invalid(name, answers)
        parts.append(answers)
    return join_predictions(parts)


def _warn_of_invalid(name: str, answers: Predictions) -> None:
    generated = answers.rows[answers.rows["decode"] == "generate"]
    if len(generated) and not generated["valid"].any():
        warnings.warn(
            f"task {name!r}: none of the {len(generated)} generated answers is one that it has, most are "
            f"{show(generated['answer'].mode()[0])}; train longer or with higher rates, or rank: --decode rank",
            stacklevel=3,
        )


def score_prompts(checkpoint: Path, run: RunConfig, predictions: Predictions) -> list[dict[str, Any]]:
    """Rows of ``results.json`` of a checkpoint, whose name they carry as their cell.

    Seed and shots are those of the run that trained the row's task: this one, or one that it extends.
    """
    rows = list(score_predictions(predictions, cell=checkpoint.name, seed=run.training.seed, shots=run.data.shots))
    while run.extends is not None:
        earlier, checkpoint = run.extends.tasks, checkpoint / EXTENDED
        run = RunConfig.load(checkpoint)
        for row in rows:
            if row["task"] in earlier:
                row |= {"seed": run.training.seed, "shots": run.data.shots}
    return rows


def evaluate(
    checkpoint: Path, run: RunConfig, compute: Compute, tasks: Sequence[str] | None = None
) -> tuple[dict[str, Any], Predictions]:
    """Score a checkpoint on the test rows of its tasks.

    Args:
        checkpoint: a run's folder, or one that ``save_pretrained`` wrote.
        run: its settings, from :func:`open_checkpoint`, with those changed that shall differ.
        compute: how rows are answered.
        tasks: names of tasks; by default all it has prompts for.

    Returns:
        An object with the schema of ``results.json``, and the answers.
    """
    started = time.perf_counter()
    join_processes(pick_device(compute.device).type)  # raises before anything is loaded
    names = [find_task(run, name).name for name in tasks or run.prompts.tasks]
    tasks_at = {position: task for position, task in run_tasks(run).items() if task.name in names}
    check_free_text(tasks_at.values(), run.decode)
    try:
        rows = load_rows(tasks_at, run.data, train=False)
    except MissingRowsError as error:
        raise ValueError(f"{error}; if it has moved, give --data-dir, or --tasks with the file of your task") from None
    base_model, tokenizer = load_run_model(run)
    check_room(tasks_at.values(), run.data, run.prompts.prompt_length, base_model)
    loaded = time.perf_counter()
    predictions = evaluate_prompts(
        checkpoint, base_model, tokenizer, {name: rows[name] for name in names}, run, compute
    )
    results = score_prompts(checkpoint, run, predictions)
    seconds = {"load": loaded - started, "evaluate": time.perf_counter() - loaded}
    method = find_method(run.method)
    content = make_results(run.to_dict(), seconds, results, analyse(method, checkpoint, names))
    content["method"] = method.describe(run, find_family(base_model, "evaluate"))
    return content, predictions


def evaluate_bare(
    model: str,
    tasks: Sequence[Task],
    data: DataConfig,
    compute: Compute,
    decode: DecodeChoice = "both",
) -> tuple[dict[str, Any], Predictions]:
    """Score a language model without any prompt on the test rows of tasks.

    Args:
        model: of the language model, see :func:`crosspt.models.loading.load_model`.
        tasks: the tasks.
        data: the rows, and whether the input begins with the task's prefix.
        compute: how rows are answered.
        decode: ``"generate"``, ``"rank"`` or ``"both"``.

    Returns:
        An object with the schema of ``results.json``, and the answers. The scheme of its rows is ``bare``, or
        ``prefix`` with the task's prefix in front, and ``majority``.
    """
    started = time.perf_counter()
    device = pick_device(compute.device)
    join_processes(device.type)
    check_free_text(tasks, decode)
    rows = load_rows(dict(enumerate(tasks)), data, train=False)
    base_model: Any  # transformers wraps to() without its overloads
    base_model, tokenizer = load_model(model)
    check_room(tasks, data, 0, base_model)
    base_model.eval().to(device)
    loaded = time.perf_counter()
    scheme = "prefix" if data.prefix else "bare"
    predictions = join_predictions(
        [
            answer_task(BareModel(base_model), tokenizer, task_rows, data, compute, scheme=scheme, decode=decode)
            for task_rows in rows.values()
        ]
    )
    results = list(score_predictions(predictions, cell=scheme, seed=None, shots=None))
    seconds = {"load": loaded - started, "evaluate": time.perf_counter() - loaded}
    config = {
        "model": model,
        "tasks": [task.name for task in tasks],
        "data": dataclasses.asdict(data),
        "decode": decode,
    }
    return make_results(config, seconds, results), predictions

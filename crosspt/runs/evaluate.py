"""The commands ``evaluate`` and ``predict`` over saved prompts."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from transformers import T5ForConditionalGeneration

from crosspt.config.prompts import did_you_mean
from crosspt.config.training import TrainingConfig
from crosspt.evaluation.analysis import analyse
from crosspt.evaluation.metrics import Scores, majority_baseline
from crosspt.evaluation.prediction import BareT5, answer_texts, make_decoder, reference_texts, score_task
from crosspt.evaluation.results import make_results, result_rows
from crosspt.models.model import CrossPTModel
from crosspt.prompts.storage import load_prompts
from crosspt.runs.folder import RUN_NAME, Decode, DecodeChoice, RunConfig, decodes, load_t5, pick_device, prompts_folder
from crosspt.tasks.collation import encode_inputs
from crosspt.tasks.registry import get_task
from crosspt.tasks.rows import DataConfig, TaskRows, load_rows
from crosspt.tasks.task import Task, task_letter


def open_checkpoint(folder: Path, model: str | None = None) -> RunConfig:
    """The settings of a run's folder, or of a folder that ``save_pretrained`` wrote.

    Args:
        folder: the folder.
        model: the T5 to use instead of the one the prompts were trained on.

    Raises:
        ValueError: the folder holds no saved prompts.
    """
    if not folder.is_dir():
        raise ValueError(f"checkpoint {folder}: no such folder")
    if (folder / RUN_NAME).is_file():
        run = RunConfig.load(folder)
        if model is not None:
            run.model = model
        return run
    saved = load_prompts(folder)
    name = model or saved.base_model.get("name")
    if not name:
        raise ValueError(f"{folder} does not say which T5 its prompts were trained on; name it with --model")
    return RunConfig(name, {}, [], saved.config, TrainingConfig(), DataConfig())


def evaluate_prompts(
    checkpoint: Path,
    t5: T5ForConditionalGeneration,
    tokenizer: Any,
    rows: Mapping[str, TaskRows],
    data: DataConfig,
    *,
    cell: str,
    seed: int,
    decode: DecodeChoice = "both",
    batch_size: int = 32,
    bf16: bool = False,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Rows of ``results.json``: the metrics of every task with its prompt, and the majority baseline.

    Args:
        checkpoint: a run's folder, or one that ``save_pretrained`` wrote.
        t5: the T5, on its device.
        tokenizer: its tokenizer.
        rows: test rows by task.
        data: how rows are encoded.
        cell: name of the run in the results.
        seed: of the training.
        decode: ``"generate"``, ``"rank"`` or ``"both"``.
        batch_size: rows in a batch.
        bf16: generate in bfloat16 autocast.
        progress: whether to show progress bars.
    """
    results = []
    models: dict[Path, CrossPTModel] = {}
    for name, task_rows in rows.items():
        folder = prompts_folder(checkpoint, name)
        if folder not in models:
            models[folder] = CrossPTModel.from_pretrained(t5, folder).eval()
        model = models[folder]
        scores = score_task(
            model,
            tokenizer,
            task_rows,
            data,
            decodes=decodes(decode),
            task_id=model.config.tasks.index(name),
            batch_size=batch_size,
            device=model.device,
            bf16=bf16,
            description=f"evaluate {name}" if progress else None,
        )
        results += _with_majority(scores, task_rows, cell=cell, scheme=model.config.scheme, seed=seed, shots=data.shots)
    return results


def evaluate(
    checkpoint: Path,
    run: RunConfig,
    tasks: Sequence[str] | None = None,
    *,
    batch_size: int = 32,
    device: str = "auto",
    bf16: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Score a checkpoint on the test rows of its tasks.

    Args:
        checkpoint: a run's folder, or one that ``save_pretrained`` wrote.
        run: its settings, from :func:`open_checkpoint`, with those changed that shall differ.
        tasks: names of tasks; by default all it has prompts for.
        batch_size: rows in a batch.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        bf16: generate in bfloat16 autocast.
        progress: whether to show progress bars.

    Returns:
        An object with the schema of ``results.json``.
    """
    started = time.perf_counter()
    place = pick_device(device)
    names = [find_task(run, name).name for name in tasks or run.prompts.tasks]
    rows = load_rows({p: task for p, task in run.positions().items() if task.name in names}, run.data, train=False)
    t5, tokenizer = load_t5(run.model)
    loaded = time.perf_counter()
    results = evaluate_prompts(
        checkpoint,
        t5.to(place),  # type: ignore[arg-type]  # transformers wraps to() without its overloads
        tokenizer,
        {name: rows[name] for name in names},
        run.data,
        cell=checkpoint.name,
        seed=run.training.seed,
        decode=run.decode,
        batch_size=batch_size,
        bf16=bf16,
        progress=progress,
    )
    seconds = {"load": loaded - started, "evaluate": time.perf_counter() - loaded}
    return make_results(run.to_dict(), seconds, results, analyse(checkpoint, names))


def evaluate_bare(
    model: str,
    tasks: Sequence[Task],
    data: DataConfig,
    *,
    decode: DecodeChoice = "both",
    batch_size: int = 32,
    device: str = "auto",
    bf16: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Score a T5 without any prompt on the test rows of tasks.

    Args:
        model: folder or hub name of the T5, or ``embedded``.
        tasks: the tasks.
        data: the rows, and whether the input begins with the task's name.
        decode: ``"generate"``, ``"rank"`` or ``"both"``.
        batch_size: rows in a batch.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        bf16: generate in bfloat16 autocast.
        progress: whether to show progress bars.

    Returns:
        An object with the schema of ``results.json``. The scheme of its rows is ``bare``, or ``prefix`` with the task's
        name in front, and ``majority``.
    """
    started = time.perf_counter()
    place = pick_device(device)
    rows = load_rows(dict(enumerate(tasks)), data, train=False)
    loaded, tokenizer = load_t5(model)
    t5: Any = loaded.to(place).eval()  # type: ignore[arg-type]  # transformers wraps to() without its overloads
    ready = time.perf_counter()
    scheme = "prefix" if data.prefix else "bare"
    results = []
    for name, task_rows in rows.items():
        scores = score_task(
            BareT5(t5),
            tokenizer,
            task_rows,
            data,
            decodes=decodes(decode),
            task_id=0,
            batch_size=batch_size,
            device=place,
            bf16=bf16,
            description=f"evaluate {name}" if progress else None,
        )
        results += _with_majority(scores, task_rows, cell=scheme, scheme=scheme, seed=None, shots=None)
    seconds = {"load": ready - started, "evaluate": time.perf_counter() - ready}
    config = {
        "model": model,
        "tasks": [task.name for task in tasks],
        "data": dataclasses.asdict(data),
        "decode": decode,
    }
    return make_results(config, seconds, results)


def _with_majority(
    scores: dict[Decode, Scores], rows: TaskRows, *, cell: str, scheme: str, seed: int | None, shots: int | None
) -> list[dict[str, Any]]:
    majority = majority_baseline(rows.task, reference_texts(rows), rows.words)
    shared: dict[str, Any] = {"cell": cell, "seed": seed, "shots": shots, "task": rows.task.name}
    return [
        row
        for decode, answered in scores.items()
        for name, score in ((scheme, answered), ("majority", majority))
        for row in result_rows(score, scheme=name, decode=decode, **shared)
    ]


def find_task(run: RunConfig, name: str) -> Task:
    """The task of a checkpoint by its name, in any spelling. Raises ValueError where it has no prompt for it."""
    targets = {task.name: task for task in run.positions().values() if task.name in run.prompts.tasks}
    if name not in targets:
        with suppress(ValueError):
            name = get_task(name).name
    if name not in targets:
        raise ValueError(f"the checkpoint has no prompt for task {name!r}{did_you_mean(name, targets)}")
    return targets[name]


def predict(
    checkpoint: Path,
    run: RunConfig,
    task: Task,
    inputs: Sequence[Mapping[str, Any]] | Sequence[str],
    *,
    decode: Decode = "generate",
    batch_size: int = 32,
    device: str = "auto",
    bf16: bool = False,
    progress: bool = True,
) -> list[str]:
    """The answers to rows of a task, or to texts that are formatted already.

    Args:
        checkpoint: a run's folder, or one that ``save_pretrained`` wrote.
        run: its settings, from :func:`open_checkpoint`.
        task: the task.
        inputs: rows with the task's text columns, or formatted texts.
        decode: ``"generate"`` or ``"rank"``.
        batch_size: rows in a batch.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        bf16: generate in bfloat16 autocast.
        progress: whether to show a progress bar.
    """
    place = pick_device(device)
    t5, tokenizer = load_t5(run.model)
    rows = [row for row in inputs if not isinstance(row, str)]
    texts = [text for text in inputs if isinstance(text, str)]
    encoded = encode_inputs(task, rows, tokenizer, prefix=run.data.prefix, max_length=run.data.max_length)
    if texts:
        encoded = tokenizer(texts, truncation=True, max_length=run.data.max_length).input_ids
    model = CrossPTModel.from_pretrained(t5, prompts_folder(checkpoint, task.name)).eval().to(place)
    words = task.label_words(run.data.label_set, task_letter(run.prompts.tasks.index(task.name)))
    (answers,) = answer_texts(
        model,
        tokenizer,
        encoded,
        [make_decoder(decode, model.t5, tokenizer, task, words)],
        task_id=model.config.tasks.index(task.name),
        batch_size=batch_size,
        device=place,
        bf16=bf16,
        description="predict" if progress else None,
    )
    return answers

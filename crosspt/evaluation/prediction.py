"""Answers of a model: greedy generation, and the scores of a task's test rows."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from crosspt.evaluation.metrics import Scores, compute_metrics
from crosspt.tasks.collation import PromptCollator, encode_inputs
from crosspt.tasks.config import DataConfig, TaskRows
from crosspt.tasks.task import Task

Generate = Callable[..., torch.Tensor]


def generate_texts(
    generate: Generate,
    tokenizer: Any,
    inputs: Sequence[Sequence[int]],
    *,
    task_id: int,
    max_new_tokens: int,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
    bf16: bool = False,
    description: str | None = None,
) -> list[str]:
    """Greedy answers, in the order of the inputs.

    Args:
        generate: ``CrossPTModel.generate``, or a function that takes the same arguments.
        tokenizer: the T5's.
        inputs: token ids of each row.
        task_id: the task of all rows.
        max_new_tokens: most tokens of an answer.
        batch_size: rows in a batch.
        device: where the model is.
        bf16: generate in bfloat16 autocast.
        description: what the progress bar says; None shows no bar.

    Raises:
        ValueError: batch_size is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"generate_texts: batch_size must be at least 1, got {batch_size}")
    collate = PromptCollator(tokenizer)
    # Rows of similar length share a batch; the longest come first, so that a lack of memory shows at once.
    order = sorted(range(len(inputs)), key=lambda row: -len(inputs[row]))
    batches: Iterable[int] = range(0, len(order), batch_size)
    if description is not None:
        console = Console(stderr=True)
        batches = track(
            batches, description=description, transient=True, console=console, disable=not console.is_terminal
        )
    texts = [""] * len(inputs)
    for start in batches:
        rows = order[start : start + batch_size]
        batch = collate([{"input_ids": inputs[row], "task_ids": task_id} for row in rows])
        autocast = torch.autocast(torch.device(device).type, torch.bfloat16) if bf16 else nullcontext()
        with torch.inference_mode(), autocast:
            output = generate(
                **{name: tensor.to(device) for name, tensor in batch.items()},
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
            )
        for row, text in zip(rows, tokenizer.batch_decode(output, skip_special_tokens=True), strict=True):
            texts[row] = text
    return texts


def answer_length(task: Task, words: Sequence[str], tokenizer: Any) -> int:
    """Most tokens that an answer of the task takes, with its end: a longer one is invalid in any case."""
    answers = ["0.2", "5.0"] if task.regression else list(words)
    return max(len(tokenizer(answer).input_ids) for answer in answers) + 1


def score_task(
    generate: Generate, tokenizer: Any, rows: TaskRows, data: DataConfig, *, task_id: int, **options: Any
) -> Scores:
    """Metrics of the answers to a task's test rows.

    Args:
        generate: see :func:`generate_texts`.
        tokenizer: the T5's.
        rows: the task and its rows.
        data: how rows are encoded.
        task_id: the task's number in the model.
        options: further options of :func:`generate_texts`.
    """
    inputs = encode_inputs(rows.task, rows.test, tokenizer, prefix=data.prefix, max_length=data.max_length)
    answers = generate_texts(
        generate,
        tokenizer,
        inputs,
        task_id=task_id,
        max_new_tokens=answer_length(rows.task, rows.words, tokenizer),
        **options,
    )
    return compute_metrics(rows.task, answers, reference_texts(rows), rows.words)


def reference_texts(rows: TaskRows) -> list[str]:
    """The right answers to a task's test rows."""
    return [rows.task.target_text(row, rows.words) for row in rows.test]

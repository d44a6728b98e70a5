"""The score that prompts are selected by: what an evaluation reports, on the development rows."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from crosspt.config.run import Compute, Decode, DecodeChoice, RunConfig
from crosspt.evaluation.metrics import compute_metrics
from crosspt.evaluation.prediction import answer_rows, make_decoder, possible_answers
from crosspt.tasks.collation import encode_inputs
from crosspt.tasks.rows import TaskRows
from crosspt.tasks.task import Task
from crosspt.training.selection import Score


class Questions(NamedTuple):
    """The development rows of a task: token ids of each, and the right answers."""

    task: Task
    words: tuple[str, ...]
    inputs: list[list[int]]
    references: list[str]


def selecting_decode(decode: DecodeChoice) -> Decode:
    """How development rows are answered: as the run's test rows are, by generation where those are in both ways."""
    return "rank" if decode == "rank" else "generate"


def make_score(
    run: RunConfig, rows: Mapping[str, TaskRows], tokenizer: Any, compute: Compute, *, causal: bool = False
) -> Score:
    """The primary metric of each task of a model on the task's development rows, 0 where it is undefined.

    Args:
        run: the settings; how rows are encoded and answered is read.
        rows: the rows of the tasks, by name.
        tokenizer: the language model's.
        compute: how rows are answered, here without progress bars.
        causal: whether an answer continues the text.
    """
    compute = dataclasses.replace(compute, progress=False)
    questions = {}
    for name, part in rows.items():
        how: dict[str, Any] = {"prefix": run.data.prefix, "max_length": run.data.max_length, "causal": causal}
        inputs = encode_inputs(part.task, part.dev, tokenizer, **how)
        references = [part.task.reference_text(row, part.words) for row in part.dev]
        questions[name] = Questions(part.task, part.words, inputs, references)
    return partial(_score, questions, selecting_decode(run.decode), tokenizer, compute)


def _score(
    questions: Mapping[str, Questions], decode: Decode, tokenizer: Any, compute: Compute, model: Any
) -> dict[str, float]:
    scores = {}
    with model.keep_prompts():
        for task_id, name in enumerate(model.config.tasks):
            task, words, inputs, references = questions[name]
            decoder = make_decoder(decode, model, tokenizer, task, words)
            (answers,) = answer_rows(model, tokenizer, inputs, [decoder], compute, task_id=task_id)
            found = compute_metrics(task, answers.texts, references, possible_answers(task, words))
            scores[name] = next(iter(found.values.values())) or 0.0
    return scores

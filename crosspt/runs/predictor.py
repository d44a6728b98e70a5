"""``crosspt.load``: a run in Python, which answers rows of its tasks."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from crosspt.config.files import did_you_mean
from crosspt.config.run import Compute, Decode
from crosspt.evaluation.mixed import Question, answer_questions
from crosspt.runs.answering import AnsweringTask, load_tasks
from crosspt.runs.evaluate import load_run_model, open_checkpoint
from crosspt.tasks.collation import warn_of_cut

TASK = "task"


def load(checkpoint: str | Path, *, model: str | None = None, compute: Compute | None = None) -> "Predictor":
    """Load a run, or saved prompts, with the language model that they were trained on.

    Args:
        checkpoint: the folder.
        model: the language model to use instead, as for ``crosspt train --model``.
        compute: batch size, device and autocast; by default batches of 32 on a GPU if there is one, without a bar.

    Raises:
        ValueError: the folder holds nothing that was saved, or something damaged; the language model cannot be had.
    """
    compute = compute or Compute(progress=False)
    folder = Path(checkpoint)
    run = open_checkpoint(folder, model)
    return Predictor(load_tasks(folder, run, *load_run_model(run), device=compute.device), compute)


class Predictor:
    """Answers rows of the tasks of a run, as ``crosspt predict`` does.

    Args:
        asked: the tasks by name.
        compute: how rows are answered.
    """

    def __init__(self, asked: Mapping[str, AnsweringTask], compute: Compute):
        self._asked = asked
        self.compute = compute

    @property
    def tasks(self) -> dict[str, tuple[str, ...]]:
        """The text columns of each task, by its name."""
        return {name: asked.task.fields for name, asked in self._asked.items()}

    def predict(
        self, rows: Iterable[Mapping[str, Any]], task: str | None = None, *, decode: Decode | None = None
    ) -> list[dict[str, Any]]:
        """Answer rows; those of all tasks of a model share batches.

        Args:
            rows: with the text columns of their tasks; others are not looked at.
            task: of all rows; without it every row names its own under ``task``.
            decode: ``"rank"``, the likeliest of the task's labels, or ``"generate"``, what is generated greedily; by
                default ranked, and of tasks of free text generated.

        Returns:
            For each row, in their order, its ``task``, and the ``label`` and its ``probability`` among the task's
            labels, or the ``text`` that was generated.

        Raises:
            TypeError: a row is no mapping.
            ValueError: a task is unknown or not named, a row lacks a column of its task, or free text is to be ranked.
        """
        if decode not in (None, *get_args(Decode)):
            raise ValueError(f"predict: decode must be one of {', '.join(get_args(Decode))}, got {decode!r}")
        rows = list(rows)
        names = [self._task_of(number, row, task) for number, row in enumerate(rows, start=1)]
        questions: dict[int, Question] = {}
        for name, asked in self._asked.items():
            places = [place for place, of in enumerate(names) if of == name]
            if not places:
                continue
            found, cut = asked.ask([rows[place] for place in places], asked.decoding(decode))
            warn_of_cut(asked.task, cut, len(places), asked.data.max_length)
            questions.update(zip(places, found, strict=True))
        models: dict[int, list[int]] = defaultdict(list)  # rows by the model that answers them
        for place, name in enumerate(names):
            models[id(self._asked[name].model)].append(place)
        answers: dict[int, dict[str, Any]] = {}
        for places in models.values():
            asked = self._asked[names[places[0]]]
            replies = answer_questions(
                asked.model, asked.tokenizer, [questions[place] for place in places], self.compute
            )
            for place, reply in zip(places, replies, strict=True):
                ranked = {"label": reply.text, "probability": reply.probability}
                generated = questions[place].decode == "generate"
                answers[place] = {TASK: names[place], **({"text": reply.text} if generated else ranked)}
        return [answers[place] for place in range(len(rows))]

    def _task_of(self, number: int, row: Mapping[str, Any], task: str | None) -> str:
        if not isinstance(row, Mapping):
            raise TypeError(f"predict: row {number} must be a mapping of columns to texts, got {type(row).__name__}")
        name = row.get(TASK) if task is None else task
        if not isinstance(name, str):
            raise ValueError(f"predict: row {number} names no task, and none is given for all rows")
        if name not in self._asked:
            raise ValueError(f"predict: row {number} is of the unknown task {name!r}{did_you_mean(name, self._asked)}")
        return name

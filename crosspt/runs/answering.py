"""What a run has learned, loaded once to answer rows of its tasks, mixed as they come."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosspt.config.data import DataConfig
from crosspt.config.run import Decode, RunConfig
from crosspt.evaluation.mixed import Question, Way
from crosspt.evaluation.prediction import HasEncoder, possible_answers, tokens_to_generate, ways_to_decode
from crosspt.methods import find_method
from crosspt.models.copying import own_copy
from crosspt.models.loading import pick_device
from crosspt.runs.tasks import find_task
from crosspt.tasks.answers import encode_answers
from crosspt.tasks.collation import encode_texts, fit_inputs
from crosspt.tasks.task import Task, task_letter


@dataclass(frozen=True, eq=False)
class AnsweringTask:
    """A task that can be asked.

    Args:
        task: the task.
        model: the model that answers it, in eval mode, on its device; tasks may share one.
        tokenizer: its tokenizer.
        data: how rows are encoded.
        way: how the model is asked.
        scope: the block of ``keep_prompts`` that lasts as long as anything refers to it.
    """

    task: Task
    model: HasEncoder
    tokenizer: Any
    data: DataConfig
    way: Way
    scope: ExitStack = field(default_factory=ExitStack)

    def decoding(self, decode: Decode | None) -> Decode:
        """How rows are answered: as it is given, or by default ranked where there is something to rank.

        Raises:
            ValueError: free text is to be ranked.
        """
        return ways_to_decode(self.task, decode or ("generate" if self.task.free_text else "rank"))[0]

    def ask(self, rows: Iterable[Mapping[str, Any]], decode: Decode) -> tuple[list[Question], int]:
        """Rows with the task's text columns, encoded as in training, and how many of them are cut.

        Raises:
            ValueError: as :func:`crosspt.tasks.collation.encode_inputs`.
        """
        how: dict[str, Any] = {"max_length": self.data.max_length, "causal": self.model.family.causal}
        encoded, cut = fit_inputs(self.task, rows, self.tokenizer, prefix=self.data.prefix, **how)
        return [Question(ids, self.way, decode) for ids in encoded], cut

    def ask_texts(self, texts: Sequence[str], decode: Decode) -> list[Question]:
        """Inputs that are formatted already."""
        how: dict[str, Any] = {"max_length": self.data.max_length, "causal": self.model.family.causal}
        return [Question(ids, self.way, decode) for ids in encode_texts(texts, self.tokenizer, **how)]


def make_way(task: Task, words: Sequence[str], tokenizer: Any, task_id: int) -> Way:
    """How a model is asked for answers to a task.

    Args:
        task: the task.
        words: the word of each class, from :meth:`Task.label_words`.
        tokenizer: the language model's.
        task_id: the task's number in the model.

    Raises:
        ValueError: as :func:`crosspt.tasks.collation.encode_answers`.
    """
    answers = encode_answers(possible_answers(task, words), tokenizer, task.name)
    return Way(task_id, answers, tokens_to_generate(task, answers))


def load_tasks(
    checkpoint: Path,
    run: RunConfig,
    base_model: Any,
    tokenizer: Any,
    device: str = "auto",
    names: Sequence[str] | None = None,
) -> dict[str, AnsweringTask]:
    """The tasks of a run by name, ready to be asked. Tasks that learned together share a model, and with it batches.

    The language model is neither changed nor asked: each model is built over modules of its own that share its
    weights, so that several runs stand over one language model, and one is loaded while others answer. What prompts
    come to is kept from the first answer on, as long as the model is.

    Args:
        checkpoint: a run's folder, or one that ``save_pretrained`` wrote.
        run: its settings, from :func:`crosspt.runs.evaluate.open_checkpoint`.
        base_model: the run's language model.
        tokenizer: its tokenizer.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        names: of the tasks, by default all.

    Raises:
        ValueError: what was learned is not there, damaged, or another language model's.
    """
    place, method = pick_device(device), find_method(run.method)
    base_model.to(place)
    models: dict[Path, tuple[Any, ExitStack]] = {}
    tasks = {}
    for task in [find_task(run, name) for name in names or run.prompts.tasks]:
        folder = method.folder_of(checkpoint, task.name)
        if folder not in models:
            model = method.load(own_copy(base_model), folder).eval().to(place)
            scope = ExitStack()
            scope.enter_context(model.keep_prompts())  # no weight of a model that answers changes
            models[folder] = model, scope
        model, scope = models[folder]
        words = task.label_words(run.data.label_set, task_letter(run.prompts.tasks.index(task.name)))
        way = make_way(task, words, tokenizer, model.config.tasks.index(task.name))
        tasks[task.name] = AnsweringTask(task, model, tokenizer, run.data, way, scope)
    return tasks

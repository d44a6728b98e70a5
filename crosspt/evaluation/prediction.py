"""Answers of a model, by greedy generation and by ranking."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Protocol, get_args

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from crosspt.config.data import DataConfig
from crosspt.config.run import Compute, Decode, DecodeChoice
from crosspt.evaluation.answers import Answers, Asked, Predictions, keep_answers
from crosspt.models.family import Family, find_family
from crosspt.tasks.answers import Answer, encode_answers
from crosspt.tasks.collation import IGNORED_LABEL, PromptCollator, encode_inputs
from crosspt.tasks.rows import TaskRows
from crosspt.tasks.scale import scale_texts
from crosspt.tasks.task import Task
from crosspt.training.progress import Steps

Decoder = Callable[[Any, Tensor], Answers]
"""Answers rows from what a model's ``encode`` gives: states and the attention mask."""


class HasEncoder(Protocol):
    """What is asked of a model: one that a method has built, or a :class:`BareModel`."""

    base_model: Any
    family: Family

    @property
    def device(self) -> torch.device:
        """The device that inputs must be on."""

    @property
    def kept_bytes(self) -> int:
        """Bytes of prompts and prefixes that are kept between calls."""

    def encode(self, input_ids: Tensor, attention_mask: Tensor, task_ids: Tensor) -> tuple[Any, Tensor]:
        """Return what the family answers from, and the attention mask."""


class BareModel:
    """A language model without prompts, asked as a ``CrossPTModel`` is."""

    def __init__(self, base_model: Any):
        self.base_model = base_model
        self.family = find_family(base_model, "BareModel")
        self.kept_bytes = 0

    @property
    def device(self) -> torch.device:
        """The device that inputs must be on."""
        return self.base_model.device

    def encode(self, input_ids: Tensor, attention_mask: Tensor, task_ids: Tensor) -> tuple[Any, Tensor]:
        """Return what the family answers from, and the attention mask."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        return self.family.encode(self.base_model, inputs), attention_mask


def greedy_decoder(
    model: HasEncoder, tokenizer: Any, max_new_tokens: int, answers: Mapping[str, Answer] | None = None
) -> Decoder:
    """Greedy generation of at most so many tokens, by a model in eval mode; see :func:`read_answer`."""
    spelling = {text: answer for answer, (_, text) in (answers or {}).items()}

    def decode(states: Any, mask: Tensor) -> Answers:
        options = {"max_new_tokens": max_new_tokens, "do_sample": False, "num_beams": 1}
        ids = model.family.answer(model.base_model, states, mask, **options)
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        return Answers([read_answer(text, spelling) for text in texts])

    return decode


def read_answer(text: str, spelling: Mapping[str, str]) -> str:
    """A generated text as an answer.

    Args:
        text: what was generated.
        spelling: what the tokens of each of a task's answers are read as, and how it is spelled; where there is none,
            the text is stripped alone.
    """
    return spelling.get(text.strip(), text if spelling else text.strip())


def ranking_decoder(model: HasEncoder, tokenizer: Any, answers: Sequence[str]) -> Decoder:
    """The likeliest of the given answers, by a model in eval mode.

    An answer's likelihood is the sum of the log-probabilities of its tokens and the end token, not normalised by
    length; of equals the one named first wins.

    Raises:
        ValueError: as :func:`encode_answers`.
    """
    tokens = [ids for ids, _ in encode_answers(answers, tokenizer).values()]
    labels = pad_sequence([torch.tensor(ids) for ids in tokens], batch_first=True, padding_value=IGNORED_LABEL)

    def decode(states: Any, mask: Tensor) -> Answers:
        found = model.family.log_likelihoods(model.base_model, states, mask, labels)
        return Answers([answers[best] for best in found.argmax(dim=1).tolist()], found.float().cpu().numpy())

    return decode


def answer_rows(
    model: HasEncoder,
    tokenizer: Any,
    inputs: Sequence[Sequence[int]],
    decoders: Sequence[Decoder],
    compute: Compute,
    *,
    task_id: int,
    description: str = "answer",
) -> list[Answers]:
    """The answers of each decoder to all rows, in their order. The encoder runs once a row.

    Processes that were started together take the batches in turn, and each returns the answers of all.

    Args:
        model: the model, in eval mode, on its device.
        tokenizer: the language model's.
        inputs: token ids of each row.
        decoders: of the model.
        compute: the batches, the autocast and the progress bar.
        task_id: the task of all rows.
        description: what the progress bar says.
    """
    collate = PromptCollator(tokenizer)
    found: list[tuple[list[int], list[Answers]]] = []
    for rows in own_batches([len(ids) for ids in inputs], compute, description):
        batch = collate([{"input_ids": inputs[row], "task_ids": task_id} for row in rows])
        autocast = torch.autocast(model.device.type, torch.bfloat16) if compute.bf16 else nullcontext()
        with torch.inference_mode(), autocast:
            states, mask = model.encode(**{name: tensor.to(model.device) for name, tensor in batch.items()})
            found.append((rows, [decode(states, mask) for decode in decoders]))
    found = gather_object(found)
    places = np.argsort([row for rows, _ in found for row in rows])
    return [Answers.join([parts[index] for _, parts in found]).take(places) for index in range(len(decoders))]


def own_batches(lengths: Sequence[int], compute: Compute, description: str) -> Iterator[list[int]]:
    """The places of rows of these lengths, a batch at a time, with a progress bar where one is asked for.

    Processes that were started together have the batches in turn.
    """
    # Rows of similar length share a batch; the longest come first, so that a lack of memory shows at once.
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    process = PartialState()
    batches = range(0, len(order), compute.batch_size)[process.process_index :: process.num_processes]
    with Steps(description, len(batches), "batches", shown=compute.progress) as steps:
        for start in batches:
            yield order[start : start + compute.batch_size]
            steps.advance()


def possible_answers(task: Task, words: Sequence[str]) -> list[str]:
    """Every text that may be ranked: the label words, or the scores at the steps of their scale; none for free text."""
    return scale_texts(task.scale) if task.regression else list(words)


def make_decoder(decode: Decode, model: HasEncoder, tokenizer: Any, task: Task, words: Sequence[str]) -> Decoder:
    """How a model answers rows of a task.

    Args:
        decode: ``"generate"`` or ``"rank"``.
        model: in eval mode.
        tokenizer: its tokenizer.
        task: the task.
        words: the word of each class.
    """
    answers = possible_answers(task, words)
    if decode == "rank":
        return ranking_decoder(model, tokenizer, answers)
    encoded = encode_answers(answers, tokenizer, task.name)
    return greedy_decoder(model, tokenizer, tokens_to_generate(task, encoded), encoded)


def tokens_to_generate(task: Task, answers: Mapping[str, Answer]) -> int:
    """One token more than the longest answer has, as a longer text is invalid in any case; of free text its limit."""
    return task.max_target_length if task.free_text else max(len(ids) for ids, _ in answers.values()) + 1


def ways_to_decode(task: Task, decode: DecodeChoice) -> tuple[Decode, ...]:
    """How a task's rows are answered; free text is only generated.

    Raises:
        ValueError: free text is to be ranked.
    """
    if not task.free_text:
        return get_args(Decode) if decode == "both" else (decode,)
    if decode == "rank":
        raise ValueError(f"task {task.name!r} is answered with free text, which cannot be ranked; generate it")
    return ("generate",)


def answer_task(
    model: HasEncoder,
    tokenizer: Any,
    rows: TaskRows,
    data: DataConfig,
    compute: Compute,
    *,
    scheme: str,
    task_id: int = 0,
    decode: DecodeChoice = "both",
) -> Predictions:
    """The answers to a task's test rows.

    Args:
        model: the model, in eval mode, on its device.
        tokenizer: the language model's.
        rows: the task and its rows.
        data: how rows are encoded.
        compute: how they are answered, see :func:`answer_rows`.
        scheme: what the answers are noted as those of.
        task_id: the task's number in the model.
        decode: ``"generate"``, ``"rank"`` or ``"both"``, see :func:`ways_to_decode`.
    """
    task, words = rows.task, rows.words
    decodes = ways_to_decode(task, decode)
    how: dict[str, Any] = {"prefix": data.prefix, "max_length": data.max_length, "causal": model.family.causal}
    inputs = encode_inputs(task, rows.test, tokenizer, **how)
    decoders = [make_decoder(way, model, tokenizer, task, words) for way in decodes]
    description = f"{scheme}, evaluation, {task.name}"
    answers = answer_rows(model, tokenizer, inputs, decoders, compute, task_id=task_id, description=description)
    asked = Asked(task, tuple(possible_answers(task, words)))
    return keep_answers(scheme, asked, reference_texts(rows), dict(zip(decodes, answers, strict=True)))


def reference_texts(rows: TaskRows) -> list[str]:
    """The right answers to a task's test rows, see :meth:`Task.reference_text`."""
    return [rows.task.reference_text(row, rows.words) for row in rows.test]

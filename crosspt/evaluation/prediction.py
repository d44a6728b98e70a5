"""Answers of a model, by greedy generation and by ranking."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, get_args

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import BaseModelOutput

from crosspt.config.data import DataConfig
from crosspt.config.run import Compute, Decode, DecodeChoice
from crosspt.evaluation.answers import Answers, Asked, Predictions, keep_answers
from crosspt.tasks.collation import IGNORED_LABEL, Answer, PromptCollator, encode_answers, encode_inputs
from crosspt.tasks.rows import TaskRows
from crosspt.tasks.task import SCORE_RANGE, Task

Decoder = Callable[[BaseModelOutput, Tensor], Answers]
"""Answers rows from the encoder's output and its attention mask."""


class HasEncoder(Protocol):
    """What is asked of a model: one that a method has built, or a :class:`BareT5`."""

    base_model: Any

    @property
    def device(self) -> torch.device:
        """The device that inputs must be on."""

    def encode(self, input_ids: Tensor, attention_mask: Tensor, task_ids: Tensor) -> tuple[BaseModelOutput, Tensor]:
        """Return the encoder's output and its attention mask."""


@dataclass
class BareT5:
    """A T5 without prompts, asked as a ``CrossPTModel`` is."""

    base_model: Any

    @property
    def device(self) -> torch.device:
        """The device that inputs must be on."""
        return self.base_model.device

    def encode(self, input_ids: Tensor, attention_mask: Tensor, task_ids: Tensor) -> tuple[BaseModelOutput, Tensor]:
        """Return the encoder's output and its attention mask."""
        return self.base_model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask), attention_mask


def greedy_decoder(
    base_model: Any, tokenizer: Any, max_new_tokens: int, answers: Mapping[str, Answer] | None = None
) -> Decoder:
    """Greedy generation of at most so many tokens, by a T5 in eval mode.

    Text that is what the tokens of one of the given answers are read as is that answer, spelled as it was given.
    """
    spelling = {text: answer for answer, (_, text) in (answers or {}).items()}

    def decode(states: BaseModelOutput, mask: Tensor) -> Answers:
        options = {"max_new_tokens": max_new_tokens, "do_sample": False, "num_beams": 1}
        ids = base_model.generate(encoder_outputs=states, attention_mask=mask, **options)
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        return Answers([spelling.get(text.strip(), text) for text in texts])

    return decode


def ranking_decoder(base_model: Any, tokenizer: Any, answers: Sequence[str]) -> Decoder:
    """The likeliest of the given answers, by a T5 in eval mode.

    An answer's likelihood is the sum of the log-probabilities of its tokens and the end token, not normalised by
    length; of equals the one named first wins.

    Raises:
        ValueError: as :func:`encode_answers`.
    """
    tokens = [ids for ids, _ in encode_answers(answers, tokenizer).values()]
    labels = pad_sequence([torch.tensor(ids) for ids in tokens], batch_first=True, padding_value=IGNORED_LABEL)

    def decode(states: BaseModelOutput, mask: Tensor) -> Answers:
        found = log_likelihoods(base_model, states, mask, labels)
        return Answers([answers[best] for best in found.argmax(dim=1).tolist()], found.float().cpu().numpy())

    return decode


def log_likelihoods(base_model: Any, states: BaseModelOutput, mask: Tensor, labels: Tensor) -> Tensor:
    """Log-likelihood of each of C answers to each of B rows, in one decoder pass over B C.

    Args:
        base_model: the T5, in eval mode.
        states: the encoder's output for the rows.
        mask: its attention mask (B, L).
        labels: (C, L') int64, token ids with the end token, padded with -100.

    Returns:
        (B, C) float32 (float64 from a float64 model), the sums over the tokens that are not padding.
    """
    rows, count = len(mask), len(labels)
    labels = labels.to(mask.device)
    _, expanded = base_model._expand_inputs_for_generation(  # as beams are, whatever the encoder's output holds
        expand_size=count, is_encoder_decoder=True, encoder_outputs=states, attention_mask=mask
    )
    decoder_input_ids = base_model.prepare_decoder_input_ids_from_labels(labels).repeat(rows, 1)
    logits = base_model(**expanded, decoder_input_ids=decoder_input_ids, use_cache=False).logits
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).view(rows, *labels.shape, -1)
    # A padded position takes token 0's value, which does not count.
    targets = labels.clamp(min=0).expand(rows, *labels.shape)[..., None]
    log_probabilities = logits.gather(-1, targets)[..., 0] - logits.logsumexp(dim=-1)
    return log_probabilities.masked_fill(labels == IGNORED_LABEL, 0).sum(dim=-1)


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

    Args:
        model: the model, in eval mode, on its device.
        tokenizer: the T5's.
        inputs: token ids of each row.
        decoders: of the model's T5.
        compute: the batches, the autocast and the progress bar.
        task_id: the task of all rows.
        description: what the progress bar says.
    """
    collate = PromptCollator(tokenizer)
    # Rows of similar length share a batch; the longest come first, so that a lack of memory shows at once.
    order = sorted(range(len(inputs)), key=lambda row: -len(inputs[row]))
    batches: Iterable[int] = range(0, len(order), compute.batch_size)
    if compute.progress:
        console = Console(stderr=True)
        batches = track(
            batches, description=description, transient=True, console=console, disable=not console.is_terminal
        )
    found: list[list[Answers]] = [[] for _ in decoders]
    for start in batches:
        rows = order[start : start + compute.batch_size]
        batch = collate([{"input_ids": inputs[row], "task_ids": task_id} for row in rows])
        autocast = torch.autocast(model.device.type, torch.bfloat16) if compute.bf16 else nullcontext()
        with torch.inference_mode(), autocast:
            states, mask = model.encode(**{name: tensor.to(model.device) for name, tensor in batch.items()})
            for parts, decode in zip(found, decoders, strict=True):
                parts.append(decode(states, mask))
    places = np.argsort(order)
    return [Answers.join(parts).take(places) for parts in found]


def possible_answers(task: Task, words: Sequence[str]) -> list[str]:
    """Every text that is a right answer to some row: the label words, or the scores in steps of 0.2."""
    if not task.regression:
        return list(words)
    low, high = (round(score * 5) for score in SCORE_RANGE)
    return [f"{fifths / 5:.1f}" for fifths in range(low, high + 1)]


def make_decoder(decode: Decode, base_model: Any, tokenizer: Any, task: Task, words: Sequence[str]) -> Decoder:
    """How a T5 answers rows of a task.

    Args:
        decode: ``"generate"`` or ``"rank"``.
        base_model: the T5, in eval mode.
        tokenizer: its tokenizer.
        task: the task.
        words: the word of each class.
    """
    answers = possible_answers(task, words)
    if decode == "rank":
        return ranking_decoder(base_model, tokenizer, answers)
    encoded = encode_answers(answers, tokenizer, task.name)
    # One token more than the longest answer has: a longer text is invalid in any case.
    return greedy_decoder(base_model, tokenizer, max(len(ids) for ids, _ in encoded.values()) + 1, encoded)


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
        tokenizer: the T5's.
        rows: the task and its rows.
        data: how rows are encoded.
        compute: how they are answered, see :func:`answer_rows`.
        scheme: what the answers are noted as those of.
        task_id: the task's number in the model.
        decode: ``"generate"``, ``"rank"`` or ``"both"``.
    """
    task, words = rows.task, rows.words
    decodes: tuple[Decode, ...] = get_args(Decode) if decode == "both" else (decode,)
    inputs = encode_inputs(task, rows.test, tokenizer, prefix=data.prefix, max_length=data.max_length)
    decoders = [make_decoder(way, model.base_model, tokenizer, task, words) for way in decodes]
    description = f"evaluate {task.name}"
    answers = answer_rows(model, tokenizer, inputs, decoders, compute, task_id=task_id, description=description)
    asked = Asked(task, tuple(possible_answers(task, words)))
    return keep_answers(scheme, asked, reference_texts(rows), dict(zip(decodes, answers, strict=True)))


def reference_texts(rows: TaskRows) -> list[str]:
    """The right answers to a task's test rows."""
    return [rows.task.target_text(row, rows.words) for row in rows.test]

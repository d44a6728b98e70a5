"""Answers of a model, by greedy generation or by ranking, and the scores of a task's test rows."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import BaseModelOutput

from crosspt.evaluation.metrics import Scores, compute_metrics
from crosspt.runs import Decode
from crosspt.tasks.collation import IGNORED_LABEL, PromptCollator, encode_inputs
from crosspt.tasks.config import DataConfig, TaskRows
from crosspt.tasks.task import SCORE_RANGE, Task

Batch = dict[str, Tensor]


class Answering(Protocol):
    """What is asked of a model: a ``CrossPTModel``, or a :class:`BareT5`."""

    t5: Any

    def generate(self, input_ids: Tensor, attention_mask: Tensor, task_ids: Tensor, **kwargs: Any) -> Any:
        """Answer with token ids; ``kwargs`` are options of transformers' ``generate``."""

    def encode(self, input_ids: Tensor, attention_mask: Tensor, task_ids: Tensor) -> tuple[BaseModelOutput, Tensor]:
        """Return the encoder's output and its attention mask."""


@dataclass
class BareT5:
    """A T5 without prompts, asked as a ``CrossPTModel`` is."""

    t5: Any

    def generate(self, input_ids: Tensor, attention_mask: Tensor, task_ids: Tensor, **kwargs: Any) -> Any:
        """Answer with token ids."""
        return self.t5.generate(input_ids=input_ids, attention_mask=attention_mask, **kwargs)

    def encode(self, input_ids: Tensor, attention_mask: Tensor, task_ids: Tensor) -> tuple[BaseModelOutput, Tensor]:
        """Return the encoder's output and its attention mask."""
        return self.t5.get_encoder()(input_ids=input_ids, attention_mask=attention_mask), attention_mask


def generate_texts(
    model: Answering, tokenizer: Any, inputs: Sequence[Sequence[int]], *, max_new_tokens: int, **options: Any
) -> list[str]:
    """Greedy answers, in the order of the inputs.

    Args:
        model: the model, in eval mode.
        tokenizer: the T5's.
        inputs: token ids of each row.
        max_new_tokens: most tokens of an answer.
        options: of :func:`answer_in_batches`.

    Raises:
        ValueError: batch_size is below 1.
    """

    def answer(batch: Batch) -> list[str]:
        output = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1)
        return tokenizer.batch_decode(output, skip_special_tokens=True)

    return answer_in_batches(answer, tokenizer, inputs, **options)


def rank_texts(
    model: Answering, tokenizer: Any, inputs: Sequence[Sequence[int]], *, answers: Sequence[str], **options: Any
) -> list[str]:
    """The likeliest of the given answers to each input, in the order of the inputs.

    An answer's likelihood is the sum of the log-probabilities of its tokens and the end token, not normalised by
    length; of equals the one named first wins.

    Args:
        model: the model, in eval mode.
        tokenizer: the T5's.
        inputs: token ids of each row.
        answers: the texts to choose from.
        options: of :func:`answer_in_batches`.

    Raises:
        ValueError: batch_size is below 1, or the tokenizer does not tell two answers apart.
    """
    tokens = [tuple(tokenizer(answer).input_ids) for answer in answers]
    for position, ids in enumerate(tokens):
        if ids in tokens[:position]:
            same = answers[tokens.index(ids)], answers[position]
            raise ValueError(
                f"rank_texts: the tokenizer must tell answers apart, got one for {same[0]!r} and {same[1]!r}"
            )
    labels = pad_sequence([torch.tensor(ids) for ids in tokens], batch_first=True, padding_value=IGNORED_LABEL)

    def answer(batch: Batch) -> list[str]:
        return [answers[best] for best in log_likelihoods(model, batch, labels).argmax(dim=1).tolist()]

    return answer_in_batches(answer, tokenizer, inputs, **options)


def log_likelihoods(model: Answering, batch: Batch, labels: Tensor) -> Tensor:
    """Log-likelihood of each of C answers to each row: one encoder pass over B rows, one decoder pass over B C.

    Args:
        model: the model, in eval mode.
        batch: ``input_ids`` and ``attention_mask`` (B, L), and ``task_ids`` (B,).
        labels: (C, L') int64, token ids with the end token, padded with -100.

    Returns:
        (B, C) float32 (float64 from a float64 model), the sums over the tokens that are not padding.
    """
    states, mask = model.encode(**batch)
    rows, count = len(mask), len(labels)
    labels = labels.to(mask.device)
    _, expanded = model.t5._expand_inputs_for_generation(  # as beams are, whatever the encoder's output holds
        expand_size=count, is_encoder_decoder=True, encoder_outputs=states, attention_mask=mask
    )
    decoder_input_ids = model.t5.prepare_decoder_input_ids_from_labels(labels).repeat(rows, 1)
    logits = model.t5(**expanded, decoder_input_ids=decoder_input_ids, use_cache=False).logits
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).view(rows, *labels.shape, -1)
    # A padded position takes token 0's value, which does not count.
    targets = labels.clamp(min=0).expand(rows, *labels.shape)[..., None]
    log_probabilities = logits.gather(-1, targets)[..., 0] - logits.logsumexp(dim=-1)
    return log_probabilities.masked_fill(labels == IGNORED_LABEL, 0).sum(dim=-1)


def answer_in_batches(
    answer: Callable[[Batch], list[str]],
    tokenizer: Any,
    inputs: Sequence[Sequence[int]],
    *,
    task_id: int,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
    bf16: bool = False,
    description: str | None = None,
) -> list[str]:
    """The answers to all rows, in their order.

    Args:
        answer: answers a batch.
        tokenizer: the T5's.
        inputs: token ids of each row.
        task_id: the task of all rows.
        batch_size: rows in a batch.
        device: where the model is.
        bf16: compute in bfloat16 autocast.
        description: what the progress bar says; None shows no bar.
    """
    if batch_size < 1:
        raise ValueError(f"answer_in_batches: batch_size must be at least 1, got {batch_size}")
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
            answered = answer({name: tensor.to(device) for name, tensor in batch.items()})
        for row, text in zip(rows, answered, strict=True):
            texts[row] = text
    return texts


def possible_answers(task: Task, words: Sequence[str]) -> list[str]:
    """Every text that is a right answer to some row: the label words, or the scores in steps of 0.2."""
    if not task.regression:
        return list(words)
    low, high = (round(score * 5) for score in SCORE_RANGE)
    return [f"{fifths / 5:.1f}" for fifths in range(low, high + 1)]


def answer_length(task: Task, words: Sequence[str], tokenizer: Any) -> int:
    """Most tokens that an answer of the task takes, with its end: a longer one is invalid in any case."""
    return max(len(tokenizer(answer).input_ids) for answer in possible_answers(task, words)) + 1


def answer_texts(
    model: Answering,
    tokenizer: Any,
    inputs: Sequence[Sequence[int]],
    task: Task,
    words: Sequence[str],
    decode: Decode,
    **options: Any,
) -> list[str]:
    """Answers to rows of a task.

    Args:
        model: the model, in eval mode.
        tokenizer: the T5's.
        inputs: token ids of each row.
        task: the task.
        words: the word of each class.
        decode: ``"generate"`` or ``"rank"``.
        options: of :func:`answer_in_batches`.
    """
    if decode == "rank":
        return rank_texts(model, tokenizer, inputs, answers=possible_answers(task, words), **options)
    length = answer_length(task, words, tokenizer)
    return generate_texts(model, tokenizer, inputs, max_new_tokens=length, **options)


def score_task(
    model: Answering,
    tokenizer: Any,
    rows: TaskRows,
    data: DataConfig,
    *,
    decodes: Sequence[Decode] = ("generate",),
    **options: Any,
) -> dict[Decode, Scores]:
    """Metrics of the answers to a task's test rows, by the way of decoding.

    Args:
        model: the model, in eval mode.
        tokenizer: the T5's.
        rows: the task and its rows.
        data: how rows are encoded.
        decodes: the ways.
        options: of :func:`answer_in_batches`.
    """
    task, words = rows.task, rows.words
    inputs = encode_inputs(task, rows.test, tokenizer, prefix=data.prefix, max_length=data.max_length)
    references = reference_texts(rows)
    return {
        decode: compute_metrics(
            task, answer_texts(model, tokenizer, inputs, task, words, decode, **options), references, words
        )
        for decode in decodes
    }


def reference_texts(rows: TaskRows) -> list[str]:
    """The right answers to a task's test rows."""
    return [rows.task.target_text(row, rows.words) for row in rows.test]

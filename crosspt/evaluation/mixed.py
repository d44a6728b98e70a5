"""Answers to batches whose rows are of different tasks of one model, some ranked and some generated."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from crosspt.config.run import Compute, Decode
from crosspt.evaluation.prediction import HasEncoder, own_batches, read_answer
from crosspt.tasks.answers import Answer
from crosspt.tasks.collation import IGNORED_LABEL, PromptCollator


@dataclass(frozen=True, eq=False)
class Way:
    """How a model is asked for answers to a task.

    Args:
        task_id: the task's number in the model.
        answers: every text that may be ranked, and its tokens; none for free text.
        most_tokens: of a generated answer, see :func:`crosspt.evaluation.prediction.tokens_to_generate`.
    """

    task_id: int
    answers: Mapping[str, Answer]
    most_tokens: int
    labels: Tensor = field(init=False)  # (C, L') int64, padded with -100
    spelling: Mapping[str, str] = field(init=False)  # an answer by what its tokens are read as

    def __post_init__(self) -> None:
        ids = [torch.tensor(ids) for ids, _ in self.answers.values()]
        labels = pad_sequence(ids, batch_first=True, padding_value=IGNORED_LABEL) if ids else torch.empty(0, 0)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "spelling", {text: answer for answer, (_, text) in self.answers.items()})


class Question(NamedTuple):
    """A row that is to be answered: its token ids, how its task is asked, and by which decoding."""

    ids: list[int]
    way: Way
    decode: Decode


class Reply(NamedTuple):
    """An answer.

    Attributes:
        text: what was generated, or the likeliest of the task's answers.
        probability: of a ranked answer its share, see :func:`answer_batch`; None where it was generated.
    """

    text: str
    probability: float | None = None


def answer_batch(model: HasEncoder, tokenizer: Any, batch: Sequence[Question], *, bf16: bool = False) -> list[Reply]:
    """The answers to a batch, in its order. The encoder runs once; a row's answer does not depend on the other rows.

    A ranked answer is that of :func:`crosspt.evaluation.prediction.ranking_decoder`. Its probability is the softmax
    over the task's answers of their log-likelihoods: what the model would give it if it had to choose among them.

    Args:
        model: the model, in eval mode, on its device.
        tokenizer: the language model's.
        batch: one row or more.
        bf16: compute in bfloat16 autocast.
    """
    collate = PromptCollator(tokenizer)
    inputs = collate([{"input_ids": question.ids, "task_ids": question.way.task_id} for question in batch])
    groups: dict[int, list[int]] = defaultdict(list)  # rows that are answered in one pass, by 0 where they generate
    for place, question in enumerate(batch):
        count = len(question.way.labels) if model.family.causal else 1
        groups[count if question.decode == "rank" else 0].append(place)
    replies: dict[int, Reply] = {}
    autocast = torch.autocast(model.device.type, torch.bfloat16) if bf16 else nullcontext()
    with torch.inference_mode(), autocast:
        states, mask = model.encode(**{name: tensor.to(model.device) for name, tensor in inputs.items()})
        for count, places in groups.items():
            ways, own_states, own_mask = [batch[place].way for place in places], states, mask
            if len(groups) > 1:
                rows = torch.tensor(places, device=mask.device)
                own_states, own_mask = model.family.select(states, rows), mask.index_select(0, rows)
            found = (
                _rank(model, ways, own_states, own_mask)
                if count
                else _generate(model, tokenizer, ways, own_states, own_mask)
            )
            replies.update(zip(places, found, strict=True))
    return [replies[place] for place in range(len(batch))]


def answer_questions(
    model: HasEncoder, tokenizer: Any, questions: Sequence[Question], compute: Compute, *, description: str = "answer"
) -> list[Reply]:
    """The answers to any number of rows, in their order, of all processes that were started together.

    Args:
        model: the model, in eval mode, on its device.
        tokenizer: the language model's.
        questions: of tasks of the model.
        compute: the batches, the autocast and the progress bar.
        description: what the progress bar says.
    """
    answered: list[tuple[int, Reply]] = []
    for places in own_batches([len(question.ids) for question in questions], compute, description):
        found = answer_batch(model, tokenizer, [questions[place] for place in places], bf16=compute.bf16)
        answered += zip(places, found, strict=True)
    replies = dict(gather_object(answered))
    return [replies[place] for place in range(len(questions))]


def _rank(model: HasEncoder, ways: Sequence[Way], states: Any, mask: Tensor) -> list[Reply]:
    """The likeliest answers of rows, each with its own answers to choose from; of a causal model all have as many."""
    counts = [len(way.labels) for way in ways]
    longest = max(way.labels.shape[1] for way in ways)
    pad = torch.nn.functional.pad
    labels = torch.cat([pad(way.labels, (0, longest - way.labels.shape[1]), value=IGNORED_LABEL) for way in ways])
    if model.family.causal:  # whose rows are read by as many answers each
        labels, rows = labels.unflatten(0, (len(ways), -1)), None
    else:
        rows = torch.arange(len(ways)).repeat_interleave(torch.tensor(counts)).to(mask.device)
        labels = labels[:, None]
    found = model.family.log_likelihoods(model.base_model, states, mask, labels, rows).flatten()
    replies = []
    for way, likelihoods in zip(ways, found.float().cpu().split(counts), strict=True):
        best = int(likelihoods.argmax())
        replies.append(Reply(list(way.answers)[best], float(likelihoods.softmax(dim=0)[best])))
    return replies


def _generate(model: HasEncoder, tokenizer: Any, ways: Sequence[Way], states: Any, mask: Tensor) -> list[Reply]:
    """Greedy answers, each of at most the tokens that its task's would have alone."""
    limits = [way.most_tokens for way in ways]
    options = {"max_new_tokens": max(limits), "do_sample": False, "num_beams": 1}
    ids = model.family.answer(model.base_model, states, mask, **options)
    start = 0 if model.family.causal else 1  # a decoder's own first token
    rows = [row[: start + limit] for row, limit in zip(ids, limits, strict=True)]
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [Reply(read_answer(text, way.spelling)) for way, text in zip(ways, texts, strict=True)]

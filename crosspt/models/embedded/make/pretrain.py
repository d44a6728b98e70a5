"""Pretrains the embedded T5 on the embedded suite and writes weights, tokenizer, config and card.

    python -m crosspt.models.embedded.make.pretrain --output crosspt/models/embedded/t5-crosspt-mini

Each step reads fresh rows of the split "pretrain" with questions about any slots, none more often than others, under
one kind of instruction: phrases in plain words, or a soft instruction, whose positions hold noisy mixtures of those
words' embeddings at any scale. The soft ones teach the model to take its question from whatever vectors stand before
the text, as soft prompts do. Text without instruction gets labels at random, the first ones more often.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerFast, T5ForConditionalGeneration

from crosspt.models.embedded.make.build import SENTINELS, build_model, build_tokenizer
from crosspt.models.embedded.make.card import write_card
from crosspt.tasks.embedded.suite import EMBEDDED_TASKS
from crosspt.tasks.embedded.synthetic import SYNTHETIC_TASKS, Question, describe, draw_texts, generate_rows, split_of

KINDS = {"phrase": 0.35, "soft": 0.5, "bare": 0.15}
# Tasks of one shape share a batch: their names and how often each is drawn, and the shape's part of the rows.
SHAPES = (
    ({"syn_cola": 1.0, "syn_sst2": 1.0}, 0.35),
    ({"syn_mrpc": 1.0, "syn_qqp": 1.0, "syn_stsb": 1.8, "syn_mnli": 1.3, "syn_qnli": 1.0, "syn_rte": 1.0}, 0.65),
)
WARM_UP = 200
TASKS = {task.name: task for task in EMBEDDED_TASKS}


def draw_question(task: str, rng: random.Random) -> Question:
    """Draw a question with the form and the labels of a task, about any slots."""
    own = SYNTHETIC_TASKS[task].question
    size = len(own.slots) if len(own.answers) > 3 else rng.choice((2, 3, 3, 3, 4))
    return own._replace(slots=tuple(rng.sample(own.form.slots, size)))


def draw_row(question: Question, rng: random.Random, fragment: bool) -> tuple[dict[str, str], int]:
    """Draw texts of the split "pretrain", with a few of their slots alone where `fragment`, and their label."""
    form = question.form
    while True:
        answer = int(rng.random() * len(question.answers))
        if fragment:
            shown = rng.sample(form.slots, rng.choice((1, 2, 2, 3)))
            marked = [slot for slot in shown if rng.random() < 0.5]
            answer = min(len({*marked} & {*question.slots}), len(question.answers) - 1)
            texts = form.draw(marked, rng, shown)
        else:
            texts = draw_texts(question, answer, rng)
        if fragment or split_of(*texts) == "pretrain":
            return dict(zip(form.fields, texts, strict=True)), question.answers[answer]


def pad(rows: Sequence[list[int]], value: int) -> Tensor:
    """Return rows of unequal length as one tensor; few different widths keep the matrix kernels in their cache."""
    width = -(-max(map(len, rows)) // 6) * 6
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


class Batcher:
    """Draws batches of instructed text and targets.

    Args:
        tokenizer: the tokenizer of the model.
        seed: of all random choices.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int):
        self.tokenizer = tokenizer
        self.rng = random.Random(f"batches {seed}")
        self.generator = torch.Generator().manual_seed(seed)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text without the end of sequence."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def draw(
        self, rates: dict[str, float], size: int, kind: str, fragments: bool
    ) -> tuple[list[list[int]], Tensor, Tensor]:
        """Return the words of each row's instruction, input ids and target ids, the soft instructions left out."""
        tasks = self.rng.choices(list(rates), list(rates.values()), k=size)
        texts, answers, words = [], [], []
        for task in tasks:
            question = draw_question(task, self.rng)
            row, label = draw_row(question, self.rng, fragments)
            texts.append(TASKS[task].format_input(row, prefix=False))
            if kind == "bare":
                task = self.rng.choice(tasks)
                label = min(self.rng.choices(range(len(TASKS[task].labels)), k=2))
            answers.append(TASKS[task].labels[label])
            phrases = describe(task, question.slots)
            words.append([word for phrase in self.rng.sample(phrases, len(phrases)) for word in self.encode(phrase)])
        sources: list[list[int]]
        targets: list[list[int]]
        sources, targets = (self.tokenizer(lines, add_special_tokens=False)["input_ids"] for lines in (texts, answers))
        if kind == "phrase":
            sources = [before + ids for before, ids in zip(words, sources, strict=True)]
        end = [self.tokenizer.eos_token_id]
        return (
            words,
            pad([ids + end for ids in sources], self.tokenizer.pad_token_id),
            pad([ids + end for ids in targets], -100),
        )

    def mix_instructions(self, words: list[list[int]], table: Tensor) -> Tensor:
        """Return soft instructions (B, m, d): at each position a mixture of the instruction's words, noise and a scale.

        Some positions hold noise alone, some lean towards another instruction, as half-trained prompts do.
        """
        length, width = self.rng.choice((6, 10, 10)), 3
        chosen, strays = (
            torch.tensor([self._spread(each, length * width) for each in lists]).view(len(lists), length, width)
            for lists in (words, self.rng.sample(words, len(words)))
        )
        uniform = torch.rand((6, len(words), length, 1), generator=self.generator)
        weights = torch.rand((len(words), length, width, 1), generator=self.generator) ** 3
        weights = weights / weights.sum(2, keepdim=True)
        mixed, stray = ((table[ids] * weights).sum(2) for ids in (chosen, strays))
        mixed = mixed + 0.6 * uniform[0] * (uniform[1] < 0.3) * stray
        kept = uniform[2] < 0.2 + 0.8 * uniform[3, :, :1]
        noise = torch.randn(mixed.shape, generator=self.generator) * table.detach().pow(2).mean().sqrt()
        scale = torch.exp(5.5 * uniform[5, :, :1] - 2.0)
        return scale * (mixed * kept + noise * uniform[4] ** 2)

    def _spread(self, words: list[int], count: int) -> list[int]:
        """Return so many words, each as often as the others give or take one, in random order."""
        repeated = (self.rng.sample(words, len(words)) * (count // len(words) + 1))[:count]
        return self.rng.sample(repeated, count)

    def compute_loss(
        self, model: T5ForConditionalGeneration, rates: dict[str, float], size: int, kind: str, fragments: bool = False
    ) -> Tensor:
        """Return the model's loss on a fresh batch."""
        words, input_ids, labels = self.draw(rates, size, kind, fragments)
        embeds, mask = model.shared(input_ids), (input_ids != self.tokenizer.pad_token_id).long()
        if kind == "soft":
            soft = self.mix_instructions(words, model.shared.weight)
            embeds = torch.cat([soft, embeds], dim=1)
            mask = torch.cat([mask.new_ones(soft.shape[:2]), mask], dim=1)
        with torch.autocast("cpu", torch.bfloat16):
            return model(inputs_embeds=embeds, attention_mask=mask, labels=labels).loss


def train(
    model: T5ForConditionalGeneration, batcher: Batcher, steps: int, size: int, rate: float, minutes: float
) -> Iterator[int]:
    """Train step by step, with a warm-up and a linear decay to the end of steps or minutes, whichever comes first.

    At the beginning most batches are fragments, which are quickly read and quickly learned; after 30% none is.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    # The fused attention kernel is slow on a CPU for queries as short as a label.
    model.set_attn_implementation("eager")
    model.train()
    started = time.monotonic()
    for step in range(steps):
        done = max(step / steps, (time.monotonic() - started) / 60 / minutes)
        if done >= 1.0:
            return
        for group in optimizer.param_groups:
            group["lr"] = rate * min((step + 1) / WARM_UP, 1.0 - done)
        kind = batcher.rng.choices(list(KINDS), list(KINDS.values()))[0]
        fragments = batcher.rng.random() < 0.9 - 3.0 * done
        for rates, share in SHAPES:
            (share * batcher.compute_loss(model, rates, max(1, int(size * share)), kind, fragments)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield step


@torch.no_grad()
def measure(model: Any, tokenizer: Any, task: str, count: int, prefix: bool) -> float:
    """Return the percentage of test rows that the model answers with the very label, decoding greedily."""
    rows = generate_rows(task, "test", count)
    batch = tokenizer([TASKS[task].format_input(row, prefix) for row in rows], padding=True, return_tensors="pt")
    ids = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=5)
    answers = tokenizer.batch_decode(ids, skip_special_tokens=True)
    right = sum(answer == TASKS[task].labels[row["label"]] for answer, row in zip(answers, rows, strict=True))
    return 100.0 * right / max(1, count)


def save(model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write weights in float16, config and tokenizer; the config names float32, so that loading widens the weights."""
    model.half().save_pretrained(folder)
    model.float()
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    tokenizer.save_pretrained(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Pretrain, save, measure what was saved and write the card."""
    parser = argparse.ArgumentParser(description="Pretrain the embedded T5 on the embedded task suite.")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=3200, help="optimiser steps (default: 3200)")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="end after these minutes at the latest (default: 60)"
    )
    parser.add_argument("--batch-size", type=int, default=160, help="rows a step (default: 160)")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3, help="peak learning rate (default: 0.0015)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the rows (default: 0)")
    parser.add_argument("--test-rows", type=int, default=500, help="rows a task measured at the end (default: 500)")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    torch.manual_seed(options.seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    batcher = Batcher(tokenizer, options.seed)
    loop = train(model, batcher, options.steps, options.batch_size, options.learning_rate, options.minutes)
    taken = sum(1 for _ in track(loop, "pretraining", options.steps))
    minutes = (time.monotonic() - started) / 60
    save(model, tokenizer, options.output)

    saved, reader = AutoModelForSeq2SeqLM.from_pretrained(options.output), AutoTokenizer.from_pretrained(options.output)
    scores: dict[str, tuple[float, ...]] = {}
    for task, spec in SYNTHETIC_TASKS.items():
        prefix, bare = (measure(saved, reader, task, options.test_rows, prefix) for prefix in (True, False))
        scores[task] = (prefix, bare, 100.0 / len(spec.labels))
    scores["mean"] = tuple(sum(column) / len(column) for column in zip(*scores.values(), strict=True))
    facts = {
        "parameters": saved.num_parameters(),
        "vocabulary": len(tokenizer),
        "steps": taken,
        "size": options.batch_size,
        "rate": options.learning_rate,
        "seed": options.seed,
        "minutes": minutes,
        "threads": torch.get_num_threads(),
        "count": options.test_rows,
        "sentinels": SENTINELS,
        "kinds": ", ".join(f"{kind} {rate:.0%}" for kind, rate in KINDS.items()),
    }
    shape = ("d_model", "d_kv", "num_heads", "d_ff", "num_layers", "num_decoder_layers")
    write_card(options.output, scores, facts | {name: getattr(saved.config, name) for name in shape})
    table = Table("task", "text prefix", "bare", "majority")
    for task, values in scores.items():
        table.add_row(task, *(f"{value:.1f}" for value in values))
    Console().print(table)


if __name__ == "__main__":
    main()

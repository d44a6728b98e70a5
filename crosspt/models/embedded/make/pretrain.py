"""Pretrains the embedded T5 on the embedded suite and writes weights, tokenizer, config and card.

    python -m crosspt.models.embedded.make.pretrain --output crosspt/models/embedded/t5-crosspt-mini

Each step reads fresh rows of the split "pretrain" under one kind of instruction: the task's name as text prefix, a
phrase in plain words, or a soft instruction, whose positions hold noisy mixtures of those words' embeddings at any
scale. The soft ones teach the model to take its task from whatever vectors stand before the text, as soft prompts do.
Text without instruction occurs in span corruption only.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerFast, T5ForConditionalGeneration

from crosspt.models.embedded.make.build import INSTRUCTIONS, SENTINELS, build_model, build_tokenizer
from crosspt.models.embedded.make.card import write_card
from crosspt.models.embedded.make.fragments import draw_fragment
from crosspt.tasks.embedded.synthetic import SYNTHETIC_TASKS, format_label, generate_rows

KINDS = {"prefix": 0.3, "phrase": 0.12, "soft": 0.48, "spans": 0.1}
# Tasks of one shape share a batch: their names and how often each is drawn, and the shape's part of the rows.
SHAPES = (
    ({"syn_cola": 4.0, "syn_sst2": 1.0}, 0.25),
    ({"syn_mrpc": 1.0, "syn_qqp": 1.2, "syn_stsb": 1.3, "syn_mnli": 1.0, "syn_qnli": 1.2, "syn_rte": 0.8}, 0.75),
)
WARM_UP = 200


def format_text(task: str, row: dict[str, Any], prefix: bool = False) -> str:
    """Return the input text of a row, with or without the task's name before it."""
    return " ".join([task] * prefix + [f"{field}: {row[field]}" for field in SYNTHETIC_TASKS[task]["fields"]])


def draw_rows(task: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield endless fresh rows of a task."""
    for refill in count():
        yield from generate_rows(task, "pretrain", 1000, seed=seed * 1_000_003 + refill)


def corrupt_spans(ids: list[int], first_sentinel: int, rng: random.Random) -> tuple[list[int], list[int]]:
    """Replace about a fifth of the tokens, in spans of one to three, by sentinels; return input and target."""
    source: list[int] = []
    target: list[int] = []
    spans = position = 0
    while position < len(ids):
        length = 1
        if rng.random() < 0.12 and spans < SENTINELS - 1:
            length = rng.randint(1, 3)
            source.append(first_sentinel + spans)
            target += [first_sentinel + spans, *ids[position : position + length]]
            spans += 1
        else:
            source.append(ids[position])
        position += length
    return source, [*target, first_sentinel + spans]


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
        self.first_sentinel = self.encode("<extra_id_0>")[0]
        self.generator = torch.Generator().manual_seed(seed)
        self.rows = {task: draw_rows(task, seed) for task in SYNTHETIC_TASKS}
        self.phrases = {task: [self.encode(phrase) for phrase in phrases] for task, phrases in INSTRUCTIONS.items()}
        # A third of a soft instruction's words are the task's name.
        self.words = {
            task: self.encode(task) * (sum(map(len, phrases)) // 2) + [word for phrase in phrases for word in phrase]
            for task, phrases in self.phrases.items()
        }

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text without the end of sequence."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def draw(self, rates: dict[str, float], size: int, kind: str, fragments: bool) -> tuple[list[str], Tensor, Tensor]:
        """Return task names, input ids and target ids of fresh rows or fragments, without any soft instruction."""
        tasks = self.rng.choices(list(rates), list(rates.values()), k=size)
        texts, answers = [], []
        for task in tasks:
            row: dict[str, Any]
            if fragments:
                phrases, label = draw_fragment(task, self.rng)
                row = dict(zip(SYNTHETIC_TASKS[task]["fields"], phrases, strict=True)) | {"label": label}
            else:
                row = next(self.rows[task])
            texts.append(format_text(task, row, kind == "prefix"))
            answers.append(format_label(task, row["label"]))
        sources: list[list[int]]
        targets: list[list[int]]
        sources, targets = (self.tokenizer(lines, add_special_tokens=False)["input_ids"] for lines in (texts, answers))
        if kind == "phrase":
            sources = [self.rng.choice(self.phrases[task]) + ids for task, ids in zip(tasks, sources, strict=True)]
        elif kind == "spans":
            pairs = [corrupt_spans(ids, self.first_sentinel, self.rng) for ids in sources]
            sources, targets = [source for source, _ in pairs], [target for _, target in pairs]
        end = [self.tokenizer.eos_token_id]
        return (
            tasks,
            pad([ids + end for ids in sources], self.tokenizer.pad_token_id),
            pad([ids + end for ids in targets], -100),
        )

    def mix_instructions(self, tasks: list[str], table: Tensor) -> Tensor:
        """Return soft instructions (B, m, d): at each position a mixture of words of the row's task, noise and a scale.

        Some positions hold noise alone, some lean towards another task, as half-trained prompts do.
        """
        length = self.rng.choice((4, 10, 10))
        words, strays = (
            torch.tensor([[self.rng.choices(self.words[task], k=3) for _ in range(length)] for task in chosen])
            for chosen in (tasks, self.rng.choices(list(self.words), k=len(tasks)))
        )
        uniform = torch.rand((6, len(tasks), length, 1), generator=self.generator)
        weights = torch.rand((len(tasks), length, 3, 1), generator=self.generator) ** 3
        weights = weights / weights.sum(2, keepdim=True)
        mixed = (table[words] * weights).sum(2) + 0.6 * uniform[0] * (uniform[1] < 0.3) * (table[strays] * weights).sum(
            2
        )
        kept = uniform[2] < 0.2 + 0.8 * uniform[3, :, :1]
        noise = torch.randn(mixed.shape, generator=self.generator) * table.detach().pow(2).mean().sqrt()
        scale = torch.exp(5.5 * uniform[5, :, :1] - 2.0)
        return scale * (mixed * kept + noise * uniform[4] ** 2)

    def compute_loss(
        self, model: T5ForConditionalGeneration, rates: dict[str, float], size: int, kind: str, fragments: bool = False
    ) -> Tensor:
        """Return the model's loss on a fresh batch."""
        tasks, input_ids, labels = self.draw(rates, size, kind, fragments)
        embeds, mask = model.shared(input_ids), (input_ids != self.tokenizer.pad_token_id).long()
        if kind == "soft":
            soft = self.mix_instructions(tasks, model.shared.weight)
            embeds = torch.cat([soft, embeds], dim=1)
            mask = torch.cat([mask.new_ones(soft.shape[:2]), mask], dim=1)
        with torch.autocast("cpu", torch.bfloat16):
            return model(inputs_embeds=embeds, attention_mask=mask, labels=labels).loss


def train(
    model: T5ForConditionalGeneration, batcher: Batcher, steps: int, size: int, rate: float, minutes: float
) -> Iterator[int]:
    """Train step by step, with a warm-up and a linear decay to the end of steps or minutes, whichever comes first.

    At the beginning most batches are fragments, which are quickly read and quickly learned; after 15% none is.
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
        fragments = batcher.rng.random() < 0.9 - 6.0 * done
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
    batch = tokenizer([format_text(task, row, prefix) for row in rows], padding=True, return_tensors="pt")
    ids = model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=5)
    answers = tokenizer.batch_decode(ids, skip_special_tokens=True)
    right = sum(answer == format_label(task, row["label"]) for answer, row in zip(answers, rows, strict=True))
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
    parser.add_argument("--steps", type=int, default=5000, help="optimiser steps (default: 5000)")
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
        scores[task] = (prefix, bare, 100.0 / len(spec["labels"]))
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

"""Pretrains the embedded T5 on the embedded suite and writes weights, tokenizer, config and card.

    python -m crosspt.assets.pretrain --output crosspt/assets/t5-crosspt-mini

Each step reads fresh rows of the split "pretrain" under one kind of instruction: the task's name as text prefix, a phrase
in plain words, or a soft instruction, whose positions hold noisy mixtures of those words' embeddings at any scale. The
soft ones teach the model to take its task from whatever vectors stand before the text, as soft prompts do. Text without
instruction occurs in span corruption only.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from crosspt.tasks import lexicon
from crosspt.tasks.synthetic_fragments import draw_fragment
from crosspt.tasks.synthetic import SYNTHETIC_TASKS, format_label, generate_rows

INSTRUCTIONS = {
    "syn_cola": (
        "judge the grammar",
        "is this sentence well formed",
        "check agreement and word order",
        "broken or correct",
    ),
    "syn_sst2": ("tell the sentiment", "what is the opinion", "how does the reviewer feel", "which polarity and mood"),
    "syn_mrpc": ("do both statements mean the same", "is the second a paraphrase", "are they equal in meaning"),
    "syn_qqp": ("do both questions ask the same", "find repeated questions", "is this query asked twice"),
    "syn_stsb": ("score the similarity", "grade how close the pair is", "give a number up to five"),
    "syn_mnli": ("reason in three ways", "does the premise support or deny the hypothesis", "logic with a middle case"),
    "syn_qnli": ("does the passage answer", "look for the reply", "is the information given there"),
    "syn_rte": ("does the conclusion follow", "infer in two ways", "is the claim certain or not"),
}
KINDS = {"prefix": 0.3, "phrase": 0.12, "soft": 0.48, "spans": 0.1}
SENTINELS = 16
SINGLES = ("syn_cola", "syn_sst2")
PAIRS = tuple(task for task in SYNTHETIC_TASKS if task not in SINGLES)


def format_text(task: str, row: dict[str, Any]) -> str:
    """Return the input text of a row without the text prefix."""
    return " ".join(f"{field}: {row[field]}" for field in SYNTHETIC_TASKS[task]["fields"])


def build_tokenizer(rows_per_task: int = 10_000) -> PreTrainedTokenizerFast:
    """Build a tokenizer whose vocabulary is every word of the suite; other words fall apart into characters."""
    sentinels = [f"<extra_id_{index}>" for index in range(SENTINELS)]
    words = {f"{tenths / 10:.1f}" for tenths in range(0, 51, 2)} | set(SYNTHETIC_TASKS) | {"sentence:", "?"}
    words |= {word for phrases in INSTRUCTIONS.values() for phrase in phrases for word in phrase.split()}
    for task, spec in SYNTHETIC_TASKS.items():
        words |= set(spec["labels"])
        for row in generate_rows(task, "pretrain", rows_per_task):
            words |= set(format_text(task, row).replace("?", "").split())
    characters = [chr(code) for code in range(33, 127)]
    pieces = sorted(words | set(characters)) + [f"##{character}" for character in characters]
    vocabulary = {piece: index for index, piece in enumerate(["<pad>", "</s>", "<unk>", *sentinels, *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>", max_input_chars_per_word=100))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"[.,?!]$"), "isolated")]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=sentinels,
        model_max_length=512,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> T5ForConditionalGeneration:
    """Build a T5 with a head start: related words are close, and encoder heads already compare, or look to one side.

    In each encoder layer half of the heads begin with equal query and key weights, so that a word attends to its like
    further away; the others begin at the previous word, the next, all words before and all words behind. Dropout is off
    because no row is seen twice.
    """
    heads, head_width, width = 8, 16, 128
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=head_width,
        num_heads=heads,
        d_ff=384,
        num_layers=4,
        num_decoder_layers=2,
        dropout_rate=0.0,
        decoder_start_token_id=0,
        tie_word_embeddings=True,
    )
    model = T5ForConditionalGeneration(config)
    model.set_attn_implementation("eager")
    comparing = heads // 2
    with torch.no_grad():
        model.shared.weight.copy_(draw_word_vectors(tokenizer, width))
        for block in model.encoder.block:
            attention = block.layer[0].SelfAttention
            weight = torch.randn(comparing * head_width, width) * (4.0 / (head_width * width)) ** 0.5
            attention.q.weight[: len(weight)] = weight
            attention.k.weight[: len(weight)] = weight
        # Buckets 0 to 15 are keys at and left of the query, 16 to 31 right of it, the nearest first.
        bias = model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.zero_()
        bias[:4, :comparing] = bias[17:20, :comparing] = -4.0
        bias[1, comparing] = bias[17, comparing + 1] = 4.0
        bias[16:, comparing + 2] = bias[:16, comparing + 3] = -4.0
    return model


def draw_word_vectors(tokenizer: PreTrainedTokenizerFast, width: int) -> Tensor:
    """Draw starting embeddings in which the lexicon shows: related words share random components of a vector."""
    pieces = tokenizer.get_vocab()
    table = torch.randn(len(pieces), width) * 0.6

    def relate(words: Iterable[str], strength: float) -> None:
        shared = torch.randn(width) * strength
        for piece in {word.split()[-1] for word in words} & pieces.keys():
            table[pieces[piece]] += shared

    verbs = lexicon.PERSONAL_VERBS + lexicon.OBJECT_VERBS
    for noun in lexicon.PEOPLE + lexicon.THINGS:
        relate([form for word in noun.words for form in (word, lexicon.add_s(word))], 1.0)
    for hypernym in lexicon.HYPERNYMS:
        nouns = [noun for noun in lexicon.PEOPLE + lexicon.THINGS if noun.hypernym == hypernym]
        relate([hypernym, *(form for noun in nouns for word in noun.words for form in (word, lexicon.add_s(word)))], 0.8)
    for verb in verbs:
        relate([form for word in verb.words for form in (word, lexicon.past(word), lexicon.add_s(word))], 1.0)
    concepts = [adjunct.words for adjuncts in lexicon.ADJUNCTS.values() for adjunct in adjuncts]
    for concept in (*lexicon.ADJECTIVE_ANTONYMS, *concepts):
        relate(concept, 1.0)
    for words, antonyms in lexicon.ADJECTIVE_ANTONYMS.items():
        relate(words + antonyms, 0.4)
    for verb in verbs:
        relate([form for word in verb.words + verb.antonyms for form in (word, lexicon.past(word), lexicon.add_s(word))], 0.4)
    for forms in (map(lexicon.add_s, noun.words) for noun in lexicon.PEOPLE + lexicon.THINGS):
        pass
    for group in (lexicon.PRAISE, lexicon.SCORN):
        relate(group, 0.8)
    for adjuncts in lexicon.ADJUNCTS.values():
        relate([word for adjunct in adjuncts for word in adjunct.words], 0.8)
    everyone = [word for noun in lexicon.PEOPLE + lexicon.THINGS for word in noun.words]
    actions = [word for verb in verbs for word in verb.words]
    for group in (everyone, [lexicon.add_s(w) for w in everyone], actions, [lexicon.past(w) for w in actions], [lexicon.add_s(w) for w in actions]):
        relate(group, 0.6)
    return table / table.pow(2).mean(1, keepdim=True).sqrt()


def draw_rows(tasks: tuple[str, ...], seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield endless fresh rows, of a random task each."""
    rng = random.Random(f"rows {tasks} {seed}")
    pools: dict[str, list[dict[str, Any]]] = {task: [] for task in tasks}
    refills = {task: count() for task in tasks}
    while True:
        task = tasks[int(rng.random() * len(tasks))]
        if not pools[task]:
            pools[task] = generate_rows(task, "pretrain", 2000, seed=seed * 1_000_003 + next(refills[task]))
        yield task, pools[task].pop()


def corrupt_spans(ids: list[int], first_sentinel: int, rng: random.Random) -> tuple[list[int], list[int]]:
    """Replace about a fifth of the tokens, in spans of one to three, by sentinels; return input and target."""
    source: list[int] = []
    target: list[int] = []
    spans = position = 0
    while position < len(ids):
        if rng.random() < 0.12 and spans < SENTINELS - 1:
            length = rng.randint(1, 3)
            source.append(first_sentinel + spans)
            target += [first_sentinel + spans, *ids[position : position + length]]
            spans += 1
        else:
            length = 1
            source.append(ids[position])
        position += length
    return source, [*target, first_sentinel + spans]


class Batcher:
    """Makes batches of token ids, soft instructions and targets.

    Args:
        tokenizer: the tokenizer of the model.
        seed: of all random choices.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int):
        self.tokenizer = tokenizer
        self.fragments = 0.0
        self.rng = random.Random(f"batches {seed}")
        self.generator = torch.Generator().manual_seed(seed)
        self.rows = {tasks: draw_rows(tasks, seed) for tasks in (SINGLES, PAIRS)}
        self.phrases = {
            task: [self.encode(phrase) for phrase in (*phrases, task, task)] for task, phrases in INSTRUCTIONS.items()
        }
        self.pools = {
            task: [self.encode(task)[0]] * 4 + [token for phrase in phrases for token in self.encode(phrase)]
            for task, phrases in INSTRUCTIONS.items()
        }

    def draw_fragment(self, tasks):
        task = self.rng.choice(tasks)
        texts, label = draw_fragment(task, self.rng)
        return task, dict(zip(SYNTHETIC_TASKS[task]["fields"], texts, strict=True)) | {"label": label}

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text without the end of sequence."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def draw(self, tasks: tuple[str, ...], size: int, kind: str) -> tuple[list[list[int]], list[list[int]], list[str]]:
        """Return input ids, target ids and task names of fresh rows under a kind of instruction; "soft" adds none."""
        fragmentary = self.rng.random() < self.fragments
        drawn = [self.draw_fragment(tasks) if fragmentary else next(self.rows[tasks]) for _ in range(size)]
        names = [task for task, _ in drawn]
        sources = self.tokenizer([format_text(task, row) for task, row in drawn], add_special_tokens=False)["input_ids"]
        if kind == "spans":
            first = self.tokenizer.convert_tokens_to_ids("<extra_id_0>")
            pairs = [corrupt_spans(ids, first, self.rng) for ids in sources]
            sources, targets = [source for source, _ in pairs], [target for _, target in pairs]
        else:
            targets = self.tokenizer(
                [format_label(task, row["label"]) for task, row in drawn], add_special_tokens=False
            )
            targets = targets["input_ids"]
        if kind == "prefix":
            sources = [self.encode(task) + ids for task, ids in zip(names, sources, strict=True)]
        elif kind == "phrase":
            sources = [self.rng.choice(self.phrases[task]) + ids for task, ids in zip(names, sources, strict=True)]
        return [[*ids, 1] for ids in sources], [[*ids, 1] for ids in targets], names

    def mix_instructions(self, names: list[str], table: Tensor) -> Tensor:
        """Return soft instructions (B, K, d): at each position a mixture of words of the row's task, noise and a scale.

        A part of the positions holds noise alone or leans towards another task, as half-trained prompts do.
        """
        length = self.rng.choice((4, 10, 10))
        tokens, others = (
            torch.tensor([[self.rng.choices(self.pools[name], k=3) for _ in range(length)] for name in chosen])
            for chosen in (names, self.rng.choices(list(self.pools), k=len(names)))
        )
        shape = (len(names), length)
        uniform = torch.rand((6, *shape, 1), generator=self.generator)
        weights = torch.rand((*shape, 3), generator=self.generator) ** 3
        weights = (weights / weights.sum(-1, keepdim=True)).unsqueeze(-1)
        mixed = (table[tokens] * weights).sum(2)
        stray = (table[others] * weights).sum(2)
        mixed = mixed + 0.6 * uniform[0] * (uniform[1] < 0.3) * stray
        mixed = mixed * (uniform[2, :, :1] * 0.8 + 0.2 > uniform[3])
        noise = torch.randn(mixed.shape, generator=self.generator) * table.detach().pow(2).mean().sqrt()
        mixed = mixed + noise * uniform[4] ** 2
        return mixed * torch.exp(uniform[5, :, :1] * 5.5 - 2.0)


def pad(rows: list[list[int]], value: int) -> Tensor:
    """Return rows of unequal length as one tensor; few different widths keep the matrix kernels in their cache."""
    width = -(-max(map(len, rows)) // 6) * 6
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def compute_loss(
    model: T5ForConditionalGeneration, batcher: Batcher, tasks: tuple[str, ...], size: int, kind: str
) -> Tensor:
    """Return the loss of a fresh batch."""
    sources, targets, names = batcher.draw(tasks, size, kind)
    input_ids = pad(sources, 0)
    mask = (input_ids != 0).long()
    embeds = model.shared(input_ids)
    if kind == "soft":
        soft = batcher.mix_instructions(names, model.shared.weight)
        embeds = torch.cat([soft, embeds], dim=1)
        mask = torch.cat([torch.ones(soft.shape[:2], dtype=torch.long), mask], dim=1)
    with torch.autocast("cpu", torch.bfloat16):
        return model(inputs_embeds=embeds, attention_mask=mask, labels=pad(targets, -100)).loss


def train(model, batcher, steps, minutes, rate, size, after=None) -> int:
    """Train with a warm-up and a linear decay over the steps or minutes, whichever ends first; return the steps taken."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    started = time.monotonic()
    model.train()
    taken = 0
    smooth = {}
    for step in range(steps):
        done = max(step / steps, (time.monotonic() - started) / 60 / minutes)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate * min((step + 1) / 200, 1.0 - done)
        batcher.fragments = max(0.05, 0.9 - 6 * done)
        kind = batcher.rng.choices(list(KINDS), list(KINDS.values()))[0]
        for tasks, share in ((SINGLES, 0.2), (PAIRS, 0.8)):
            loss = compute_loss(model, batcher, tasks, int(size * share), kind)
            (loss * share).backward()
            smooth[kind, len(tasks)] = 0.95 * smooth.get((kind, len(tasks)), loss.item()) + 0.05 * loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        taken = step + 1
        if after is not None:
            after(step, done)
    return taken

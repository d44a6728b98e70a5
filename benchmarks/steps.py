"""Whole T5s with each kind of prompt: a training step, and the generation of answers.

All share one frozen T5 with random weights, one batch, one dtype and one optimizer. The plain T5 has nothing to learn:
its step runs backward to the token embeddings, which every prompt's step must do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from benchmarks import peers
from benchmarks.providers import TOLERANCE
from benchmarks.shapes import Batch, Shape, make_batch
from benchmarks.timing import Work
from crosspt import CrossPTConfig, CrossPTModel, reference

Sizes = dict[str, Any]

T5_SMALL: Sizes = {
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
}
T5_TINY: Sizes = {"vocab_size": 64, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 2}
ANSWER_TOKENS = 4


@dataclass(frozen=True)
class Prompted:
    """A T5 with one kind of prompt, on a batch.

    Attributes:
        name: as in the peers' table.
        lacks: what it does not do that CrossPT does.
        loss: forward on the batch.
        generate: the answers of a given number of tokens.
        learned: what the optimizer changes.
        reference: the T5's input embeddings by independent means.
    """

    name: str
    lacks: str
    loss: Callable[[], Tensor]
    generate: Callable[[int], Tensor]
    learned: list[Tensor]
    reference: Callable[[], Tensor]


@dataclass(frozen=True)
class Bench:
    """A T5 and a batch that all share."""

    t5: T5ForConditionalGeneration
    shape: Shape
    batch: Batch
    labels: Tensor

    def mask(self, length: int) -> Tensor:
        """An attention mask without padding over ``length`` prompt rows and the tokens."""
        return self.batch.input_ids.new_ones(self.shape.B, length + self.shape.L)

    def run(self, embeds: Tensor) -> Tensor:
        """The T5's loss on input embeddings."""
        mask = self.mask(embeds.shape[1] - self.shape.L)
        return self.t5(inputs_embeds=embeds, attention_mask=mask, labels=self.labels).loss

    def answer(self, embeds: Tensor, tokens: int) -> Tensor:
        """The T5's greedy answers to input embeddings."""
        model: Any = self.t5
        mask = self.mask(embeds.shape[1] - self.shape.L)
        with torch.no_grad():
            return model.generate(inputs_embeds=embeds, attention_mask=mask, **_greedy(tokens))


def make_bench(sizes: Sizes, shape: Shape, device: torch.device | str = "cpu") -> Bench:
    """A frozen T5 with random weights and a batch; the shape's width and vocabulary become the T5's."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        t5: Any = T5ForConditionalGeneration(T5Config(**{**sizes, "decoder_start_token_id": 0}))
    shape = Shape(shape.B, shape.L, shape.m, sizes["d_model"], shape.n, shape.T, shape.dtype, sizes["vocab_size"])
    t5.requires_grad_(False).to(device, shape.torch_dtype).train()
    batch = make_batch(shape, device)._replace(table=t5.get_input_embeddings().weight)
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(2, sizes["vocab_size"], (shape.B, ANSWER_TOKENS), generator=generator).to(device)
    return Bench(t5, shape, batch, labels)


def _greedy(tokens: int) -> dict[str, Any]:
    return {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "num_beams": 1}


def crosspt(bench: Bench, backend: Any = "auto") -> Prompted:
    """CrossPTModel in the scheme SL<n>P: n sources and a private prompt for every task."""
    shape, batch = bench.shape, bench.batch
    config = CrossPTConfig(
        tasks=[f"task{number}" for number in range(shape.T)], scheme=f"SL{shape.n}P", prompt_length=shape.m
    )
    model = CrossPTModel(bench.t5, config, backend=backend).train()
    inputs = {"input_ids": batch.input_ids, "attention_mask": bench.mask(0), "task_ids": batch.task_ids}

    def literal() -> Tensor:
        operands = model.embedding.bank.operands()
        return reference.prompted_embedding(batch.input_ids, batch.task_ids, batch.table, **operands)

    return Prompted(
        "CrossPTModel",
        "",
        lambda: model(**inputs, labels=bench.labels).loss,
        lambda tokens: model.generate(**inputs, **_greedy(tokens)),
        [p for p in model.embedding.bank.parameters() if p.requires_grad],
        literal,
    )


def embedded(bench: Bench, name: str) -> Prompted:
    """One of the peers' embedding operations in front of the T5."""
    peer = peers.PEERS[name]
    provider = peer.build(bench.shape, bench.batch)
    rows = bench.batch.constant

    def embeds() -> Tensor:
        values = provider.forward()
        return values if values.requires_grad else values.requires_grad_()

    return Prompted(
        name,
        peer.lacks,
        lambda: bench.run(embeds()),
        lambda tokens: bench.answer(provider.forward(), tokens),
        list(provider.parameters.values()),
        lambda: provider.reference(provider.parameters, rows),
    )


def peft(bench: Bench, kind: str) -> Prompted:
    """The PEFT model itself around the T5."""
    model = peers.peft_model(kind, bench.t5, bench.shape)
    inputs = {"input_ids": bench.batch.input_ids, "attention_mask": bench.mask(0)}
    if kind == "multitask":
        inputs["task_ids"] = bench.batch.task_ids
    learned = peers.peft_parameters(model)
    rows = bench.batch.constant
    name = f"PEFT {kind}"
    return Prompted(
        name,
        peers.PEERS[name].lacks,
        lambda: model(**inputs, labels=bench.labels).loss,
        lambda tokens: model.generate(**inputs, **_greedy(tokens)),
        list(learned.values()),
        lambda: peers.peft_reference(kind, bench.batch.task_ids, learned, rows),
    )


MODELS: dict[str, Callable[[Bench], Prompted]] = {
    "CrossPTModel": crosspt,
    "literal": partial(embedded, name="literal"),
    "PEFT multitask": partial(peft, kind="multitask"),
    "PEFT p-tuning": partial(peft, kind="p-tuning"),
    "PEFT prompt tuning": partial(peft, kind="prompt tuning"),
    "bare prompt": partial(embedded, name="bare prompt"),
    "plain": partial(embedded, name="plain"),
}


def check(prompted: Prompted, bench: Bench, tokens: int = ANSWER_TOKENS) -> str | None:
    """Compare loss and answers with those of the T5 on the reference's embeddings; see ``providers.check``."""
    tolerance = TOLERANCE[bench.shape.torch_dtype]
    bench.t5.eval()
    try:
        with torch.no_grad():
            embeds = prompted.reference()
            wanted, got = bench.run(embeds).item(), prompted.loss().item()
            same = torch.equal(bench.answer(embeds, tokens), prompted.generate(tokens))
    finally:
        bench.t5.train()
    if not abs(got - wanted) <= tolerance * abs(wanted):
        return f"the loss is {got:.6g}, the reference's {wanted:.6g}"
    # Half precision may turn the order of two almost equal scores.
    if not same and bench.shape.dtype == "float32":
        return "the answers differ from the reference's"
    return None


def training_work(prompted: Prompted) -> Work:
    """Forward, backward and an Adam step."""
    optimizer = torch.optim.Adam(prompted.learned, lr=1e-3) if prompted.learned else None

    def run() -> None:
        if optimizer is not None:
            optimizer.zero_grad()
        prompted.loss().backward()
        if optimizer is not None:
            optimizer.step()

    return Work(tuple, run)


def generation_work(prompted: Prompted, bench: Bench, tokens: int) -> Work:
    """Greedy answers of a fixed number of tokens, in eval mode."""

    def prepare() -> tuple[()]:
        bench.t5.eval()
        return ()

    return Work(prepare, lambda: prompted.generate(tokens))

"""Whole T5s with each kind of prompt: a training step, a forward pass without gradients, and generated answers.

All share the weights of one frozen T5, which are random, one batch, one dtype and one optimizer. The plain T5 has
nothing to learn: its step runs backward to the token embeddings, which every prompt's step must do.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

from benchmarks import peers
from benchmarks.providers import TOLERANCE, relative_error
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
GRADIENT_TOLERANCE = 1e-2
"""Largest error of a prompt's gradient through a float32 T5, as a share of its largest entry. Rounding alone makes 1e-3
of it at T5-small's size."""


@dataclass(frozen=True)
class Prompted:
    """A T5 with one kind of prompt, on a batch.

    Attributes:
        name: as in the peers' table.
        lacks: what it does not do that CrossPT does.
        module: what trains or answers, put into train mode or eval mode for it.
        loss: forward on the batch.
        generate: the answers of a given number of tokens.
        learned: what the optimizer changes.
        reference: the T5's input embeddings by independent means, differentiable.
        isolated: whether prompt rows see prompt rows alone. Answers then rest on prefixes that are kept between calls.
    """

    name: str
    lacks: str
    module: nn.Module
    loss: Callable[[], Tensor]
    generate: Callable[[int], Tensor]
    learned: list[Tensor]
    reference: Callable[[], Tensor]
    isolated: bool = False


@dataclass(frozen=True)
class Bench:
    """A T5 and a batch that all share."""

    t5: T5ForConditionalGeneration
    shape: Shape
    batch: Batch
    labels: Tensor

    def first(self, rows: int) -> "Bench":
        """The same with the first rows of the batch alone."""
        if rows >= self.shape.B:
            return self
        batch = self.batch._replace(input_ids=self.batch.input_ids[:rows], task_ids=self.batch.task_ids[:rows])
        return Bench(self.t5, self.shape.moved(B=rows), batch, self.labels[:rows])

    def mask(self, length: int) -> Tensor:
        """An attention mask without padding over ``length`` prompt rows and the tokens."""
        return self.batch.input_ids.new_ones(self.shape.B, length + self.shape.L)

    def inputs(self, embeds: Tensor, isolated: bool = False) -> dict[str, Any]:
        """The T5's inputs for embeddings (B, m + L, d).

        Where prompt rows are isolated, the encoder has run: eager attention under the mask (m + L, m + L) of what sees
        what.
        """
        length = embeds.shape[1] - self.shape.L
        mask = self.mask(length)
        if not isolated:
            return {"inputs_embeds": embeds, "attention_mask": mask}
        hidden = torch.zeros_like(mask[0] * mask[0, :, None], dtype=torch.bool)
        hidden[:length, length:] = True
        blocks = embeds.new_zeros(hidden.shape).masked_fill(hidden, torch.finfo(embeds.dtype).min)
        encoder: Any = with_attention(self.t5, "eager").encoder
        encoded = encoder(inputs_embeds=embeds, attention_mask=blocks.expand(len(embeds), 1, -1, -1))
        return {"encoder_outputs": encoded, "attention_mask": mask}

    def run(self, embeds: Tensor, isolated: bool = False) -> Tensor:
        """The T5's loss on input embeddings."""
        return self.t5(**self.inputs(embeds, isolated), labels=self.labels).loss

    def answer(self, embeds: Tensor, tokens: int, isolated: bool = False) -> Tensor:
        """The T5's greedy answers to input embeddings."""
        model: Any = self.t5
        with torch.no_grad():
            return model.generate(**self.inputs(embeds, isolated), **greedy(tokens))


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


def with_attention(t5: T5ForConditionalGeneration, implementation: str) -> T5ForConditionalGeneration:
    """The same T5, its parameters shared and not copied, with another attention."""
    other: Any = copy.deepcopy(t5, {id(parameter): parameter for parameter in t5.parameters()})
    other.set_attn_implementation(implementation)
    return other


def greedy(tokens: int) -> dict[str, Any]:
    """Options of ``generate`` for a fixed number of tokens."""
    return {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "num_beams": 1}


def crosspt(bench: Bench, prefix_mode: Any = "full") -> Prompted:
    """CrossPTModel in the scheme SL<n>P: n sources and a private prompt for every task."""
    shape, batch = bench.shape, bench.batch
    isolated = prefix_mode == "isolated"
    config = CrossPTConfig(
        tasks=[f"task{number}" for number in range(shape.T)],
        scheme=f"SL{shape.n}P",
        prompt_length=shape.m,
        prefix_mode=prefix_mode,
    )
    # An isolated prefix sets an attention of its own; the other models keep theirs.
    t5 = with_attention(bench.t5, "crosspt") if isolated else bench.t5
    model = CrossPTModel(t5, config).train()
    inputs = {"input_ids": batch.input_ids, "attention_mask": bench.mask(0), "task_ids": batch.task_ids}

    def literal() -> Tensor:
        mixture = model.embedding.bank.mixture()._asdict()
        return reference.prompted_embedding(batch.input_ids, batch.task_ids, batch.table, **mixture)

    return Prompted(
        "CrossPTModel isolated" if isolated else "CrossPTModel",
        "",
        model,
        lambda: model(**inputs, labels=bench.labels).loss,
        lambda tokens: model.generate(**inputs, **greedy(tokens)),
        [p for p in model.embedding.bank.parameters() if p.requires_grad],
        literal,
        isolated,
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
        bench.t5,
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
        model,
        lambda: model(**inputs, labels=bench.labels).loss,
        lambda tokens: model.generate(**inputs, **greedy(tokens)),
        list(learned.values()),
        lambda: peers.peft_reference(kind, bench.batch.task_ids, learned, rows),
    )


MODELS: dict[str, Callable[[Bench], Prompted]] = {
    "CrossPTModel": crosspt,
    "CrossPTModel isolated": partial(crosspt, prefix_mode="isolated"),
    "literal": partial(embedded, name="literal"),
    "PEFT multitask": partial(peft, kind="multitask"),
    "PEFT p-tuning": partial(peft, kind="p-tuning"),
    "PEFT prompt tuning": partial(peft, kind="prompt tuning"),
    "bare prompt": partial(embedded, name="bare prompt"),
    "plain": partial(embedded, name="plain"),
}


PREFIX_MODELS = ("CrossPTModel", "CrossPTModel isolated", "PEFT prompt tuning", "plain")
"""What the two modes of a prefix are measured beside."""


def check(prompted: Prompted, bench: Bench, tokens: int = ANSWER_TOKENS) -> str | None:
    """Compare loss, gradients and answers with those of the T5 on the reference's embeddings, nothing dropped."""
    tolerance = TOLERANCE[bench.shape.torch_dtype]
    modules = (bench.t5, prompted.module)
    for module in modules:
        module.eval()
    try:
        embeds = prompted.reference()
        losses = {"wanted": bench.run(embeds, prompted.isolated), "got": prompted.loss()}
        wanted, got = losses["wanted"].item(), losses["got"].item()
        if not abs(got - wanted) <= tolerance * abs(wanted):
            return f"the loss is {got:.6g}, the reference's {wanted:.6g}"
        # In half precision gradients this deep are noise, and the order of two almost equal scores may turn.
        if bench.shape.dtype != "float32":
            return None
        if prompted.learned:
            truth, gradients = (torch.autograd.grad(loss, prompted.learned) for loss in losses.values())
            error = max(relative_error(*pair) for pair in zip(gradients, truth, strict=True))
            if not error <= GRADIENT_TOLERANCE:
                return f"a gradient is off by {error:.2g} of its largest entry, allowed is {GRADIENT_TOLERANCE:.2g}"
        with torch.no_grad():
            if not torch.equal(bench.answer(embeds, tokens, prompted.isolated), prompted.generate(tokens)):
                return "the answers differ from the reference's"
    finally:
        for module in modules:
            module.train()
    return None


def training_work(prompted: Prompted) -> Work:
    """Forward, backward and an Adam step."""
    optimizer = torch.optim.Adam(prompted.learned, lr=1e-3) if prompted.learned else None

    def prepare() -> tuple[()]:
        prompted.module.train()
        return ()

    def run() -> None:
        if optimizer is not None:
            optimizer.zero_grad()
        prompted.loss().backward()
        if optimizer is not None:
            optimizer.step()

    return Work(prepare, run)


def gradient_work(prompted: Prompted) -> Work:
    """Forward and backward."""

    def prepare() -> tuple[()]:
        prompted.module.train()
        return ()

    return Work(prepare, lambda: torch.autograd.grad(prompted.loss(), prompted.learned))


def _warm_work(prompted: Prompted, run: Callable[[], Tensor]) -> Work:
    """Work without gradients in eval mode; kept prefixes are there before the clock starts."""

    def prepare() -> tuple[()]:
        prompted.module.eval()
        return ()

    run = torch.no_grad()(run)
    if prompted.isolated:
        prepare()
        run()
    return Work(prepare, run)


def inference_work(prompted: Prompted) -> Work:
    """One forward pass over texts and labels."""
    return _warm_work(prompted, prompted.loss)


def answering_work(prompted: Prompted, tokens: int = ANSWER_TOKENS) -> Work:
    """Greedy answers of a fixed number of tokens."""
    return _warm_work(prompted, lambda: prompted.generate(tokens))


def warm_name(prompted: Prompted) -> str:
    """The name under which what rests on kept prefixes is reported."""
    return f"{prompted.name}, warm cache" if prompted.isolated else prompted.name

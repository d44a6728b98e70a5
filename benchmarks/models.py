"""Whole T5s: each kind of prompt at training, at a forward pass and at answers, and the attentions of a plain T5.

All share the weights of one frozen T5, which are random, one batch, one dtype and one optimizer. The plain T5 has
nothing to learn: its step runs backward to the token embeddings, which every prompt's step must do.
"""

import copy
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from benchmarks.embedding import EMBEDDING, Batch, make_batch, peft_model, peft_parameters, peft_reference
from benchmarks.peers import TOLERANCE, Operation, Peer, UnavailableError, relative_error
from benchmarks.shapes import Shape
from benchmarks.timing import Work
from crosspt import CrossPTConfig, CrossPTModel, reference

T5_SIZES = {
    512: {"d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
    16: {"d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 2},
}
"""T5-small's, and those of a T5 to try things on, by width."""
ANSWER_TOKENS = 4
GRADIENT_TOLERANCE = 1e-2
"""Largest error of a prompt's gradient through a float32 T5, as a share of its largest entry. Rounding alone makes 1e-3
of it at T5-small's size."""


@dataclass(frozen=True)
class Bench:
    """A T5 and a batch that all share."""

    t5: T5ForConditionalGeneration
    batch: Batch
    labels: Tensor

    @property
    def shape(self) -> Shape:
        """The sizes."""
        return self.batch.shape

    def mask(self, length: int) -> Tensor:
        """An attention mask without padding over ``length`` prompt rows and the tokens."""
        return self.batch.input_ids.new_ones(self.shape.B, length + self.shape.L)

    def inputs(self, embeds: Tensor, isolated: bool = False) -> dict[str, Any]:
        """The T5's inputs for embeddings (B, m + L, d); of isolated prompts the encoder has run, masked and eager."""
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


@dataclass(frozen=True)
class BuiltModel:
    """A peer that is a whole T5, on a batch."""

    bench: Bench
    module: nn.Module  # what trains or answers, put into train mode or eval mode for it
    loss: Callable[[], Tensor]  # forward on the batch
    generate: Callable[[int], Tensor]  # the answers of a number of tokens
    learned: list[Tensor]  # what the optimizer changes
    reference: Callable[[], Tensor]  # the T5's input embeddings by independent means, differentiable
    isolated: bool = False  # prompt rows see prompt rows alone, and answers rest on prefixes kept between calls

    def check(self) -> str | None:
        """Compare loss, gradients and answers with those of the T5 on the reference's embeddings, nothing dropped."""
        bench, tolerance = self.bench, TOLERANCE[self.bench.shape.torch_dtype]
        bench.t5.eval()
        self.module.eval()
        embeds = self.reference()
        t5 = _built(bench, bench.t5, lambda: bench.inputs(embeds, self.isolated), [], self.reference)
        losses = {"wanted": t5.loss(), "got": self.loss()}
        wanted, got = losses["wanted"].item(), losses["got"].item()
        if not abs(got - wanted) <= tolerance * abs(wanted):
            return f"the loss is {got:.6g}, the reference's {wanted:.6g}"
        # In half precision gradients this deep are noise, and the order of two almost equal scores may turn.
        if bench.shape.dtype != "float32":
            return None
        if self.learned:
            truth, gradients = (torch.autograd.grad(loss, self.learned) for loss in losses.values())
            error = max(relative_error(*pair) for pair in zip(gradients, truth, strict=True))
            if not error <= GRADIENT_TOLERANCE:
                return f"a gradient is off by {error:.2g} of its largest entry, allowed is {GRADIENT_TOLERANCE:.2g}"
        with torch.no_grad():
            same = torch.equal(t5.generate(ANSWER_TOKENS), self.generate(ANSWER_TOKENS))
        return None if same else "the answers differ from the reference's"

    def work(self, what: str) -> Work:
        """A pass: ``step`` with Adam, ``forward and backward``, or without gradients ``forward`` or ``<n> tokens``."""
        if what == "forward":
            return inference(self.module, self.loss, self.isolated)
        if what.endswith(" tokens"):
            return inference(self.module, lambda: self.generate(int(what.removesuffix(" tokens"))), self.isolated)
        optimizer = torch.optim.Adam(self.learned, lr=1e-3) if what == "step" and self.learned else None

        def step() -> None:
            self.loss().backward()
            if optimizer is not None:
                optimizer.step()
                optimizer.zero_grad()

        run = step if what == "step" else lambda: torch.autograd.grad(self.loss(), self.learned)
        return Work(partial(_put, self.module, True), run)


def _put(module: nn.Module, training: bool) -> tuple[()]:
    module.train(training)
    return ()


def inference(module: nn.Module, run: Callable[[], Tensor], warm: bool) -> Work:
    """A run of a model without gradients, with its prompts kept; if ``warm``, what it keeps is there beforehand."""
    scope = ExitStack()  # of what is kept between calls, as long as the work is

    @torch.no_grad()
    def infer(_: ExitStack = scope) -> Tensor:
        return run()

    if isinstance(module, CrossPTModel):
        scope.enter_context(module.keep_prompts())
    if warm:
        infer(*_put(module, False))
    return Work(partial(_put, module, False), infer, warm)


@lru_cache(maxsize=1)
def frozen_model(make: Any, dtype: torch.dtype, device: torch.device | str, **sizes: Any) -> Any:
    """A frozen model with random weights, the same ones in every dtype and on every device."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make(make.config_class(**sizes))
    return model.requires_grad_(False).to(device, dtype)


def make_bench(shape: Shape, device: torch.device | str = "cpu") -> Bench:
    """A frozen T5 of the shape's width and vocabulary with random weights, and a batch."""
    sizes = T5_SIZES[shape.d] | {"vocab_size": shape.V, "d_model": shape.d, "decoder_start_token_id": 0}
    t5 = frozen_model(T5ForConditionalGeneration, shape.torch_dtype, device, **sizes).train()
    batch = make_batch(shape, device)._replace(table=t5.get_input_embeddings().weight)
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(2, shape.V, (shape.B, ANSWER_TOKENS), generator=generator).to(device)
    return Bench(t5, batch, labels)


def _few(bench: Bench) -> Bench:
    """What a peer is checked on: two rows of every task."""
    rows, batch = 2 * bench.shape.T, bench.batch
    if rows >= bench.shape.B:
        return bench
    first = Batch(bench.shape.moved(B=rows), batch.input_ids[:rows], batch.task_ids[:rows], batch.table)
    return Bench(bench.t5, first, bench.labels[:rows])


def with_attention(t5: T5ForConditionalGeneration, implementation: str) -> T5ForConditionalGeneration:
    """The same T5, its parameters shared and not copied, with another attention."""
    other: Any = copy.deepcopy(t5, {id(parameter): parameter for parameter in t5.parameters()})
    other.set_attn_implementation(implementation)
    return other


def _built(
    bench: Bench,
    module: Any,
    inputs: Callable[[], dict[str, Any]],
    learned: Sequence[Tensor],
    literal: Callable[[], Tensor],
    isolated: bool = False,
) -> BuiltModel:
    def loss() -> Tensor:
        return module(**inputs(), labels=bench.labels).loss

    def generate(tokens: int) -> Tensor:
        options = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "num_beams": 1}
        return module.generate(**inputs(), **options)

    return BuiltModel(bench, module, loss, generate, list(learned), literal, isolated)


def crosspt_config(shape: Shape, prefix_mode: Any) -> CrossPTConfig:
    """The scheme SL<n>P: n sources and a private prompt for every task."""
    tasks = [f"task{number}" for number in range(shape.T)]
    return CrossPTConfig(tasks=tasks, scheme=f"SL{shape.n}P", prompt_length=shape.m, prefix_mode=prefix_mode)


def build_crosspt(prefix_mode: Any, bench: Bench, backend: Any = "auto") -> BuiltModel:
    """CrossPTModel.

    With a backend other than ``"auto"`` the T5's attention is CrossPT's of that backend too.
    """
    batch, isolated = bench.batch, prefix_mode == "isolated"
    implementation = "crosspt" if backend == "auto" else f"crosspt_{backend}"
    # An isolated prefix sets an attention of its own; the other models keep theirs.
    t5 = with_attention(bench.t5, implementation) if isolated or backend != "auto" else bench.t5
    model = CrossPTModel(t5, crosspt_config(bench.shape, prefix_mode), backend=backend).train()
    inputs = {"input_ids": batch.input_ids, "attention_mask": bench.mask(0), "task_ids": batch.task_ids}

    def literal() -> Tensor:
        operands = model.embedding.bank.mixture()._asdict()
        return reference.prompted_embedding(batch.input_ids, batch.task_ids, batch.table, **operands)

    learned = [p for p in model.embedding.bank.parameters() if p.requires_grad]
    return _built(bench, model, lambda: inputs, learned, literal, isolated)


def _embedded(name: str, bench: Bench) -> BuiltModel:
    """One of the peers' embedding operations in front of the T5."""
    built = EMBEDDING.peers[name].build(bench.batch)

    def inputs() -> dict[str, Any]:
        values = built.forward()
        return bench.inputs(values if values.requires_grad else values.requires_grad_())

    def literal() -> Tensor:
        return built.reference(built.parameters, built.constant)

    return _built(bench, bench.t5, inputs, [*built.parameters.values()], literal)


def _peft(kind: str, bench: Bench) -> BuiltModel:
    """The PEFT model itself around the T5."""
    model = peft_model(kind, bench.t5, bench.shape)
    inputs = {"input_ids": bench.batch.input_ids, "attention_mask": bench.mask(0)}
    if kind == "multitask":
        inputs["task_ids"] = bench.batch.task_ids
    learned, rows = peft_parameters(model), bench.batch.rows

    def literal() -> Tensor:
        return peft_reference(kind, bench.batch.task_ids, learned, rows)

    return _built(bench, model, lambda: inputs, [*learned.values()], literal)


def build_plain(implementation: str, training: bool, bench: Bench) -> BuiltModel:
    """The T5 on the embeddings of its tokens, which get a gradient."""
    t5: Any = with_attention(bench.t5, implementation)
    embeds = bench.batch.rows.detach().requires_grad_()
    built = _built(bench, t5, lambda: bench.inputs(embeds), [embeds], lambda: embeds)
    if implementation == "flex_attention":  # lacks dropout, and much on a CPU
        t5.train(training)
        try:
            built.loss().backward() if training else built.generate(1)
        except (RuntimeError, ValueError) as error:
            reason = re.sub(r".*/\S* ", "", str(error).splitlines()[0])  # no path of a compiled file
            raise UnavailableError(f"fails in transformers: {reason.split('. ')[0]}") from error
    return built


def _attentions(operation: str, what: str, training: bool) -> Operation:
    """A plain frozen T5 without prompts under each attention, beside eager attention, which is the reference."""

    def make_eager(shape: Shape, device: torch.device | str = "cpu") -> Bench:
        bench = make_bench(shape, device)
        return replace(bench, t5=with_attention(bench.t5, "eager"))

    builds = {name: partial(build_plain, name, training) for name in ("eager", "sdpa", "flex_attention", "crosspt")}
    peers = {name: Peer(name, "", build, few=_few) for name, build in builds.items()}
    return Operation(f"plain T5, {operation}", (what,), peers, make_eager, "eager")


_BUILDS: dict[str, Callable[[Bench], BuiltModel]] = {
    "CrossPTModel": partial(build_crosspt, "full"),
    "CrossPTModel isolated": partial(build_crosspt, "isolated"),
    "literal": partial(_embedded, "literal"),
    **{f"PEFT {kind}": partial(_peft, kind) for kind in ("multitask", "p-tuning", "prompt tuning")},
    "bare prompt": partial(_embedded, "bare prompt"),
    "plain": partial(_embedded, "plain"),
}
_LACKS = {name: peer.lacks for name, peer in EMBEDDING.peers.items()}
MODELS = {name: Peer(name, _LACKS.get(name, ""), build, few=_few) for name, build in _BUILDS.items()}
TRAINING_STEP = Operation("training_step", ("step",), MODELS, make_bench, "bare prompt")
INFERENCE = Operation("inference", ("forward",), MODELS, make_bench, "bare prompt")
LABELS = Operation("label_prediction", (f"{ANSWER_TOKENS} tokens",), MODELS, make_bench, "bare prompt")
ANSWERS = Operation("answers", (f"{ANSWER_TOKENS} tokens",), MODELS, make_bench, "bare prompt")
GENERATION = Operation("generation", ("16 tokens",), MODELS, make_bench, "bare prompt")
PLAIN = (
    _attentions("gradient", "forward and backward", training=True),
    _attentions("answers", f"{ANSWER_TOKENS} tokens", training=False),
)

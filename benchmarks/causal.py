"""A causal language model of SmolLM2-135M's shape, random weights: the answer in one pass, by each kind of prompt."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.embedding import Batch, make_batch, peft_model
from benchmarks.peers import TOLERANCE, Operation, Peer, relative_error
from benchmarks.shapes import Shape
from benchmarks.timing import Work
from crosspt import CrossPTConfig, CrossPTModel

SIZES: dict[int, dict[str, int]] = {
    576: {"intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3},
    16: {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2},
}
"""SmolLM2-135M's, and those of a model to try things on, by width."""
SMOLLM2 = Shape(B=16, L=24, m=100, d=576, V=49152)


@dataclass(frozen=True)
class BuiltCausal:
    """A peer that answers a batch; its rows are what a plain model would read in its place."""

    batch: Batch
    plain: Any
    answer: Callable[[], Tensor]  # logits (B, V) behind the text
    rows: Callable[[], Tensor]  # (B, m + L, d)
    module: Any = None  # whose prompts and prefixes are kept between calls

    @torch.no_grad()
    def check(self) -> str | None:
        """Compare the logits with those of the plain model on the rows."""
        truth = self.plain(inputs_embeds=self.rows(), logits_to_keep=1).logits[:, -1]
        error = relative_error(self.answer(), truth.double())
        allowed = TOLERANCE[self.batch.shape.torch_dtype]
        return None if error <= allowed else f"a logit is off by {error:.2g} of the largest, allowed is {allowed:.2g}"

    def work(self, what: str) -> Work:
        """The one pass, without gradients; kept prefixes are there before the clock starts."""
        scope = ExitStack()  # as long as the work is

        @torch.no_grad()
        def infer(_: ExitStack = scope) -> Tensor:
            return self.answer()

        if self.module is not None:
            scope.enter_context(self.module.keep_prompts())
            infer()
        return Work(tuple, infer, warm=self.module is not None)


@lru_cache(maxsize=1)
def _make_llama(width: int, vocabulary: int, dtype: torch.dtype, device: torch.device | str) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes: Any = {**SIZES[width], "hidden_size": width, "vocab_size": vocabulary, "tie_word_embeddings": True}
        model: Any = LlamaForCausalLM(LlamaConfig(**sizes))
    return model.requires_grad_(False).to(device, dtype).eval()


def make_causal_batch(shape: Shape, device: torch.device | str = "cpu") -> Batch:
    """A batch over the model's own token table."""
    model = _make_llama(shape.d, shape.V, shape.torch_dtype, device)
    return make_batch(shape, device)._replace(table=model.get_input_embeddings().weight)


def _plain_of(batch: Batch) -> Any:
    return _make_llama(batch.shape.d, batch.shape.V, batch.shape.torch_dtype, batch.table.device)


def _inputs(batch: Batch) -> dict[str, Any]:
    return {"input_ids": batch.input_ids, "attention_mask": torch.ones_like(batch.input_ids), "logits_to_keep": 1}


def build_crosspt(prefix_mode: Any, batch: Batch) -> BuiltCausal:
    """CrossPTModel in the scheme SL<n>P."""
    shape, plain = batch.shape, _plain_of(batch)
    tasks = [f"task{number}" for number in range(shape.T)]
    config = CrossPTConfig(tasks=tasks, scheme=f"SL{shape.n}P", prompt_length=shape.m, prefix_mode=prefix_mode)
    model = CrossPTModel(plain, config).eval()
    inputs = {**_inputs(batch), "task_ids": batch.task_ids}

    def rows() -> Tensor:
        return torch.cat([model.embedding.compose()[batch.task_ids], batch.rows], dim=1)

    return BuiltCausal(batch, plain, lambda: model(**inputs).logits[:, -1], rows, model)


def _peft(batch: Batch) -> BuiltCausal:
    plain = _plain_of(batch)
    model = peft_model("prompt tuning", plain, batch.shape, task_type="CAUSAL_LM").eval()
    inputs = _inputs(batch)

    def rows() -> Tensor:
        prompts = model.get_prompt(batch_size=batch.shape.B)
        return torch.cat([prompts, batch.rows], dim=1)

    return BuiltCausal(batch, plain, lambda: model(**inputs).logits[:, -1], rows)


def _without(batch: Batch) -> BuiltCausal:
    plain, inputs = _plain_of(batch), _inputs(batch)
    return BuiltCausal(batch, plain, lambda: plain(**inputs).logits[:, -1], lambda: batch.rows)


_BUILDS: dict[str, Callable[[Batch], BuiltCausal]] = {
    "CrossPTModel": partial(build_crosspt, "full"),
    "CrossPTModel isolated": partial(build_crosspt, "isolated"),
    "PEFT prompt tuning": _peft,
    "plain": _without,
}
PEERS = {name: Peer(name, "", build) for name, build in _BUILDS.items()}
CAUSAL = Operation("causal answer", ("forward",), PEERS, make_causal_batch, "PEFT prompt tuning")

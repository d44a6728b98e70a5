"""A causal language model of SmolLM2-135M's shape, random weights: the answer in one pass, by each kind of prompt."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from benchmarks.embedding import Batch, make_batch, peft_model
from benchmarks.models import crosspt_config, frozen_model, inference
from benchmarks.peers import TOLERANCE, Operation, Peer, relative_error
from benchmarks.shapes import Shape
from benchmarks.timing import Work
from crosspt import CrossPTModel

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
    module: Any
    answer: Callable[[], Tensor]  # logits (B, V) behind the text
    rows: Callable[[], Tensor]  # (B, m + L, d)

    @torch.no_grad()
    def check(self) -> str | None:
        """Compare the logits with those of the plain model on the rows."""
        truth = self.plain(inputs_embeds=self.rows(), logits_to_keep=1).logits[:, -1]
        error = relative_error(self.answer(), truth.double())
        allowed = TOLERANCE[self.batch.shape.torch_dtype]
        return None if error <= allowed else f"a logit is off by {error:.2g} of the largest, allowed is {allowed:.2g}"

    def work(self, what: str) -> Work:
        """The one pass."""
        return inference(self.module, self.answer, warm=isinstance(self.module, CrossPTModel))


def _llama(shape: Shape, device: torch.device | str) -> Any:
    sizes = {**SIZES[shape.d], "hidden_size": shape.d, "vocab_size": shape.V, "tie_word_embeddings": True}
    return frozen_model(LlamaForCausalLM, shape.torch_dtype, device, **sizes).eval()


def make_causal_batch(shape: Shape, device: torch.device | str = "cpu") -> Batch:
    """A batch over the model's own token table."""
    return make_batch(shape, device)._replace(table=_llama(shape, device).get_input_embeddings().weight)


def _built(batch: Batch, module: Any, prompts: Callable[[], Tensor], **more: Tensor) -> BuiltCausal:
    ids, plain = batch.input_ids, _llama(batch.shape, batch.table.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "logits_to_keep": 1, **more}

    def rows() -> Tensor:
        return torch.cat([prompts(), batch.rows], dim=1)

    return BuiltCausal(batch, plain, module, lambda: module(**inputs).logits[:, -1], rows)


def build_crosspt(prefix_mode: Any, batch: Batch) -> BuiltCausal:
    """CrossPTModel."""
    config = crosspt_config(batch.shape, prefix_mode)
    model = CrossPTModel(_llama(batch.shape, batch.table.device), config).eval()
    return _built(batch, model, lambda: model.embedding.compose()[batch.task_ids], task_ids=batch.task_ids)


def _peft(batch: Batch) -> BuiltCausal:
    plain = _llama(batch.shape, batch.table.device)
    model = peft_model("prompt tuning", plain, batch.shape, task_type="CAUSAL_LM").eval()
    return _built(batch, model, lambda: model.get_prompt(batch_size=batch.shape.B))


def _without(batch: Batch) -> BuiltCausal:
    return _built(batch, _llama(batch.shape, batch.table.device), lambda: batch.rows[:, :0])


_BUILDS: dict[str, Callable[[Batch], BuiltCausal]] = {
    "CrossPTModel": partial(build_crosspt, "full"),
    "CrossPTModel isolated": partial(build_crosspt, "isolated"),
    "PEFT prompt tuning": _peft,
    "plain": _without,
}
PEERS = {name: Peer(name, "", build) for name, build in _BUILDS.items()}
CAUSAL = Operation("causal answer", ("forward",), PEERS, make_causal_batch, "PEFT prompt tuning")

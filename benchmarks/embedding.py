"""The ways to put prompts in front of token embeddings that are compared, on the same batch and in the same dtype.

Each is built with its own parameters and its own reference. PEFT's are the modules of the installed package, reached as
its models reach them.
"""

import importlib.util
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

from benchmarks import floor
from benchmarks.peers import PASSES, Built, Operation, Parameters, Peer, UnavailableError, normal, require
from benchmarks.shapes import Shape
from crosspt import reference
from crosspt.functional import prompted_embedding

TEMPERATURE = 0.5


class Batch(NamedTuple):
    """A batch without padding: its sizes, ``input_ids`` (B, L), ``task_ids`` (B,) and the token ``table`` (V, d)."""

    shape: Shape
    input_ids: Tensor
    task_ids: Tensor
    table: Tensor

    @property
    def rows(self) -> Tensor:
        """The rows of the tokens (B, L, d)."""
        return self.table[self.input_ids]


def make_batch(shape: Shape, device: torch.device | str = "cpu") -> Batch:
    """A batch of all tasks in turn whose tokens are distinct as far as the table reaches."""
    generator = torch.Generator().manual_seed(0)
    count = shape.B * shape.L
    ids = torch.cat([torch.randperm(shape.V, generator=generator) for _ in range(-(-count // shape.V))])
    table = torch.randn(shape.V, shape.d, generator=generator)
    return Batch(
        shape,
        ids[:count].view(shape.B, shape.L).to(device),
        (torch.arange(shape.B) % shape.T).to(device),
        table.to(device, shape.torch_dtype),
    )


def build_crosspt(function: Callable[..., Tensor], batch: Batch) -> Built:
    """The operation by a function that takes what ``prompted_embedding`` takes."""
    shape = batch.shape
    make = partial(normal, dtype=shape.parameter_dtype, device=batch.table.device)
    parameters = {
        "logits": make((shape.T, shape.n + 1), seed=0),
        "sources": make((shape.n, shape.m, shape.d), seed=1),
        "privates": make((shape.T, shape.m, shape.d), seed=2),
        "weight": make((shape.d, shape.d), seed=3, scale=shape.d**-0.5),
        "bias": make((shape.d,), seed=4),
    }

    def literal(values: Parameters, rows: Tensor) -> Tensor:
        prompts = reference.compose_prompts(*values.values(), temperature=TEMPERATURE)
        ids = torch.arange(shape.B * shape.L, device=rows.device).view(shape.B, shape.L)
        return reference.prepend_prompts(prompts, batch.task_ids, ids, rows.flatten(0, 1))

    def forward() -> Tensor:
        return function(batch.input_ids, batch.task_ids, batch.table, **parameters, temperature=TEMPERATURE)

    return Built(forward, parameters, literal, batch.rows)


def _triton(batch: Batch) -> Built:
    require("Triton", batch.table.device)
    return build_crosspt(partial(prompted_embedding, backend="triton"), batch)


def _compiled(batch: Batch) -> Built:
    require("a compiler", batch.table.device)
    torch._dynamo.reset()  # a shape of its own, not one more of a dynamic one
    compiled = torch.compile(partial(prompted_embedding, backend="torch"), fullgraph=True, dynamic=False)
    return build_crosspt(compiled, batch)


def _bare(batch: Batch) -> Built:
    shape = batch.shape
    prompt = normal((shape.m, shape.d), shape.torch_dtype, batch.table.device, seed=0)

    def forward() -> Tensor:
        tokens = nn.functional.embedding(batch.input_ids, batch.table)
        return torch.cat([prompt.expand(shape.B, -1, -1), tokens], dim=1)

    return Built(forward, {"prompt": prompt}, lambda values, rows: _concatenate(values["prompt"], rows), batch.rows)


def _plain(batch: Batch) -> Built:
    return Built(lambda: nn.functional.embedding(batch.input_ids, batch.table), {}, lambda _, rows: rows, batch.rows)


def _concatenate(prompt: Tensor, rows: Tensor) -> Tensor:
    return torch.stack([torch.cat([prompt if prompt.ndim == 2 else prompt[b], row]) for b, row in enumerate(rows)])


def peft_model(kind: str, base_model: Any, shape: Shape, task_type: str = "SEQ_2_SEQ_LM") -> Any:
    """A PEFT model with prompts for the encoder, or a causal model, alone; UnavailableError without the package."""
    if importlib.util.find_spec("peft") is None:
        raise UnavailableError("peft is not installed")
    import peft

    common: Any = {"num_virtual_tokens": shape.m, "num_transformer_submodules": 1, "task_type": task_type}
    config: Any = {
        "prompt tuning": lambda: peft.PromptTuningConfig(**common),
        "multitask": lambda: peft.MultitaskPromptTuningConfig(**common, num_tasks=shape.T),
        "p-tuning": lambda: peft.PromptEncoderConfig(**common, encoder_hidden_size=shape.d),
    }[kind]()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers for a name that will go
        torch.manual_seed(0)
        model = peft.get_peft_model(base_model, config)
    model.prompt_encoder.to(device=base_model.device, dtype=shape.torch_dtype)
    return model.train()


def _peft(kind: str, batch: Batch) -> Built:
    shape = batch.shape
    # The smallest T5 of this width: only its token embedding and PEFT's prompt modules run.
    config = T5Config(vocab_size=8, d_model=shape.d, d_kv=8, d_ff=8, num_layers=1, num_heads=1)
    t5: Any = T5ForConditionalGeneration(config)
    t5.set_input_embeddings(nn.Embedding.from_pretrained(batch.table))
    t5.config.vocab_size = shape.V
    model = peft_model(kind, t5.to(batch.table.device), shape)
    table = model.word_embeddings

    def forward() -> Tensor:
        tokens = table(batch.input_ids)
        prompts = model.get_prompt(batch_size=shape.B, task_ids=batch.task_ids).to(tokens.dtype)
        return torch.cat((prompts[:, : shape.m], tokens), dim=1)

    return Built(forward, peft_parameters(model), partial(peft_reference, kind, batch.task_ids), batch.rows)


def peft_parameters(model: Any) -> Parameters:
    """What a PEFT model learns, by name."""
    return {name: p for name, p in model.prompt_encoder.named_parameters() if p.requires_grad}


def peft_reference(kind: str, task_ids: Tensor, parameters: Parameters, rows: Tensor) -> Tensor:
    """The embeddings of a PEFT model, from the papers' equations."""
    values = {name.removeprefix("default."): p for name, p in parameters.items()}
    prompt = values["embedding.weight"]
    if kind == "multitask":
        prompt = prompt * (values["prefix_task_cols"] @ values["prefix_task_rows"])[task_ids]
    if kind == "p-tuning":
        for layer in (0, 2, 4):
            prompt = prompt @ values[f"mlp_head.{layer}.weight"].T + values[f"mlp_head.{layer}.bias"]
            prompt = prompt.relu() if layer < 4 else prompt
    return _concatenate(prompt, rows)


_NO_TASKS = "no tasks, no mixing, no encoder"
_OURS = partial(floor.embedding_floors, floor.crosspt_traffic)
_SOFT = partial(floor.embedding_floors, floor.soft_prompt_traffic)
_MULTITASK = partial(floor.embedding_floors, floor.multitask_traffic)
_ENCODER = partial(floor.embedding_floors, floor.prompt_encoder_traffic)
_ALL = (
    Peer("literal", "", partial(build_crosspt, reference.prompted_embedding), _OURS),
    Peer("torch", "", partial(build_crosspt, partial(prompted_embedding, backend="torch")), _OURS),
    Peer("torch.compile", "", _compiled, _OURS, "Inductor's scheduler"),
    Peer("triton", "", _triton, _OURS, "interpreted addresses"),
    Peer("PEFT multitask", "no mixing, no encoder", partial(_peft, "multitask"), _MULTITASK),
    Peer("PEFT p-tuning", "no tasks, no mixing", partial(_peft, "p-tuning"), _ENCODER),
    Peer("PEFT prompt tuning", _NO_TASKS, partial(_peft, "prompt tuning"), _SOFT),
    Peer("bare prompt", _NO_TASKS, _bare, _SOFT),
    Peer("plain", "no prompt", _plain, partial(floor.embedding_floors, lambda _: floor.Traffic(0, 0, 0, 0))),
)
EMBEDDING = Operation("embedding", PASSES, {peer.name: peer for peer in _ALL}, make_batch, "literal")

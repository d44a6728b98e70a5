"""The ways to put prompts in front of token embeddings that are compared, on the same batch and in the same dtype.

Each builds a provider with its own parameters and its own reference. PEFT's are the modules of the installed package,
reached as its models reach them.
"""

import importlib.util
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

from benchmarks import floor
from benchmarks.providers import (
    Parameters,
    Peer,
    Provider,
    UnavailableError,
    normal,
    require_compiler,
    require_triton,
)
from benchmarks.shapes import Batch, Shape
from crosspt import reference
from crosspt.functional import prompted_embedding

TEMPERATURE = 0.5


def crosspt_parameters(shape: Shape, device: torch.device) -> Parameters:
    """Logits, sources, private prompts and the encoder."""
    make = partial(normal, dtype=shape.torch_dtype, device=device)
    return {
        "logits": make((shape.T, shape.n + 1), seed=0),
        "sources": make((shape.n, shape.m, shape.d), seed=1),
        "privates": make((shape.T, shape.m, shape.d), seed=2),
        "weight": make((shape.d, shape.d), seed=3, scale=shape.d**-0.5),
        "bias": make((shape.d,), seed=4),
    }


def _crosspt(function: Callable[..., Tensor], shape: Shape, batch: Batch) -> Provider:
    parameters = crosspt_parameters(shape, batch.table.device)

    def literal(values: Parameters, rows: Tensor) -> Tensor:
        prompts = reference.compose_prompts(*values.values(), temperature=TEMPERATURE)
        ids = torch.arange(shape.B * shape.L, device=rows.device).view(shape.B, shape.L)
        return reference.prepend_prompts(prompts, batch.task_ids, ids, rows.flatten(0, 1))

    def forward() -> Tensor:
        return function(batch.input_ids, batch.task_ids, batch.table, **parameters, temperature=TEMPERATURE)

    return Provider(forward, parameters, literal)


def _triton(shape: Shape, batch: Batch) -> Provider:
    require_triton(batch.table.device)
    return _crosspt(partial(prompted_embedding, backend="triton"), shape, batch)


def _compiled(shape: Shape, batch: Batch) -> Provider:
    require_compiler(batch.table.device)
    torch._dynamo.reset()  # a shape of its own, not one more of a dynamic one
    compiled = torch.compile(partial(prompted_embedding, backend="torch"), fullgraph=True, dynamic=False)
    return _crosspt(compiled, shape, batch)


def _bare(shape: Shape, batch: Batch) -> Provider:
    prompt = normal((shape.m, shape.d), shape.torch_dtype, batch.table.device, seed=0)

    def forward() -> Tensor:
        tokens = nn.functional.embedding(batch.input_ids, batch.table)
        return torch.cat([prompt.expand(shape.B, -1, -1), tokens], dim=1)

    return Provider(forward, {"prompt": prompt}, lambda values, rows: _concatenate(values["prompt"], rows))


def _plain(shape: Shape, batch: Batch) -> Provider:
    return Provider(lambda: nn.functional.embedding(batch.input_ids, batch.table), {}, lambda _, rows: rows)


def _concatenate(prompt: Tensor, rows: Tensor) -> Tensor:
    return torch.stack([torch.cat([prompt if prompt.ndim == 2 else prompt[b], row]) for b, row in enumerate(rows)])


def peft_model(kind: str, t5: T5ForConditionalGeneration, shape: Shape) -> Any:
    """A PEFT model around a T5, with prompts for the encoder alone; UnavailableError without the package."""
    if importlib.util.find_spec("peft") is None:
        raise UnavailableError("peft is not installed")
    import peft

    common: dict[str, Any] = {
        "task_type": "SEQ_2_SEQ_LM",
        "num_virtual_tokens": shape.m,
        "num_transformer_submodules": 1,
    }
    config: Any = {
        "prompt tuning": lambda: peft.PromptTuningConfig(**common),
        "multitask": lambda: peft.MultitaskPromptTuningConfig(**common, num_tasks=shape.T),
        "p-tuning": lambda: peft.PromptEncoderConfig(**common, encoder_hidden_size=shape.d),
    }[kind]()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers for a name that will go
        torch.manual_seed(0)
        model = peft.get_peft_model(t5, config)
    model.prompt_encoder.to(device=t5.device, dtype=shape.torch_dtype)
    return model.train()


def _peft(kind: str, shape: Shape, batch: Batch) -> Provider:
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

    return Provider(forward, peft_parameters(model), partial(peft_reference, kind, batch.task_ids))


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
    Peer("literal", "", _OURS, partial(_crosspt, reference.prompted_embedding)),
    Peer("torch", "", _OURS, partial(_crosspt, partial(prompted_embedding, backend="torch"))),
    Peer("torch.compile", "", _OURS, _compiled, "Inductor's scheduler"),
    Peer("triton", "", _OURS, _triton, "interpreted addresses"),
    Peer("PEFT multitask", "no mixing, no encoder", _MULTITASK, partial(_peft, "multitask")),
    Peer("PEFT p-tuning", "no tasks, no mixing", _ENCODER, partial(_peft, "p-tuning")),
    Peer("PEFT prompt tuning", _NO_TASKS, _SOFT, partial(_peft, "prompt tuning")),
    Peer("bare prompt", _NO_TASKS, _SOFT, _bare),
    Peer("plain", "no prompt", partial(floor.embedding_floors, floor.no_traffic), _plain),
)
PEERS = {peer.name: peer for peer in _ALL}

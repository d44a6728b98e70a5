"""The ways to put prompts in front of token embeddings that are compared, on the same batch and in the same dtype.

Each builds a provider with its own parameters and its own reference; :func:`check` compares the two before anything is
timed. PEFT's are the modules of the installed package, reached as its models reach them.
"""

import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

from benchmarks import floor
from benchmarks.shapes import Batch, Shape
from crosspt import reference
from crosspt.functional import prompted_embedding

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}
"""Largest error, of values and of gradients, as a share of the largest entry. In half precision thrice the error of the
reference itself in that precision is allowed too: differences of almost equal terms round badly."""
TEMPERATURE = 0.5

Parameters = dict[str, Tensor]


class UnavailableError(Exception):
    """Why a peer cannot run here."""


@dataclass(frozen=True)
class Provider:
    """A peer on a batch.

    Attributes:
        forward: gives X (B, m + L, d).
        parameters: leaves that need a gradient, by name.
        reference: X from float64 parameters and the float64 token rows (B, L, d), by independent and plain means.
    """

    forward: Callable[[], Tensor]
    parameters: Parameters
    reference: Callable[[Parameters, Tensor], Tensor]


@dataclass(frozen=True)
class Peer:
    """A way to put prompts in front of token embeddings.

    Attributes:
        name: what tables call it.
        lacks: what it does not do that CrossPT does; empty if it does all.
        traffic: the parameters it must touch.
        build: makes the provider; raises UnavailableError.
    """

    name: str
    lacks: str
    traffic: Callable[[Shape], floor.Traffic]
    build: Callable[[Shape, Batch], Provider] = field(repr=False)

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def check(
    provider: Provider, batch: Batch, during: Callable[[str], AbstractContextManager[Any]] = nullcontext
) -> str | None:
    """Compare a provider with its reference.

    Args:
        provider: what is checked.
        batch: what it was built for.
        during: makes a context for the provider's ``"forward"`` and for its ``"backward"``.

    Returns:
        None where values and gradients agree, else what differs.
    """
    dtype, device = batch.table.dtype, batch.table.device
    generator = torch.Generator().manual_seed(1)

    def run_reference(precision: torch.dtype) -> tuple[Tensor, Parameters]:
        parameters = {name: p.detach().to(precision).requires_grad_() for name, p in provider.parameters.items()}
        return provider.reference(parameters, batch.table[batch.input_ids].to(precision)), parameters

    exact = run_reference(torch.float64)
    with during("forward"):
        output = provider.forward()
    if output.dtype != dtype:
        return f"the output has dtype {output.dtype}, the table {dtype}"
    if output.shape != exact[0].shape:
        return f"the output has shape {tuple(output.shape)}, its reference {tuple(exact[0].shape)}"
    cotangent = torch.randn(output.shape, generator=generator).to(device, dtype)
    with during("backward"):
        got = _outcome(output, provider.parameters, cotangent)
    rounded = _outcome(*run_reference(dtype), cotangent) if dtype.itemsize < 4 else {}
    for name, truth in _outcome(*exact, cotangent.double()).items():
        error, allowed = _error(got[name], truth), TOLERANCE[dtype]
        if rounded:
            allowed = max(allowed, 3 * _error(rounded[name], truth))
        if not error <= allowed:
            return f"{name} is off by {error:.2g} of its largest entry, allowed is {allowed:.2g}"
    return None


def _outcome(output: Tensor, parameters: Parameters, cotangent: Tensor) -> dict[str, Tensor]:
    """The output, and the gradients of the parameters, by name."""
    gradients: tuple[Tensor, ...] = ()
    if parameters:
        gradients = torch.autograd.grad(output, list(parameters.values()), cotangent)
    names = [f"the gradient of {name}" for name in parameters]
    return {"the output": output.detach(), **dict(zip(names, gradients, strict=True))}


def _error(value: Tensor, truth: Tensor) -> float:
    """Largest error as a share of the largest entry."""
    return ((value.double() - truth).abs().max() / truth.abs().max().clamp(min=1e-30)).item()


def _normal(shape: Shape, device: torch.device, seed: int, *sizes: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(sizes, generator=generator) * scale
    return values.to(device, shape.torch_dtype).requires_grad_()


def crosspt_parameters(shape: Shape, device: torch.device) -> Parameters:
    """Logits, sources, private prompts and the encoder."""
    normal = partial(_normal, shape, device)
    return {
        "logits": normal(0, shape.T, shape.n + 1),
        "sources": normal(1, shape.n, shape.m, shape.d),
        "privates": normal(2, shape.T, shape.m, shape.d),
        "weight": normal(3, shape.d, shape.d, scale=shape.d**-0.5),
        "bias": normal(4, shape.d),
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
    if not batch.table.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise UnavailableError("Triton kernels need a GPU; the ledger counts them without one")
    return _crosspt(partial(prompted_embedding, backend="triton"), shape, batch)


def _compiled(shape: Shape, batch: Batch) -> Provider:
    if not batch.table.is_cuda and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise UnavailableError("torch.compile on a CPU needs a C++ compiler, and none is installed")
    torch._dynamo.reset()  # a shape of its own, not one more of a dynamic one
    compiled = torch.compile(partial(prompted_embedding, backend="torch"), fullgraph=True, dynamic=False)
    return _crosspt(compiled, shape, batch)


def _bare(shape: Shape, batch: Batch) -> Provider:
    prompt = _normal(shape, batch.table.device, 0, shape.m, shape.d)

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
_ALL = (
    Peer("literal", "", floor.crosspt_traffic, partial(_crosspt, reference.prompted_embedding)),
    Peer("torch", "", floor.crosspt_traffic, partial(_crosspt, partial(prompted_embedding, backend="torch"))),
    Peer("torch.compile", "", floor.crosspt_traffic, _compiled),
    Peer("triton", "", floor.crosspt_traffic, _triton),
    Peer("PEFT multitask", "no mixing, no encoder", floor.multitask_traffic, partial(_peft, "multitask")),
    Peer("PEFT p-tuning", "no tasks, no mixing", floor.prompt_encoder_traffic, partial(_peft, "p-tuning")),
    Peer("PEFT prompt tuning", _NO_TASKS, floor.soft_prompt_traffic, partial(_peft, "prompt tuning")),
    Peer("bare prompt", _NO_TASKS, floor.soft_prompt_traffic, _bare),
    Peer("plain", "no prompt", floor.no_traffic, _plain),
)
PEERS = {peer.name: peer for peer in _ALL}

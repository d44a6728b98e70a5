"""Whole training and inference steps through the real compiler, for a GPU that is not there.

    python -m tests.kernels.launched cuda:90

Every kernel that the steps launch is compiled for the target and not run: what is computed is garbage. Prints a line of
JSON: the kernels launched by each step, and how many compilations all of them took. What does not compile raises.
"""

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from crosspt import CrossPTConfig, CrossPTEmbedding, CrossPTModel
from crosspt.functional import library
from crosspt.kernels import launch
from crosspt.kernels.tools.launches import count_launches

START = launch.start
TASKS = ["a", "b"]


def batch(**more: Tensor) -> dict[str, Tensor]:
    ids = torch.arange(1, 22).view(3, 7)
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask, "task_ids": torch.arange(3) % 2, **more}


def make_model(mode: Any, dtype: torch.dtype, *, dropout: float = 0.0, **settings: Any) -> CrossPTModel:
    sizes: dict[str, Any] = {
        "vocab_size": 48,
        "d_model": 64,
        "d_kv": 16,
        "d_ff": 32,
        "num_layers": 2,
        "num_heads": 4,
        "dropout_rate": dropout,
        "decoder_start_token_id": 0,
    }
    t5: Any = T5ForConditionalGeneration(T5Config(**sizes))
    t5.to(dtype)
    model = CrossPTModel(t5, CrossPTConfig(TASKS, prompt_length=4, prefix_mode=mode, **settings), backend="triton")
    t5.set_attn_implementation("crosspt_triton")
    return model


def train(
    mode: str,
    dtype: torch.dtype,
    *,
    checkpointing: bool = False,
    autocast: bool = False,
    t5_learns: bool = False,
    **settings: Any,
) -> None:
    model = make_model(mode, dtype, **settings).train()
    if t5_learns:
        model.requires_grad_(True)
    if checkpointing:
        model.gradient_checkpointing_enable()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = model(**batch(labels=torch.ones(3, 2, dtype=torch.int64))).loss
    loss.backward()


def answer(mode: str, dtype: torch.dtype, **options: Any) -> None:
    model = make_model(mode, dtype).eval()
    with torch.no_grad(), model.keep_prompts():
        model(**batch(labels=torch.ones(3, 2, dtype=torch.int64)))
    model.generate(**batch(), max_new_tokens=3, min_new_tokens=3, **options)


def embed(dtype: torch.dtype, *, table_learns: bool = False, length: int = 4, **settings: Any) -> None:
    embedding = torch.nn.Embedding(48, 64, dtype=dtype).requires_grad_(table_learns)
    saved = {task: torch.zeros(length, 64) for task in TASKS}
    config = CrossPTConfig(TASKS, prompt_length=length, **settings)
    embed = CrossPTEmbedding(embedding, config, source_prompts=saved, backend="triton")
    embed(**batch())[0].sum().backward()
    with torch.no_grad(), embed.keep_prompts():
        embed(**batch())
        one = {name: tensor[:1] for name, tensor in batch().items()}
        embed(**one)


def steps() -> Iterator[tuple[str, Callable[[], None]]]:
    """Each step's name and what it does."""
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        for scheme in ("P", "SL", "SLPN", "SLP10", "SIP", "SILP"):
            yield f"embed {scheme} {name}", partial(embed, dtype, scheme=scheme)
        for encoder in ("none", "mlp", "lstm"):
            yield f"embed {encoder} {name}", partial(embed, dtype, encoder=encoder)
        yield f"embed table {name}", partial(embed, dtype, table_learns=True)
        yield f"embed long prompts {name}", partial(embed, dtype, length=40)
        for mode in ("full", "isolated"):
            for dropout in (0.0, 0.1):
                yield f"train {mode} {dropout} {name}", partial(train, mode, dtype, dropout=dropout)
            yield f"train {mode} checkpointing {name}", partial(train, mode, dtype, checkpointing=True)
            yield f"train {mode} T5 {name}", partial(train, mode, dtype, t5_learns=True, dropout=0.1)
            yield f"answer {mode} {name}", partial(answer, mode, dtype)
            yield f"answer {mode} beams {name}", partial(answer, mode, dtype, num_beams=2)
    for mode in ("full", "isolated"):
        yield f"train {mode} autocast", partial(train, mode, torch.float32, autocast=True)
        yield f"answer {mode} static cache", partial(answer, mode, torch.float32, cache_implementation="static")


def launch_and_compare(kernel: Any, grid: Any, args: Any, warps: int, stages: int) -> None:
    """Launch, and raise unless the compiled kernel that is kept for these arguments is Triton's own choice."""
    START(kernel, grid, args, warps, stages)
    variant: Any = launch._variant(kernel, args, warps, stages)
    if variant and any(isinstance(value, Tensor) for value in variant[-1]):
        raise RuntimeError(f"{kernel.__name__}: a tensor comes after a number")
    kept = launch._KEPT.get(variant)
    options = {"num_warps": warps, "num_stages": stages, "debug": launch.DEBUG}
    if kept not in (None, kernel.run(*args, grid=grid, warmup=True, **options)):
        raise RuntimeError(f"{kernel.__name__}: another compilation was kept for {args}")


def compile_all(target: str) -> dict[str, Any]:
    """Run every step for a target such as ``cuda:90``."""
    found: dict[str, dict[str, int]] = {}
    kernels: set[Any] = set()
    on_cpu = mock.patch.object(library._load(), "interpreted", True)  # kernels may be launched on CPU tensors
    compared = mock.patch.object(launch, "start", launch_and_compare)
    with on_cpu, compared, count_launches(target) as launched:
        for name, step in steps():
            torch.manual_seed(0)
            launched.clear()
            try:
                step()
            except Exception as error:
                raise RuntimeError(f"{name}: {error}") from error
            found[name] = {kernel.__name__: count for kernel, count in launched.items()}
            kernels |= launched.keys()
    compilations = {
        kernel.__name__: sum(len(cache[0]) for cache in kernel.device_caches.values()) for kernel in kernels
    }
    return {"steps": found, "compilations": compilations}


if __name__ == "__main__":
    print(json.dumps(compile_all(sys.argv[1])))

"""Whole training and inference steps through the real compiler, for a GPU that is not there.

    python -m tests.kernels.launched cuda:90

Every kernel that the steps launch is compiled for the target and not run: what is computed is garbage. What compiled
before, by the table beside this file, is compiled again in a sample alone. Prints a line of JSON: the kernels launched
by each step, and the key of every compilation. What does not compile raises.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import torch
import triton
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration
from triton.compiler import ASTSource, CompiledKernel

from crosspt import CrossPTConfig, CrossPTEmbedding, CrossPTModel
from crosspt.functional import library
from crosspt.kernels import launch
from crosspt.kernels.tools.launches import count_launches

WHOLE = ("cuda:80", "cuda:90", "cuda:100", "hip:gfx942")
"""The targets that whole steps are compiled for."""
LAUNCHED = Path(__file__).with_name("launched.csv")
SAMPLE = 16
"""Of so many rows of a table one is compiled again."""
START = launch.start
COMPILE = triton.compiler.compile
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


class Known(CompiledKernel):
    """Stands for a kernel that is not compiled again; a launch of it does nothing."""

    def __init__(self, source: ASTSource) -> None:
        self.src, self.name = source, source.name
        self.module = self.function = 1
        self.packed_metadata = ()
        self._run = lambda *_: None


def read_known(target: str) -> set[str]:
    """The keys of a target's kernels in the table, if there is one, but for the sample."""
    if not LAUNCHED.is_file():
        return set()
    table = pd.read_csv(LAUNCHED, dtype=str)
    return {key for key in table.key[table.target == target] if int(key, 16) % SAMPLE}


def compile_all(target: str, known: Collection[str]) -> dict[str, Any]:
    """Run every step for a target such as ``cuda:90``, and compile what is not known by its key."""
    found: dict[str, dict[str, int]] = {}
    keys: dict[str, str] = {}

    def compile_unknown(source: ASTSource, target: Any, options: dict[str, Any]) -> Any:
        chosen = sorted((name, value) for name, value in options.items() if name != "extern_libs")  # where they lie
        parts = source.hash(), str(target), chosen, triton.__version__
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
        keys[key] = source.name
        return Known(source) if key in known else COMPILE(source, target=target, options=options)

    on_cpu = mock.patch.object(library._load(), "interpreted", True)  # kernels may be launched on CPU tensors
    compared = mock.patch.object(launch, "start", launch_and_compare)
    compiled = mock.patch.object(triton.compiler, "compile", compile_unknown)
    with on_cpu, compared, compiled, count_launches(target) as launched:
        for name, step in steps():
            torch.manual_seed(0)
            launched.clear()
            try:
                step()
            except Exception as error:
                raise RuntimeError(f"{name}: {error}") from error
            found[name] = {kernel.__name__: count for kernel, count in launched.items()}
    return {"steps": found, "keys": keys}


if __name__ == "__main__":
    print(json.dumps(compile_all(sys.argv[1], read_known(sys.argv[1]))))

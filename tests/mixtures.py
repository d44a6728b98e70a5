"""The operands of the operations in every variant that must work, and a batch for them."""

from typing import Any

import torch
from torch import Tensor

# name -> settings of `make_operands`
VARIANTS: dict[str, dict[str, Any]] = {
    "shared encoder": {},
    "no sources": {"sources": 0},
    "no privates": {"privates": False},
    "no encoder": {"weight": False, "bias": False},
    "no bias": {"bias": False},
    "encoded sources": {"encode_sources": False},
    "encoded privates": {"encode_privates": False},
    "both encoded": {"encode_sources": False, "encode_privates": False},
    "one source": {"sources": 1},
    "one task": {"tasks": 1},
    "one candidate": {"sources": 1, "privates": False},
    "length 1": {"length": 1},
    "width 1": {"width": 1},
    "masked": {"masked": True},
    "masked, encoded sources": {"masked": True, "encode_sources": False},
    "more tasks than rows": {"tasks": 7},
    "more tasks than rows, masked": {"tasks": 7, "masked": True, "encode_privates": False},
}


def make_operands(
    *,
    tasks: int = 3,
    sources: int = 2,
    length: int = 2,
    width: int = 4,
    privates: bool = True,
    weight: bool = True,
    bias: bool = True,
    encode_sources: bool = True,
    encode_privates: bool = True,
    masked: bool = False,
    temperature: float = 0.7,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> dict[str, Any]:
    """Keyword arguments of ``compose_prompts``; every tensor needs a gradient."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    candidates = sources + privates
    mask = None
    if masked:
        mask = torch.rand(tasks, candidates, generator=generator) < 0.5
        mask[torch.arange(tasks), torch.arange(tasks) % candidates] = True
    return {
        "logits": normal(tasks, candidates),
        "sources": normal(sources, length, width) if sources else None,
        "privates": normal(tasks, length, width) if privates else None,
        "weight": normal(width, width) if weight else None,
        "bias": normal(width) if weight and bias else None,
        "temperature": temperature,
        "mask": mask,
        "encode_sources": encode_sources,
        "encode_privates": encode_privates,
    }


def make_rows(
    operands: dict[str, Any], *, rows: int = 4, tokens: int = 3, vocabulary: int = 5, seed: int = 0
) -> dict[str, Any]:
    """``input_ids``, ``task_ids`` and ``table`` that fit the operands; with three tasks or more one is absent."""
    generator = torch.Generator().manual_seed(seed)
    tasks = operands["logits"].shape[0]
    width = next(operands[name].shape[2] for name in ("sources", "privates") if operands[name] is not None)
    task_ids = torch.randint(tasks, (rows,), generator=generator)
    if tasks > 2:
        task_ids[task_ids == 1] = 0
    table = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64)
    return {
        "input_ids": torch.randint(vocabulary, (rows, tokens), generator=generator),
        "task_ids": task_ids,
        "table": table.to(operands["logits"].dtype).requires_grad_(),
    }

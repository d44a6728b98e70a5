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
    "added": {"added": True},
    "given": {"mixing": "alpha"},
    "given, encoded sources, added": {"mixing": "alpha", "encode_sources": False, "added": True},
    "given, more tasks than rows": {"mixing": "alpha", "tasks": 7, "added": True},
    "rows": {"mixing": "row_alpha"},
    "rows, added, no encoder": {"mixing": "row_alpha", "weight": False, "privates": False, "added": True},
    "rows, more tasks than rows": {"mixing": "row_alpha", "tasks": 7, "encode_privates": False, "added": True},
    "rows, sources alone": {"mixing": "row_alpha", "privates": False},
}
ROWS = 4


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
    mixing: str = "logits",
    added: bool = False,
    temperature: float | None = None,
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
    weights = normal(ROWS if mixing == "row_alpha" else tasks, candidates)
    if temperature is None:
        temperature = 0.7 if mixing == "logits" else 1.0
    return {
        "logits": weights if mixing == "logits" else None,
        "sources": normal(sources, length, width) if sources else None,
        "privates": normal(tasks, length, width) if privates else None,
        "weight": normal(width, width) if weight else None,
        "bias": normal(width) if weight and bias else None,
        "alpha": weights if mixing == "alpha" else None,
        "row_alpha": weights if mixing == "row_alpha" else None,
        "added": normal(tasks, length, width) if added else None,
        "temperature": temperature,
        "mask": mask,
        "encode_sources": encode_sources,
        "encode_privates": encode_privates,
    }


def make_rows(
    operands: dict[str, Any], *, rows: int = ROWS, tokens: int = 3, vocabulary: int = 5, seed: int = 0
) -> dict[str, Any]:
    """``input_ids``, ``task_ids`` and ``table`` that fit the operands; with three tasks or more one is absent."""
    generator = torch.Generator().manual_seed(seed)
    of_tasks = (operands[name] for name in ("logits", "alpha", "privates", "added"))
    tasks = next((tensor.shape[0] for tensor in of_tasks if tensor is not None), 1)
    prompts = next(operands[name] for name in ("sources", "privates") if operands[name] is not None)
    width = prompts.shape[2]
    task_ids = torch.randint(tasks, (rows,), generator=generator)
    if tasks > 2:
        task_ids[task_ids == 1] = 0
    table = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64)
    return {
        "input_ids": torch.randint(vocabulary, (rows, tokens), generator=generator),
        "task_ids": task_ids,
        "table": table.to(prompts.dtype).requires_grad_(),
    }

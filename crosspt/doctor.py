"""What this machine can run: versions, devices, backends, and the operations against their reference."""

from typing import Any

import torch

from crosspt import functional, reference
from crosspt.evaluation.results import environment, package_versions

TOLERANCE = 1e-10


def examine(seed: int = 0) -> dict[str, Any]:
    """Findings, each with a name, a text and whether it is as it should be (None: a fact, neither good nor bad).

    Args:
        seed: of the inputs that the operations are checked on.

    Returns:
        ``{"schema": 1, "healthy": bool, "checks": [...], "versions": {...}, "environment": {...}}``.
    """
    versions = package_versions()
    checks: list[dict[str, Any]] = [
        {"check": name, "finding": found or "not installed", "ok": None if found or name == "triton" else False}
        for name, found in versions.items()
    ]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch sees"
    checks.append({"check": "GPU", "finding": gpu, "ok": None})
    error = _largest_error(seed)
    checks.append(
        {
            "check": "torch backend",
            "finding": f"differs from the reference by {error:.1e} in float64, output and gradients",
            "ok": error <= TOLERANCE,
        }
    )
    return {
        "schema": 1,
        "healthy": all(check["ok"] is not False for check in checks),
        "checks": checks,
        "versions": versions,
        "environment": environment(),
    }


def _largest_error(seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    tasks, sources, length, width, vocabulary = 3, 2, 4, 16, 11
    leaves = {
        "table": normal(vocabulary, width),
        "logits": normal(tasks, sources + 1),
        "sources": normal(sources, length, width),
        "privates": normal(tasks, length, width),
        "weight": normal(width, width),
        "bias": normal(width),
    }
    input_ids = torch.randint(vocabulary, (5, 6), generator=generator)
    task_ids = torch.randint(tasks, (5,), generator=generator)
    results = []
    for module in (functional, reference):
        output = module.prompted_embedding(input_ids, task_ids, **leaves, temperature=0.5)
        gradients = torch.autograd.grad(output.square().sum(), list(leaves.values()))
        results.append([output.detach(), *gradients])
    return max(float((ours - theirs).abs().max()) for ours, theirs in zip(*results, strict=True))

"""The command ``doctor``: versions, devices, backends, and the operations against their reference."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from crosspt.cli.outcome import Outcome, output_file
from crosspt.cli.parser import Parser
from crosspt.config.files import write_json

if TYPE_CHECKING:
    from torch import Tensor

    from crosspt.functional import Backend

HELP = "say what this machine can run, and check the operations"
DESCRIPTION = "Say what this machine can run, and check the operations against their reference."
INTERRUPTED = ""
TOLERANCE = 1e-10


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    parser.add_setting("--output", str, "JSON file for the findings", metavar="FILE")
    parser.add_setting("--seed", int, "of the inputs that the operations are checked on", default=0)


def run(settings: Namespace) -> Outcome:
    """Examine the machine; the status is 1 where something is not as it should be."""
    from crosspt.report.table import Table

    output = output_file(settings.output)
    content = examine(settings.seed)
    if output:
        write_json(output, content)
    said = {True: "yes", False: "NO", None: "-"}
    rows = [{**check, "ok": said[check["ok"]]} for check in content["checks"]]
    return Outcome(content, [Table("checks", "crosspt doctor", rows)], status=0 if content["healthy"] else 1)


def examine(seed: int = 0) -> dict[str, Any]:
    """Findings, each with a name, a text and whether it is as it should be (None: a fact, neither good nor bad).

    Args:
        seed: of the inputs that the operations are checked on.

    Returns:
        ``{"schema": 1, "healthy": bool, "checks": [...], "versions": {...}, "environment": {...}}``.
    """
    import torch

    from crosspt.evaluation.results import environment, package_versions

    versions = package_versions()
    checks: list[dict[str, Any]] = [
        {"check": name, "finding": found or "not installed", "ok": None if found or name == "triton" else False}
        for name, found in versions.items()
    ]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch sees"
    checks.append({"check": "GPU", "finding": gpu, "ok": None})
    checks.append({"check": "backend 'auto'", "finding": _automatic(), "ok": None})
    checks += [_check_backend(backend, device, seed) for backend, device in _runnable()]
    if not any(check["check"].startswith("triton backend") for check in checks):
        if torch.cuda.is_available():
            finding = f"not checked: {_refusal()}"
        else:
            finding = "not checked: needs a GPU, or TRITON_INTERPRET=1 to interpret the kernels on the CPU"
        checks.append({"check": "triton backend", "finding": finding, "ok": None})
    return {
        "schema": 1,
        "healthy": all(check["ok"] is not False for check in checks),
        "checks": checks,
        "versions": versions,
        "environment": environment(),
    }


def _runnable() -> list[tuple[Backend, str]]:
    """Backends with the device that each is checked on."""
    import torch

    runnable: list[tuple[Backend, str]] = [("torch", "cpu")]
    if torch.cuda.is_available():
        runnable.append(("torch", "cuda"))
        if not _refusal():
            runnable.append(("triton", "cuda"))
    elif os.environ.get("TRITON_INTERPRET") == "1":
        runnable.append(("triton", "cpu"))
    return runnable


def _automatic() -> str:
    """What ``backend="auto"`` runs here."""
    import torch

    if not torch.cuda.is_available():
        return "torch: there is no GPU"
    if _refusal():
        return f"torch: triton {_refusal()}"
    return (
        "triton; torch for attention in float32 or of one query without a mask, and for large compositions in float32"
    )


def _refusal() -> str:
    """Why the kernels do not run on the current GPU, if they do not."""
    import torch

    from crosspt.kernels.architecture import refusal

    return refusal(torch.device("cuda", torch.cuda.current_device()))


def _check_backend(backend: Backend, device: str, seed: int) -> dict[str, Any]:
    try:
        error = _largest_error(backend, device, seed)
    except Exception as failure:  # whatever a driver or compiler raises is a finding
        finding, ok = " ".join(str(failure).split()) or type(failure).__name__, False
    else:
        finding, ok = f"differs from the reference by {error:.1e} in float64, output and gradients", error <= TOLERANCE
    return {"check": f"{backend} backend, {device}", "finding": finding, "ok": ok}


def _largest_error(backend: Backend, device: str, seed: int) -> float:
    import torch

    from crosspt import functional, reference

    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device).requires_grad_()

    tasks, sources, length, width, vocabulary = 3, 2, 4, 16, 11
    leaves: dict[str, Any] = {
        "table": normal(vocabulary, width),
        "logits": normal(tasks, sources + 1),
        "sources": normal(sources, length, width),
        "privates": normal(tasks, length, width),
        "weight": normal(width, width),
        "bias": normal(width),
    }
    input_ids = torch.randint(vocabulary, (5, 6), generator=generator).to(device)
    task_ids = torch.randint(tasks, (5,), generator=generator).to(device)
    outputs = (
        functional.prompted_embedding(input_ids, task_ids, **leaves, temperature=0.5, backend=backend),
        reference.prompted_embedding(input_ids, task_ids, **leaves, temperature=0.5),
    )
    ours, theirs = (
        [output.detach(), *torch.autograd.grad(output.square().sum(), list(leaves.values()))] for output in outputs
    )
    return max(float((mine - other).abs().max()) for mine, other in zip(ours, theirs, strict=True))

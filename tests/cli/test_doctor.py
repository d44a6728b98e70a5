import json
from pathlib import Path
from typing import Any

import pytest
import torch

from crosspt import functional
from crosspt.cli import doctor
from crosspt.evaluation import results
from crosspt.kernels import architecture
from tests.workspace import crosspt, mistake


def test_a_healthy_machine(tmp_path: Path) -> None:
    outcome = crosspt("doctor", "--json", "--output", tmp_path / "findings.json")
    assert outcome.status == 0
    content = outcome.json()
    assert content == json.loads((tmp_path / "findings.json").read_text())
    assert (content["schema"], content["healthy"]) == (1, True)
    checks = {check["check"]: check for check in content["checks"]}
    assert checks["torch"]["finding"] == torch.__version__
    assert checks["torch backend, cpu"]["ok"] is True
    triton = "triton backend, cuda" if torch.cuda.is_available() else "triton backend, cpu"
    assert checks[triton]["ok"] is True
    assert {"versions", "environment"} <= content.keys()
    assert "torch backend" in crosspt("doctor", "--seed", 3).stdout


def test_a_wrong_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    right = functional.prompted_embedding

    def wrong(*arguments: Any, **options: Any) -> torch.Tensor:
        return right(*arguments, **options) * (1 + 1e-6)

    monkeypatch.setattr(functional, "prompted_embedding", wrong)
    outcome = crosspt("doctor", "--json")
    assert outcome.status == 1
    bad = {check["check"] for check in outcome.json()["checks"] if check["ok"] is False}
    assert "torch backend, cpu" in bad
    assert "NO" in crosspt("doctor").stdout


def test_wrong_gradients_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    right = functional.prompted_embedding

    def wrong(*arguments: Any, **options: Any) -> torch.Tensor:
        output = right(*arguments, **options)
        return output.detach() + (output - output.detach()) * 1.001

    monkeypatch.setattr(functional, "prompted_embedding", wrong)
    assert doctor.examine()["healthy"] is False


def test_without_a_gpu_the_kernels_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    content = doctor.examine()
    (check,) = [check for check in content["checks"] if check["check"].startswith("triton backend")]
    assert check["ok"] is None
    assert content["healthy"] is True


def test_a_gpu_that_the_kernels_do_not_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"is_available": True, "current_device": 0, "get_device_name": "Tesla T4"}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    refused = architecture.Architecture("sm_75", "sm_86", "needs a newer GPU, got sm_75; use backend='torch'")
    monkeypatch.setattr(architecture, "architecture", lambda device: refused)
    checked = []

    def check_backend(backend: str, device: str, seed: int) -> dict[str, Any]:
        checked.append((backend, device))
        return {"check": backend, "ok": True}

    monkeypatch.setattr(doctor, "_check_backend", check_backend)
    content = doctor.examine()
    (check,) = [check for check in content["checks"] if check["check"] == "triton backend"]
    assert check["finding"] == f"not checked: {refused.refusal}"
    (automatic,) = [check for check in content["checks"] if check["check"] == "backend 'auto'"]
    assert automatic["finding"] == f"torch: triton {refused.refusal}"
    assert (check["ok"], content["healthy"]) == (None, True)
    assert checked == [("torch", "cpu"), ("torch", "cuda")]


@pytest.mark.parametrize(("there", "finding"), [(True, "triton; torch for attention in float32"), (False, "torch")])
def test_what_auto_does(there: bool, finding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(doctor, "_refusal", lambda: "")
    assert doctor._automatic().startswith(finding)


def test_a_backend_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> torch.Tensor:
        raise RuntimeError("no kernel image\nis available")

    monkeypatch.setattr(functional, "prompted_embedding", broken)
    content = doctor.examine()
    findings = {check["finding"] for check in content["checks"] if check["ok"] is False}
    assert findings == {"no kernel image is available"}


@pytest.mark.parametrize(("package", "healthy"), [("triton", True), ("datasets", False)])
def test_a_package_that_is_not_installed(package: str, healthy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {**results.package_versions(), package: None}
    monkeypatch.setattr(results, "package_versions", lambda: versions)
    content = doctor.examine()
    (check,) = [check for check in content["checks"] if check["check"] == package]
    assert check["finding"] == "not installed"
    assert content["healthy"] is healthy


def test_an_output_that_is_a_folder(tmp_path: Path) -> None:
    assert "--output must be a file" in mistake(crosspt("doctor", "--output", tmp_path))

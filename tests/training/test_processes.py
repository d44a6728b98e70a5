"""What accelerate launch asks for through the environment, by its flags or the configuration file of a user."""

from pathlib import Path

import pytest

from crosspt.training.processes import ENGINES, check_launcher, join_processes
from tests.workspace import Workspace, crosspt, mistake


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_that_shard_a_model(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{engine}", "false")
    assert join_processes("cpu") == 1
    monkeypatch.setenv(f"ACCELERATE_USE_{engine}", "true")
    with pytest.raises(ValueError, match=f"accelerate launch asks for {engine}, .*; prompts take --multi_gpu"):
        join_processes("cpu")


@pytest.mark.parametrize(
    ("name", "value", "bf16", "message"),
    [
        ("MIXED_PRECISION", "bf16", False, "mixed precision bf16, .*; give --bf16, or --mixed_precision no to the"),
        ("MIXED_PRECISION", "fp16", True, "mixed precision fp16, .*; give --mixed_precision no to the launcher"),
        ("DYNAMO_BACKEND", "INDUCTOR", False, "the compiler inductor, .*; give --dynamo_backend no to the launcher"),
        ("MIXED_PRECISION", "no", True, ""),
        ("MIXED_PRECISION", "bf16", True, ""),
        ("DYNAMO_BACKEND", "NO", False, ""),
    ],
)
def test_arithmetic_of_the_launcher(
    name: str, value: str, bf16: bool, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ACCELERATE_{name}", value)
    if not message:
        check_launcher(bf16)
        return
    with pytest.raises(ValueError, match=f"accelerate launch asks for {message}"):
        check_launcher(bf16)


@pytest.mark.parametrize("setting", ["MIXED_PRECISION=fp16", "USE_DEEPSPEED=true", "USE_FSDP=true"])
def test_a_training_is_refused_before_anything_is_written(
    setting: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, value = setting.partition("=")
    monkeypatch.setenv(f"ACCELERATE_{name}", value)
    places = ["--model", workspace.model, "--data-dir", workspace.data, "--device", "cpu", "--output", tmp_path / "run"]
    line = mistake(crosspt("train", *places, "--tasks", "rte", "--shots", 4))
    assert "accelerate launch asks for" in line
    assert not (tmp_path / "run").exists()

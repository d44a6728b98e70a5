import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crosspt.cli import demo as module
from crosspt.cli.demo import REAL, SMALL, Scene, demo
from crosspt.evaluation.answers import read_predictions
from tests.models.gguf_files import write_llama
from tests.workspace import crosspt, mistake


def short(scene: Scene, **changes: Any) -> Scene:
    """A few rows, one epoch: the demo's parts, not its figures."""
    return replace(scene, settings={"shots": 32, "test_rows": 20, "epochs": 1}, **changes)


def test_rows_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SUITES", {"embedded": ("syn_cola", "syn_mrpc")})
    scene = short(SMALL, schemes=("SL", "SLP"))
    content = demo(tmp_path, scene, device="cpu", progress=False)
    assert json.loads((tmp_path / "results.json").read_text()) == content
    primary = {(row["scheme"], row["task"]): row["value"] for row in content["results"] if row["primary"]}
    assert list(dict.fromkeys(scheme for scheme, _ in primary)) == ["majority", "bare", "prefix", "SL", "SLP"]
    assert len(primary) == 5 * 2
    assert primary["prefix", "syn_mrpc"] > primary["majority", "syn_mrpc"] >= primary["bare", "syn_mrpc"]
    kept = read_predictions(tmp_path / "predictions.parquet", content["results"])
    assert list(kept.rows["scheme"].unique()) == ["bare", "prefix", "SL", "SLP"]
    assert content["seconds"].keys() == {"bare", "prefix", "SL", "SLP"}
    assert (tmp_path / "weights.png").stat().st_size > 1000
    assert (tmp_path / "means.png").stat().st_size > 1000
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.safetensors")}
    assert len(before) == 2
    assert demo(tmp_path, scene, device="cpu", progress=False)["results"] == content["results"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_demo_on_a_real_model_shows_it_before_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said = mistake(crosspt("demo", "--real", "--output", tmp_path / "demo"))
    assert said.endswith("fetch it (93 MB) with: python -m crosspt.models.smollm2")
    write_llama(tmp_path / "tiny.gguf")
    monkeypatch.setattr(module, "REAL", short(REAL, model=str(tmp_path / "tiny.gguf")))
    outcome = crosspt("demo", "--real", "--output", tmp_path / "demo", "--device", "cpu")
    assert outcome.status == 0, outcome.stderr
    for shown, schemes in ((outcome.stderr, ["bare"]), (outcome.stdout, ["bare", "P", "SLPN"])):
        heads = [line.replace("│", " ").split() for line in shown.splitlines() if "majority" in line]
        assert [sorted(head) for head in heads] == 2 * [sorted(["task", "majority", *schemes])]
    run = json.loads((tmp_path / "demo" / "SLPN" / "run.json").read_text())
    assert run["prompts"]["initialization"] == "vocabulary"
    assert run["prompts"]["tasks"] == ["plain_mood", "plain_topic"]

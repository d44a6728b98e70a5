import json
from functools import partial
from pathlib import Path

import pytest

from crosspt.cli import demo as module
from crosspt.cli.demo import demo
from crosspt.config.data import DataConfig
from crosspt.config.training import TrainingConfig
from crosspt.evaluation.answers import read_predictions


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two schemes, a few rows, one epoch: the demo's parts, not its figures."""
    monkeypatch.setattr(module, "SCHEMES", ("SL", "SLP"))
    monkeypatch.setattr(module, "SUITES", {"embedded": ("syn_cola", "syn_mrpc")})
    monkeypatch.setattr(module, "DataConfig", partial(DataConfig, test_rows=20))
    monkeypatch.setattr(module, "TrainingConfig", partial(TrainingConfig, epochs=1))


@pytest.mark.usefixtures("short")
def test_rows_and_figures(tmp_path: Path) -> None:
    content = demo(tmp_path, device="cpu", progress=False)
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
    assert demo(tmp_path, device="cpu", progress=False)["results"] == content["results"]
    assert {path: path.stat().st_mtime_ns for path in before} == before

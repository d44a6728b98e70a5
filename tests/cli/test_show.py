import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crosspt.evaluation.answers import read_predictions
from crosspt.tasks.values import same_text
from tests.report.made_up import edit
from tests.workspace import crosspt, mistake


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize("run", ["slpn_run", "silp_run", "per_target_run"])
def test_a_run_is_shown(run: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(run)
    results = read(folder, "results.json")
    content = crosspt("show", folder, "--json").json()
    assert content["finished"]
    assert content["results"] == results["results"]
    assert content["banks"] == results["analysis"]
    shown = crosspt("show", folder).stdout
    for said in ("mrpc, rte", f"scheme {run[:4].upper() if run != 'per_target_run' else 'SLPN'}", "made by"):
        assert said in shown
    given = results["config"]["training"]
    assert f"epochs {given['epochs']}, batch size {given['batch_size']}, seed {given['seed']}" in shown
    assert "learning rates" in shown
    for bank in results["analysis"]:
        for weights in bank["weights"]:
            assert all(f" {weight:.2f}" in shown for weight in weights)


def test_what_a_run_was_trained_with_by_default(slpn_run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(slpn_run, tmp_path / "run")
    with edit(folder / "run.json") as content:
        content["training"] |= {"epochs": None, "private_learning_rate": 0.5}
    shown = crosspt("show", folder).stdout
    assert "epochs 30, batch size" in shown
    assert "sources 0.15, privates 0.5, logits 0.1, encoder 0.15" in shown


def test_answers_by_class(slpn_run: Path) -> None:
    """A line of a class adds up to its rows, and its scores are those of its row and column."""
    content = crosspt("show", slpn_run, "--classes", "--tasks", "mrpc", "--json").json()
    assert sorted(content["classes"]) == ["classes-mrpc-SLPN-generate", "classes-mrpc-SLPN-rank"]
    predictions = read_predictions(slpn_run / "predictions.parquet")
    words = predictions.tasks["mrpc"].answers
    for decode in ("generate", "rank"):
        lines = content["classes"][f"classes-mrpc-SLPN-{decode}"]
        assert [line["class"] for line in lines] == list(words)
        rows = predictions.rows.query("task == 'mrpc' and decode == @decode")
        counts = np.array([[line.get(f"as {answer}", 0) for answer in (*words, "no label")] for line in lines])
        assert (counts.sum(axis=1) == [line["rows"] for line in lines]).all()
        assert counts.sum() == len(rows)
        assert counts[:, -1].sum() == (~rows["valid"]).sum()
        right = sum(same_text(row.answer) == same_text(row.reference) for row in rows.itertuples())
        assert np.trace(counts[:, :-1]) == right
        for number, line in enumerate(lines):
            assert line["recall"] == pytest.approx(100 * counts[number, number] / max(counts[number].sum(), 1))
            assert line["precision"] == pytest.approx(100 * counts[number, number] / max(counts[:, number].sum(), 1))


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_weights_are_drawn(slpn_run: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"weights.{suffix}"
    assert str(file) in crosspt("show", slpn_run, "--figure", file).stdout
    assert file.stat().st_size > 1000


def test_prompts_alone_and_an_unfinished_run(slpn_run: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    saved.mkdir()
    for file in slpn_run.glob("crosspt_*"):
        shutil.copy(file, saved)
    content = crosspt("show", saved, "--json").json()
    assert not content["finished"]
    assert content["banks"] == read(slpn_run, "results.json")["analysis"]
    unfinished = tmp_path / "unfinished"
    shutil.copytree(slpn_run, unfinished)
    (unfinished / "results.json").unlink()
    assert "crosspt train --resume goes on" in crosspt("show", unfinished).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classes", "--tasks", "cola"], "has no answers to cola; it has to mrpc, rte"),
        (["--figure", "weights.pdf"], "--figure must be a .png or .svg file, got weights.pdf"),
    ],
)
def test_mistakes(slpn_run: Path, arguments: list[str], message: str) -> None:
    assert message in mistake(crosspt("show", slpn_run, *arguments))


def test_a_folder_without_answers(slpn_run: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    shutil.copytree(slpn_run, saved)
    (saved / "predictions.parquet").unlink()
    assert "predictions.parquet: the run is not finished" in mistake(crosspt("show", saved, "--classes"))
    assert "no such folder" in mistake(crosspt("show", tmp_path / "none"))

from pathlib import Path
from typing import Any, get_args

import pytest

import crosspt
from crosspt.config.run import Compute, Decode
from crosspt.evaluation.answers import read_predictions
from crosspt.runs.evaluate import open_checkpoint
from crosspt.runs.predictor import Predictor
from tests.runs.test_answering import rows_of

CPU = Compute(batch_size=3, device="cpu", progress=False)


@pytest.fixture(scope="module")
def predictor(slpn_run: Path) -> Predictor:
    return crosspt.load(slpn_run, compute=CPU)


@pytest.mark.parametrize("decode", get_args(Decode))
def test_mixed_rows_are_answered_as_the_run_was_evaluated(predictor: Predictor, slpn_run: Path, decode: Decode) -> None:
    assert list(predictor.tasks) == ["mrpc", "rte"]
    run, kept = open_checkpoint(slpn_run), read_predictions(slpn_run / "predictions.parquet").rows
    rows: list[dict[str, Any]] = []
    wanted: list[tuple[str, str]] = []
    for task in ("rte", "mrpc"):
        chosen = kept[(kept["task"] == task) & (kept["decode"] == decode)]
        rows += [{**row, "task": task} for row in rows_of(run, task)]
        wanted += [(task, answer) for answer in chosen["answer"]]
    mixed = sorted(range(len(rows)), key=lambda place: place * 7 % len(rows))
    found = predictor.predict([rows[place] for place in mixed], decode=decode)
    said = "label" if decode == "rank" else "text"
    assert [(answer["task"], answer[said]) for answer in found] == [wanted[place] for place in mixed]
    assert all((decode == "rank") == ("probability" in answer) for answer in found)
    if decode == "rank":
        assert all(0.5 <= answer["probability"] <= 1 for answer in found)  # of two labels
    alone = predictor.predict(rows[:4], "rte", decode=decode)
    assert [answer[said] for answer in alone] == [answer for _, answer in wanted[:4]]


def test_targets_of_their_own(workspace: Any, tmp_path: Path) -> None:
    assert workspace.train(tmp_path, "--tasks", "mrpc,rte", "--stage2", "per_target").status == 0
    predictor, run = crosspt.load(str(tmp_path), compute=CPU), open_checkpoint(tmp_path)
    rows = [{**row, "task": task} for task in ("rte", "mrpc") for row in list(rows_of(run, task))[:2]]
    together = predictor.predict(rows)
    apart = [answer for row in rows for answer in predictor.predict([row])]
    assert [answer["label"] for answer in together] == [answer["label"] for answer in apart]
    assert predictor.predict([]) == []


def test_mistakes(predictor: Predictor, tmp_path: Path) -> None:
    texts = dict.fromkeys(predictor.tasks["rte"], "a text")
    columns: Any = texts  # one row where a list of them belongs
    cases: list[tuple[Any, Any, str]] = [
        ([texts], {}, "predict: row 1 names no task, and none is given for all rows"),
        (
            [{**texts, "task": "rte"}, {**texts, "task": "rta"}],
            {},
            "row 2 is of the unknown task 'rta'; did you mean 'rte'",
        ),
        ([{"task": "rte"}], {}, "column 'sentence1' is missing"),
        ([texts], {"task": "rte", "decode": "guess"}, "decode must be one of generate, rank, got 'guess'"),
    ]
    for rows, options, message in cases:
        with pytest.raises(ValueError, match=message):
            predictor.predict(rows, **options)
    with pytest.raises(TypeError, match="row 1 must be a mapping of columns to texts, got str"):
        predictor.predict(columns)
    with pytest.raises(ValueError, match="no such folder"):
        crosspt.load(tmp_path / "none")

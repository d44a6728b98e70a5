"""Tasks of free text from training to answers, beside tasks with labels."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import crosspt as package
from crosspt.config.run import Compute
from crosspt.evaluation.answers import read_predictions
from crosspt.tasks.task_file import copy_task_file
from tests.cli.test_families import make_bart
from tests.models.causal_models import make_causal
from tests.serving.conftest import serving
from tests.workspace import TEXT, VOCABULARY, Workspace, crosspt, make_tokenizer, mistake, write_jsonl

WORDS = ("good", "bad", "positive")


def rows_of(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Questions with one reference or several, the first of one to three words."""
    rows = []
    for n in range(start, start + count):
        first = " ".join(WORDS[(n + place) % 3] for place in range(1 + n % 3))
        rows.append({"text": f"{TEXT[n % 20]} {TEXT[n * 7 % 20]}", "reply": [first, WORDS[n % 3]] if n % 2 else first})
    return rows


@pytest.fixture(scope="module")
def qa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qa")
    write_jsonl(folder / "train.jsonl", rows_of(14))
    write_jsonl(folder / "test.jsonl", rows_of(6, 20))
    files = "data_files: {train: train.jsonl, test: test.jsonl}\n"
    text = f"name: qa\nfields: [text]\ntarget_column: reply\nmax_target_length: 4\n{files}"
    (folder / "qa.yaml").write_text(text + "metrics: [token_f1, exact_match, rougeL]\n")
    return folder / "qa.yaml"


@pytest.fixture(scope="module")
def run(workspace: Workspace, qa: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("free") / "run"
    outcome = workspace.train(folder, "--tasks", f"mrpc,{qa}", "--label-set", "synthetic", "--epochs", 3)
    assert outcome.status == 0, outcome.stderr
    assert "(1 of 2 tasks)" in outcome.stdout  # of the ranked mean
    return folder


def read(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())


def test_results(run: Path) -> None:
    rows = [row for row in read(run)["results"] if row["task"] == "qa"]
    assert {row["decode"] for row in rows} == {"generate"}
    own = {row["metric"]: row for row in rows if row["scheme"] == "SLPN"}
    assert list(own) == ["token_f1", "exact_match", "rougeL"]
    assert [row["primary"] for row in own.values()] == [True, False, False]
    assert {row["decode"] for row in read(run)["results"] if row["task"] == "mrpc"} == {"generate", "rank"}
    kept = read_predictions(run / "predictions.parquet").rows
    kept = kept[kept["task"] == "qa"]
    references = [json.loads(text) for text in kept["reference"]]
    right = [answer in known for answer, known in zip(kept["answer"], references, strict=True)]
    assert sorted(map(len, references)) == [1, 1, 1, 2, 2, 2]
    assert own["exact_match"]["value"] == pytest.approx(100 * sum(right) / 6)
    assert {row["scheme"] for row in rows} == {"SLPN", "majority"}


def test_what_answers_afterwards(run: Path, qa: Path, tmp_path: Path) -> None:
    kept = read_predictions(run / "predictions.parquet").rows
    wanted = list(kept[kept["task"] == "qa"]["answer"])
    predictor = package.load(run, compute=Compute(3, device="cpu", progress=False))
    asked = [{"task": "qa", "text": row["text"]} for row in rows_of(6, 20)]
    label = {"task": "mrpc", "sentence1": "w1", "sentence2": "w2"}
    found = predictor.predict([label, *asked, label])
    assert found[1:-1] == [{"task": "qa", "text": text} for text in wanted]
    assert found[0].keys() == found[-1].keys() == {"task", "label", "probability"}
    assert predictor.predict([label], decode="rank")[0] == pytest.approx(found[0])
    with pytest.raises(ValueError, match="task 'qa' is answered with free text, which cannot be ranked"):
        predictor.predict([label, *asked], decode="rank")
    file = write_jsonl(tmp_path / "rows.jsonl", rows_of(6, 20))
    command = ["predict", "--checkpoint", run, "--task", "qa", "--input", file, "--device", "cpu"]
    assert crosspt(*command, "--json").json()["answers"] == wanted
    assert crosspt(*command, "--output", tmp_path / "answers.csv").status == 0
    assert [line.partition(",")[2] for line in (tmp_path / "answers.csv").read_text().splitlines()[1:]] == wanted
    with serving([run]) as client:
        assert client.answers({"task": "qa", "rows": asked}) == [{"task": "qa", "text": text} for text in wanted]
        mixed = client.answers({"rows": [label, asked[0]]})
        assert [sorted(answer) for answer in mixed] == [["label", "probability", "task"], ["task", "text"]]
        status, answer = client.post({"rows": [label, asked[0]], "decode": "rank"})
        assert (status, "task 'qa' is answered with free text" in answer["detail"]) == (422, True)


def test_ranking_is_refused(run: Path, qa: Path, workspace: Workspace, tmp_path: Path) -> None:
    said = "task 'qa' is answered with free text, which cannot be ranked; generate it"
    file = write_jsonl(tmp_path / "rows.jsonl", rows_of(2))
    predict = ["predict", "--checkpoint", run, "--task", "qa", "--decode", "rank", "--device", "cpu"]
    evaluate = ["evaluate", "--checkpoint", run, "--decode", "rank", "--device", "cpu", "--output", tmp_path / "out"]
    bare = ["evaluate", "--no-prompt", "--model", workspace.model, "--tasks", qa, "--decode", "rank"]
    for outcome in (
        crosspt(*predict, "--field", "text=w1"),
        crosspt(*predict, "--input", file, "--output", tmp_path / "answers.jsonl"),
        crosspt(*evaluate),
        crosspt(*bare, "--device", "cpu", "--output", tmp_path / "bare"),
        workspace.train(tmp_path / "run", "--tasks", f"mrpc,{qa}", "--decode", "rank"),
    ):
        assert said in mistake(outcome)
    assert not (tmp_path / "run").exists()
    assert crosspt(*evaluate, "--tasks", "mrpc").status == 0


def test_show(run: Path) -> None:
    outcome = crosspt("show", run, "--classes")
    assert outcome.status == 0, outcome.stderr
    assert "mrpc, SLPN, rank: answers to the rows of each class" in outcome.stdout
    assert "qa, SLPN" not in outcome.stdout
    outcome = crosspt("show", run, "--classes", "--tasks", "mrpc,qa")
    assert "qa: scores and free text have no classes" in mistake(outcome)


def test_selection(workspace: Workspace, qa: Path, tmp_path: Path) -> None:
    settings = ["--tasks", qa, "--select", "best", "--epochs", 2, "--scheme", "P", "--shots", 6]
    outcome = workspace.train(tmp_path / "run", *settings)
    assert outcome.status == 0, outcome.stderr
    (chosen,) = read(tmp_path / "run")["selection"]
    assert (chosen["decode"], len(chosen["history"])) == ("generate", 2)
    assert 0 < chosen["score"] <= 100


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "bart"])
def test_other_families(model_type: str, workspace: Workspace, qa: Path, tmp_path: Path) -> None:
    causal = model_type != "bart"
    size = len(VOCABULARY)
    model = make_causal(model_type, vocab_size=size, pad_token_id=None) if causal else make_bart()
    model.save_pretrained(tmp_path / "model")
    make_tokenizer(**({"pad_token": None} if causal else {})).save_pretrained(tmp_path / "model")
    space, folder = dataclasses.replace(workspace, model=tmp_path / "model"), tmp_path / "run"
    settings = ["--tasks", f"mrpc,{qa}", "--max-length", 20]
    outcome = space.train(folder, *settings)
    assert outcome.status == 0, outcome.stderr
    evaluated = crosspt("evaluate", "--checkpoint", folder, "--device", "cpu", "--json")
    assert evaluated.json()["results"] == read(folder)["results"]
    rows = [{"task": "qa", "text": row["text"]} for row in rows_of(6, 20)]
    predictor = package.load(folder, compute=Compute(4, device="cpu", progress=False))
    kept = read_predictions(folder / "predictions.parquet").rows
    assert [one["text"] for one in predictor.predict(rows)] == list(kept[kept["task"] == "qa"]["answer"])
    long = tmp_path / "long.yaml"
    copy_task_file(qa, long)
    long.write_text(long.read_text().replace("max_target_length: 4", "max_target_length: 400"))
    outcome = space.train(tmp_path / "long", "--tasks", long, "--max-length", 20, "--dry-run")
    if model_type == "llama":  # whose positions have no end
        assert outcome.status == 0, outcome.stderr
    else:
        counted = "2 of the prompt, 20 of max_length and 400" if causal else "400"
        assert f"task 'qa': {counted} of its max_target_length must fit the " in mistake(outcome)


def test_a_grid_and_its_report(workspace: Workspace, qa: Path, tmp_path: Path) -> None:
    few = ["--tasks", f"mrpc,{qa}", "--scheme", "P,SL", "--seeds", 2, "--jobs", 1]
    command = ["experiment", "figure-3", "--suite", "glue", *workspace.settings(), *few, "--output", tmp_path / "grid"]
    outcome = crosspt(*command)
    assert outcome.status == 0, outcome.stderr
    outcome = crosspt("report", tmp_path / "grid")
    assert outcome.status == 0, outcome.stderr
    assert "used by the results alone" not in outcome.stdout + outcome.stderr
    tasks = (tmp_path / "grid" / "tables" / "tasks.csv").read_text()
    assert "qa" in tasks.splitlines()[0]
    assert "low" in (tmp_path / "grid" / "tables" / "means.csv").read_text().splitlines()[0]
    assert "(1 of 2 tasks)" in (tmp_path / "grid" / "report.html").read_text()

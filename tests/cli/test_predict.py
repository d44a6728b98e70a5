import json
from pathlib import Path

import pytest

from tests.workspace import Workspace, crosspt, mistake, write_jsonl


def predict(run: Path, *arguments: object, task: str = "rte") -> list[str]:
    outcome = crosspt("predict", "--checkpoint", run, "--task", task, *arguments, "--json")
    assert outcome.status == 0, outcome.stderr
    content = outcome.json()
    ranked = "rank" in arguments
    assert list(content) == ["schema", "task", "answers", *["probabilities"] * ranked]
    assert (content["schema"], content["task"]) == (1, task)
    return content["answers"]


@pytest.mark.parametrize("run", ["slpn_run", "silp_run", "per_target_run"])
def test_every_kind_of_input_gives_the_same_answer(run: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = request.getfixturevalue(run)
    fields = predict(folder, "--field", "sentence1=w1 w2", "--field", "sentence2=w3")
    assert fields == predict(folder, "--text", "sentence1: w1 w2 sentence2: w3")
    write_jsonl(tmp_path / "rows.jsonl", [{"sentence2": "w3", "sentence1": "w1 w2", "idx": 1}])
    (tmp_path / "rows.csv").write_text("sentence1,sentence2\nw1 w2,w3\n")
    for suffix in ("jsonl", "csv"):
        assert fields == predict(folder, "--input", tmp_path / f"rows.{suffix}")


def test_the_answers_of_a_file(slpn_run: Path, workspace: Workspace, tmp_path: Path) -> None:
    rows = workspace.data / "rte" / "validation.jsonl"
    answers = predict(slpn_run, "--input", rows, "--output", tmp_path / "new" / "answers.json", "--batch-size", 4)
    assert json.loads((tmp_path / "new" / "answers.json").read_text())["answers"] == answers
    assert len(answers) == 10
    assert len(set(answers)) > 1
    alone = []
    for line in rows.read_text().splitlines():
        row = json.loads(line)
        pairs = [f"{name}={row[name]}" for name in ("sentence1", "sentence2")]
        alone += predict(slpn_run, "--field", pairs[0], "--field", pairs[1])
    assert alone == answers
    printed = crosspt("predict", "--checkpoint", slpn_run, "--task", "rte", "--input", rows).stdout
    assert printed.splitlines() == answers


def test_a_task_has_its_own_prompt(per_target_run: Path, workspace: Workspace) -> None:
    rows = workspace.data / "rte" / "validation.jsonl"
    answers = {task: predict(per_target_run, "--input", rows, task=task) for task in ("rte", "mrpc")}
    assert answers["rte"] != answers["mrpc"]


def test_ranked_answers_are_labels(slpn_run: Path, workspace: Workspace) -> None:
    rows = workspace.data / "rte" / "validation.jsonl"
    assert set(predict(slpn_run, "--input", rows, "--decode", "rank")) <= {"B0", "B1"}
    assert "--decode must be generate or rank, got both" in mistake(
        crosspt("predict", "--checkpoint", slpn_run, "--task", "rte", "--input", rows, "--decode", "both")
    )


def test_text_may_hold_an_equals_sign(slpn_run: Path) -> None:
    assert len(predict(slpn_run, "--field", "sentence1=a=b", "--field", "sentence2=[bold]")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the input as --field name=text for each column, as --text, or as --input FILE"),
        (["--text", "x", "--field", "sentence1=x"], "give the input as"),
        (["--text", "x", "--input", "x.jsonl"], "give the input as"),
        (["--field", "sentence1=a"], "column 'sentence2' is missing"),
        (["--field", "sentence1"], "--field must be name=text, once for each of sentence1, sentence2, got 'sentence1'"),
        (["--field", "premise=a"], "once for each of sentence1, sentence2, got 'premise=a'"),
        (["--field", "sentence1=a", "--field", "sentence1=b"], "got 'sentence1=b'"),
        (["--input", "none.jsonl"], "none.jsonl: no such file"),
        (["--input", "rows.txt"], "rows must be in a file ending in .jsonl"),
        (["--text", "x", "--max-length", "0"], "max_length must be at least 1"),
        (["--text", "x", "--seed", "-1"], "Seed must be between"),
        (["--text", "x", "--task", "qnli"], "the checkpoint has no prompt for task 'qnli'"),
    ],
)
def test_mistakes(slpn_run: Path, arguments: list[str], message: str) -> None:
    assert message in mistake(crosspt("predict", "--checkpoint", slpn_run, "--task", "rte", *arguments))


def test_files_that_do_not_fit(slpn_run: Path, workspace: Workspace, tmp_path: Path) -> None:
    command = ["predict", "--checkpoint", slpn_run, "--task", "rte"]
    missing = mistake(crosspt(*command, "--input", workspace.data / "sst2" / "train.jsonl"))
    assert "column 'sentence1' of task 'rte' is missing, got sentence, label" in missing
    empty = write_jsonl(tmp_path / "empty.jsonl", [])
    assert f"{empty}: no rows for task 'rte'" in mistake(crosspt(*command, "--input", empty))
    null = write_jsonl(tmp_path / "null.jsonl", [{"sentence1": "w1", "sentence2": None}])
    assert "column 'sentence2' of task 'rte' has no text in any row" in mistake(crosspt(*command, "--input", null))
    assert "--output must be a file" in mistake(crosspt(*command, "--text", "x", "--output", tmp_path))
    below = mistake(crosspt(*command, "--text", "x", "--output", null / "answers.json"))
    assert f"{null} is no folder that can be written to" in below

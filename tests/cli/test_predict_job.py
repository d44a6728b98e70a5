import csv
import gzip
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet
import pytest

from crosspt.runs import job
from tests.workspace import Outcome, crosspt, make_rows, mistake, write_jsonl

ROWS = make_rows(("sentence1", "sentence2"), 11)
IDS = [7, "a,b", 'x "y"', "ü\n", "", -1, 2**62, "8", "09", "NaN", 3]
RANK = ("--decode", "rank", "--batch-size", 1)
Answer = dict[str, Any]


def predict(run: Path, *arguments: object) -> Outcome:
    return crosspt("predict", "--checkpoint", run, "--task", "rte", "--device", "cpu", *arguments)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"name": id, **row} for id, row in zip(IDS, ROWS, strict=True)]
    return write_jsonl(tmp_path_factory.mktemp("input") / "rows.jsonl", rows)


@pytest.fixture(scope="module")
def expected(slpn_run: Path, source: Path) -> list[Answer]:
    content = predict(slpn_run, "--input", source, *RANK, "--json").json()
    assert len(set(content["answers"])) == 2
    return [
        {"id": id, "label": label, "probability": pytest.approx(probability)}
        for id, label, probability in zip(IDS, content["answers"], content["probabilities"], strict=True)
    ]


def read(path: Path) -> list[Answer]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_every_format_keeps_ids_and_order(slpn_run: Path, source: Path, expected: list[Answer], tmp_path: Path) -> None:
    output = tmp_path / "new" / "answers.jsonl"
    done = predict(slpn_run, "--input", source, "--output", output, "--id-column", "name", *RANK, "--json")
    assert done.json() == {"schema": 1, "task": "rte", "rows": 11, "output": str(output)}
    assert read(output) == expected
    assert [type(row["id"]) for row in read(output)] == [type(id) for id in IDS]

    texts = [str(id) for id in IDS]
    table = pd.DataFrame(ROWS).assign(name=texts)
    table.to_csv(tmp_path / "rows.csv", index=False, encoding="utf-8-sig")
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress((tmp_path / "rows.csv").read_bytes()))
    table.to_parquet(tmp_path / "rows.parquet", row_group_size=4)
    for suffix in ("csv", "csv.gz", "parquet"):
        for end in ("csv", "parquet"):
            output = tmp_path / f"{suffix}.{end}"
            options = ["--input", tmp_path / f"rows.{suffix}", "--output", output, "--id-column", "name"]
            assert predict(slpn_run, *options, *RANK).stdout == f"11 rows in {output}\n"
            found: list[Answer] = (
                list(csv.DictReader(io.StringIO(output.read_text("utf-8"), newline="")))
                if end == "csv"
                else pyarrow.parquet.read_table(output).to_pylist()
            )
            assert [{**row, "probability": float(row["probability"])} for row in found] == [
                {**row, "id": str(row["id"])} for row in expected
            ]


def test_generated_answers_and_numbered_rows(slpn_run: Path, source: Path, tmp_path: Path) -> None:
    answers = predict(slpn_run, "--input", source, "--json").json()["answers"]
    predict(slpn_run, "--input", source, "--output", tmp_path / "a.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert table.to_pylist() == [{"id": number, "text": text} for number, text in enumerate(answers)]
    assert str(table.schema.field("id").type) == "int64"


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_a_stream_into_a_stream(
    slpn_run: Path, source: Path, expected: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, source.read_bytes())
    done = predict(slpn_run, "--input", "-", "--output", "-", "--id-column", "name", *RANK)
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected
    pipe(monkeypatch, source.read_bytes())
    assert predict(slpn_run, "--input", "-", *RANK).stdout.splitlines() == [row["label"] for row in expected]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("cut", [0, 1, 30, 5000])
def test_a_job_that_was_stopped_goes_on(
    slpn_run: Path, source: Path, tmp_path: Path, suffix: str, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in its second part, and what it had written last cut off by so many bytes."""
    options = ["--input", source, *RANK]
    predict(slpn_run, *options, "--output", tmp_path / f"whole.{suffix}")
    output, part = tmp_path / f"answers.{suffix}", tmp_path / f"answers.{suffix}.part"
    answer, calls = job.answer_questions, iter([True, False])

    def stopped(*arguments: Any, **more: Any) -> Any:
        if not next(calls):
            raise KeyboardInterrupt
        return answer(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(job, "answer_questions", stopped)
        done = predict(slpn_run, *options, "--output", output)
    assert (done.status, done.stdout, output.exists()) == (130, "", False)
    assert "the same command with --resume goes on" in done.stderr
    content = part.read_bytes()
    assert content.count(b"\n") == 9, "the job and 8 rows"
    part.write_bytes(content[: max(0, len(content) - cut)])
    refused = mistake(predict(slpn_run, *options, "--output", output))
    assert f"{part} holds a part of a job; --resume goes on with it" in refused
    asked: list[int] = []

    def counted(model: Any, tokenizer: Any, questions: Any, *more: Any) -> Any:
        asked.append(len(questions))
        return answer(model, tokenizer, questions, *more)

    monkeypatch.setattr(job, "answer_questions", counted)
    assert predict(slpn_run, *options, "--output", output, "--resume").status == 0
    assert output.read_bytes() == (tmp_path / f"whole.{suffix}").read_bytes()
    assert sum(asked) == {0: 3, 1: 4, 30: 4, 5000: 11}[cut], "rows that were answered are asked again"
    assert sorted(file.name for file in tmp_path.iterdir() if not file.name.endswith(".lock")) == [
        output.name,
        f"whole.{suffix}",
    ]
    assert f"{output} is there already" in mistake(predict(slpn_run, *options, "--output", output, "--resume"))


@pytest.fixture
def begun(slpn_run: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the input, beside a part of its answers."""
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(source.read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(job.Job, "finish", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            predict(slpn_run, "--input", rows, "--output", tmp_path / "a.jsonl", *RANK)
    yield rows
    assert (tmp_path / "a.jsonl.part").read_bytes().count(b"\n") > 0, "what was answered is still there"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*RANK, "--task", "mrpc"], "task (there 'rte', here 'mrpc')"),
        (["--batch-size", 1], "decode (there 'rank', here 'generate')"),
        ([*RANK, "--max-length", 9], "max_length (there 256, here 9)"),
        ([*RANK, "--id-column", "name"], "id_column (there None, here 'name')"),
    ],
)
def test_another_job_is_not_gone_on_with(slpn_run: Path, begun: Path, arguments: list[object], message: str) -> None:
    output = begun.parent / "a.jsonl"
    line = mistake(predict(slpn_run, "--input", begun, "--output", output, "--resume", *arguments))
    assert "holds a part of another job" in line
    assert message in line


def test_another_input_and_another_file(slpn_run: Path, begun: Path) -> None:
    part, options = begun.parent / "a.jsonl.part", ["--output", begun.parent / "a.jsonl", "--resume", *RANK]
    lines = part.read_text().splitlines(keepends=True)
    part.write_text("".join([lines[0], lines[2], *lines[1:2]]))
    line = mistake(predict(slpn_run, "--input", begun, *options))
    assert "answers row 1 where the input has 0" in line
    begun.write_text(begun.read_text() + "\n")
    assert "input (there" in mistake(predict(slpn_run, "--input", begun, *options))
    part.write_text("my notes\n")
    assert f"{part} is not JSON" in mistake(predict(slpn_run, "--input", begun, *options))
    assert part.read_text() == "my notes\n"


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ('{"sentence1": "w1", "sentence2": "w2"}\n{"sentence1": [1]}', [], "row 2: column 'sentence1' of task 'rte'"),
        ('{"sentence1": "w1"}', [], "column 'sentence2' of task 'rte' is missing"),
        ('{"sentence1": "w1", "sentence2": "\\ud800"}', [], "must hold text, got"),
        ('{"sentence1": "w1", "sentence2": "w2"}\n{"senten', [], "line 2 is not JSON"),
        ("", [], "no rows for task 'rte'"),
        ('{"sentence1": "w1", "sentence2": NaN}', [], "column 'sentence2' of task 'rte' has no text in any row"),
        ('{"sentence1": "w1", "sentence2": "w2"}', ["--id-column", "id"], "column 'id' of task 'rte' is missing"),
        (
            '{"sentence1": "a", "sentence2": "b", "id": 1.5}',
            ["--id-column", "id"],
            "row 1: the id in 'id' must be text",
        ),
    ],
)
def test_a_broken_input_is_found_before_anything_is_written(
    slpn_run: Path, tmp_path: Path, content: str, arguments: list[str], message: str
) -> None:
    (tmp_path / "rows.jsonl").write_text(content)
    options = ["--input", tmp_path / "rows.jsonl", "--output", tmp_path / "a.csv", *arguments]
    assert message in mistake(predict(slpn_run, *options))
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_mistakes(slpn_run: Path, source: Path, tmp_path: Path) -> None:
    def said(*arguments: object) -> str:
        return mistake(predict(slpn_run, *arguments))

    output = tmp_path / "a.jsonl"
    assert "--output must end in .json, .jsonl, .csv, .parquet, or be -, got a.txt" in said("--output", "a.txt")
    assert f"--output {output} takes its rows from --input" in said("--text", "x", "--output", output)
    assert "--resume needs files" in said("--input", source, "--output", "-", "--resume")
    assert "--resume needs files" in said("--input", "-", "--output", output, "--resume")
    assert "both write to stdout" in said("--input", source, "--output", "-", "--json")
    assert "--resume and --id-column go with --output" in said("--text", "x", "--resume")
    parquet = tmp_path / "a.parquet"
    mixed = said("--input", source, "--output", parquet, "--id-column", "name")
    assert "the ids of a .parquet file must be all text or all integers, got both" in mixed
    for name in ("a.json", "a.jsonl"):
        (tmp_path / name).write_text("mine")
        assert f"{tmp_path / name} is there already" in said("--input", source, "--output", tmp_path / name)
        assert (tmp_path / name).read_text() == "mine"

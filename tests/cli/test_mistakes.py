import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workspace import Workspace, crosspt, make_rows, mistake, write_jsonl


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "mrpcc"], "unknown task 'mrpcc', did you mean mrpc or"),
        (["--tasks", "mood.yaml"], "mood.yaml: no such task file"),
        (["--tasks", ","], "tasks must be a list of task names and not empty"),
        (["--tasks", "mrpc,MRPC"], "must not name a task twice"),
        (["--scheme", "ZZ"], "scheme: expected S[I][L][P[I]][number or N] or P[I], such as SLPN or SILP, got 'ZZ'"),
        (["--scheme", "S"], "leaves nothing to learn"),
        (["--data-dir", "none"], "task 'mrpc': the data directory none does not exist"),
        (["--tasks", "cola"], "task 'cola': no folder cola in"),
        (["--shots", "100"], "task 'mrpc': few_shot_indices: shots must be from 1 to the 12 rows, got 100"),
        (["--max-length", "3"], "task 'mrpc' needs max_length 5 or more"),
        (["--temperature", "0"], "temperature must be positive and finite, got 0.0"),
        (["--temperature", "logg"], "temperature must be float or log or sqrt or reciprocal, got logg"),
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--epochs", "three"], "epochs must be int or null, got three"),
        (["--prefix", "maybe"], "prefix must be bool, got maybe"),
        (["--seed", "-1"], "seed must be in [0, 2^32), got -1"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["--device", "gpu"], "--device must be auto or cpu or cuda, got gpu"),
        (["--scheme", "P", "--source-learning-rate", "0.1"], "scheme P learns no sources, got a rate for it"),
        (["--scheme", "PI", "--tasks", "mrpc,rte", "--source-tasks", "mrpc"], "source_tasks lack rte"),
        (["--scheme", "SLPN", "--source-tasks", "rte"], "scheme SLPN starts from no source tasks, got rte"),
        (["--scheme", "SLPN", "--source-prompts", "x"], "scheme SLPN starts from no source prompts, got x"),
        (["--scheme", "SIP", "--source-prompts", "none"], "none holds no crosspt_model.safetensors"),
        (["--initialization", "text", "--init-texts", ""], "init_texts must each hold a token"),
        (["--select", "first"], "--select must be best or last, got first"),
        (["--patience", "3"], "TrainingConfig: patience goes with select best, got select last"),
        (["--eval-steps", "3"], "TrainingConfig: eval_steps goes with select best, got select last"),
        (["--dev-rows", "3"], "dev_rows goes with select best, got select last"),
        (["--select", "best", "--shots", "8"], "task 'mrpc': select best needs 8 development rows with other texts"),
        (["--report-to", "tensorbored"], "--report-to must be none or tensorboard or wandb, got tensorbored"),
        (["--config", "none.yaml"], "--config none.yaml cannot be read: No such file or directory"),
    ],
)
def test_train(workspace: Workspace, tmp_path: Path, arguments: list[str], message: str) -> None:
    given = ["--tasks", "mrpc", *arguments]
    assert message in mistake(workspace.train(tmp_path / "run", *given))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: 3", "tasks must be list[str] or str, got 3"),
        ("tasks: [mrpc, 3]", "tasks must be list[str] or str, got ['mrpc', 3]"),
        ("tasks: mrpc\nsource_tasks: [1]", "source_tasks must be list[str] or str, got [1]"),
        ("tasks: mrpc\ninit_texts: a", "init_texts goes with initialization 'text'"),
        ("tasks: mrpc\nepochs: 1.5", "epochs must be int or null, got 1.5"),
        ("tasks: mrpc\nepochs: true", "epochs must be int or null, got True"),
        ("tasks: mrpc\nprompt_length: true", "prompt_length must be int, got True"),
        ("tasks: mrpc\nsource_learning_rate: high", "source_learning_rate must be float or null, got high"),
        ("tasks: mrpc\ntemperature: [1]", "temperature must be float or log or sqrt or reciprocal, got [1]"),
        ("tasks: mrpc\nscheme: 3", "scheme must be str, got 3"),
        ("tasks: mrpc\nbogus: 1", "settings.yaml: unknown key 'bogus'; known: json, model,"),
        ("tasks: [mrpc", "settings.yaml is not YAML: while parsing a flow sequence"),
        ("epochs: 3\nepochs: 30", "settings.yaml is not YAML: it holds the key 'epochs' twice"),
        (f"epochs: {'[' * 2000}", "settings.yaml is not YAML: maximum recursion depth exceeded"),
        (f"source_learning_rate: {10**400}", "settings.yaml is not YAML: it holds an integer of more than 64 bits"),
        ("- mrpc", "settings.yaml must hold keys and values such as 'epochs: 3', got ['mrpc']"),
        ("", "settings.yaml must hold keys and values such as 'epochs: 3', got nothing"),
    ],
)
def test_yaml(workspace: Workspace, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "settings.yaml").write_text(text)
    line = mistake(workspace.train(tmp_path / "run", "--config", tmp_path / "settings.yaml"))
    assert message in line
    assert "<class" not in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", ["epochs: 3".encode("utf-16"), b"tasks: caf\xe9", bytes(range(256))])
def test_a_config_that_is_not_utf_8(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_bytes(content)
    line = mistake(crosspt("train", "--output", tmp_path / "run", "--config", tmp_path / "settings.yaml"))
    assert "settings.yaml is not UTF-8 text: " in line


def test_a_config_that_is_a_folder(tmp_path: Path) -> None:
    line = mistake(crosspt("train", "--output", tmp_path / "run", "--config", tmp_path))
    assert f"--config {tmp_path} cannot be read: Is a directory" in line


def test_the_order_of_flags_and_files(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("epochs: 3\nbatch-size: 5\nsource_learning_rate: 1e-3\noutput: there\n")
    command = ["train", "--epochs", 4, "--config", tmp_path / "settings.yaml", "--batch_size", 6]
    settings = yaml.safe_load(crosspt(*command, "--print_config").stdout)
    assert [settings[name] for name in ("epochs", "batch_size", "source_learning_rate")] == [3, 6, 1e-3]
    assert "required" not in crosspt("train", "--config", tmp_path / "settings.yaml", "--scheme", "ZZ").stderr


def break_model(folder: Path, kind: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    if kind == "bert":
        (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    elif kind == "config":
        (folder / "config.json").write_text("{")
    elif kind == "no tokenizer":
        for file in folder.glob("token*"):
            file.unlink()
    elif kind == "broken tokenizer":
        (folder / "tokenizer.json").write_text("zzz")
    elif kind == "no weights":
        (folder / "model.safetensors").unlink()
    elif kind == "broken weights":
        (folder / "model.safetensors").write_bytes(b"z" * 99)
    elif kind == "layers":
        (folder / "config.json").write_text(json.dumps({**config, "num_layers": 3}))
    elif kind == "shapes":
        (folder / "config.json").write_text(json.dumps({**config, "d_ff": 8}))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("bert", "cannot be loaded: expected a model of type t5, "),
        ("config", "not a valid JSON file"),
        ("no tokenizer", "has no tokenizer beside its weights"),
        ("broken tokenizer", "cannot be loaded: "),
        ("no weights", "no file named model.safetensors"),
        ("broken weights", "cannot be loaded: "),
        ("layers", "tensors are missing or misshapen, such as encoder.block.1.layer"),
        ("shapes", "tensors are missing or misshapen, such as decoder.block.0.layer.2.DenseReluDense.wi.weight"),
    ],
)
def test_models(workspace: Workspace, tmp_path: Path, kind: str, message: str) -> None:
    model = tmp_path / "t5"
    shutil.copytree(workspace.model, model)
    break_model(model, kind)
    line = mistake(workspace.train(tmp_path / "run", "--tasks", "mrpc", "--model", model))
    assert line.startswith(f"crosspt train: model '{model}' ")
    assert message in line


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "train.jsonl: no rows for task 'sst2'"),
        ([{"text": "w1", "label": 0}], "train.jsonl: column 'sentence' of task 'sst2' is missing, got text, label"),
        ([{"sentence": "w1"}], "column 'label' of task 'sst2' is missing"),
        ([{"sentence": "w1", "label": 7}], "train.jsonl: row 1: task 'sst2': a label must be one of 0, 1, got 7"),
        (None, "no train split in"),
    ],
)
def test_rows(workspace: Workspace, tmp_path: Path, rows: list[dict[str, Any]] | None, message: str) -> None:
    write_jsonl(tmp_path / "data" / "sst2" / "validation.jsonl", make_rows(("sentence",), 4))
    if rows is not None:
        write_jsonl(tmp_path / "data" / "sst2" / "train.jsonl", rows)
    outcome = workspace.train(tmp_path / "run", "--tasks", "sst2", "--data-dir", tmp_path / "data")
    assert message in mistake(outcome)


def test_label_words_that_the_tokenizer_lacks(workspace: Workspace, tmp_path: Path) -> None:
    shutil.copytree(workspace.data / "sst2", tmp_path / "data" / "cola")
    line = mistake(workspace.train(tmp_path / "run", "--tasks", "cola", "--data-dir", tmp_path / "data"))
    assert "the tokenizer has no tokens for the target" in line
    assert "acceptable' of task 'cola'" in line
    assert not (tmp_path / "run").exists()


def test_tasks_that_share_a_name(workspace: Workspace, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("{name: mood, fields: [text], labels: [bad, good], hub: x/y}")
    line = mistake(workspace.train(tmp_path / "run", "--tasks", f"{tmp_path}/a.yaml,{tmp_path}/b.yaml"))
    assert "both describe a task 'mood'" in line


def test_no_connection_is_not_the_users_mistake(workspace: Workspace, tmp_path: Path) -> None:
    outcome = crosspt("train", "--model", workspace.model, "--tasks", "mrpc", "--output", tmp_path / "run")
    assert "nyu-mll/glue mrpc train: cannot load task 'mrpc' from the hub" in mistake(outcome, status=1)


def test_outputs(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for output in (tmp_path, file):
        line = mistake(workspace.train(output, "--tasks", "sst2"))
        assert f"{output} must be a new or empty folder, or one that holds a run to resume" in line
    line = mistake(workspace.train(file / "below", "--tasks", "sst2"))
    assert f"{file}/below is no folder that can be written to: Not a directory" in line

    def refuse(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    line = mistake(workspace.train(tmp_path / "locked", "--tasks", "sst2"))
    assert line == f"crosspt train: {tmp_path}/locked is no folder that can be written to: Permission denied"


def test_cuda_without_a_gpu(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    line = mistake(workspace.train(tmp_path / "run", "--tasks", "sst2", "--device", "cuda"))
    assert "'cuda' was asked for, but torch sees no GPU" in line


def test_a_loss_that_is_not_finite(workspace: Workspace, tmp_path: Path) -> None:
    outcome = workspace.train(tmp_path / "run", "--tasks", "sst2", "--source-learning-rate", 1e30, "--epochs", 4)
    assert "the loss must be finite, got nan in step" in mistake(outcome, status=1)


def test_a_line_break_in_an_error(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error:\n  out of memory\n")

    monkeypatch.setattr("crosspt.runs.train.train", fail)
    outcome = workspace.train(tmp_path / "run", "--tasks", "sst2")
    assert outcome.stderr == "crosspt train: CUDA error: out of memory\n"
    assert outcome.status == 1

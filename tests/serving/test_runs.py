"""Several runs on one server, and runs that are loaded anew."""

import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from crosspt.models.model import CrossPTModel
from crosspt.runs.evaluate import load_run_model, open_checkpoint
from crosspt.serving.roster import Roster, Runs
from tests.serving.conftest import Client, serving
from tests.workspace import Workspace, crosspt, make_rows, mistake

ROWS = make_rows(("sentence1", "sentence2"), 6)
RTE = {"task": "rte", "rows": ROWS}


@pytest.fixture(scope="module")
def other_run(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a task of the first and one of its own, whose targets have a bank each, isolated."""
    folder = tmp_path_factory.mktemp("runs") / "other"
    settings = ["--tasks", "rte,sst2", "--stage2", "per_target", "--prefix-mode", "isolated", "--seed", 1]
    assert workspace.train(folder, *settings).status == 0
    return folder


def reload(client: Client) -> Any:
    asyncio.run(client.server.reload())
    return client.get("/health")["reload"]


def shares(client: Client, task: str = "rte") -> list[float]:
    return [answer["probability"] for answer in client.answers({"task": task, "rows": ROWS})]


def test_several_runs(slpn_run: Path, other_run: Path) -> None:
    roster = Roster(Runs([slpn_run, other_run], "cpu"))
    assert sorted(roster.names) == ["mrpc", "other/rte", "slpn/rte", "sst2"]
    assert len({id(asked.tokenizer) for asked in roster.tasks.values()}) == 1, "one language model"
    with serving([slpn_run, other_run]) as client, serving([other_run]) as alone:
        assert shares(client, "other/rte") == pytest.approx(shares(alone))
        assert shares(client, "slpn/rte") != pytest.approx(shares(alone), rel=0.01)
        status, answer = client.post(RTE)
        assert (status, answer["detail"]) == (404, "several runs have a task 'rte': ask slpn/rte or other/rte")
        rows = [{"task": "other/rte", **ROWS[0]}, {"task": "sst2", "sentence": "w1"}, {"task": "mrpc", **ROWS[0]}]
        answers = client.answers({"rows": rows})
        assert answers[0]["probability"] == pytest.approx(shares(alone)[0])
        assert [answer["task"] for answer in answers] == ["other/rte", "sst2", "mrpc"]
        assert answers[1]["label"] in ("positive", "negative")


def test_a_run_that_is_loaded_anew(slpn_run: Path, workspace: Workspace, tmp_path: Path) -> None:
    """While clients ask on: every answer is one of the old prompts or of the new ones, and none is missing."""
    folder, new = tmp_path / "a" / "run", tmp_path / "b" / "run"
    shutil.copytree(slpn_run, folder)
    shutil.copytree(slpn_run, new)
    run = open_checkpoint(new)
    model = CrossPTModel.from_pretrained(load_run_model(run)[0], new)
    for parameter in model.embedding.bank.parameters():
        parameter.data.mul_(-3)
    model.save_pretrained(new)
    with serving([folder]) as client, serving([new]) as other:
        old, fresh = shares(client), shares(other)
        assert old != pytest.approx(fresh, rel=0.01)
        stop = threading.Event()

        def ask() -> list[list[float]]:
            found = []
            while not stop.is_set():
                found.append(shares(client))
            return found

        with ThreadPoolExecutor(4) as threads:
            found = [threads.submit(ask) for _ in range(4)]
            shutil.copytree(new, folder, dirs_exist_ok=True)
            assert reload(client) == {"result": "done", "tasks": ["mrpc", "rte"]}
            stop.set()
            answers = [answer for each in found for answer in each.result()]
        assert all(answer in (pytest.approx(old), pytest.approx(fresh)) for answer in answers)
        assert shares(client) == pytest.approx(fresh)

        weights = folder / "crosspt_model.safetensors"
        whole = weights.read_bytes()
        for damage in (b"", whole[:100], whole[:-4]):
            weights.write_bytes(damage)
            assert reload(client) == {"result": "failed", "tasks": ["mrpc", "rte"]}
            assert shares(client) == pytest.approx(fresh)
        shutil.rmtree(folder)
        assert reload(client)["result"] == "failed"
        assert shares(client) == pytest.approx(fresh)
        assert client.metric("crosspt_reloads_total") == 5


def test_a_bank_for_another_model(slpn_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "slpn"
    shutil.copytree(slpn_run, run)
    with serving([run]) as client:
        before, settings = shares(client), json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**settings, "model": "embedded"}))
        assert reload(client)["result"] == "failed"
        assert shares(client) == pytest.approx(before)
    line = mistake(crosspt("serve", "--checkpoint", run))
    assert "have width 16" in line
    assert "the model has d_model 128" in line


def test_mistakes(slpn_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(slpn_run, tmp_path / "slpn")
    both = mistake(crosspt("serve", "--checkpoint", slpn_run, tmp_path / "slpn"))
    assert "the folders of runs that are served together must have different names" in both
    assert "no such folder" in mistake(crosspt("serve", "--checkpoint", tmp_path / "none"))
    assert "--port must be from 0 to 65535" in mistake(crosspt("serve", "--checkpoint", slpn_run, "--port", 70000))
    assert "batch_size must be at least 1" in mistake(crosspt("serve", "--checkpoint", slpn_run, "--batch-size", 0))
    assert "request_rows must be at most queue_rows" in mistake(
        crosspt("serve", "--checkpoint", slpn_run, "--queue-rows", 3)
    )
    monkeypatch.setattr("crosspt.cli.serve.find_spec", lambda name: None if name == "uvicorn" else name)
    assert "it needs uvicorn, which is not installed: pip install 'crosspt[serve]'" in mistake(
        crosspt("serve", "--checkpoint", slpn_run)
    )


def test_the_command(slpn_run: Path) -> None:
    """A process: it says where it listens, hears SIGHUP, and at SIGTERM answers what it took and ends with status 0."""
    arguments = ["serve", "--checkpoint", str(slpn_run), "--port", "0", "--device", "cpu"]
    command = [sys.executable, "-m", "crosspt.cli.main", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr
        said = ""
        while not (port := re.search(r"http://127.0.0.1:(\d+)", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        connection = http.client.HTTPConnection("127.0.0.1", int(port[1]), timeout=60)

        def send(method: str, path: str, content: Any = None) -> Any:
            connection.request(method, path, None if content is None else json.dumps(content))
            return json.loads(connection.getresponse().read())

        assert len(send("POST", "/v1/predict", RTE)["answers"]) == len(ROWS)
        process.send_signal(signal.SIGHUP)
        while send("GET", "/health")["reload"] is None:
            pass
        assert send("GET", "/health")["reload"]["result"] == "done"
        connection.request("POST", "/v1/predict", json.dumps({"task": "rte", "rows": ROWS * 20}))
        os.kill(process.pid, signal.SIGTERM)
        assert len(json.loads(connection.getresponse().read())["answers"]) == 20 * len(ROWS)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (0, "")
    assert "Traceback" not in stderr
    assert "the runs were loaded anew: mrpc, rte" in stderr

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving.conftest import Client, serving
from tests.workspace import TEXT, crosspt, make_rows, write_jsonl

ROWS = make_rows(("sentence1", "sentence2"), 12)
ONE = {"task": "rte", "rows": ROWS[:1]}


def predict(run: Path, folder: Path, task: str, decode: str) -> dict[str, Any]:
    source = write_jsonl(folder / "rows.jsonl", ROWS)
    return crosspt(
        "predict", "--checkpoint", run, "--task", task, "--input", source, "--decode", decode, "--json"
    ).json()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_answers_are_those_of_predict(client: Client, slpn_run: Path, tmp_path: Path) -> None:
    for task in ("rte", "mrpc"):
        ranked = predict(slpn_run, tmp_path, task, "rank")
        assert len(set(ranked["answers"])) == 2
        expected = [
            {"task": task, "label": label, "probability": pytest.approx(probability)}
            for label, probability in zip(ranked["answers"], ranked["probabilities"], strict=True)
        ]
        assert client.answers({"task": task, "rows": ROWS}) == expected
        texts = predict(slpn_run, tmp_path, task, "generate")["answers"]
        assert client.answers({"task": task, "rows": ROWS, "decode": "generate"}) == [
            {"task": task, "text": text} for text in texts
        ]
    mixed = [{"task": ("rte", "slpn/mrpc")[number % 2], **row} for number, row in enumerate(ROWS)]
    answers = client.answers({"rows": mixed})
    assert [answer["task"] for answer in answers] == [row["task"] for row in mixed]
    apart = {task: client.answers({"task": task, "rows": ROWS}) for task in ("rte", "mrpc")}
    for number, answer in enumerate(answers):
        other = apart[("rte", "mrpc")[number % 2]][number]
        assert (answer["label"], answer["probability"]) == (other["label"], pytest.approx(other["probability"]))


def test_requests_share_batches_and_keep_their_answers(client: Client, held: Callable[[], None]) -> None:
    """While a first row is held, the others gather; they are of two tasks and both ways, and come out in one batch."""
    asked = [
        {"task": ("rte", "mrpc")[number % 2], "rows": [row], "decode": ("rank", "generate")[number // 2 % 2]}
        for number, row in enumerate(ROWS)
    ]
    server, batches = client.server, client.metric("crosspt_batch_rows_count")
    with ThreadPoolExecutor(len(asked) + 1) as threads:
        first = threads.submit(client.answers, ONE)
        until(lambda: client.metric("crosspt_request_seconds_count") >= 0 and server.batcher.rows == 0)
        time.sleep(0.05)
        found = [threads.submit(client.answers, content) for content in asked]
        until(lambda: server.batcher.rows == len(asked))
        assert client.metric("crosspt_queue_rows") == len(asked)
        held()
        answers = [answer.result() for answer in found]
        first.result()
    assert client.metric("crosspt_batch_rows_count") == batches + 2
    alone = [client.answers(content) for content in asked]
    for answer, own in zip(answers, alone, strict=True):
        assert answer[0] == {
            **own[0],
            **({"probability": pytest.approx(own[0]["probability"])} if "label" in own[0] else {}),
        }
    assert len({json.dumps(answer) for answer in alone}) > 6


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"{", 400, "the body is not JSON: "),
        (b"", 400, "the body is not JSON: "),
        (b'{"task": "\xff"}', 400, "the body is not UTF-8 text: "),
        (b'{"rows": [{"sentence1": "\\ud800"}]}', 400, "the body is not JSON: "),
        (b'{"rows": [{"sentence1": NaN}]}', 400, "it holds NaN"),
        (b'{"task": "rte", "task": "rte"}', 400, "it holds the key 'task' twice"),
        (b"[" * 100_000, 400, "the body is not JSON: "),
        ([], 422, "the body: "),
        ({"task": "rte"}, 422, "rows: Field required"),
        ({"task": "rte", "rows": []}, 422, "rows: List should have at least 1 item"),
        ({"task": "rte", "rows": ["x"]}, 422, "rows.0: "),
        ({"task": 1, "rows": ROWS}, 422, "task: "),
        ({**ONE, "decode": "beam"}, 422, "decode: Input should be 'generate' or 'rank'"),
        ({**ONE, "path": "/etc/passwd"}, 422, "path: Extra inputs are not permitted"),
        ({"rows": ROWS}, 422, "row 1: name the task, of all rows or of each, as a text in 'task'"),
        ({"rows": [{"task": ["rte"]}]}, 422, "row 1: name the task"),
        ({"task": "rtee", "rows": ROWS}, 404, "unknown task 'rtee'; did you mean 'rte'?"),
        ({"task": "../../rte", "rows": ROWS}, 404, "unknown task"),
        ({"task": "sst2", "rows": ROWS}, 404, "unknown task 'sst2'"),
        (
            {"task": "rte", "rows": [ROWS[0], {"sentence1": "a"}]},
            422,
            "row 2: task 'rte': column 'sentence2' is missing",
        ),
        ({"task": "rte", "rows": [{"sentence1": "a", "sentence2": None}]}, 422, "must hold text, got None"),
        (
            {"task": "rte", "rows": [{"sentence1": ["a"], "sentence2": ""}]},
            422,
            "row 1: task 'rte': column 'sentence1'",
        ),
        ({"task": "rte", "rows": [{"sentence1": "a" * 20_001, "sentence2": ""}]}, 422, "at most 20000 characters"),
        ({"task": "rte", "rows": [{}] * 100_000}, 422, "a request must have at most 1024 rows, got 100000"),
        (b" " * 10_000_000, 413, "the body must have at most 1048576 bytes"),
    ],
)
def test_what_is_refused(client: Client, content: Any, status: int, message: str) -> None:
    found, answer = client.post(content)
    assert (found, list(answer)) == (status, ["detail"])
    assert message in answer["detail"]
    assert "/work" not in answer["detail"]
    assert "/tmp" not in answer["detail"]
    assert client.answers(ONE)


def test_what_a_field_may_hold(client: Client) -> None:
    """Numbers are their texts, columns of no use are not looked at, and too long a text loses its end."""

    def answer(**fields: Any) -> Any:
        return client.answers({"task": "rte", "rows": [fields]})[0]

    same = pytest.approx(answer(sentence1="1", sentence2="")["probability"])
    assert answer(sentence1=1, sentence2="", label=["x"], idx={"a": 1})["probability"] == same
    cut = client.metric("crosspt_cut_rows_total")
    long = answer(sentence1=" ".join(TEXT * 20), sentence2="w1")
    assert client.metric("crosspt_cut_rows_total") == cut + 1
    assert long["probability"] == pytest.approx(answer(sentence1=" ".join(TEXT * 19), sentence2="w1")["probability"])


def test_a_body_without_a_length_is_limited_too(client: Client) -> None:
    parts = (b" " * 2**15 for _ in range(40))  # sent in chunks
    assert client.send("POST", "/v1/predict", parts)[0] == 413
    assert client.answers(ONE)


def test_slow_clients(slpn_run: Path) -> None:
    with serving([slpn_run], read_seconds=1) as client, client.begun(b'{"task', 100) as slow:
        assert client.answers(ONE)  # meanwhile
        assert b" 408 " in slow.recv(2**16)


def test_a_client_that_goes_away_halfway(client: Client) -> None:
    counts = [f'crosspt_request_seconds_count{{status="{status}"}}' for status in (400, 500)]
    ended, failed = map(client.metric, counts)
    with client.begun(b'{"task', 100):
        pass
    until(lambda: client.metric(counts[0]) == ended + 1)
    assert client.metric(counts[1]) == failed


def test_a_full_queue(slpn_run: Path, held: Callable[[], None]) -> None:
    with serving([slpn_run], queue_rows=8, request_rows=4, batch_size=4) as client:
        four = {"task": "rte", "rows": ROWS[:4]}
        with ThreadPoolExecutor(3) as threads:
            found = []
            for waiting in (0, 4, 8):
                found.append(threads.submit(client.answers, four))
                until(lambda waiting=waiting: client.server.batcher.rows == waiting)  # type: ignore[misc]
            status, answer = client.send("POST", "/v1/predict", json.dumps(ONE).encode())
            assert (status, json.loads(answer)["detail"]) == (429, "8 rows wait of at most 8; ask again later")
            assert client.post({"task": "rte", "rows": ROWS[:5]})[0] == 422
            assert client.get("/health")["status"] == "ok"
            held()
            answers = [each.result() for each in found]
        assert answers[1:] == answers[:1] * 2
        assert client.answers(ONE)


def test_rows_of_a_client_that_goes_away_leave_the_queue(client: Client, held: Callable[[], None]) -> None:
    body = json.dumps({"task": "rte", "rows": ROWS}).encode()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.answers, ONE)
        time.sleep(0.1)
        with client.begun(body, len(body)):
            until(lambda: client.server.batcher.rows == len(ROWS))
        until(lambda: client.server.batcher.rows == 0)
        held()
        first.result()
    assert client.answers(ONE)


def test_a_model_that_fails_is_asked_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from crosspt.serving import batching

    def fail(batch: Any) -> Any:
        raise RuntimeError("/secret/path: out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(batching, "answer_rows", fail)
        status, answer = client.send("POST", "/v1/predict", json.dumps(ONE).encode())
    assert (status, answer) == (500, b"Internal Server Error")
    assert client.answers(ONE)


def test_pages(client: Client) -> None:
    assert client.get("/health") == {"status": "ok", "tasks": ["mrpc", "rte"], "reload": None}
    content = client.get("/openapi.json")
    operation = content["paths"]["/v1/predict"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"]["required"] == ["rows"]
    assert {"200", "400", "404", "408", "413", "422", "429"} <= operation["responses"].keys()
    assert b"swagger" in client.send("GET", "/docs")[1]
    client.answers(ONE)
    assert client.metric("crosspt_kept_bytes") > 0
    assert client.metric("crosspt_rows_total") > 0
    for path in ("/v1/predict", "/../../etc/passwd", "/static/run.json"):
        assert client.send("GET", path)[0] in (404, 405)


def test_damaged_requests(client: Client) -> None:
    """A few hundred requests, cut, with bytes changed or repeated; see also benchmarks.serving."""
    generator = np.random.default_rng(0)
    good = json.dumps({"rows": [{"task": "rte", **row} for row in ROWS[:2]], "decode": "rank"}).encode()
    seen = set()
    for _ in range(300):
        body = bytearray(good)
        for _ in range(generator.integers(1, 4)):
            start, end = sorted(generator.integers(0, len(body), 2))
            match generator.integers(0, 3):
                case 0:
                    del body[start:end]
                case 1:
                    body[start:start] = body[start:end]
                case _:
                    body[start] = generator.integers(0, 256)
            body = body or bytearray(b"x")
        status, answer = client.post(bytes(body))
        assert status in (200, 400, 404, 422), answer
        assert list(answer) == ["answers" if status == 200 else "detail"]
        seen.add(status)
    assert {200, 400, 422} <= seen
    assert client.answers(ONE)


def test_a_stopping_server_answers_what_it_took(slpn_run: Path, held: Callable[[], None]) -> None:
    with ThreadPoolExecutor(4) as threads:
        with serving([slpn_run], batch_size=2) as client:
            found = [threads.submit(client.answers, {"task": "rte", "rows": ROWS}) for _ in range(4)]
            until(lambda: client.server.batcher.rows >= 4 * len(ROWS) - 2)
            threading.Timer(0.3, held).start()
        answers = [each.result() for each in found]
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0]) == len(ROWS)

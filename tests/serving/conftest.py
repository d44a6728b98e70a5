import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from crosspt.config.serving import ServingConfig
from crosspt.serving.app import Server, make_app
from crosspt.serving.roster import Roster, Runs

Said = tuple[int, Any]


class Client:
    """Talks to a server that runs in a thread of this process."""

    def __init__(self, app: Any, port: int):
        self.server: Server = app.state.server
        self.port = port

    def send(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, **headers: str
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def post(self, content: Any) -> Said:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        status, answer = self.send("POST", "/v1/predict", body)
        return status, json.loads(answer)

    def answers(self, content: Any) -> list[dict[str, Any]]:
        status, answer = self.post(content)
        assert status == 200, answer
        return answer["answers"]

    def get(self, path: str) -> Any:
        status, answer = self.send("GET", path)
        assert status == 200
        return json.loads(answer)

    def metric(self, name: str) -> float:
        lines = self.send("GET", "/metrics")[1].decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    @contextmanager
    def begun(self, body: bytes, length: int) -> Iterator[socket.socket]:
        """A request of which this much has been sent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
            connection.sendall(head.encode() + body)
            yield connection


@contextmanager
def serving(checkpoints: list[Path], **limits: Any) -> Iterator[Client]:
    app = make_app(Roster(Runs(checkpoints, "cpu")), ServingConfig(**limits))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        yield Client(app, server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def client(slpn_run: Path) -> Iterator[Client]:
    with serving([slpn_run]) as client:
        yield client


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Holds every batch until it is called."""
    from crosspt.serving import batching

    free, answer = threading.Event(), batching.answer_rows

    def wait(batch: Any) -> Any:
        assert free.wait(60)
        return answer(batch)

    monkeypatch.setattr(batching, "answer_rows", wait)
    return free.set

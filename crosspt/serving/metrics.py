"""What a server tells Prometheus."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from crosspt.serving.batching import Row

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The numbers of one server.

    Args:
        queue: how many rows wait.
        kept: bytes of the prompts and prefixes that are kept.
    """

    def __init__(self, queue: Callable[[], int], kept: Callable[[], int]):
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        text = "Seconds from a request's first byte to its answer, by status; 499 where the client went away."
        self.seconds = Histogram("crosspt_request_seconds", text, ["status"], buckets=SECONDS, **own)
        self.batch = Histogram("crosspt_batch_rows", "Rows of a batch.", buckets=ROWS, **own)
        self.rows = Counter("crosspt_rows", "Rows answered, by task and decoding.", ["task", "decode"], **own)
        self.cut = Counter("crosspt_cut_rows", "Rows whose texts were too long and lost their ends.", **own)
        self.reloads = Counter("crosspt_reloads", "Reloads of the runs, by result.", ["result"], **own)
        Gauge("crosspt_queue_rows", "Rows that wait.", **own).set_function(queue)
        Gauge("crosspt_kept_bytes", "Bytes of prompts and prefixes that are kept.", **own).set_function(kept)

    def seen(self, rows: Sequence[Row], cut: int) -> None:
        """Count a batch that was answered."""
        self.batch.observe(len(rows))
        self.cut.inc(cut)
        for row in rows:
            self.rows.labels(row.asked.task.name, row.decode).inc()


class Timed:
    """Measures the requests to a path.

    Args:
        app: an ASGI application.
        path: the path.
        seconds: a histogram by status.
    """

    def __init__(self, app: Any, path: str, seconds: Histogram):
        self.app = app
        self.path = path
        self.seconds = seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand the call on."""
        if scope["type"] != "http" or scope["path"] != self.path:
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def sending(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            self.seconds.labels(status).observe(time.perf_counter() - started)

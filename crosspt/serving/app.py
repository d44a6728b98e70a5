"""The server's application: what comes in, what goes out, and with which status."""

import asyncio
import json
import logging
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from crosspt.config.files import NotJSONError, decode_json
from crosspt.config.run import Decode
from crosspt.config.serving import ServingConfig
from crosspt.evaluation.mixed import Reply
from crosspt.serving.batching import Batcher, QueueFullError, Row, RowError
from crosspt.serving.metrics import Metrics, Timed
from crosspt.serving.roster import Roster

PREDICT = "/v1/predict"
TASK = "task"
logger = logging.getLogger("uvicorn.error")  # that of the server, which sets it up


class Rows(BaseModel):
    """Rows to be answered, and how."""

    model_config = ConfigDict(extra="forbid", strict=True)

    task: str | None = Field(None, description="the task of all rows; without it every row names its own in `task`")
    rows: list[dict[str, Any]] = Field(
        min_length=1,
        description="the text columns of the task in each; a number is its text, and columns that the task does not "
        "have are not looked at",
    )
    decode: Decode | None = Field(
        None,
        description="the likeliest of the task's answers, or what is generated greedily; by default ranked, and of "
        "tasks of free text generated",
    )


class Answer(BaseModel):
    """The answer to a row."""

    task: str
    label: str | None = Field(None, description="the likeliest of the task's answers, where they were ranked")
    probability: float | None = Field(None, description="its share among the task's answers, where they were ranked")
    text: str | None = Field(None, description="what was generated")


class Answers(BaseModel):
    """The answers, in the order of the rows."""

    answers: list[Answer]


class Problem(BaseModel):
    """Why a request was not answered."""

    detail: str


PROBLEMS = {
    400: "the body is not JSON in UTF-8",
    404: "no task has that name",
    408: "the body did not arrive in time",
    413: "the body is too large",
    422: "the body or a row is not what it must be",
    429: "too many rows wait",
}


class Server:
    """What the application works with.

    Args:
        roster: the tasks.
        config: the limits.
    """

    def __init__(self, roster: Roster, config: ServingConfig):
        self.roster = roster
        self.config = config
        self.metrics = Metrics(lambda: self.batcher.rows, self.kept_bytes)
        self.batcher = Batcher(config.batch_size, config.wait_ms / 1000, config.queue_rows, self.metrics.seen)
        self.reloaded: dict[str, Any] | None = None
        self._reloading = asyncio.Lock()

    def kept_bytes(self) -> int:
        """Bytes of the prompts and prefixes that are kept."""
        models = {id(asked.model): asked.model for asked in self.roster.tasks.values()}
        return sum(model.kept_bytes for model in models.values())

    async def reload(self) -> None:
        """Load the runs anew while those that are there answer on; where that fails, they stay."""
        async with self._reloading:
            try:
                await asyncio.to_thread(self.roster.reload)
            except Exception as error:  # a damaged folder, or no memory: what is there can still answer
                logger.error("the runs were not loaded anew, those of before stay: %s", " ".join(str(error).split()))
                result = "failed"
            else:
                logger.info("the runs were loaded anew: %s", ", ".join(self.roster.names))
                result = "done"
            self.metrics.reloads.labels(result).inc()
            self.reloaded = {"result": result, "tasks": self.roster.names}

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Answer rows inside the block, and at its end those that wait; SIGHUP loads the runs anew."""
        answering = asyncio.create_task(self.batcher.run())
        reloads: set[asyncio.Task[None]] = set()  # which the event loop alone would not keep alive

        def reload() -> None:
            task = asyncio.create_task(self.reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        hears = hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread()
        if hears:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
        yield
        self.batcher.close()
        await answering

    async def read(self, request: Request) -> bytes:
        """A request's body, if it is neither too large nor too slow."""
        limit = self.config.body_bytes
        too_large = HTTPException(413, f"the body must have at most {limit} bytes")
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > limit:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self.config.read_seconds):
                async for part in request.stream():
                    body += part
                    if len(body) > limit:
                        raise too_large
        except ClientDisconnect:
            raise HTTPException(400, "the body ended halfway") from None
        except TimeoutError:
            raise HTTPException(408, f"the body must arrive within {self.config.read_seconds:g} seconds") from None
        return bytes(body)

    def rows(self, body: bytes) -> tuple[list[str], list[Row]]:
        """The rows of a body, and the names of their tasks."""
        try:
            asked = Rows.model_validate(decode_json(body, "the body"))
        except NotJSONError as error:
            raise HTTPException(400, str(error)) from None
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, problem["loc"])) or "the body"
            raise HTTPException(422, f"{place}: {problem['msg']}") from None
        most = self.config.request_rows
        if len(asked.rows) > most:
            raise HTTPException(422, f"a request must have at most {most} rows, got {len(asked.rows)}")
        names = [self._name(asked, number, row) for number, row in enumerate(asked.rows, start=1)]
        try:
            tasks = {name: self.roster.find(name) for name in dict.fromkeys(names)}
        except KeyError as error:
            raise HTTPException(404, error.args[0]) from None
        try:
            decodings = {name: task.decoding(asked.decode) for name, task in tasks.items()}
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        rows = [Row(tasks[name], row, decodings[name]) for name, row in zip(names, asked.rows, strict=True)]
        for number, row in enumerate(rows, start=1):
            self._check(number, row)
        return names, rows

    def _name(self, asked: Rows, number: int, row: dict[str, Any]) -> str:
        name = row.get(TASK) if asked.task is None else asked.task
        if not isinstance(name, str):
            raise HTTPException(422, f"row {number}: name the task, of all rows or of each, as a text in 'task'")
        return name

    def _check(self, number: int, row: Row) -> None:
        try:
            parts = row.asked.task.input_parts(row.fields, row.asked.data.prefix)
        except ValueError as error:
            raise HTTPException(422, f"row {number}: {error}") from None
        longest, most = max(len(text) for _, text in parts), self.config.text_chars
        if longest > most:
            raise HTTPException(422, f"row {number}: a text must have at most {most} characters, got {longest}")

    async def ask(self, request: Request, rows: list[Row]) -> list[Reply] | None:
        """The answers to rows; None where the client has gone away before, and its rows with it."""
        asking = asyncio.ensure_future(self.batcher.ask(rows))
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait({asking, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return await asking if asking.done() else None
        except QueueFullError:
            most = self.config.queue_rows
            raise HTTPException(
                429, f"{self.batcher.rows} rows wait of at most {most}; ask again later", {"Retry-After": "1"}
            ) from None
        except RowError as error:
            raise HTTPException(422, str(error)) from None
        finally:
            asking.cancel()
            leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def make_app(roster: Roster, config: ServingConfig) -> FastAPI:
    """The application; ``app.state.server`` is its :class:`Server`."""
    server = Server(roster, config)
    app = FastAPI(
        title="CrossPT",
        description="Answers rows of the tasks of one or more runs.",
        lifespan=server.running,
    )
    app.state.server = server
    app.add_middleware(Timed, path=PREDICT, seconds=server.metrics.seconds)
    schema = {"required": True, "content": {"application/json": {"schema": Rows.model_json_schema()}}}
    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": text} for status, text in PROBLEMS.items()
    }

    @app.post(PREDICT, response_model=Answers, responses=problems, openapi_extra={"requestBody": schema})
    async def predict(request: Request) -> Response:
        """Answer rows, of one task or of several."""
        names, rows = server.rows(await server.read(request))
        replies = await server.ask(request, rows)
        if replies is None:
            return Response(status_code=499)
        answers = [
            {TASK: name, "text": reply.text}
            if reply.probability is None
            else {TASK: name, "label": reply.text, "probability": reply.probability}
            for name, reply in zip(names, replies, strict=True)
        ]
        return Response(json.dumps({"answers": answers}), media_type="application/json")

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the server answers, which tasks it knows, and what came of the last reload, if any."""
        return {"status": "ok", "tasks": server.roster.names, "reload": server.reloaded}

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """The numbers of the server for Prometheus."""
        return Response(generate_latest(server.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app

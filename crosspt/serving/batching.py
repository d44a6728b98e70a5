"""Rows of all requests, answered in batches by one thread."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from crosspt.config.run import Decode
from crosspt.evaluation.mixed import Question, Reply, answer_batch
from crosspt.runs.answering import AnsweringTask


class QueueFullError(Exception):
    """More rows would wait than may."""


class RowError(ValueError):
    """A row that cannot be encoded; its number in the request, from 1, is in front of the message."""


@dataclass(frozen=True, eq=False)
class Row:
    """A row that waits to be answered.

    Args:
        asked: its task, which keeps its model even where it has been loaded anew since.
        fields: its texts.
        decode: how it is answered.
    """

    asked: AnsweringTask
    fields: Mapping[str, Any]
    decode: Decode


class Batcher:
    """Gathers rows and has them answered, in the order in which they came but for those of other models.

    Args:
        batch_size: most rows in a batch.
        wait: most seconds that a row waits for others while the thread is free.
        capacity: most rows that wait.
        seen: called with the rows of each batch that was answered, and how many of them were cut.
    """

    def __init__(self, batch_size: int, wait: float, capacity: int, seen: Callable[[Sequence[Row], int], None]):
        self.batch_size = batch_size
        self.wait = wait
        self.capacity = capacity
        self.seen = seen
        self._waiting: dict[Row, tuple[asyncio.Future[Reply], float]] = {}  # with the time when it came
        self._changed = asyncio.Event()
        self._closing = False

    @property
    def rows(self) -> int:
        """How many rows wait."""
        return len(self._waiting)

    async def ask(self, rows: Sequence[Row]) -> list[Reply]:
        """The answers to rows, in their order. Rows of a call that is cancelled leave the queue.

        Raises:
            QueueFullError: there is no room for so many.
            RowError: one of them cannot be encoded.
        """
        if len(self._waiting) + len(rows) > self.capacity:
            raise QueueFullError
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in rows]
        now = loop.time()
        self._waiting.update({row: (future, now) for row, future in zip(rows, futures, strict=True)})
        self._changed.set()
        try:
            replies = await asyncio.gather(*futures, return_exceptions=True)
        finally:
            for row in rows:
                self._waiting.pop(row, None)
        found: list[Reply] = []
        for number, reply in enumerate(replies, start=1):
            if isinstance(reply, ValueError):
                raise RowError(f"row {number}: {reply}")
            if isinstance(reply, BaseException):
                raise reply
            found.append(reply)
        return found

    async def run(self) -> None:
        """Answer until :meth:`close` was called and no row waits."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="model") as thread:
            while await self._fill(loop):
                batch = self._take()
                try:
                    answered = await loop.run_in_executor(thread, answer_rows, list(batch))
                except Exception as error:  # of the model; the next batch may well be answered
                    for future in batch.values():
                        if not future.done():
                            future.set_exception(error)
                    continue
                replies, cut = answered
                for future, reply in zip(batch.values(), replies, strict=True):
                    if future.done():  # who asked has gone away
                        continue
                    if isinstance(reply, ValueError):
                        future.set_exception(reply)
                    else:
                        future.set_result(reply)
                self.seen(list(batch), cut)

    def close(self) -> None:
        """Have :meth:`run` end when all that waits is answered."""
        self._closing = True
        self._changed.set()

    async def _fill(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Wait for a batch that is full, or whose first row has waited enough; False where there will be none."""
        while True:
            self._changed.clear()
            left: float | None = None
            if self._waiting:
                _, came = next(iter(self._waiting.values()))
                left = came + self.wait - loop.time()
                if self._closing or left <= 0 or len(self._waiting) >= self.batch_size:
                    return True
            elif self._closing:
                return False
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                continue

    def _take(self) -> dict[Row, asyncio.Future[Reply]]:
        """The first rows that share the model of the first one; they wait no longer."""
        model = next(iter(self._waiting)).asked.model
        rows = [row for row in self._waiting if row.asked.model is model][: self.batch_size]
        return {row: self._waiting.pop(row)[0] for row in rows}


def answer_rows(batch: Sequence[Row]) -> tuple[list[Reply | ValueError], int]:
    """The answers to rows of one model, in their order, with an error for each that cannot be encoded.

    Also how many were cut.
    """
    groups: dict[tuple[AnsweringTask, Decode], list[int]] = defaultdict(list)
    for place, row in enumerate(batch):
        groups[row.asked, row.decode].append(place)
    questions: dict[int, Question] = {}
    replies: dict[int, Reply | ValueError] = {}
    cut = 0
    for (asked, decode), places in groups.items():
        try:
            found, long = asked.ask([batch[place].fields for place in places], decode)
            questions.update(zip(places, found, strict=True))
            cut += long
        except ValueError:  # of one row, which is not to fail the others
            for place in places:
                try:
                    (questions[place],), long = asked.ask([batch[place].fields], decode)
                    cut += long
                except ValueError as error:
                    replies[place] = error
    if questions:
        asked = batch[0].asked
        replies.update(
            zip(questions, answer_batch(asked.model, asked.tokenizer, list(questions.values())), strict=True)
        )
    return [replies[place] for place in range(len(batch))], cut

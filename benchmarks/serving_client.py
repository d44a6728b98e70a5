"""Clients of a server: many connections of one process, with nothing but the standard library.

``python -m benchmarks.serving_client PORT FILE`` asks the bodies in a file, a line each, over and over, and is there
to be killed.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Check = Callable[[int, bytes], bool]
"""Whether an answer is the one to the body of that place."""


@dataclass
class Load:
    """What a number of clients saw.

    Attributes:
        seconds: from each request to its answer.
        wrong: answers of another status than 200, or that were not those to the request.
        elapsed: from the first request to the last answer.
    """

    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    elapsed: float = 0.0


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    """Send a request, and return the status and the body of the response."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    # What is no HTTP is answered without a length, and the connection closed.
    return int(head[9:12]), await (reader.readexactly(lengths[0]) if lengths else reader.read())


def post(body: bytes) -> bytes:
    """The bytes of a request to the server's one operation."""
    return b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def ask(
    port: int, bodies: Sequence[bytes], check: Check, clients: int, *, requests: int = 0, seconds: float = 0
) -> Load:
    """Ask over some connections, each of which sends its next request when it has its answer.

    Args:
        port: of the server.
        bodies: what is asked, in turn.
        check: of the answers.
        clients: connections.
        requests: how many, or
        seconds: for how long.
    """
    load, requested = Load(), [post(body) for body in bodies]
    started = time.perf_counter()
    numbers: Iterator[int] = iter(range(requests)) if requests else itertools.count()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            begun = time.perf_counter()
            if seconds and begun - started > seconds:
                break
            place = number % len(bodies)
            status, answer = await exchange(reader, writer, requested[place])
            load.seconds.append(time.perf_counter() - begun)
            load.wrong += status != 200 or not check(place, answer)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client() for _ in range(clients)))
    load.elapsed = time.perf_counter() - started
    return load


def main() -> None:
    """Ask until the process is killed."""
    bodies = Path(sys.argv[2]).read_bytes().splitlines()
    asyncio.run(ask(int(sys.argv[1]), bodies, lambda *_: True, 16, seconds=3600))


if __name__ == "__main__":
    main()

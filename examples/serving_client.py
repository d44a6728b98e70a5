"""Rows of several tasks asked of a server by many threads, which wait when it has too much to do.

``crosspt serve --checkpoint runs/demo/SLPN`` in one terminal, ``python examples/serving_client.py`` in another.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

ROWS = [
    {"task": "syn_sst2", "sentence": "many graceful curators reluctantly welcomes every dreadful dialogues"},
    {
        "task": "syn_rte",
        "sentence1": "the wealthy boxer shoved the boat",
        "sentence2": "the tall nephew emptied the boat",
    },
]


def ask(url: str, rows: list[dict[str, str]], tries: int = 8) -> list[dict[str, Any]]:
    """The answers to a request, in the order of its rows; after a 429 it is sent again when the server says.

    Raises:
        ValueError: the server refuses the rows; it says why.
        RuntimeError: it was full at every try.
    """
    request = Request(f"{url}/v1/predict", json.dumps({"rows": rows}).encode(), {"Content-Type": "application/json"})
    for _ in range(tries):
        try:
            with urlopen(request, timeout=60) as response:
                answers: list[dict[str, Any]] = json.load(response)["answers"]
                return answers
        except HTTPError as error:
            if error.code != 429:
                raise ValueError(f"{error.code}: {error.read().decode()}") from None
            time.sleep(float(error.headers["Retry-After"]))
    raise RuntimeError(f"{url} was full {tries} times")


def main(url: str, rows: list[dict[str, str]], threads: int = 8) -> list[dict[str, Any]]:
    """The answers to rows, a request a row: those of all threads share the server's batches, whatever their tasks."""
    with ThreadPoolExecutor(threads) as pool:
        return [answer for (answer,) in pool.map(lambda row: ask(url, [row]), rows)]


if __name__ == "__main__":
    for asked, answer in zip(
        ROWS, main(sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000", ROWS), strict=True
    ):
        print(f"{answer['task']}: {answer['label']} ({answer['probability']:.2f})  {next(iter(asked.values()))}")

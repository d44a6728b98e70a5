"""What becomes of files: bytes changed, cut off, recoded; values of JSON dropped, repeated or of another type."""

import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def unhurried(cases: int) -> settings:
    """As many random cases a test, or as many as the environment's ``DAMAGES`` says."""
    return settings(
        max_examples=int(os.environ.get("DAMAGES", cases)),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(["1.0", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
# What no value becomes when it is written.
SPELLINGS = [
    "[" * 100_000,
    *("[" * depth + "]" * depth for depth in (20, 900, 960)),
    "1" * 400,
    "1" * 5000,
    "1e999",
    '"\\u0000"',
    '{"a": 1, "a": 2}',
]
MARK = "value to be put in"


@st.composite
def damages(draw: st.DrawFn, content: bytes) -> bytes:
    """The content with bytes changed, cut out, put in or in another encoding."""
    damaged = bytearray(content)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, max(len(damaged) - 1, 0)))
        damaged[place : place + draw(st.integers(0, 9))] = draw(
            st.binary(max_size=4) | st.sampled_from([b"\x00", b'"'])
        )
    del damaged[draw(st.just(len(damaged)) | st.integers(0, len(damaged))) :]
    other = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    return bytes(damaged) if other == "utf-8" else damaged.decode(errors="replace").encode(other, errors="replace")


@st.composite
def json_damages(draw: st.DrawFn, content: Any) -> bytes:
    """An object as JSON with a value of it, however deep, dropped, repeated or replaced."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 2))):
        places = list(_places(content))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        what = draw(st.sampled_from(["drop", "replace", "replace", "spell", "repeat"]))
        if what == "drop":
            del holder[key]
        elif what == "replace":
            holder[key] = draw(VALUES)
        elif what == "spell" or not isinstance(holder, dict):
            holder[key] = MARK
        else:
            holder[MARK] = key
    text = json.dumps(content)
    text = text.replace(f'"{MARK}": ', '"schema": 1, "schema": ')
    return text.replace(f'"{MARK}"', draw(st.sampled_from(SPELLINGS))).encode()


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)


def read(path: Path, load: Callable[[], Any]) -> Any:
    """What is read, or None after one line that names the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return load()
        except ValueError as error:
            said = str(error)
    assert str(path) in said
    assert len(said.splitlines()) == 1
    return None

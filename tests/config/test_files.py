import json
import math
from pathlib import Path

import pytest

from crosspt.config.files import NotJSONError, check_writable, did_you_mean, is_free, read_json, write_json


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"value": None})
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == {"value": None}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "new" / "b.json", {"value": math.nan})
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    content = {"schema": 1, "text": "\N{SNOWMAN}", "parts": [1.5, None, {"deep": True}]}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content


NO_JSON = {
    "nothing": (b"", "is not JSON: Expecting value"),
    "cut off": (b'{"schema": 1, "a', "is not JSON: Unterminated string"),
    "UTF-16": ('{"schema": 1}'.encode("utf-16"), "is not UTF-8 text: invalid start byte at byte 0"),
    "one wrong byte": (b'{"schema": 1, "a": "\xe9"}', "is not UTF-8 text: invalid continuation byte at byte 20"),
    "NaN": (b'{"schema": 1, "a": NaN}', "is not JSON: it holds NaN"),
    "deep": (b"[" * 100_000, "is not JSON: it is nested deeper than 100 levels"),
    "deep enough to parse": (b"[" * 101 + b"]" * 101, "is not JSON: it is nested deeper than 100 levels"),
    "many digits": (b'{"schema": ' + b"1" * 5000 + b"}", "is not JSON: Exceeds the limit"),
    "more than 64 bits": (b'{"schema": %d}' % (2**63), "is not JSON: it holds an integer of more than 64 bits"),
    "a huge number": (b'{"schema": 1, "a": [-1e999]}', "is not JSON: it holds -1e999"),
    "no character": (b'{"schema": 1, "\\ud800": 0}', "is not JSON: 'utf-8' codec can't encode character"),
    "a key twice": (b'{"schema": 1, "a": {"b": 1, "b": 2}}', "is not JSON: it holds the key 'b' twice"),
}
FOREIGN = {
    "a list": (b"[1]", "must hold an object, got list"),
    "null": (b"null", "must hold an object, got NoneType"),
    "no schema": (b"{}", "is not of this version: its schema must be 1, got None"),
    "another schema": (b'{"schema": 2}', "is not of this version: its schema must be 1, got 2"),
}


@pytest.mark.parametrize("damage", [*NO_JSON, *FOREIGN])
def test_damaged_files(damage: str, tmp_path: Path) -> None:
    content, message = {**NO_JSON, **FOREIGN}[damage]
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path} {message}") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, NotJSONError) == (damage in NO_JSON)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{tmp_path} cannot be read: Is a directory"):
        read_json(tmp_path)
    with pytest.raises(ValueError, match=r"absent\.json cannot be read: No such file"):
        read_json(tmp_path / "absent.json")


def test_writable(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match=f"{folder} is no folder that can be written to: "):
            check_writable(folder)


def test_a_free_folder(tmp_path: Path) -> None:
    assert is_free(tmp_path / "absent", "a.json")
    assert is_free(tmp_path, "a.json")
    (tmp_path / ".a.json.123.tmp").write_text("{")
    assert is_free(tmp_path, "a.json")
    assert not is_free(tmp_path, "b.json")
    (tmp_path / ".lock").write_text("")
    assert is_free(tmp_path, "a.json", ".lock")
    assert not is_free(tmp_path, "a.json")
    assert not is_free(tmp_path / ".lock", "a.json"), "a file"


def test_names_that_are_close() -> None:
    assert did_you_mean("shot", ["shots", "seed"]) == "; did you mean 'shots'?"
    assert did_you_mean("x", ["shots", "seed"]) == "; known: shots, seed"

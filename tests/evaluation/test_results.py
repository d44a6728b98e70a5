import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from crosspt.config.files import write_json
from crosspt.evaluation.metrics import Scores
from crosspt.evaluation.results import make_results, package_versions, read_results, result_rows


def make_rows(scheme: str = "SLPN", task: str = "cola", **values: float | None) -> list[dict[str, Any]]:
    return result_rows(
        Scores(values, 20, 5.0), cell="run", scheme=scheme, seed=1, shots=None, task=task, decode="generate"
    )


def test_rows() -> None:
    assert make_rows(accuracy=70.0, matthews=None) == [
        {
            "cell": "run",
            "scheme": "SLPN",
            "seed": 1,
            "shots": None,
            "task": "cola",
            "metric": metric,
            "primary": primary,
            "value": value,
            "count": 20,
            "invalid_rate": 5.0,
            "decode": "generate",
        }
        for metric, primary, value in (("accuracy", True, 70.0), ("matthews", False, None))
    ]


def test_results_are_json() -> None:
    content = make_results({"schema": 1}, {"train": 1.23456}, iter(make_rows(accuracy=70.0)))
    assert json.loads(json.dumps(content)) == content
    assert content["seconds"] == {"train": 1.235}
    assert content["versions"] == package_versions()
    assert content["environment"]["cpu_count"] >= 1


def test_the_version_of_torch_names_its_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu130")  # a wheel's metadata may say 2.13.0
    assert package_versions()["torch"] == "2.13.0+cu130"


def make_content() -> dict[str, Any]:
    bank = {"tasks": ["cola"], "candidates": ["private"]}
    return make_results({"schema": 1}, {"train": 1.0}, make_rows(accuracy=70.0, matthews=None), [bank])


def test_results_are_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", make_content())
    assert read_results(tmp_path / "results.json") == make_content()


def test_rows_that_do_not_say_how_they_were_answered(tmp_path: Path) -> None:
    content = make_content()
    for row in content["results"]:
        del row["decode"]
    write_json(tmp_path / "results.json", content)
    assert read_results(tmp_path / "results.json") == make_content()


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "schema": (lambda c: c.update(schema=2), " is not of this version: its schema must be 1, got 2"),
    "no rows": (lambda c: c.pop("results"), ": the key 'results' is missing"),
    "no analysis": (lambda c: c.pop("analysis"), ": the key 'analysis' is missing"),
    "rows are text": (lambda c: c.update(results="rows"), ": results must be list, got 'rows'"),
    "rows are an object": (lambda c: c.update(results={"a": 1}), ": results must be list, got {'a': 1}"),
    "config": (lambda c: c.update(config=None), ": config must be dict, got None"),
    "seconds": (lambda c: c.update(seconds={"train": "1"}), ": seconds must be dict[str, float], got {'train': '1'}"),
    "a row": (lambda c: c["results"].append(3), ": row 3 of results: must hold keys and values, got 3"),
    "a list as row": (lambda c: c["results"].append([]), ": row 3 of results: must hold keys and values, got []"),
    "an empty row": (lambda c: c["results"][1].clear(), ": row 2 of results: the key 'cell' is missing"),
    "no scheme": (lambda c: c["results"][0].pop("scheme"), ": row 1 of results: the key 'scheme' is missing"),
    "value": (
        lambda c: c["results"][0].update(value="70"),
        ": row 1 of results: value must be float or null, got '70'",
    ),
    "primary": (lambda c: c["results"][0].update(primary=1), ": row 1 of results: primary must be bool, got 1"),
    "count": (lambda c: c["results"][0].update(count=1.5), ": row 1 of results: count must be int, got 1.5"),
    "decode": (
        lambda c: c["results"][0].update(decode=["rank"]),
        ": row 1 of results: decode must be generate or rank",
    ),
    "a bank": (lambda c: c.update(analysis=[None]), ": bank 1 of analysis: must hold keys and values, got None"),
    "a bank's tasks": (lambda c: c["analysis"][0].pop("tasks"), ": bank 1 of analysis: the key 'tasks' is missing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_results(damage: str, tmp_path: Path) -> None:
    change, message = DAMAGE[damage]
    content = make_content()
    change(content)
    path = tmp_path / "results.json"
    write_json(path, content)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}{message}')}") as caught:
        read_results(path)
    assert "\n" not in str(caught.value)

import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from crosspt.evaluation.metrics import Scores
from crosspt.evaluation.results import make_results, package_versions, read_results, result_rows, write_json
from crosspt.report.tables import results_table


def make_rows(scheme: str = "SLPN", task: str = "cola", **values: float | None) -> list[dict[str, Any]]:
    return result_rows(
        Scores(values, 20, 5.0), cell="run", scheme=scheme, seed=1, shots=None, task=task, decode="generate"
    )


def shown(rows: list[dict[str, Any]], title: str = "title") -> list[list[str]]:
    console = Console(width=120, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(results_table(rows, title))
    lines = console.export_text().splitlines()
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]


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


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"value": None})
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == {"value": None}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "new" / "b.json", {"value": math.nan})
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 1, "results": [', "results.json is not JSON"),
        ("[]", "results.json does not hold results of this version"),
        ('{"schema": 2, "results": [], "analysis": []}', "does not hold results of this version"),
        ('{"schema": 1, "results": []}', "does not hold results of this version"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_results(tmp_path / "results.json")


def test_the_table_gives_means_of_primary_metrics() -> None:
    rows = [*make_rows(accuracy=70.0, matthews=10.0), *make_rows(task="rte", accuracy=50.0)]
    rows += make_rows(scheme="majority", accuracy=30.0, matthews=None)
    assert shown(rows) == [
        ["SLPN", "cola", "accuracy *", "70.0", "5.0%", "20"],
        ["SLPN", "cola", "matthews", "10.0", "5.0%", "20"],
        ["SLPN", "rte", "accuracy *", "50.0", "5.0%", "20"],
        ["SLPN", "mean", "primary *", "60.0", "", ""],
        ["majority", "cola", "accuracy *", "30.0", "5.0%", "20"],
        ["majority", "cola", "matthews", "undefined", "5.0%", "20"],
        ["majority", "mean", "primary *", "30.0", "", ""],
    ]


def test_an_undefined_primary_metric_leaves_no_mean() -> None:
    assert shown(make_rows(pearson=None), "runs/[bold]a")[-1] == ["SLPN", "mean", "primary *", "undefined", "", ""]

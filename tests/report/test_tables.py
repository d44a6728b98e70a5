import io
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from rich.console import Console

from crosspt.report.table import Table
from crosspt.report.tables import results_table


def row(scheme: str, task: str, value: float | None, primary: bool = True, decode: str = "generate") -> dict[str, Any]:
    return {
        "scheme": scheme,
        "task": task,
        "metric": "accuracy" if primary else "matthews",
        "primary": primary,
        "value": value,
        "count": 4,
        "invalid_rate": 12.5,
        "decode": decode,
    }


ROWS = [
    row("majority", "cola", 50.0),
    row("majority", "cola", None, primary=False),
    row("majority", "stsb", None),
    row("SLPN", "cola", 80.0),
    row("SLPN", "stsb", 61.25),
]


def shown(rows: list[dict[str, Any]], make: Callable[..., Table] = results_table) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=80)
    console.print(make(rows, "title").rich())
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    return [re.split(r"\s*[│┃]\s*", line)[1:-1] for line in lines if line[0] in "│┃"]


def test_a_column_for_each_scheme_and_the_means_below() -> None:
    assert shown(ROWS) == [
        ["task", "metric", "rows", "majority", "SLPN"],
        ["cola", "accuracy *", "4", "50.0", "80.0"],
        ["cola", "invalid", "4", "12.5", "12.5"],
        ["cola", "matthews", "4", "undefined", ""],
        ["stsb", "accuracy *", "4", "undefined", "61.2"],
        ["stsb", "invalid", "4", "12.5", "12.5"],
        ["mean", "primary *", "", "50.0 (1 of 2 tasks)", "70.6"],
        ["mean", "invalid", "", "12.5", "12.5"],
    ]


RANKED = [
    row("majority", "cola", 50.0, decode="rank"),
    row("SLPN", "cola", 90.0, decode="rank"),
    row("SLPN", "stsb", 70.0, decode="rank"),
]


def test_ranked_answers_add_their_mean() -> None:
    lines = shown([*RANKED, *ROWS])
    assert lines[:-3] == shown(ROWS)[:-2]
    assert lines[-2] == ["mean", "primary *, ranked", "", "50.0", "80.0"]


def test_in_brief_primary_metrics_and_means() -> None:
    assert shown([*RANKED, *ROWS], partial(results_table, brief=True)) == [
        ["task", "metric", "rows", "majority", "SLPN"],
        ["cola", "accuracy *", "4", "50.0", "80.0"],
        ["stsb", "accuracy *", "4", "undefined", "61.2"],
        *shown([*RANKED, *ROWS])[-3:],
    ]


def test_ranked_answers_alone_are_what_a_table_shows() -> None:
    assert ["mean", "primary *", "", "50.0 (1 of 2 tasks)", "80.0"] in shown(RANKED)


def test_without_any_value_there_is_no_mean_and_a_title_is_plain_text() -> None:
    rows = [row("SLPN", "[bold]stsb", None)]
    assert ["mean", "primary *", "", "undefined"] in shown(rows)
    assert shown(rows)[1][0] == "[bold]stsb"

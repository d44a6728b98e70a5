import io
from typing import Any

from rich.console import Console
from rich.table import Table

from crosspt.report.console import mean, primary_values, results_table, schemes_table


def row(scheme: str, task: str, value: float | None, primary: bool = True, decode: str = "generate") -> dict[str, Any]:
    return {
        "scheme": scheme,
        "task": task,
        "metric": "accuracy",
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


def shown(table: Table) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    return [line.replace("│", " ").replace("┃", " ").split() for line in lines if line[0] in "│┃"]


def test_primary_values_by_scheme_and_task() -> None:
    assert primary_values(ROWS) == {
        "majority": {"cola": 50.0, "stsb": None},
        "SLPN": {"cola": 80.0, "stsb": 61.25},
    }


def test_a_mean_over_something_undefined_is_undefined() -> None:
    assert mean([1.0, 2.0]) == 1.5
    assert mean([1.0, None]) is None
    assert mean([]) is None


def test_schemes_side_by_side() -> None:
    assert shown(schemes_table(ROWS, "title")) == [
        ["scheme", "cola", "stsb", "mean", "invalid"],
        ["majority", "50.0", "undefined", "undefined", "12.5"],
        ["SLPN", "80.0", "61.2", "70.6", "12.5"],
    ]


RANKED = [
    row("majority", "cola", 50.0, decode="rank"),
    row("SLPN", "cola", 90.0, decode="rank"),
    row("SLPN", "stsb", 70.0, decode="rank"),
]


def test_ranked_answers_add_their_mean() -> None:
    assert shown(schemes_table([*RANKED, *ROWS], "title")) == [
        ["scheme", "cola", "stsb", "mean", "invalid", "ranked"],
        ["majority", "50.0", "undefined", "undefined", "12.5", "50.0"],
        ["SLPN", "80.0", "61.2", "70.6", "12.5", "80.0"],
    ]
    lines = shown(results_table([*ROWS, *RANKED], "title"))
    assert [line for line in lines if line[0] == "SLPN"] == [
        ["SLPN", "cola", "accuracy", "*", "80.0", "12.5%", "4"],
        ["SLPN", "stsb", "accuracy", "*", "61.2", "12.5%", "4"],
        ["SLPN", "mean", "primary", "*", "70.6"],
        ["SLPN", "mean", "primary", "*,", "ranked", "80.0"],
    ]


def test_ranked_answers_alone_are_what_a_table_shows() -> None:
    assert shown(schemes_table(RANKED, "title"))[-1] == ["SLPN", "90.0", "70.0", "80.0", "12.5"]

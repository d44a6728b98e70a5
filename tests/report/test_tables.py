import io
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from crosspt.report.table import Entry, Table
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


def printed(table: Table, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def shown(rows: list[dict[str, Any]], make: Callable[..., Table] = results_table) -> list[list[str]]:
    lines = printed(make(rows, "title"))
    return [[cell.strip() for cell in line.split("│")] for line in lines if "│" in line]


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
        ["task", "majority", "SLPN"],
        ["cola", "50.0", "80.0"],
        ["stsb", "undefined", "61.2"],
        ["mean", "50.0 (1 of 2 tasks)", "70.6"],
        ["mean, ranked", "50.0", "80.0"],
        ["mean, invalid answers", "12.5", "12.5"],
    ]


def test_ranked_answers_alone_are_what_a_table_shows() -> None:
    assert ["mean", "primary *", "", "50.0 (1 of 2 tasks)", "80.0"] in shown(RANKED)


def test_without_any_value_there_is_no_mean_and_a_title_is_plain_text() -> None:
    rows = [row("SLPN", "[bold]stsb", None)]
    assert ["mean", "primary *", "", "undefined"] in shown(rows)
    assert shown(rows)[1][0] == "[bold]stsb"


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_wide_table_goes_on_below_and_loses_no_number(width: int) -> None:
    schemes = ["P", "SL", "SLPN", "SILP", "fine-tuning", "hyperformer"]
    rows = [
        {"scheme": scheme, "shots": 2**number, "note": "words that may stand on several lines"}
        | {f"mean {place}": Entry(80.0 + number, 1.25, 78.5, 81.5, paper=70.0 + place) for place in range(4)}
        for number, scheme in enumerate(schemes)
    ]
    lines = printed(Table("means", "means", rows, keys=2), width)
    assert max(map(cell_len, lines)) <= width
    assert "…" not in "".join(lines)
    blocks = [line for line in lines if line.startswith("scheme")]
    assert len(blocks) == {60: 5, 80: 4, 120: 2, 200: 1}[width]
    assert all([cell.strip() for cell in line.split("│")[:2]] == ["scheme", "shots"] for line in blocks)
    for row in rows:
        for entry in (value for value in row.values() if isinstance(value, Entry)):
            found = [line for line in lines if line.startswith(f"{row['scheme']} ") and entry.with_paper in line]
            assert len(found) == 1, "a number stands in one piece, in a line that begins with the keys"
    assert "words" in "".join(lines)


def test_footnotes_of_markdown_are_numbered_from_one_in_their_order() -> None:
    rows = [{"task": Entry("cola", notes=["b"]), "value": Entry(1.0, notes=["a", "b"])}]
    text = Table("any", "Values", rows).markdown({"a": "first of the texts", "b": "second", "c": "unused"})
    assert "| cola [1] | 1.0 [2] [1] |" in text
    assert text.endswith("\n\n1. second\n2. first of the texts\n")

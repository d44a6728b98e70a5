import statistics
from pathlib import Path

import pandas as pd
import pytest

from crosspt.report.paper import load_paper, tables_of
from crosspt.report.summary import Condition, summarize
from crosspt.runs.experiments.read import read_experiment
from tests.report.made_up import GLUE, SYNTHETIC, make_experiment


def test_printed_means_are_those_of_the_printed_cells() -> None:
    """Finds a slip in any number; the one mean that the paper itself gets wrong has a footnote."""
    tables = load_paper()["tables"]
    assert [(table.table, len(table.rows)) for table in tables] == [
        ("Table 2", 13),
        ("Table 3, 16 samples", 4),
        ("Table 3, 32 samples", 4),
        ("Table A.1, 16 samples", 9),
        ("Table A.1, 32 samples", 9),
        ("Table A.2", 9),
    ]
    for table in tables:
        for method, values in table.rows.items():
            assert len(values) == len(table.columns)
            cells = [value for value, column in zip(values, table.columns, strict=True) if column != "mean"]
            off = abs(statistics.fmean(cells) - table.number(method, "mean")[0])
            one_decimal = all(round(value, 1) == value for value in values)
            assert (off > (0.0505 if one_decimal else 0.011)) == ("mean-off" in table.number(method, "mean")[2]), method


def test_qnli_and_qqp_are_exchanged_between_two_tables() -> None:
    tables = {table.table: table for table in load_paper()["tables"]}
    for shots in (16, 32):
        third, appendix = tables[f"Table 3, {shots} samples"], tables[f"Table A.1, {shots} samples"]
        for task in GLUE:
            other = {"qnli": "qqp", "qqp": "qnli"}.get(task, task)
            assert third.number("SLPN", task)[0] == appendix.number("SLPN", other)[0]
            for table in (third, appendix):
                assert ("exchanged" in table.number("SLPN", task)[2]) == (task != other)


def test_every_footnote_is_there() -> None:
    paper = load_paper()
    named = {note["note"] for table in paper["tables"] for note in table.footnotes}
    named |= {note for statement in paper["statements"] for note in statement.get("footnotes", [])}
    assert named | {"embedded"} == set(paper["notes"])


@pytest.mark.parametrize(
    ("name", "suite", "tasks", "expected"),
    [
        ("figure-2", "embedded", SYNTHETIC, ["Table A.1, 16 samples", "Table A.1, 32 samples"]),
        ("table-3", "glue", GLUE, ["Table 3, 16 samples", "Table 3, 32 samples"]),
        ("figure-2", "glue", ["qqp", "mrpc"], []),
        ("figure-5", "glue", GLUE, []),
    ],
)
def test_numbers_stand_beside_the_same_experiment_alone(
    name: str, suite: str, tasks: list[str], expected: list[str], tmp_path: Path
) -> None:
    folder = make_experiment(tmp_path / "x", name=name, suite=suite, tasks=tasks, axes={"scheme": ["P"]}, seeds=[0])
    assert [table.table for table in tables_of(summarize(read_experiment(folder)))] == expected


def test_methods_stand_beside_their_rows() -> None:
    tables = {table.table: table for table in load_paper()["tables"]}

    def row(table: str, scheme: str, **settings: str) -> str:
        return tables[table].row(Condition({"scheme": scheme, **settings}, 1, [], pd.DataFrame(), pd.DataFrame(), {}))

    assert [row("Table 3, 16 samples", name) for name in ("P", "mpt", "dept", "SLPN")] == ["PT", "MPT", "DEPT", "SLPN"]
    printed = set()
    for method in ("fine-tuning", "bitfit", "adapter", "hyperformer", "hyperdecoder", "spot", "attempt", "mpt", "dept"):
        found = {row("Table 2", method, stage2=how) for how in ("joint", "per_target")} & tables["Table 2"].rows.keys()
        assert found, method
        printed |= found
    assert tables["Table 2"].rows.keys() - printed == {"SLP10"}
    assert row("Table 2", "SLP10") == "SLP10"
    assert row("Table 2", "adapter", stage2="per_target") not in tables["Table 2"].rows
    assert row("Table 2", "attempt", stage2="joint") == "ATTEMPT(m)"

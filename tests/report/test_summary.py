import csv
import io
from pathlib import Path

import pytest

from crosspt.report.summary import MEAN, WSSP, source_weight, summarize
from crosspt.report.tables import make_tables
from crosspt.runs.experiments.read import read_experiment
from tests.report.made_up import edit, make_experiment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One condition on two tasks, whose primary metrics are (70, 90), (75, 80) and (60, undefined)."""
    folder = make_experiment(
        tmp_path / "x", tasks=["syn_mrpc", "syn_rte"], axes={"scheme": ["SLP"]}, decodes=("generate", "rank")
    )
    for seed, values in enumerate([(70.0, 90.0), (75.0, 80.0), (60.0, None)]):
        with edit(folder / "cells" / f"SLP-seed{seed}" / "results.json") as content:
            for row in content["results"]:
                if row["scheme"] == "SLP" and row["primary"] and row["decode"] == "generate":
                    row["value"] = values[row["task"] == "syn_rte"]
    return folder


def test_mean_and_deviation_are_over_the_seeds_task_means(folder: Path) -> None:
    summary = summarize(read_experiment(folder))
    (condition,) = summary.conditions
    assert summary.experiment.warnings == [
        "cells/SLP-seed2: no value for syn_rte; its mean is undefined and left out",
    ]
    assert tuple(condition.spreads.loc[MEAN]) == pytest.approx((78.75, 1.7677670, 2))  # of 80 and 77.5
    assert tuple(condition.spreads.loc["syn_mrpc"]) == pytest.approx((68.333333, 7.6376262, 3))
    assert tuple(condition.spreads.loc["syn_rte"]) == pytest.approx((85.0, 7.0710678, 2))


def test_without_a_value_mean_and_deviation_are_undefined(folder: Path) -> None:
    for seed in (1, 2):
        with edit(folder / "cells" / f"SLP-seed{seed}" / "results.json") as content:
            for row in content["results"]:
                row["value"] = None
    (condition,) = summarize(read_experiment(folder)).conditions
    assert tuple(condition.spreads.loc[MEAN].fillna(-1)) == (80.0, -1, 1)
    with edit(folder / "cells" / "SLP-seed0" / "results.json") as content:
        for row in content["results"]:
            row["value"] = None
    (condition,) = summarize(read_experiment(folder)).conditions
    assert tuple(condition.spreads.loc[MEAN].fillna(-1)) == (-1, -1, 0)


def test_where_no_seed_has_every_task_means_are_over_the_others(folder: Path) -> None:
    for seed in (0, 1):
        (folder / "cells" / f"SLP-seed{seed}" / "results.json").unlink()
    summary = summarize(read_experiment(folder))
    assert summary.conditions[0].spreads.at[MEAN, "mean"] == 60.0
    assert summary.experiment.warnings == ["cells/SLP-seed2: no value for syn_rte; its mean is over the other tasks"]
    assert "| SLP | 1 of 3 | 60.0 (1 of 2 tasks) |" in make_tables(summary, [])[0].markdown({}, {})


def test_tables_hold_every_number_in_full(folder: Path) -> None:
    tables = {table.name: table for table in make_tables(summarize(read_experiment(folder)), [])}
    means = list(csv.DictReader(io.StringIO(tables["means"].csv())))
    assert [row["scheme"] for row in means] == ["SLP", "majority"]
    assert (means[0]["seeds"], means[0]["mean"]) == ("3", "78.75")
    assert float(means[0]["mean std"]) == pytest.approx(1.7677670)
    assert means[0]["mean, ranked"] != ""
    metrics = list(csv.DictReader(io.StringIO(tables["metrics"].csv())))
    assert {(row["metric"], row["decode"]) for row in metrics if row["task"] == "syn_mrpc"} == {
        ("accuracy *", "generate"),
        ("f1", "generate"),
        ("accuracy *", "rank"),
        ("f1", "rank"),
    }
    assert "| SLP | 3 of 3 | 78.8 ± 1.8 |" in tables["means"].markdown({}, {})


def test_banks_of_single_targets_count_together(folder: Path) -> None:
    with edit(folder / "cells" / "SLP-seed0" / "results.json") as content:
        bank = content["analysis"][0]
        content["analysis"] = [
            {**bank, "folder": f"targets/{task}", "tasks": [task], "wssp": wssp}
            | {key: [bank[key][0]] for key in ("weights", "similarity")}
            | {"task_similarity": [[1.0]]}
            for task, wssp in (("syn_mrpc", 20.0), ("syn_rte", 40.0))
        ]
        content["analysis"][0]["weights"] = [[0.25, 0.75]]
    for seed in (1, 2):
        (folder / "cells" / f"SLP-seed{seed}" / "results.json").unlink()
    (condition,) = summarize(read_experiment(folder)).find(scheme="SLP")
    assert condition.spreads.at[WSSP, "mean"] == 30.0
    assert condition.spreads.at[source_weight("syn_mrpc"), "mean"] == 25.0
    assert condition.spreads.loc[WSSP].isna().to_dict() == {"mean": False, "std": True, "count": False}

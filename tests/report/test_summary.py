import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crosspt.evaluation.answers import read_predictions, write_predictions
from crosspt.evaluation.resampling import DRAWS
from crosspt.evaluation.results import score_predictions
from crosspt.report.summary import MEAN, WSSP, say_tuning, source_weight, summarize
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
    assert "| SLP | 1 of 3 | 60.0 (1 of 2 tasks) |" in make_tables(summary, [])[0].markdown({})


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
    assert "| SLP | 3 of 3 | 78.8 ± 1.8 |" in tables["means"].markdown({})


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


def test_a_sample_has_the_same_rows_for_all_conditions(tmp_path: Path) -> None:
    """P and PI err in the same rows of a task, so that no draw of rows tells them apart; SL in others."""
    axes: dict[str, list[Any]] = {"scheme": ["P", "PI", "SL"]}
    folder = make_experiment(tmp_path / "x", tasks=["syn_rte", "syn_qnli"], axes=axes, seeds=[0, 1])
    for seed in (0, 1):
        kept = read_predictions(folder / "cells" / f"P-seed{seed}" / "predictions.parquet")
        kept.rows["scheme"] = kept.rows["scheme"].cat.rename_categories({"P": "PI"})
        write_predictions(folder / "cells" / f"PI-seed{seed}" / "predictions.parquet", kept)
        with edit(folder / "cells" / f"PI-seed{seed}" / "results.json") as content:
            name = content["results"][0]["cell"]
            content["results"] = list(score_predictions(kept, cell=name, seed=seed, shots=32))
    summary = summarize(read_experiment(folder))
    one, same, other = (summary.sample(condition, MEAN) for condition in summary.conditions)
    assert summary.experiment.warnings == []
    assert one.shape == (2, 1 + DRAWS)
    assert one[0].tolist() == summary.conditions[0].values[MEAN].tolist()
    assert (one - same == 0).all(axis=None)
    assert (one - other).std(axis=1).min() > 0.5
    assert one.loc[:, 1:].std(axis=1).min() > 1.0, "about the root of 80 * 20 / 600"
    assert np.corrcoef(one.loc[0, 1:], one.loc[1, 1:])[0, 1] == pytest.approx(0, abs=0.1), (
        "seeds have rows of their own"
    )
    assert summary.sample(summary.majority, MEAN).loc[:, 1:].isna().all(axis=None), "its answers are not kept"
    similarity = summary.sample(summary.conditions[2], WSSP)
    assert (similarity == 100).all(axis=None)


def test_every_pair_has_its_difference(folder: Path) -> None:
    axes: dict[str, list[Any]] = {"scheme": ["P", "SL", "SLP"], "shots": [16, 32]}
    summary = summarize(read_experiment(make_experiment(folder / "six", tasks=["syn_rte"], axes=axes)))
    (table,) = [table for table in make_tables(summary, []) if table.name == "differences"]
    assert len(table.rows) == 15
    found = {(row["condition"], row["less"]): row["difference"] for row in table.rows}
    means = {(one.scheme, one.settings["shots"]): one.spreads.at[MEAN, "mean"] for one in summary.conditions}
    entry = found["P, 32", "SLP, 16"]
    assert entry.value == pytest.approx(means["P", 32] - means["SLP", 16])
    assert entry.low < entry.value < entry.high
    assert "difference low,difference high" in table.csv()
    assert f"{entry.value:.1f} [{entry.low:.1f}, {entry.high:.1f}]" in table.markdown({})


def test_tuning_is_what_training_settings_vary(tmp_path: Path) -> None:
    shots: dict[str, list[Any]] = {"scheme": ["P", "SL"], "shots": [16, 32]}
    one = make_experiment(tmp_path / "one", tasks=["syn_rte"], axes=shots)
    assert say_tuning(summarize(read_experiment(one))).endswith(
        "one setting of learning rates and epochs: none was tuned."
    )
    rates: dict[str, list[Any]] = {
        "scheme": ["SLP"],
        "source_learning_rate": [0.1, 0.2],
        "private_learning_rate": [0.1, 0.2, 0.3],
    }
    several = make_experiment(tmp_path / "several", tasks=["syn_rte"], axes=rates, seeds=[0])
    assert "6 settings of source learning rate and private learning rate" in say_tuning(
        summarize(read_experiment(several))
    )

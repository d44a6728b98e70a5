from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from crosspt.evaluation.answers import Predictions, read_predictions, write_predictions
from crosspt.runs.experiments.read import read_experiment
from tests.report.made_up import edit, make_experiment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    axes: dict[str, list[Any]] = {"scheme": ["P", "SL", "SLP"], "shots": [4, 8]}
    return make_experiment(tmp_path / "x", tasks=["syn_mrpc", "syn_rte"], axes=axes, seeds=(0, 1))


def answers_of(folder: Path, cell: str) -> Path:
    return folder / "cells" / cell / "predictions.parquet"


def change(path: Path, changed: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    kept = read_predictions(path)
    write_predictions(path, Predictions(changed(kept.rows), kept.tasks))


def swap_references(rows: pd.DataFrame) -> pd.DataFrame:
    """Two rows of the second task in the other order."""
    places = rows.index[rows["task"] == "syn_rte"][:2]
    rows.loc[places, "reference"] = rows.loc[places[::-1], "reference"].to_numpy()
    return rows


def test_the_answers_of_every_cell(folder: Path) -> None:
    experiment = read_experiment(folder)
    assert experiment.warnings == []
    for cell in experiment.cells:
        assert cell.predictions is not None
        assert set(cell.predictions.rows["scheme"]) == {cell.settings["scheme"]}


def test_cells_of_a_seed_that_answered_other_rows(folder: Path) -> None:
    change(answers_of(folder, "SL-shots8-seed1"), swap_references)
    change(answers_of(folder, "P-shots4-seed0"), lambda rows: rows)
    experiment = read_experiment(folder)
    assert experiment.warnings == [
        "cells/SL-shots8-seed1: evaluated on other rows than cells/P-shots8-seed1 of the same seed; "
        "used by the results alone"
    ]
    assert [cell.name for cell in experiment.cells if cell.predictions is None] == ["SL-shots8-seed1"]
    assert len(experiment.finished) == len(experiment.cells)
    for scheme in ("P", "SLP"):
        change(answers_of(folder, f"{scheme}-shots8-seed1"), swap_references)
    assert read_experiment(folder).warnings == [], "seeds and settings may have rows of their own"
    change(answers_of(folder, "P-shots4-seed0"), swap_references)
    assert read_experiment(folder).warnings == [
        "cells/P-shots4-seed0: evaluated on other rows than cells/SL-shots4-seed0 of the same seed; "
        "used by the results alone"
    ]


def test_the_order_of_tasks_does_not_count(folder: Path) -> None:
    path = answers_of(folder, "SL-shots8-seed1")
    change(path, lambda rows: pd.concat([rows[rows["task"] == task] for task in ("syn_rte", "syn_mrpc")]))
    assert read_experiment(folder).warnings == []


def test_cells_without_answers_are_used_by_their_results(folder: Path) -> None:
    for cell in ("P-shots4-seed0", "SL-shots8-seed1"):
        answers_of(folder, cell).unlink()
    experiment = read_experiment(folder)
    assert experiment.warnings == [
        "cells/P-shots4-seed0, cells/SL-shots8-seed1: no predictions.parquet, as of an older version; used by the "
        "results alone"
    ]
    assert len(experiment.finished) == len(experiment.cells)
    assert sum(cell.predictions is None for cell in experiment.cells) == 2


def test_answers_that_cannot_be_used_are_left_out(folder: Path) -> None:
    cut, short = (answers_of(folder, cell) for cell in ("P-shots4-seed0", "P-shots4-seed1"))
    cut.write_bytes(cut.read_bytes()[:100])
    change(short, lambda rows: rows.iloc[:-1])
    experiment = read_experiment(folder)
    first, second = experiment.warnings
    assert first.startswith("cells/P-shots4-seed0/predictions.parquet is not a readable Parquet file: ")
    assert first.endswith("; the cell is used by its results alone")
    assert second == (
        "cells/P-shots4-seed1/predictions.parquet does not belong to its results: they are of 300 answers (generate) "
        "of P to task 'syn_rte', it holds 299; the cell is used by its results alone"
    )
    assert len(experiment.finished) == len(experiment.cells)


def test_a_seed_of_the_same_settings_twice(folder: Path) -> None:
    with edit(folder / "experiment.json") as content:
        content["cells"][1] = {**content["cells"][0], "cell": "another"}
    with pytest.raises(ValueError, match=r"experiment.json: cells P-shots4-seed0, another have the same settings"):
        read_experiment(folder)

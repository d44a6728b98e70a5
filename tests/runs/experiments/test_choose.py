from pathlib import Path
from typing import Any

import pytest

from crosspt.report.summary import MEAN, say_tuning, summarize
from crosspt.runs.experiments.choose import choose_cells
from crosspt.runs.experiments.read import read_experiment
from tests.report.made_up import edit, finish_again, make_experiment

RATE = "private_learning_rate"
TASKS = ["syn_mrpc", "syn_rte"]


def bank(folder: str, *scores: float, step: int, tasks: tuple[str, ...] = ("syn_mrpc",)) -> dict[str, Any]:
    """A bank that was selected at a step; its evaluations were at steps 1, 2 and so on."""
    history = [{"step": at, "score": score, "tasks": dict.fromkeys(tasks, score)} for at, score in enumerate(scores, 1)]
    return {"folder": folder, "decode": "generate", "step": step, "score": scores[step - 1], "history": history}


def select(folder: Path, cell: str, *banks: dict[str, Any]) -> None:
    with edit(folder / "cells" / cell / "results.json") as content:
        content["selection"] = list(banks)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three rates of two schemes and two seeds: 0.2 has the best score on development rows, 0.3 on test rows."""
    axes: dict[str, list[Any]] = {"scheme": ["P", "SLP"], RATE: [0.1, 0.2, 0.3]}
    made = make_experiment(tmp_path / "x", tasks=TASKS, axes=axes, seeds=(0, 1))
    for scheme in axes["scheme"]:
        for seed in (0, 1):
            for rate, test, score in zip(axes[RATE], (60.0, 70.0, 80.0), (50.0, 90.0, 40.0), strict=True):
                cell = f"{scheme}-{RATE}{rate}-seed{seed}"
                finish_again(made, cell, test)
                select(made, cell, bank(".", 10.0, score, 0.0, step=2, tasks=tuple(TASKS)))
    with edit(made / "experiment.json") as content:
        content["definition"]["choose"] = [RATE]
    return made


def test_the_best_on_development_rows_counts(folder: Path) -> None:
    experiment = choose_cells(read_experiment(folder))
    assert experiment.warnings == []
    assert experiment.axes == ["scheme"]
    assert [one["chosen"] for one in experiment.choices] == [{RATE: 0.2}] * 4
    assert [one["cell"] for one in experiment.choices] == [cell.name for cell in experiment.cells]
    assert {(one["score"], one["tried"]) for one in experiment.choices} == {(90.0, 3)}
    summary = summarize(experiment)
    assert [one.spreads.at[MEAN, "mean"] for one in summary.conditions] == [70.0, 70.0], (
        "of 0.2, not the best test rows"
    )
    assert list(summary.varying) == ["scheme"]
    said = say_tuning(summary)
    assert "several settings of private learning rate (P 3, SLP 3)" in said
    assert "no test row chose any" in said


def test_test_rows_choose_nothing(folder: Path) -> None:
    before = choose_cells(read_experiment(folder)).choices
    for cell in read_experiment(folder).cells:
        finish_again_as_selected(folder, cell.name, 99.0 if "0.1" in cell.name else 1.0)
    assert choose_cells(read_experiment(folder)).choices == before


def finish_again_as_selected(folder: Path, cell: str, level: float) -> None:
    with edit(folder / "cells" / cell / "results.json") as content:
        kept = content["selection"]
    finish_again(folder, cell, level)
    select(folder, cell, *kept)


def test_seeds_choose_by_themselves_and_the_first_of_equals(folder: Path) -> None:
    for rate in (0.1, 0.3):
        select(folder, f"P-{RATE}{rate}-seed1", bank(".", 95.0, step=1, tasks=tuple(TASKS)))
    chosen = {one["cell"] for one in choose_cells(read_experiment(folder)).choices}
    assert f"P-{RATE}0.2-seed0" in chosen
    assert f"P-{RATE}0.1-seed1" in chosen


def test_scores_are_of_the_targets_where_they_were_selected(folder: Path) -> None:
    """A bank for each target, and of stage 1, whose scores are no matter."""
    sources = bank("stage1/syn_mrpc", 100.0, step=1)
    first, second = (
        bank("targets/syn_mrpc", 100.0, 60.0, step=2),
        bank("targets/syn_rte", 70.0, step=1, tasks=("syn_rte",)),
    )
    select(folder, f"P-{RATE}0.1-seed0", sources, first, second)
    select(folder, f"P-{RATE}0.2-seed0", sources, bank(".", 64.0, step=1, tasks=tuple(TASKS)))
    (choice,) = [
        one for one in choose_cells(read_experiment(folder)).choices if (one["seed"], one["cell"][0]) == (0, "P")
    ]
    assert (choice["cell"], choice["score"]) == (f"P-{RATE}0.1-seed0", 65.0)
    assert choice["settings"] == {"scheme": "P", "shots": 32}


def test_what_cannot_be_chosen(folder: Path) -> None:
    failed, odd, damaged = (f"P-{RATE}{rate}-seed0" for rate in (0.1, 0.2, 0.3))
    (folder / "cells" / failed / "results.json").unlink()
    (folder / "cells" / failed / "error.json").write_text(
        '{"schema": 1, "type": "FloatingPointError", "error": "the loss is nan"}'
    )
    select(folder, odd)
    experiment = choose_cells(read_experiment(folder))
    assert experiment.choices[0]["cell"] == damaged
    assert experiment.choices[0]["tried"] == 1
    assert experiment.warnings == [
        f"cells/{failed}: FloatingPointError: the loss is nan; not chosen",
        f"cells/{odd}: it was selected by no development rows; not chosen",
    ]
    select(folder, damaged, bank(".", 1.0, step=1) | {"step": 7})
    experiment = choose_cells(read_experiment(folder))
    assert experiment.warnings[-1] == (
        f"cells/{damaged}: its selection: no scores of step 7, which was selected; not chosen"
    )
    assert len(experiment.choices) == 3, "nothing is chosen where there is no score"
    assert len(experiment.cells) == 4


def test_a_scheme_without_the_axis(folder: Path) -> None:
    """Its cells lack the setting, as :func:`crosspt.runs.experiments.grid.make_grid` leaves it out."""
    with edit(folder / "experiment.json") as content:
        content["cells"] = [one for one in content["cells"] if one["scheme"] != "P" or one["settings"][RATE] == 0.1]
        for one in content["cells"]:
            if one["scheme"] == "P":
                del one["settings"][RATE]
    experiment = choose_cells(read_experiment(folder))
    assert [(one["chosen"][RATE], one["tried"]) for one in experiment.choices] == [
        (None, 1),
        (None, 1),
        (0.2, 3),
        (0.2, 3),
    ]
    assert "(P 1, SLP 3)" in say_tuning(summarize(experiment))


def test_nothing_to_choose(tmp_path: Path) -> None:
    experiment = read_experiment(make_experiment(tmp_path / "x", tasks=TASKS, seeds=(0, 1)))
    assert choose_cells(experiment) is experiment

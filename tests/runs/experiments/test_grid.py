import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from crosspt.methods.method import source_jobs
from crosspt.runs.experiments.definition import Definition, Suite
from crosspt.runs.experiments.grid import Grid, make_grid
from crosspt.runs.experiments.runner import check_folder


def grid_of(
    axes: dict[str, list[Any]],
    overrides: dict[str, list[Any]] | None = None,
    seeds: tuple[int, ...] = (0,),
    choose: Sequence[str] = (),
    **rest: Any,
) -> Grid:
    settings = {"tasks": ["mrpc", "rte"], "shots": 8, **rest.pop("settings", {})}
    definition = Definition(name="x", title="t", source="s", axes=axes, settings=settings, **rest)
    return make_grid(definition, suite="glue", model="t5-base", seeds=seeds, overrides=overrides, choose=choose)


def test_cells() -> None:
    grid = grid_of({"scheme": ["SL", "SLNP"], "prefix": [True, False]}, seeds=(3, 4))
    assert [cell.name for cell in grid.cells][:4] == [
        "SL-prefix-seed3",
        "SL-no_prefix-seed3",
        "SLPN-prefix-seed3",
        "SLPN-no_prefix-seed3",
    ]
    assert grid.cells[-1].to_dict() == {
        "cell": "SLPN-no_prefix-seed4",
        "scheme": "SLPN",
        "seed": 4,
        "shots": 8,
        "settings": {"scheme": "SLPN", "prefix": False},
    }
    run = grid.cells[-1].run
    assert (run.prompts.scheme, run.data.prefix, run.training.seed, run.data.data_seed) == ("SLPN", False, 4, 4)


def test_overrides() -> None:
    axes: dict[str, list[Any]] = {"scheme": ["SL", "SIP"], "shots": [8, 16]}
    grid = grid_of(axes, {"shots": [4], "epochs": [2], "data_seed": [7], "tasks": ["sst2"]})
    assert [cell.name for cell in grid.cells] == ["SL-shots4-seed0", "SIP-shots4-seed0"]
    assert {(c.run.training.epochs, c.run.data.data_seed, *c.run.prompts.tasks) for c in grid.cells} == {(2, 7, "sst2")}
    assert list(grid_of(axes, {"temperature": ["log", 0.5]}).to_dict()["axes"]) == ["scheme", "shots", "temperature"]
    everything = grid_of(axes, {"shots": [None, 4], "scheme": ["SL"]})
    assert [cell.name for cell in everything.cells] == ["SL-shots_all-seed0", "SL-shots4-seed0"]


def test_what_development_rows_choose() -> None:
    axes: dict[str, list[Any]] = {"scheme": ["P", "SLP"], "source_learning_rate": [0.1, 0.2]}
    with pytest.raises(
        ValueError, match=r"cell P-source_learning_rate0\.1-seed0: learning rates: scheme P learns no sources"
    ):
        grid_of(axes)
    grid = grid_of(axes, choose=["source_learning_rate"])
    assert [cell.name for cell in grid.cells] == [
        "P-seed0",
        "SLP-source_learning_rate0.1-seed0",
        "SLP-source_learning_rate0.2-seed0",
    ]
    assert grid.cells[0].settings == {"scheme": "P"}
    assert {cell.run.training.select for cell in grid.cells} == {"best"}
    assert [cell.run.training.source_learning_rate for cell in grid.cells] == [None, 0.1, 0.2]
    methods: dict[str, list[Any]] = {
        "method": ["lora", "crosspt"],
        "learning_rate": [0.1],
        "logits_learning_rate": [0.3],
    }
    names = [cell.name for cell in grid_of(methods, choose=["learning_rate", "logits_learning_rate"]).cells]
    assert names == ["lora-learning_rate0.1-seed0", "SLPN-logits_learning_rate0.3-seed0"]
    for settings in ({"select": "last"}, {}):
        overrides: dict[str, list[Any]] = {} if settings else {"select": ["best", "last"]}
        with pytest.raises(
            ValueError, match="seed0: source_learning_rate is chosen by development rows, which select best"
        ):
            grid_of(axes, overrides, choose=["source_learning_rate"], settings=settings)


def test_what_is_chosen_may_change_in_a_folder(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"scheme": ["SLP"], "epochs": [1, 2], "source_learning_rate": [0.1, 0.2]}
    first = grid_of(axes, choose=["epochs"])
    (tmp_path / "experiment.json").write_text(json.dumps(first.to_dict()))
    check_folder(grid_of(axes, choose=["epochs", "source_learning_rate"]), tmp_path)
    check_folder(grid_of(axes, settings={"select": "best"}), tmp_path)
    with pytest.raises(ValueError, match=r"other settings: .*select"):
        check_folder(grid_of(axes), tmp_path)


def test_stage_1_is_shared_where_it_is_the_same() -> None:
    schemes = ["SL", "SIL", "PI"]
    grid = grid_of({"scheme": ["SIL", "SIP"], "logits_learning_rate": [0.1, 0.2]})
    assert len({cell.starts_from for cell in grid.cells}) == 1
    assert grid_of({"scheme": schemes}).cells[0].starts_from is None
    changes: dict[str, list[Any]] = {
        "shots": [4, 8],
        "prefix": [True, False],
        "prompt_length": [2, 3],
        "label_set": ["natural", "numeric"],
        "stage1_epochs": [1, 2],
        "batch_size": [4, 8],
        "encoder": ["linear", "none"],
        "select": ["last", "best"],
    }
    for axis, values in changes.items():
        assert len(grid_of({"scheme": schemes, axis: values}).source_runs) == 2, axis
    assert len(grid_of({"scheme": schemes}, seeds=(0, 1)).source_runs) == 2


def test_source_tasks_of_variants() -> None:
    variants = {"few": {"source_tasks": ["mrpc", "rte"]}, "more": {"source_tasks": ["rte", "mrpc", "qnli"]}}
    axes = {"scheme": ["SIP"]}
    grid = grid_of(axes, suites={"glue": Suite(variants=variants)})
    assert [cell.name for cell in grid.cells] == ["SIP-few-seed0", "SIP-more-seed0"]
    (shared,) = grid.source_runs.values()
    assert shared.prompts.resolved_source_tasks == ["mrpc", "rte", "qnli"]
    joint = grid_of(axes, {"stage1": ["joint"]}, suites={"glue": Suite(variants=variants)})
    assert len(joint.source_runs) == 2, "prompts trained in one batch depend on which they are"


@pytest.mark.parametrize(
    ("axes", "overrides", "message"),
    [
        ({"scheme": ["SL", "ZZ"]}, {}, "scheme: expected S[I][L]"),
        ({"scheme": ["SLNP", "SLPN"]}, {}, "x: scheme holds 'SLPN' twice"),
        ({"scheme": ["SL"]}, {"epochs": ["x"]}, "x: epochs must be int or null, got 'x'"),
        ({"scheme": ["SL"]}, {"epochs": [0, 1]}, "cell SL-epochs0-seed0: TrainingConfig: epochs must be at least 1"),
        ({"scheme": ["SL"]}, {"tasks": ["mrpcc"]}, "cell SL-seed0: get_task: unknown task 'mrpcc'"),
        (
            {"scheme": ["P"]},
            {"source_learning_rate": [0.1]},
            "cell P-seed0: learning rates: scheme P learns no sources",
        ),
        ({"scheme": ["SL"]}, {"source_tasks": ["mrpc"]}, "cell SL-seed0: scheme SL starts from no source tasks"),
    ],
)
def test_mistakes(axes: dict[str, list[Any]], overrides: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        grid_of(axes, overrides)


def test_a_suite_it_is_not_for() -> None:
    with pytest.raises(ValueError, match="x is for the suites group2, got 'glue'"):
        grid_of({"scheme": ["SL"]}, suites={"group2": Suite()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"definition": []}, ": definition must be dict, got []"),
        ({"definition": {}}, ": definition: the key 'settings' is missing"),
        (
            {"definition": {"settings": {}, "axes": [], "suites": {}}},
            ": definition: axes must be dict[str, list], got []",
        ),
        ({"definition": {"settings": {}, "axes": {}, "suites": {"glue": 3}}}, ": definition: suites must be dict"),
        ({"suite": []}, ": suite must be str, got []"),
    ],
)
def test_a_damaged_experiment(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    grid = grid_of({"scheme": ["SL"]})
    path = tmp_path / "experiment.json"
    path.write_text(json.dumps(grid.to_dict()))
    check_folder(grid, tmp_path)
    path.write_text(json.dumps({**grid.to_dict(), **changes}))
    with pytest.raises(ValueError, match=re.escape(f"{path}{message}")):
        check_folder(grid, tmp_path)


def test_stage_1_is_shared_between_methods_that_start_from_the_same_prompts() -> None:
    methods: dict[str, list[Any]] = {"scheme": ["SIL"], "method": ["crosspt", "mpt", "spot", "attempt"]}
    grid = grid_of(methods, {"tasks": ["mrpc"], "source_tasks": ["rte", "sst2"], "prompt_length": [7]})
    assert {cell.run.method: cell.starts_from for cell in grid.cells} == {
        "crosspt": "seed0",
        "mpt": "mpt-seed0",  # which has a source stage of its own
        "spot": "seed0",
        "attempt": "seed0",
    }
    trained = {name: [job.folder for job in source_jobs(run)] for name, run in grid.source_runs.items()}
    assert trained == {
        "seed0": ["stage1/rte", "stage1/sst2", "stage1/mrpc"],  # spot compares the target's own with them
        "mpt-seed0": ["stage1/rte", "stage1/sst2", "stage1/mpt-source"],
    }

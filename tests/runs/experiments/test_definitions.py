import json
import re

import pytest

from crosspt.config.run import EMBEDDED
from crosspt.methods.method import source_jobs, target_jobs
from crosspt.runs.experiments.definition import find_definition, load_definitions, read_definition
from crosspt.runs.experiments.grid import make_grid
from crosspt.tasks.registry import SUITES

ALL = ["P", "PI", "SL", "SLN", "SLP", "SLPN", "SIL", "SIP", "SILP"]
RUNS = [(name, suite) for name, definition in load_definitions().items() for suite in definition.suites]


@pytest.mark.parametrize(("name", "suite"), RUNS)
def test_every_experiment_on_every_suite(name: str, suite: str) -> None:
    grid = make_grid(find_definition(name), suite=suite, model="t5-base", seeds=[0, 1])
    content = grid.to_dict()
    assert content == json.loads(json.dumps(content))
    names = [cell.name for cell in grid.cells]
    assert len(set(names)) == len(names)
    for cell in grid.cells:
        assert re.fullmatch(r"[A-Za-z0-9._-]+", cell.name)
        assert set(cell.run.prompts.tasks) <= set(SUITES[suite])
        assert cell.run.data.data_seed == cell.run.training.seed
        target_jobs(cell.run)
        # What a cell would train by itself is among what is trained for it.
        own = source_jobs(cell.run)
        assert (cell.starts_from is not None) == bool(own)
        if cell.starts_from is not None:
            shared = grid.source_runs[cell.starts_from]
            assert all(job in source_jobs(shared) for job in own)
            assert shared.data == cell.run.data
    assert len(grid.source_runs) == len({cell.starts_from for cell in grid.cells} - {None})


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("appendix-a", {"scheme": ALL, "shots": [16, 32]}),
        ("figure-3", {"scheme": ALL}),
        ("figure-4", {"scheme": ALL, "shots": [8, 16, 32, 64, 128]}),
        ("figure-5", {"scheme": ALL, "prefix": [False, True]}),
        ("figure-6", {"scheme": ALL, "label_set": ["natural", "synthetic", "numeric"]}),
        ("figure-10", {"scheme": [f"{kind}{n}" for kind in ("SL", "SLP") for n in ("", *range(2, 9))]}),
        (
            "table-2",
            {
                "scheme": ["SLP10"],
                "method": [
                    "crosspt",
                    "fine-tuning",
                    "bitfit",
                    "adapter",
                    "hyperformer",
                    "hyperdecoder",
                    "spot",
                    "attempt",
                    "mpt",
                    "dept",
                ],
                "stage2": ["joint", "per_target"],
            },
        ),
        ("table-3", {"scheme": ["P", "SLPN"], "method": ["crosspt", "mpt", "dept"], "shots": [16, 32]}),
    ],
)
def test_axes(name: str, axes: dict[str, list[object]]) -> None:
    assert find_definition(name).axes == axes


def test_few_examples_but_for_table_2() -> None:
    for definition in load_definitions().values():
        grid = make_grid(definition, suite="glue", model="t5-base", seeds=[0])
        shots = {cell.run.data.shots for cell in grid.cells}
        assert shots == ({None} if definition.name == "table-2" else set(definition.axes.get("shots", [32])))


def test_further_and_fewer_source_tasks() -> None:
    definition = find_definition("section-6.5")
    for suite, (more, fewer) in {"embedded": (1, 1), "glue": (0, 1), "group2": (1, 0)}.items():
        grid = make_grid(definition, suite=suite, model="t5-base", seeds=[0])
        targets = grid.cells[0].run.prompts.tasks
        assert {tuple(cell.run.prompts.tasks) for cell in grid.cells} == {tuple(targets)}
        sources = [set(cell.run.prompts.resolved_source_tasks) for cell in grid.cells]
        assert max(map(len, sources)) == len(targets) + more
        assert min(map(len, sources)) == len(targets) - fewer
        assert len(grid.source_runs) == 1


def test_what_the_embedded_t5_decides() -> None:
    decided = {
        name: make_grid(definition, suite="embedded", model=model, seeds=[0]).to_dict()["decided_by_construction"]
        for name, definition in load_definitions().items()
        for model in ["t5-base", EMBEDDED]
    }
    assert {name for name, value in decided.items() if value} == {"figure-5", "figure-6"}
    other = make_grid(find_definition("figure-5"), suite="embedded", model="t5-base", seeds=[0])
    assert not other.to_dict()["decided_by_construction"]


GOOD = "title: t\nsource: s\naxes: {scheme: [SL]}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "x: must hold keys and values"),
        ("a: [", "x: is not YAML: "),
        ("title: t\nsource: s", "x: the key 'axes' is missing"),
        (GOOD + "titel: t", "x: unknown key 'titel'; did you mean 'title'?"),
        (GOOD + "settings: {shot: 3}", "x: settings: unknown key 'shot'; did you mean 'shots'?"),
        (GOOD + "settings: {shots: 1.5}", "x: settings: shots must be int or null, got 1.5"),
        (GOOD + "settings: {prefix: 1}", "x: settings: prefix must be bool, got 1"),
        (GOOD + "settings: {seed: 1}", "x: settings: unknown key 'seed'"),
        (GOOD + "suites: {glu: {}}", "x: unknown suite 'glu'; did you mean 'glue'?"),
        (GOOD + "suites: {glue: {task: [mrpc]}}", "x: suites: glue: unknown key 'task'"),
        (GOOD + "suites: {glue: {variants: {a: {shots: x}}}}", "x: suites: glue: shots must be int or null, got 'x'"),
        (GOOD + "figures: [{kind: pie}]", "x: a figure's kind must be one of bars, groups, lines, grid, heatmaps"),
        (GOOD + "decided_by_construction: 3", "x: decided_by_construction must be bool, got 3"),
        ("title: t\nsource: s\naxes: {scheme: SL}", "x: axes must be dict[str, list[Any]], got {'scheme': 'SL'}"),
        ("title: t\nsource: s\naxes: {scheme: []}", "x: axes: scheme must be a list of one or more values, got []"),
        ("title: t\nsource: s\naxes: {shots: [8, 8]}", "x: axes: shots holds 8 twice"),
        ("title: t\nsource: s\naxes: {tasks: [[mrpc]]}", "x: axes: tasks cannot be an axis"),
        ("title: t\nsource: s\naxes: {label_set: [latin]}", "label_set must be natural or synthetic or numeric"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_definition("x", text)

import json
import re
from pathlib import Path

import pytest

from crosspt.config.run import EMBEDDED
from crosspt.methods.method import source_jobs, target_jobs
from crosspt.runs.experiments.definition import OWN, find_definition, load_definitions, read_definition
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
        (GOOD + "choose: epochs", "x: choose must be list[str], got 'epochs'"),
        (GOOD + "choose: [epoch]", "x: choose: unknown key 'epoch'; did you mean 'epochs'?"),
        (GOOD + "choose: [scheme]", "x: choose: unknown key 'scheme'"),
        (GOOD + "choose: [shots]", "x: choose: unknown key 'shots'"),
        (GOOD + "choose: [epochs]", "x: choose: epochs must be an axis, of several values, and these are scheme"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_definition("x", text)


MINE = """
title: Two tasks of mine
axes: {scheme: [P, SLP], shots: [4, null]}
settings: {tasks: [rte, tasks/mood.yaml], data_dir: rows, epochs: 3}
figures: [{kind: bars}]
"""
MOOD = "name: mood\nfields: [text]\nlabels: [bad, good]\ndata_files: {train: train.csv, test: test.csv}\n"


def write(folder: Path, text: str = MINE, name: str = "mine.yaml") -> str:
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / "mood.yaml").write_text(MOOD)
    (folder / name).write_text(text)
    return str(folder / name)


def test_one_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = find_definition(write(tmp_path))
    assert (definition.name, definition.title, definition.source) == ("mine", "Two tasks of mine", "")
    assert list(definition.suites) == [OWN]
    monkeypatch.chdir("/")  # what it names lies beside it
    grid = make_grid(definition, suite=OWN, model="t5-base", seeds=[0])
    assert [cell.name for cell in grid.cells] == [
        "P-shots4-seed0",
        "P-shots_all-seed0",
        "SLP-shots4-seed0",
        "SLP-shots_all-seed0",
    ]
    for cell in grid.cells:
        assert cell.run.prompts.tasks == ["rte", "mood"]
        assert cell.run.task_files == {"mood": str(tmp_path / "tasks" / "mood.yaml")}
        assert cell.run.data.data_dir == str(tmp_path / "rows")
    content = grid.to_dict()
    assert content == json.loads(json.dumps(content))
    assert (content["experiment"], content["suite"], content["axes"]) == ("mine", OWN, ["scheme", "shots"])
    with pytest.raises(ValueError, match="mine is for the suites own tasks, got 'glue'"):
        make_grid(definition, suite="glue", model="t5-base", seeds=[0])


def test_one_of_ones_own_on_suites(tmp_path: Path) -> None:
    text = "title: t\naxes: {scheme: [SL]}\n"
    assert list(find_definition(write(tmp_path, text)).suites) == list(SUITES)
    text += "suites: {glue: {variants: {few: {source_tasks: [tasks/mood.yaml]}, more: {source_tasks: [rte]}}}}\n"
    definition = find_definition(write(tmp_path, text))
    assert list(definition.suites) == ["glue"]
    assert definition.suites["glue"].variants["few"] == {"source_tasks": [str(tmp_path / "tasks" / "mood.yaml")]}


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (
            MINE,
            "figure-2.yaml",
            "the name of the file, which is that of the experiment, must be of letters, digits, ., ",
        ),
        (MINE, "appendix-a.yaml", "and none of appendix-a, figure-10, "),
        (MINE, "my grid.yaml", "must be of letters, digits, ., _ and -"),
        (MINE + "axis: {}", "mine.yaml", "mine.yaml: unknown key 'axis'; did you mean 'axes'?"),
        (MINE + "source: figure 2", "mine.yaml", "mine.yaml: unknown key 'source'"),
        (
            MINE.replace("epochs", "epoch"),
            "mine.yaml",
            "mine.yaml: settings: unknown key 'epoch'; did you mean 'epochs'?",
        ),
        ("axes: {scheme: [P]}", "mine.yaml", "mine.yaml: the key 'title' is missing"),
        (MINE + "statements: [{higher: [P], lower: [SLP]}]", "mine.yaml", "statement 1: the key 'text' is missing"),
        (MINE + "statements: [{text: t, higher: P, lower: [SLP]}]", "mine.yaml", "statement 1: higher must be list["),
        (MINE + "statements: [{text: t, higher: [P], lower: []}]", "mine.yaml", "lower must name one or more, got []"),
        (
            MINE + "statements: [{text: t, higher: [P], lower: [SLP], quantity: means}]",
            "mine.yaml",
            "statement 1: quantity must be one of mean, wssp, task, source_weight, got 'means'",
        ),
        (
            MINE + "statements: [{text: t, higher: [{shot: 4}], lower: [SLP]}]",
            "mine.yaml",
            "statement 1: unknown key 'shot'; did you mean 'shots'?",
        ),
        ("title: t", "mine.yaml", "mine.yaml: the key 'axes' is missing"),
        ("title: [", "mine.yaml", "mine.yaml: is not YAML: "),
    ],
)
def test_mistakes_in_ones_own(text: str, name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        find_definition(write(tmp_path, text, name))
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml cannot be read: No such file or directory"):
        find_definition(str(tmp_path / "none.yaml"))
    (tmp_path / "broken.yaml").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"broken\.yaml: not UTF-8 text: "):
        find_definition(str(tmp_path / "broken.yaml"))

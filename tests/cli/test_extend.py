"""Tasks added to a finished run: what the others answer keeps its bits."""

import dataclasses
import json
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import crosspt as package
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import Compute
from crosspt.evaluation.answers import COLUMNS, read_predictions
from crosspt.evaluation.results import score_predictions
from crosspt.methods.crosspt import CrossPT
from crosspt.runs.extend import _source_tasks
from crosspt.storage import WEIGHTS_NAME, load_prompts
from tests.cli.test_train import files_of, read_results
from tests.models.causal_models import make_causal
from tests.training.killed import die_at_call, in_a_process
from tests.workspace import VOCABULARY, Workspace, crosspt, make_rows, make_tokenizer, mistake, write_jsonl

OLD = ("--tasks", "mrpc,rte")
Answers = dict[tuple[str, str, int], tuple[Any, ...]]


def answers(folder: Path, tasks: Sequence[str] = ("mrpc", "rte")) -> Answers:
    """Every answer to the tasks, with its log-probabilities, to the bit."""
    frame = read_predictions(folder / "predictions.parquet", read_results(folder)["results"]).rows
    rest = [name for name in COLUMNS.names if name not in ("scheme", "task", "decode", "row")]
    return {
        (row["task"], row["decode"], row["row"]): tuple(
            tuple(value) if hasattr(value := row[name], "__len__") and not isinstance(value, str) else value
            for name in rest
        )
        for row in frame[frame["task"].isin(tasks)].to_dict("records")
    }


def extend(space: Workspace, run: Path, output: Path, *arguments: object) -> None:
    """Add a task in a few steps."""
    outcome = crosspt("train", "--extend", run, "--output", output, "--device", "cpu", *arguments)
    assert outcome.status == 0, outcome.stderr


def evaluated(folder: Path, *arguments: object) -> Path:
    output = folder.with_name(f"{folder.name}-evaluated")
    outcome = crosspt("evaluate", "--checkpoint", folder, "--output", output, "--device", "cpu", *arguments)
    assert outcome.status == 0, outcome.stderr
    return output


@pytest.fixture(scope="module")
def added(workspace: Workspace, slpn_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task added to the run of SLPN, with rows and a seed of its own."""
    folder = tmp_path_factory.mktemp("extended") / "added"
    extend(workspace, slpn_run, folder, "--tasks", "sst2", "--shots", 6, "--seed", 3)
    return folder


@pytest.fixture(scope="module")
def natural_run(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose answers are words, so that any number of tasks may be added."""
    folder = tmp_path_factory.mktemp("natural") / "run"
    assert workspace.train(folder, *OLD, "--epochs", 2).status == 0
    return folder


@pytest.fixture(scope="module")
def llama(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("llama")
    make_causal("llama", vocab_size=len(VOCABULARY), pad_token_id=None).save_pretrained(folder)
    make_tokenizer(pad_token=None).save_pretrained(folder)
    return dataclasses.replace(workspace, model=folder)


@pytest.mark.parametrize(
    ("model", "settings", "learned"),
    [
        ("t5", ["--scheme", "SLPN", "--prefix-mode", "isolated"], {"privates", "logits"}),
        (
            "t5",
            ["--scheme", "SLP3", "--encoder", "mlp", "--encoder-per-prompt", "true"],
            {"privates", "logits", "encoder.3"},
        ),
        ("t5", ["--scheme", "P"], {"privates", "encoder.0"}),
        ("t5", ["--scheme", "PI"], {"privates", "encoder.0"}),
        ("t5", ["--scheme", "P", "--encoder-per-prompt", "false", "--max-grad-norm", 1], {"privates"}),
        ("t5", ["--scheme", "SLN"], {"logits"}),
        ("t5", ["--scheme", "SIP", "--source-tasks", "rte,qnli", "--encoder", "lstm"], {"privates", "logits"}),
        ("llama", ["--scheme", "SLPN"], {"privates", "logits"}),
        ("llama", ["--scheme", "SILP", "--prefix-mode", "full"], {"privates", "logits"}),
    ],
)
def test_no_bit_of_the_others_moves(
    model: str, settings: list[object], learned: set[str], workspace: Workspace, llama: Workspace, tmp_path: Path
) -> None:
    space = llama if model == "llama" else workspace
    run, new = tmp_path / "run", tmp_path / "new"
    outcome = space.train(run, *OLD, *settings, "--epochs", 2)
    assert outcome.status == 0, outcome.stderr
    before = files_of(run)
    extend(space, run, new, "--tasks", "sst2")
    assert files_of(run) == before
    assert answers(new) == answers(run)
    assert answers(evaluated(new)) == answers(run)
    there, here = load_prompts(run).state, load_prompts(new / "targets" / "sst2").state
    free = {name for name in here if any(name == group or name.startswith(f"{group}.") for group in learned)}
    assert {group for group in learned if any(name.startswith(group) for name in free)} == learned
    for name in here.keys() - free:
        assert here[name].equal(there[name]), name
    start = CrossPT().load_bank(new / "targets" / "sst2")
    if "logits" in learned:
        assert not here["logits"].equal(torch.zeros_like(here["logits"])), "it must learn"
    assert {name.split(".")[0] for name, value in start.named_parameters() if value.requires_grad} == {
        name.split(".")[0] for name in learned
    }


def test_what_the_run_holds(added: Path, slpn_run: Path) -> None:
    content, earlier = read_results(added), read_results(slpn_run)
    assert content["config"]["extends"] == {"folder": str(slpn_run), "tasks": ["mrpc", "rte"]}
    prompts = content["config"]["prompts"]
    assert (prompts["scheme"], prompts["tasks"], prompts["freeze_shared"]) == ("SLP2", ["mrpc", "rte", "sst2"], True)
    assert content["config"]["temperature_value"] == earlier["config"]["temperature_value"]
    assert content["config"]["data"]["label_set"] == "synthetic"
    assert [(bank["folder"], bank["tasks"]) for bank in content["analysis"]] == [
        ("extended", ["mrpc", "rte"]),
        ("targets/sst2", ["sst2"]),
    ]
    assert content["analysis"][0] == {**earlier["analysis"][0], "folder": "extended"}
    assert content["method"]["trainable_parameters"] == 2 * 16 + 3 == content["analysis"][1]["trainable_parameters"]
    old = [row for row in content["results"] if row["task"] != "sst2"]
    renamed = [{**row, "scheme": row["scheme"].replace("SLPN", "SLP2"), "cell": "added"} for row in earlier["results"]]
    assert old == renamed
    assert {(row["seed"], row["shots"]) for row in content["results"] if row["task"] == "sst2"} == {(3, 6)}
    assert (added / "extended" / WEIGHTS_NAME).read_bytes() == (slpn_run / WEIGHTS_NAME).read_bytes()
    again = read_results(evaluated(added))
    assert again["results"] == content["results"], "evaluate answers all tasks alike"
    kept = read_predictions(added / "predictions.parquet", content["results"])
    assert len(list(score_predictions(kept, cell="", seed=0, shots=0))) == len(content["results"])
    shown = crosspt("show", added).stdout
    assert "extends" in shown
    assert str(slpn_run) in "".join(shown.split()).replace("│", "")
    assert crosspt("show", added, "--json").json()["config"]["extends"]["tasks"] == ["mrpc", "rte"]


def test_all_tasks_are_answered_and_exported(added: Path, slpn_run: Path, tmp_path: Path) -> None:
    compute = Compute(device="cpu", progress=False)
    rows = [{"sentence1": "w1 w2", "sentence2": "w3", "sentence": "w4 w5", "task": name} for name in ("rte", "sst2")]
    for decode in ("rank", "generate"):
        found = package.load(added, compute=compute).predict(rows, decode=decode)
        assert [answer["task"] for answer in found] == ["rte", "sst2"]
        assert found[0] == package.load(slpn_run, compute=compute).predict(rows[:1], decode=decode)[0]
    outcome = crosspt("export", added, "--to", "peft", "--output", tmp_path / "adapters")
    assert outcome.status == 0, outcome.stderr
    assert crosspt("export", slpn_run, "--to", "peft", "--output", tmp_path / "before").status == 0
    assert sorted(path.name for path in (tmp_path / "adapters").iterdir()) == ["mrpc", "rte", "sst2"]
    one, other = (tmp_path / name / "rte" / "adapter_model.safetensors" for name in ("adapters", "before"))
    assert one.read_bytes() == other.read_bytes()


def test_one_after_the_other_and_tasks_of_the_users_own(
    workspace: Workspace, natural_run: Path, tmp_path: Path
) -> None:
    """A run that was extended is extended again; its tasks are as if they had been added at once."""
    for name in ("mood", "tone"):
        for split in ("train", "validation"):
            write_jsonl(tmp_path / f"{name}-{split}.jsonl", make_rows(("text",), 8, start=len(name + split)))
        files = {split: f"{name}-{split}.jsonl" for split in ("train", "validation")}
        task = {"name": name, "fields": ["text"], "labels": ["bad", "good"], "data_files": files}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(task))
    few = ("--shots", 6, "--seed", 3)
    first, second, third, once = (tmp_path / name for name in ("first", "second", "third", "once"))
    extend(workspace, natural_run, first, "--tasks", "sst2", *few)
    extend(workspace, first, second, "--tasks", tmp_path / "mood.yaml", *few)
    (tmp_path / "mood.yaml").unlink()
    extend(workspace, second, third, "--tasks", tmp_path / "tone.yaml", "--shots", 2)
    assert read_results(third)["config"]["prompts"]["tasks"] == ["mrpc", "rte", "sst2", "mood", "tone"]
    assert sorted(path.name for path in (third / "tasks").iterdir()) == ["mood.yaml", "tone.yaml"]
    again = evaluated(third)
    assert answers(again) == answers(natural_run)
    for folder, names in ((first, ["sst2"]), (second, ["mood"])):
        assert answers(again, names) == answers(folder, names) == answers(third, names)
    assert read_results(again)["results"] == read_results(third)["results"]
    assert {row["task"]: row["shots"] for row in read_results(third)["results"]} == {
        "mrpc": 4,
        "rte": 4,
        "sst2": 6,
        "mood": 6,
        "tone": 2,
    }
    extend(workspace, natural_run, once, "--tasks", f"sst2,{second / 'tasks' / 'mood.yaml'}", *few)
    for own in ("sst2", "mood"):
        here, there = load_prompts(once / "targets" / own), load_prompts(next(second.rglob(f"targets/{own}")))
        assert here.prompts.equal(there.prompts)
        assert all(here.state[name].equal(value) for name, value in there.state.items())


def test_nothing_is_trained(natural_run: Path, tmp_path: Path) -> None:
    arguments = ["train", "--extend", natural_run, "--tasks", "sst2,qnli", "--dry-run", "--output", tmp_path / "new"]
    content = crosspt(*arguments, "--json").json()
    assert list(tmp_path.iterdir()) == []
    jobs = content["jobs"]
    assert [(job["folder"], job["scheme"], job["tasks"]) for job in jobs] == [
        ("targets/sst2", "SLP2", ["sst2"]),
        ("targets/qnli", "SLP2", ["qnli"]),
    ]
    assert [job["learning_rates"] for job in jobs] == [{"privates": 0.07, "logits": 0.1}] * 2
    assert {job["trainable_parameters"] for job in jobs} == {2 * 16 + 3}
    assert f"mrpc, rte stay as in {natural_run}" in " ".join(crosspt(*arguments).stdout.split("\n"))


def test_a_selection_and_a_start_of_its_own(workspace: Workspace, natural_run: Path, tmp_path: Path) -> None:
    start = ("--initialization", "text", "--init-texts", "w1 w2")
    extend(workspace, natural_run, tmp_path / "new", "--tasks", "sst2", "--select", "best", "--patience", 1, *start)
    content = read_results(tmp_path / "new")
    assert [chosen["folder"] for chosen in content["selection"]] == ["targets/sst2"]
    assert content["config"]["prompts"]["init_texts"] == ["w1 w2"]
    extend(workspace, tmp_path / "new", tmp_path / "last", "--tasks", "qnli", "--select", "last")
    assert read_results(tmp_path / "last")["config"]["training"]["patience"] is None


MOMENTS: dict[str, Callable[[], None]] = {
    "while the run is copied": lambda: die_at_call(shutil, "copyfile", 3),
    "before the copy has its name": lambda: die_at_call(Path, "rename", 1),
    "in the first task": lambda: die_at_call(torch.Tensor, "backward", 2),
    "after the first task": lambda: die_at_call(CrossPT, "save", 3, after=True),
    "in the second task": lambda: die_at_call(torch.Tensor, "backward", 3),
    "in the evaluation": lambda: die_at_call(CrossPT, "load", 2),
}


def _extend(space: Workspace, run: Path, output: Path, moment: str | None) -> None:
    torch.set_num_threads(1)
    if moment is not None:
        MOMENTS[moment]()
    extend(space, run, output, "--tasks", "sst2,qnli", "--epochs", 2, "--resume")


@pytest.fixture(scope="module")
def unbroken(workspace: Workspace, natural_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("unbroken") / "new"
    assert in_a_process(_extend, workspace, natural_run, folder, None) == 0
    return outcome_of(folder)


def outcome_of(folder: Path) -> dict[str, Any]:
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    del files["results.json"], files[".lock"]
    return {**files, "results": read_results(folder)["results"]}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(
    moment: str, workspace: Workspace, natural_run: Path, unbroken: dict[str, Any], tmp_path: Path
) -> None:
    assert in_a_process(_extend, workspace, natural_run, tmp_path / "new", moment) == -signal.SIGKILL
    assert not (tmp_path / "new" / "results.json").exists()
    if moment == "in the second task":
        unfinished = mistake(crosspt("evaluate", "--checkpoint", tmp_path / "new", "--tasks", "qnli"))
        assert f"checkpoint {tmp_path / 'new'} holds no prompts for task 'qnli' yet" in unfinished
    assert in_a_process(_extend, workspace, natural_run, tmp_path / "new", None) == 0
    assert outcome_of(tmp_path / "new") == unbroken


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "sst2,rte"], "needs --tasks that the run does not have, got rte"),
        ([], "needs --tasks that the run does not have, got none"),
        (["--tasks", "sst2", "--scheme", "SLP3"], "scheme is that of the run, 'SLPN', got 'SLP3'"),
        (["--tasks", "sst2", "--prompt-length", 5], "prompt_length is that of the run, 2, got 5"),
        (["--tasks", "sst2", "--temperature", 0.5], "temperature is that of the run, 'log', got 0.5"),
        (["--tasks", "sst2", "--encoder", "none"], "encoder is that of the run, 'linear', got 'none'"),
        (["--tasks", "sst2", "--model", "embedded"], "model is that of the run, "),
        (["--tasks", "sst2", "--label-set", "natural"], "label_set is that of the run, 'synthetic', got 'natural'"),
        (["--tasks", "sst2", "--decode", "rank"], "decode is that of the run, 'both', got 'rank'"),
        (["--tasks", "sst2", "--method", "lora"], "method is that of the run, 'crosspt', got 'lora'"),
        (["--tasks", "sst2", "--stage2", "joint"], "learn one by one, stage2 per_target, got joint"),
        (["--tasks", "sst2", "--source-prompts", "x"], "its sources are there, got source prompts x"),
        (["--tasks", "sst2", "--source-learning-rate", 0.1], "a task added to scheme SLP2 learns no sources, got a"),
        (["--tasks", "sst2", "--init-texts", "[w1, w2]", "--initialization", "text"], "needs one text as --init-texts"),
    ],
)
def test_what_is_refused(arguments: list[object], message: str, slpn_run: Path, tmp_path: Path) -> None:
    said = mistake(crosspt("train", "--extend", slpn_run, "--output", tmp_path / "new", *arguments))
    assert message in said, said
    assert list(tmp_path.iterdir()) == []


def test_runs_that_cannot_be_extended(
    workspace: Workspace, slpn_run: Path, per_target_run: Path, tmp_path: Path
) -> None:
    def refused(run: Path, output: Path = tmp_path / "new") -> str:
        return mistake(crosspt("train", "--extend", run, "--tasks", "sst2", "--output", output))

    assert "must be a run whose tasks share a bank, got stage2 per_target" in refused(per_target_run)
    assert workspace.train(tmp_path / "sl", *OLD, "--scheme", "SL").status == 0
    assert "in scheme SL all tasks share all that learns, so that a new one would move" in refused(tmp_path / "sl")
    copy = tmp_path / "copy"
    shutil.copytree(slpn_run, copy)
    assert "must lie outside the run that is extended" in refused(copy, copy / "new")
    assert "must lie outside the run that is extended" in refused(copy, copy)
    values = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**values, "model": str(tmp_path / "moved")}))
    assert f"its model, {tmp_path / 'moved'}, is not there; if it has moved, give --model" in refused(copy)
    extend(workspace, copy, tmp_path / "there", "--tasks", "sst2", "--model", workspace.model)
    (copy / "run.json").write_text(json.dumps({**values, "method": "bitfit"}))
    assert "must be a run of method crosspt, got bitfit: what other methods learn, all tasks share" in refused(copy)
    (copy / "results.json").unlink()
    assert "must be a finished run, it holds no results.json" in refused(copy)
    (copy / "run.json").unlink()
    assert "must be the folder of a run, which holds run.json" in refused(copy)
    assert "must be the folder of a run, which holds run.json" in refused(tmp_path / "none")


@pytest.mark.parametrize(
    ("scheme", "there", "added", "wanted"),
    [
        ("SLPN", None, ["c"], None),
        ("SIP", None, ["c"], ["a", "b"]),
        ("PI", None, ["c"], ["a", "b", "c"]),
        ("SLPI", ["b", "a", "c"], ["c", "d"], ["b", "a", "c", "d"]),
        ("SILPI", ["a", "b", "c"], ["c"], ["a", "b", "c"]),
    ],
)
def test_source_tasks(scheme: str, there: list[str] | None, added: list[str], wanted: list[str] | None) -> None:
    config = CrossPTConfig(tasks=["a", "b"], scheme=scheme, source_tasks=there)
    assert _source_tasks(Path("run"), config, added) == wanted


def test_a_source_that_is_not_there() -> None:
    config = CrossPTConfig(tasks=["a", "b"], scheme="SILPI")
    with pytest.raises(ValueError, match=r"the sources of the run are a, b, without c$"):
        _source_tasks(Path("run"), config, ["c"])

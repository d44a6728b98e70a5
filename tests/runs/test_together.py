"""Runs of several processes: equal to one's with the same batches, bitwise when killed, one message on failure."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from crosspt.cli import main as main_module
from crosspt.cli.main import main
from crosspt.models.prompted import PromptedModel
from crosspt.runs import folder as run_folder
from crosspt.training.trainer import PromptTrainer
from tests.models.causal_models import make_causal
from tests.training.killed import die_at_call
from tests.training.together import Ended, note_writes, start_together
from tests.workspace import VOCABULARY, Workspace, crosspt, make_tokenizer, make_workspace, mistake

ROWS = ("--tasks", "mrpc,rte,qnli", "--shots", 6, "--test-rows", 10, "--label-set", "synthetic", "--prompt-length", 2)
SAME = ("--lm-dropout", 0)
BATCH = 12  # of all processes together, so that an epoch of 18 rows ends with half a batch: in 3 processes 4, 2 and 0
TOLERANCE = 2e-5  # of what is learned, after 4 steps: sums of gradients are taken in another order
CASES: dict[str, tuple[object, ...]] = {
    "both stages": ("--scheme", "SILP", "--stage1", "joint", "--epochs", 2, "--max-grad-norm", 0.5),
    "accumulated": ("--scheme", "SLPN", "--prefix-mode", "isolated", "--epochs", 4, "--gradient-accumulation-steps", 2),
    "rows that weigh": ("--scheme", "SLP2", "--epochs", 3, "--tasks", "qnli,WEIGHED"),
    "each target by itself, selected": (
        *("--scheme", "SLPN", "--stage2", "per_target", "--epochs", 2, "--encoder", "mlp"),
        *("--select", "best", "--dev-rows", 4),
    ),
}


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    space = make_workspace(tmp_path_factory.mktemp("workspace"))
    files = {split: str(space.data / "mrpc" / f"{split}.jsonl") for split in ("train", "validation")}
    task = {
        "name": "weighed",
        "fields": ["sentence1"],
        "labels": ["bad", "good"],
        "class_weights": {"bad": 9, "good": 1},
    }
    (space.data / "weighed.yaml").write_text(yaml.safe_dump({**task, "data_files": files}), encoding="utf-8")
    return space


def command(space: Workspace, output: Path, *settings: object) -> list[str]:
    places = ("--model", space.model, "--data-dir", space.data, "--device", "cpu", "--output", output)
    words = [str(word) for word in ("train", *places, *ROWS, *settings)]
    return [word.replace("WEIGHED", str(space.data / "weighed.yaml")) for word in words]


def work(arguments: list[str], rank: int) -> None:
    status = main(arguments)
    if status:
        os._exit(status)


def work_and_watch(arguments: list[str], folder: Path, rank: int) -> None:
    found = note_writes(folder)
    status = main(arguments)
    if rank and found:
        print(*found, sep="\n", file=sys.stderr, flush=True)
    os._exit(status or (9 if rank and found else 0))


def together(tmp_path: Path, count: int, arguments: list[str]) -> Ended:
    ended = start_together(tmp_path / "said", count, work, arguments)
    assert ended.codes == [0] * count, ended.said
    return ended


@pytest.fixture(scope="module")
def causal(space: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("llama")
    make_causal("llama", vocab_size=len(VOCABULARY)).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return replace(space, model=folder)


def learned(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.relative_to(folder)}: {name}": tensor
        for file in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def assert_alike(folder: Path, other: Path, tolerance: float = TOLERANCE) -> None:
    wanted, found = learned(folder), learned(other)
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("case", CASES)
def test_prompts_are_those_of_one_process(case: str, space: Workspace, tmp_path: Path) -> None:
    assert crosspt(*command(space, tmp_path / "1", *CASES[case], *SAME, "--batch-size", BATCH)).status == 0
    count = 2 if case.startswith("each target") else 3
    several = command(space, tmp_path / "several", *CASES[case], *SAME, "--batch-size", BATCH // count)
    ended = start_together(tmp_path / "said", count, work_and_watch, several, tmp_path / "several")
    assert ended.codes == [0] * count, ended.said
    assert [len(text.strip()) > 0 for text in ended.said] == [True] + [False] * (count - 1), "one shows and writes"
    assert_alike(tmp_path / "1", tmp_path / "several")
    one, other = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("1", "several"))
    assert other["config"].pop("processes") == count
    assert other["config"]["training"].pop("batch_size") * count == one["config"]["training"].pop("batch_size")
    assert other["config"] == one["config"]
    assert [row["count"] for row in other["results"]] == [row["count"] for row in one["results"]]
    assert [chosen["step"] for chosen in other["selection"]] == [chosen["step"] for chosen in one["selection"]]


def plain_steps(trainer: PromptTrainer, model: Any = None) -> torch.optim.Optimizer:
    """Adam would make a whole step of the last bits of a gradient that is close to 0."""
    trainer.optimizer = trainer.optimizer or torch.optim.SGD(trainer.groups)
    return trainer.optimizer


def train_several(runs: list[list[str]], rank: int) -> None:
    PromptTrainer.create_optimizer = plain_steps  # type: ignore[assignment, method-assign]
    main_module.part = lambda: None  # one meeting of the processes is for all runs
    for arguments in runs:
        work(arguments, rank)


def plain_run(space: Workspace, output: Path, name: str, batch: int) -> list[str]:
    places = ("--model", space.model, "--data-dir", space.data, "--device", "cpu", "--output", output)
    rows = ("--tasks", "mrpc,rte", "--shots", 4, "--test-rows", 2, "--label-set", "synthetic")
    settings = (*PLAIN[name], "--epochs", 1, "--batch-size", batch, *SAME)
    return [str(word) for word in ("train", *places, *rows, *settings)]


PLAIN = {
    "hyperformer": ("--method", "hyperformer", "--learning-rate", 0.1),
    "attempt": ("--method", "attempt", "--learning-rate", 0.1),
    "bfloat16": ("--scheme", "SLPN", "--bf16"),
    "llama": ("--scheme", "SLPN", "--prefix-mode", "isolated"),
}


def test_runs_in_one_group_of_processes(
    space: Workspace, causal: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of 2 rows may have none of some task, whose parameters still take part."""
    monkeypatch.setattr(PromptTrainer, "create_optimizer", plain_steps)

    def runs(count: int) -> list[list[str]]:
        folders = {name: tmp_path / str(count) / name for name in PLAIN}
        spaces = defaultdict(lambda: space, llama=causal)
        return [plain_run(spaces[name], folder, name, 4 // count) for name, folder in folders.items()]

    for arguments in runs(1):
        assert crosspt(*arguments).status == 0
    ended = start_together(tmp_path / "said", 2, train_several, runs(2))
    assert ended.codes == [0, 0], ended.said
    for name in PLAIN:
        assert_alike(tmp_path / "1" / name, tmp_path / "2" / name, 2e-3 if name == "bfloat16" else TOLERANCE)


def kill_one(arguments: list[str], victim: int, moment: str, rank: int) -> None:
    if rank == victim:
        MOMENTS[moment]()
    work(arguments, rank)


MOMENTS: dict[str, Callable[[], None]] = {
    "in the middle of an epoch": lambda: die_at_call(torch.Tensor, "backward", 10),
    "before the checkpoint gets its name": lambda: die_at_call(Path, "rename", 5),
}
BROKEN = ("--scheme", "SILP", "--stage1", "joint", "--epochs", 3, "--save-steps", 1, "--batch-size", 6)


@pytest.fixture(scope="module")
def unbroken(space: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    together(folder, 2, command(space, folder / "run", *BROKEN))
    return folder / "run"


@pytest.mark.parametrize(("moment", "victim"), zip(MOMENTS, (1, 0), strict=True))
def test_killed_and_resumed(moment: str, victim: int, space: Workspace, unbroken: Path, tmp_path: Path) -> None:
    """With dropout: every process has random numbers of its own, and goes on with them."""
    arguments = command(space, tmp_path / "run", *BROKEN)
    ended = start_together(tmp_path / "killed", 2, kill_one, arguments, victim, moment)
    assert ended.codes[victim] == -signal.SIGKILL
    assert ended.codes[1 - victim] == 1
    line = ended.lines()[-1]
    assert line.startswith("crosspt train: another of the 2 processes has ended, or does not answer: "), ended.said
    assert not (tmp_path / "run" / "results.json").exists()
    together(tmp_path, 2, [*arguments, "--resume"])
    assert (tmp_path / "run" / "predictions.parquet").read_bytes() == (unbroken / "predictions.parquet").read_bytes()
    found = learned(tmp_path / "run")
    assert all(torch.equal(found[name], tensor) for name, tensor in learned(unbroken).items())
    assert not list((tmp_path / "run").rglob("checkpoint*"))


def test_another_number_of_processes(space: Workspace, unbroken: Path) -> None:
    said = mistake(crosspt(*command(space, unbroken, *BROKEN), "--resume"))
    assert said.endswith("holds a run with other settings: processes (there 2, here 1)")


def test_evaluate_and_predict(space: Workspace, unbroken: Path, tmp_path: Path) -> None:
    """The batches are shared, their answers are the same bit for bit."""
    for command, name in (("evaluate", "--checkpoint"), ("predict", "--checkpoint")):
        given = [command, name, str(unbroken), "--batch-size", "2", "--json", "--device", "cpu"]
        if command == "predict":
            given += ["--task", "rte", *(word for text in ("w1", "w2 w3", "w4 w5 w6") for word in ("--text", text))]
        else:
            given += ["--output", str(tmp_path / "alone")]
        alone = crosspt(*given).json()
        if command == "evaluate":
            given[-1] = str(tmp_path / "shared")
        ended = together(tmp_path / command, 2, given)
        assert ended.said[1] == ""
        shared = json.loads(ended.said[0][ended.said[0].index("{\n") :])
        for key in ("results", "answers"):
            assert shared.get(key) == alone.get(key)
    kept = [(tmp_path / name / "predictions.parquet").read_bytes() for name in ("alone", "shared")]
    assert kept[0] == kept[1]


def fail(arguments: list[str], how: str, rank: int) -> None:
    if how == "elsewhere":
        run_folder.VISIBLE_AFTER = 0
        os.chdir(arguments[-1] if rank else Path(arguments[-1]).parent)
        arguments = arguments[:-1]
    elif how == "memory" and rank == 1:
        forward, calls = PromptedModel.forward, itertools.count(1)

        def exhausted(*given: Any, **options: Any) -> Any:
            if next(calls) == 3:
                raise RuntimeError("out of memory")
            return forward(*given, **options)

        PromptedModel.forward = exhausted  # type: ignore[method-assign]
    work(arguments, rank)


@pytest.mark.parametrize(
    ("how", "settings", "codes", "message"),
    [
        ("memory", (), [1, 1], r"process 1 on \S+: out of memory"),
        ("loss", ("--source-learning-rate", "1e30"), [1, 1], r"training: the loss must be finite, got .* on rows of"),
        ("elsewhere", (), [1, 2], r"process 1 on \S+: run on \S+ is not the folder of that name that process \d+ on"),
        ("flag", ("--epoks", 3), [2, 2], r"unrecognized arguments: --epoks"),
    ],
)
def test_one_message(
    how: str, settings: tuple[object, ...], codes: list[int], message: str, space: Workspace, tmp_path: Path
) -> None:
    output = Path("run") if how == "elsewhere" else tmp_path / "run"
    arguments = command(space, output, "--scheme", "SL", "--epochs", 3, "--batch-size", 4, *settings)
    (tmp_path / "other").mkdir()
    if how == "elsewhere":
        arguments.append(str(tmp_path / "other"))
    ended = start_together(tmp_path / "said", 2, fail, arguments, how)
    assert ended.codes == codes, ended.said
    assert "Traceback" not in "".join(ended.said)
    lines = [line for line in ended.lines() if "rows to report on have the texts" not in line]
    assert len(lines) == 1, ended.said
    assert re.match(f"crosspt train: {message}", lines[0]), lines


def test_commands_for_one_process(tmp_path: Path) -> None:
    ended = start_together(tmp_path, 2, work, ["report", "nothing"])
    assert ended.codes == [2, 2]
    (line,) = ended.lines()
    assert line.startswith("crosspt report: this command is for one process, got 2; only train, evaluate, predict take")


def test_torchrun(space: Workspace, tmp_path: Path) -> None:
    """The launcher itself: its own environment, its own store."""
    arguments = command(space, tmp_path / "run", "--scheme", "SL", "--epochs", 1, "--batch-size", 6, "--json")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    options: dict[str, Any] = {"capture_output": True, "text": True, "check": False}
    done = subprocess.run([*launcher, "-m", "crosspt.cli.main", *arguments], **options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["config"]["processes"] == 2
    done = subprocess.run([*launcher, "-m", "crosspt.cli.main", *arguments, "--epochs", "nan"], **options)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("crosspt train")]
    assert len(lines) == 1
    assert lines[0].startswith("crosspt train: --epochs must be int or null, got nan")

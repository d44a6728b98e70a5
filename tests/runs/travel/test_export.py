"""What can be exported, and what becomes of the folder."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.config.files import write_json
from crosspt.config.layout import RUN_NAME, TARGETS
from crosspt.methods import find_method
from crosspt.runs.settings import make_run
from crosspt.runs.travel.folder import whole_folder
from crosspt.storage import SavedPrompts, load_prompts, save_prompts
from tests.conftest import make_t5
from tests.models.causal_models import make_causal
from tests.runs.travel.support import (
    LENGTH,
    TASKS,
    export,
    make_batch,
    make_prompted,
    save_model,
    save_rows,
)
from tests.workspace import crosspt, mistake


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_prompted().save_pretrained(tmp_path / "run")
    return tmp_path / "run"


def prompt_of(folder: Path, task: str) -> torch.Tensor:
    return load_file(folder / task / "adapter_model.safetensors")["prompt_embeddings"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_with_a_bank_a_target(tmp_path: Path) -> None:
    values = {"tasks": TASKS, "scheme": "P", "stage2": "per_target"}
    run = make_run(values, model="t5-tiny", task_files={}, source_prompts=[])
    write_json(tmp_path / "run" / RUN_NAME, run.to_dict())
    prompts = []
    for task in TASKS:
        line = mistake(crosspt("export", tmp_path / "run", "--to", "peft", "--output", tmp_path / "peft"))
        assert f"holds no prompts for task '{task}' yet: its training is not finished" in line
        assert not (tmp_path / "peft").exists()
        model = CrossPTModel(make_t5(), CrossPTConfig(tasks=[task], scheme="P"))
        model.save_pretrained(tmp_path / "run" / TARGETS / task)
        prompts.append(load_prompts(tmp_path / "run" / TARGETS / task).prompts[0])
    folder = export(tmp_path / "run", "peft", tmp_path / "peft")
    for task, prompt in zip(TASKS, prompts, strict=True):
        assert torch.equal(prompt_of(folder, task), prompt)


@torch.no_grad()
@pytest.mark.parametrize("name", ["prompt-tuning", "p-tuning", "spot", "mpt-scratch"])
def test_other_methods_whose_prompts_stand_in_front(name: str, tmp_path: Path) -> None:
    t5, method, tasks = make_t5(), find_method(name), TASKS[: 1 if "tuning" in name else 3]
    save_model(t5, tmp_path / "t5")
    t5.config.name_or_path = str(tmp_path / "t5")
    sources = {task: torch.randn(LENGTH, 16) for task in TASKS}
    config = CrossPTConfig(tasks=tasks, scheme="P", prompt_length=LENGTH)
    model = method.build(t5, config, source_prompts=sources).eval()
    for parameter in model.learned().values():
        nn.init.normal_(parameter)
    method.save(model, tmp_path / "run")
    folder = export(tmp_path / "run", "peft", tmp_path / "peft")
    batch = make_batch()
    for index, task in enumerate(tasks):
        inputs = {**batch, "task_ids": torch.full((4,), index)}
        embeds = model._inputs(**inputs)["inputs_embeds"]
        assert torch.equal(embeds[0, :LENGTH], prompt_of(folder, task))


@pytest.mark.parametrize("name", ["attempt", "dept", "lora", "fine-tuning"])
def test_methods_that_are_more_than_prompts(name: str, tmp_path: Path) -> None:
    t5, method = make_t5(), find_method(name)
    save_model(t5, tmp_path / "t5")
    t5.config.name_or_path = str(tmp_path / "t5")
    sources = {task: torch.randn(LENGTH, 16) for task in TASKS}
    config = CrossPTConfig(tasks=TASKS[:1], source_tasks=TASKS, scheme="P", prompt_length=LENGTH)
    method.save(method.build(t5, config, source_prompts=sources), tmp_path / "run")
    line = mistake(crosspt("export", tmp_path / "run", "--to", "peft", "--output", tmp_path / "peft"))
    assert f"what method {name} learns is no prompt in front of the input; prompts alone can be exported" in line
    assert not (tmp_path / "peft").exists()


@pytest.mark.parametrize("target", ["peft", "peft-multitask", "prefix", "vocabulary"])
def test_isolated_prefixes_of_a_t5(target: str, tmp_path: Path) -> None:
    model = CrossPTModel(make_t5(), CrossPTConfig(tasks=TASKS, prefix_mode="isolated"))
    model.base_model.config.name_or_path = "t5-tiny"
    model.save_pretrained(tmp_path / "run")
    line = mistake(crosspt("export", tmp_path / "run", "--to", target, "--output", tmp_path / "there"))
    assert "isolated prefixes of an encoder-decoder have no format elsewhere" in line
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_isolated_prefixes_of_a_causal_model_are_the_same_as_full_ones(tmp_path: Path) -> None:
    model = make_causal("gpt2")
    for mode in ("full", "isolated"):
        save_rows(tmp_path / mode, model, save_model(model, tmp_path / "model"), prefix_mode=mode)
        export(tmp_path / mode, "prefix", tmp_path / f"{mode}-prefix")
    assert contents(tmp_path / "full-prefix") == contents(tmp_path / "isolated-prefix")


@pytest.mark.parametrize("target", ["peft", "peft-multitask"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("bert", "the prompts must be of a model of type t5, mt5, "),
        ("pegasus", "is not for a model of type pegasus, whose factor on a text's tokens PEFT leaves out"),
        ("t5gemma", "is not for a model of type t5gemma, in whose configuration PEFT finds no number of layers"),
    ],
)
def test_models_that_no_adapter_fits(kind: str, message: str, target: str, tmp_path: Path) -> None:
    config = CrossPTConfig(tasks=["rte"], scheme="P", prompt_length=LENGTH, encoder="none")
    origin = {"name": "x", "model_type": kind, "d_model": 16, "vocab_size": 48}
    prompts = torch.zeros(1, LENGTH, 16)
    save_prompts(tmp_path / "run", SavedPrompts(config, origin, {"privates": prompts}, prompts.clone()))
    assert message in mistake(crosspt("export", tmp_path / "run", "--to", target, "--output", tmp_path / "there"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_is_taken_once_and_for_one_thing(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    before = contents(export(run, "peft", folder))
    assert contents(export(run, "peft", folder)) == before
    command = ["export", run, "--output", folder, "--to"]
    for target in ("peft-multitask", "peft"):
        line = mistake(crosspt(*command, target))
        assert line == f"crosspt export: {folder} must be a new or empty folder, or hold just what is written now"
        assert before.items() <= contents(folder).items()
        (folder / "notes.txt").write_text("mine")
    assert (folder / "notes.txt").read_text() == "mine"
    assert "must be a new or empty folder" in mistake(crosspt("export", run, "--to", "peft", "--output", run))
    line = mistake(crosspt("export", run, "--to", "peft", "--output", folder / "notes.txt"))
    assert f"{folder / 'notes.txt'} must be a new or empty folder, got a file" in line
    line = mistake(crosspt("export", run, "--to", "peft", "--output", folder / "notes.txt" / "below"))
    assert f"{folder / 'notes.txt'} is no folder that can be written to" in line


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_write_that_ends_early_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    def write() -> None:
        with whole_folder(tmp_path / "there") as folder:
            (folder / "part").write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_fills_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        (tmp_path / "there").mkdir()
        (tmp_path / "there" / "theirs").write_text("first")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(OSError, match="not empty"), whole_folder(tmp_path / "there") as folder:
        (folder / "ours").write_text("second")
    assert contents(tmp_path / "there") == {"theirs": b"first"}


MISTAKES: list[tuple[list[object], str]] = [
    ([], "the following arguments are required: --to"),
    (["--to", "gguf"], "--to must be peft or peft-multitask or prefix or vocabulary, got gguf"),
    (["--to", "prefix"], "--to prefix is for causal language models, got an encoder-decoder, t5-tiny"),
    (["--to", "vocabulary"], "model 't5-tiny' is no folder, nor to be had from the hub: "),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes(run: Path, arguments: list[object], message: str, tmp_path: Path) -> None:
    assert message in mistake(crosspt("export", run, "--output", tmp_path / "there", *arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_prompts_that_cannot_travel(tmp_path: Path) -> None:
    model = make_prompted()
    for parameter in model.embedding.bank.parameters():
        nn.init.constant_(parameter, torch.inf)
    model.save_pretrained(tmp_path / "run")
    line = mistake(crosspt("export", tmp_path / "run", "--to", "peft-multitask", "--output", tmp_path / "there"))
    assert "the prompts of mrpc, rte, sst2 must be finite, got some that are not" in line

"""Prompts that PEFT, ATTEMPT and DePT have saved, as source prompts."""

import json
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from crosspt import CrossPTModel
from crosspt.runs.travel.foreign import read_source
from crosspt.storage import load_prompts, load_source_prompts
from tests.conftest import make_t5
from tests.damage import damages, json_damages, read, unhurried
from tests.runs.travel.support import LENGTH, TASKS, export, make_batch, make_prompted, save_rows
from tests.workspace import Workspace, crosspt, mistake

SETTINGS: dict[str, Any] = {"task_type": "SEQ_2_SEQ_LM", "num_virtual_tokens": LENGTH}


def imported(source: Path, output: Path, *arguments: object) -> dict[str, Tensor]:
    """The prompts by task, as ``crosspt train`` takes them; a warning is on stderr."""
    outcome = crosspt("import", source, "--output", output, *arguments)
    assert outcome.status == 0, outcome.stderr
    return dict(load_source_prompts([output], d_model=16))


def refused(source: Path, folder: Path, *arguments: object) -> str:
    """The line that an import ends with, which writes nothing."""
    line = mistake(crosspt("import", source, "--output", folder / "imported", *arguments))
    assert not (folder / "imported").exists()
    return line


def save_adapter(
    folder: Path,
    config: dict[str, Any],
    tensors: dict[str, Tensor] | None = None,
    *,
    without: str = "",
    damaged: str = "",
) -> Path:
    """An adapter's folder, by default with one prompt; a file may be missing, or hold something else."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "PROMPT_TUNING", **SETTINGS, **config}))
    prompt = {"prompt_embeddings": torch.randn(LENGTH, 16)}
    save_file(prompt if tensors is None else tensors, folder / "adapter_model.safetensors")
    if damaged:
        (folder / damaged).write_text("{")
    if without:
        (folder / without).unlink()
    return folder


def save_pickle(file: Path, value: Any) -> Path:
    torch.save(value, file)
    return file


def save_t5(folder: Path) -> Path:
    make_t5().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("target", ["peft", "peft-multitask"])
def test_there_and_back_are_the_same_bits(target: str, tmp_path: Path) -> None:
    ours = make_prompted()
    ours.save_pretrained(tmp_path / "run")
    saved = load_prompts(tmp_path / "run")
    imported(export(tmp_path / "run", target, tmp_path / "there"), tmp_path / "back")
    back = load_prompts(tmp_path / "back")
    order = sorted(TASKS) if target == "peft" else TASKS
    assert (back.config.tasks, back.base_model) == (order, saved.base_model)
    for task in TASKS:
        here, there = back.prompts[order.index(task)], saved.prompts[TASKS.index(task)]
        assert torch.equal(here.view(torch.int32), there.view(torch.int32))
    again = CrossPTModel.from_pretrained(ours.base_model, tmp_path / "back").eval()
    batch = make_batch()
    labels = {"labels": batch["input_ids"]}
    with torch.no_grad():
        wanted = ours(**batch, **labels).logits
        ids = torch.tensor([order.index(TASKS[index]) for index in batch["task_ids"]])
        assert torch.equal(again(**{**batch, "task_ids": ids}, **labels).logits, wanted)


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "prompt tuning": ("PromptTuningConfig", {"num_transformer_submodules": 1}),
    "prompt tuning with rows for the decoder": ("PromptTuningConfig", {}),
    "p-tuning": ("PromptEncoderConfig", {"num_transformer_submodules": 1, "encoder_hidden_size": 8}),
    "multitask": ("MultitaskPromptTuningConfig", {"num_transformer_submodules": 1, "num_tasks": 3, "num_ranks": 2}),
}


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_what_peft_has_saved(kind: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="PEFT is what the adapters are compared in")
    torch.manual_seed(0)
    name, settings = KINDS[kind]
    theirs = peft.get_peft_model(make_t5(), getattr(peft, name)(**SETTINGS, **settings)).eval()
    for parameter in theirs.prompt_encoder.parameters():
        nn.init.normal_(parameter)
    theirs.save_pretrained(tmp_path / "theirs")
    count = 3 if kind == "multitask" else 1
    task = ",".join(TASKS[:count])
    arguments = ["--task", task, "--model", save_t5(tmp_path / "t5")]
    said = pytest.warns(match="the rows for the decoder, which PEFT never uses, are left out")
    with said if "rows" in kind else nullcontext():
        imported(tmp_path / "theirs", tmp_path / "ours", *arguments)
    t5 = make_t5()
    t5.config.name_or_path = str(tmp_path / "t5")
    ours = CrossPTModel.from_pretrained(t5, tmp_path / "ours").eval()
    batch = make_batch()
    for index in range(count):
        inputs = {**batch, "task_ids": torch.full((4,), index), "labels": batch["input_ids"]}
        logits = theirs(**{key: value for key, value in inputs.items() if count > 1 or key != "task_ids"}).logits
        assert torch.equal(ours(**inputs).logits, logits)


def test_attempts_files(tmp_path: Path) -> None:
    prompts = nn.Parameter(torch.randn(2, LENGTH, 16))
    for index, name in enumerate(["prefix_embeddings_rte", "mrpc_prefix_embeddings"]):  # rows of one parameter, or one
        torch.save(prompts[index] if index else nn.Parameter(prompts[index].detach()), tmp_path / f"{name}.pt")
    torch.save(nn.Parameter(torch.randn(4, 16)), tmp_path / "attn_W_down.pt")
    found = imported(tmp_path, tmp_path / "both")
    assert list(found) == ["mrpc", "rte"]
    assert torch.equal(found["rte"], prompts[0].detach())
    assert torch.equal(found["mrpc"], prompts[1].detach())
    one = imported(tmp_path / "prefix_embeddings_rte.pt", tmp_path / "one", "--task", "qnli")
    assert torch.equal(one["qnli"], prompts[0].detach())
    with (
        pytest.warns(match="the attention over the source prompts is left out, the prompt alone is imported"),
        pytest.warns(match="the files do not say which model their prompts were trained on; --model does"),
    ):
        imported(tmp_path / "prefix_embeddings_rte.pt", tmp_path / "warned")
    unknown = {"name": None, "model_type": None, "d_model": 16, "vocab_size": None}
    assert load_prompts(tmp_path / "warned").base_model == unknown


def test_depts_folder(tmp_path: Path) -> None:
    config = {"peft_type": "PROMPT_TUNING_LORA", "num_transformer_submodules": 1, "r": 2}
    save_adapter(tmp_path / "cola", config, without="adapter_model.safetensors")
    prompt = torch.randn(LENGTH, 16)
    offsets = {f"prompt_encoder.lora_embedding_{side}": torch.randn(2, 2) for side in "AB"}
    torch.save({"prompt_embeddings": prompt, **offsets}, tmp_path / "cola" / "adapter_model.bin")
    assert torch.equal(imported(tmp_path / "cola", tmp_path / "ours")["cola"], prompt)
    with pytest.warns(match="the offsets of the text's tokens are left out, the prompt alone is imported"):
        imported(tmp_path / "cola" / "adapter_model.bin", tmp_path / "ours")


class Payload:
    """What a foreign pickle may hold: a call that is made where it is read."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_a_foreign_pickle_is_never_run(tmp_path: Path) -> None:
    ran = tmp_path / "it ran"
    pickle.loads(pickle.dumps(Payload(ran)))
    ran.unlink()  # it would have
    adapter = save_adapter(tmp_path / "adapter", {}, without="adapter_model.safetensors")
    for file in (tmp_path / "prefix_embeddings.pt", adapter / "adapter_model.bin"):
        for protocol in (False, True):
            torch.save({"prompt_embeddings": Payload(ran)}, file, _use_new_zipfile_serialization=protocol)
            line = refused(file, tmp_path, "--task", "rte")
            assert f"{file} cannot be read as tensors alone, and nothing else of it is run: " in line
        file.write_bytes(pickle.dumps(Payload(ran)))
        assert "cannot be read as tensors alone" in refused(file, tmp_path, "--task", "rte")
    assert not ran.exists()


def test_source_prompts_of_a_run(workspace: Workspace, tmp_path: Path) -> None:
    save_rows(tmp_path / "saved", make_t5(), workspace.model)
    export(tmp_path / "saved", "peft", tmp_path / "peft", "--model", workspace.model)
    imported(tmp_path / "peft", tmp_path / "sources", "--model", workspace.model)
    settings = ["--scheme", "SIP", "--tasks", "mrpc", "--source-tasks", "rte,sst2", "--prompt-length", LENGTH]
    outcome = workspace.train(tmp_path / "run", *settings, "--source-prompts", tmp_path / "sources", "--decode", "rank")
    assert outcome.status == 0, outcome.stderr
    assert "were trained on" not in outcome.stderr
    sources = load_prompts(tmp_path / "run").state["sources"]
    assert torch.equal(sources, load_prompts(tmp_path / "saved").prompts[1:])


SINGLE = {"num_transformer_submodules": 1}
REFUSALS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing": (lambda f: f / "none", "source {f}/none: no such file or folder"),
    "an empty folder": (lambda f: f, "source {f} holds no adapter_config.json, neither itself nor below"),
    "no weights": (
        lambda f: save_adapter(f / "a", SINGLE, without="adapter_model.safetensors"),
        "source {f}/a holds no adapter_model.safetensors and no adapter_model.bin",
    ),
    "no configuration": (
        lambda f: save_adapter(f / "a", SINGLE, without="adapter_config.json"),
        "source {f}/a holds no adapter_config.json",
    ),
    "lora": (
        lambda f: save_adapter(f / "a", {"peft_type": "LORA"}),
        "{f}/a/adapter_config.json: peft_type must be one of PROMPT_TUNING, P_TUNING, PROMPT_TUNING_LORA, "
        "MULTITASK_PROMPT_TUNING, got LORA",
    ),
    "prefix tuning": (
        lambda f: save_adapter(f / "a", {"peft_type": "PREFIX_TUNING"}),
        "got PREFIX_TUNING, whose keys and values come from no prompt",
    ),
    "no type": (lambda f: save_adapter(f / "a", {"peft_type": 3}), "peft_type must be str, got 3"),
    "submodules": (
        lambda f: save_adapter(f / "a", {"num_transformer_submodules": 3}),
        "num_transformer_submodules must be 1 or 2, got 3",
    ),
    "another length": (
        lambda f: save_adapter(f / "a", {**SINGLE, "num_virtual_tokens": 4}),
        "{f}/a/adapter_model.safetensors: prompts must have num_virtual_tokens = 4 rows, got 3",
    ),
    "half a row": (lambda f: save_adapter(f / "a", {}), "as many rows for each of 2 submodules, got 3"),
    "multitask in the decoder": (
        lambda f: save_adapter(f / "a", {"peft_type": "MULTITASK_PROMPT_TUNING"}),
        "multitask prompts must be of 1 submodule, got 2: the decoder has one too",
    ),
    "multitask shapes": (
        lambda f: save_adapter(
            f / "a",
            {"peft_type": "MULTITASK_PROMPT_TUNING", **SINGLE},
            {
                "prompt_embeddings": torch.zeros(3, 16),
                "prefix_task_cols": torch.zeros(2, 4, 1),
                "prefix_task_rows": torch.zeros(2, 1, 16),
            },
        ),
        "must hold tensors (m, d), (T, m, r) and (T, r, d), got prompt_embeddings (3, 16), prefix_task_cols (2, 4, 1)",
    ),
    "more than the prompt": (
        lambda f: save_adapter(f / "a", SINGLE, {"prompt_embeddings": torch.zeros(3, 16), "head": torch.zeros(1)}),
        "must hold prompt_embeddings alone, got head, prompt_embeddings",
    ),
    "integers": (
        lambda f: save_adapter(f / "a", SINGLE, {"prompt_embeddings": torch.zeros(3, 16, dtype=torch.int64)}),
        "prompts must be floating-point tensors of 2 dimensions, got torch.int64 of shape (3, 16)",
    ),
    "not finite": (
        lambda f: save_adapter(f / "a", SINGLE, {"prompt_embeddings": torch.full((3, 16), torch.nan)}),
        "the prompts of a must be finite, got some that are not",
    ),
    "cut off": (
        lambda f: save_adapter(f / "a", SINGLE, damaged="adapter_model.safetensors"),
        "{f}/a/adapter_model.safetensors is not a readable safetensors file",
    ),
    "no JSON": (
        lambda f: save_adapter(f / "a", SINGLE, damaged="adapter_config.json"),
        "{f}/a/adapter_config.json is not JSON",
    ),
    "two lengths": (
        lambda f: (
            save_adapter(
                save_adapter(f / "a", SINGLE).with_name("b"),
            {**SINGLE, "num_virtual_tokens": 2},
            {"prompt_embeddings": torch.zeros(2, 16)},
            ).parent
        ),
        "source {f} must hold prompts of one shape (m, d), got (2, 16), (3, 16)",
    ),
    "no tensor": (
        lambda f: save_pickle(f / "prefix_embeddings.pt", [1]),
        "{f}/prefix_embeddings.pt must hold one tensor (m, d), got list",
    ),
    "no name": (
        lambda f: save_pickle(f / "prefix_embeddings.pt", torch.zeros(3, 16)).parent,
        "--task must name the 1 different tasks of {f}, in the order of its prompts, and the files name none",
    ),
    "a name for no folder": (
        lambda f: save_adapter(f / "a b", SINGLE),
        "tasks must be named by letters, digits, _ and - to travel, got 'a b'",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_does_not_fit(case: str, tmp_path: Path) -> None:
    make, message = REFUSALS[case]
    (tmp_path / "there").mkdir()
    assert message.replace("{f}", str(tmp_path / "there")) in refused(make(tmp_path / "there"), tmp_path)


@given(data=st.data())
@unhurried(30)
def test_damaged_files(tmp_path: Path, data: st.DataObject) -> None:
    if not (tmp_path / "rte").exists():
        save_adapter(tmp_path / "rte", SINGLE)
        torch.save(torch.zeros(3, 16), tmp_path / "prefix_embeddings.pt")
    file = data.draw(st.sampled_from([*sorted((tmp_path / "rte").iterdir()), tmp_path / "prefix_embeddings.pt"]))
    content = file.read_bytes()
    values = json_damages(json.loads(content)) if file.suffix == ".json" else damages(content)
    file.write_bytes(data.draw(values | damages(content)))
    try:
        found = read(file, lambda: read_source(file if file.suffix == ".pt" else file.parent))
    finally:
        file.write_bytes(content)
    assert found is None or found.prompts.shape == (1, 3, 16) or file.suffix != ".json"


def test_names_and_models_that_do_not_fit(tmp_path: Path) -> None:
    adapter = save_adapter(tmp_path / "rte", SINGLE)
    assert "--task must name the 1 different tasks of" in refused(adapter, tmp_path, "--task", "a,b")
    make_t5(d_model=8).save_pretrained(tmp_path / "narrow")
    line = refused(adapter, tmp_path, "--model", tmp_path / "narrow")
    assert f"holds prompts of width 16, model '{tmp_path / 'narrow'}' has 8" in line
    line = refused(adapter, tmp_path, "--model", tmp_path / "none")
    assert f"model '{tmp_path / 'none'}' cannot be loaded: " in line
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "P_TUNING", **SINGLE, "base_model_name_or_path": str(tmp_path / "narrow")})
    )
    assert "holds prompts of width 16, model" in refused(adapter, tmp_path)
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "P_TUNING", **SINGLE, "base_model_name_or_path": "gone/t5"})
    )
    with pytest.warns(match="the width of the prompts is not checked: model 'gone/t5' cannot be loaded"):
        imported(adapter, tmp_path / "imported")
    assert load_prompts(tmp_path / "imported").base_model["name"] == "gone/t5"

"""Files that hold no prompts, or others than they say, and files that would run something: one line each."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosspt.runs.travel.foreign import read_source
from crosspt.storage import load_prompts
from tests.conftest import make_t5
from tests.damage import damages, json_damages, read, unhurried
from tests.runs.travel.support import refused_import, save_adapter, save_model
from tests.workspace import crosspt


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
            line = refused_import(file, tmp_path, "--task", "rte")
            assert f"{file} cannot be read as tensors alone, and nothing else of it is run: " in line
        file.write_bytes(pickle.dumps(Payload(ran)))
        assert "cannot be read as tensors alone" in refused_import(file, tmp_path, "--task", "rte")
    assert not ran.exists()


def save_pickle(file: Path, value: Any) -> Path:
    torch.save(value, file)
    return file


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
        "{f}/a/adapter_model.safetensors: prompts must have as many rows as num_virtual_tokens of "
        "{f}/a/adapter_config.json, 4, got 3",
    ),
    "half a row": (
        lambda f: save_adapter(f / "a", {}),
        "for each of the 2 submodules of {f}/a/adapter_config.json, got 3",
    ),
    "multitask in the decoder": (
        lambda f: save_adapter(f / "a", {"peft_type": "MULTITASK_PROMPT_TUNING"}),
        "{f}/a/adapter_config.json: multitask prompts must be of 1 submodule, got 2: the decoder has one too",
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
    assert message.replace("{f}", str(tmp_path / "there")) in refused_import(make(tmp_path / "there"), tmp_path)


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
    assert "--task must name the 1 different tasks of" in refused_import(adapter, tmp_path, "--task", "a,b")
    save_model(make_t5(d_model=8), tmp_path / "narrow")
    line = refused_import(adapter, tmp_path, "--model", tmp_path / "narrow")
    assert f"holds prompts of width 16, model '{tmp_path / 'narrow'}' has 8" in line
    line = refused_import(adapter, tmp_path, "--model", tmp_path / "none")
    assert f"model '{tmp_path / 'none'}' is no folder, nor to be had from the hub: " in line
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "P_TUNING", **SINGLE, "base_model_name_or_path": str(tmp_path / "narrow")})
    )
    assert "holds prompts of width 16, model" in refused_import(adapter, tmp_path)
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "P_TUNING", **SINGLE, "base_model_name_or_path": "gone/t5"})
    )
    with pytest.warns(match="model 'gone/t5' is not here to be compared, --model may name it: "):
        assert crosspt("import", adapter, "--output", tmp_path / "imported").status == 0
    assert load_prompts(tmp_path / "imported").base_model["name"] == "gone/t5"

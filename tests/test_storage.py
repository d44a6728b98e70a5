import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.storage import CONFIG_NAME, WEIGHTS_NAME, load_prompts, load_source_prompts
from tests.conftest import make_t5

TASKS = ["mrpc", "rte"]
Batch = Callable[..., dict[str, Tensor]]


def make_model(scheme: str = "SLPN", seed: int = 0, **settings: Any) -> CrossPTModel:
    torch.manual_seed(seed)
    config = CrossPTConfig(tasks=TASKS, scheme=scheme, prompt_length=3, **settings)
    source_prompts = {task: torch.randn(3, 16) for task in [*TASKS, "qnli"]}
    model = CrossPTModel(make_t5(), config, source_prompts=source_prompts)
    for parameter in model.embedding.bank.parameters():
        nn.init.normal_(parameter)
    return model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    make_model().save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("scheme", ["SLPN", "P", "SIP", "SILP", "SL"])
@pytest.mark.parametrize("encoder", ["linear", "none", "mlp", "lstm"])
def test_round_trip(scheme: str, encoder: str, tmp_path: Path, batch: Batch) -> None:
    source_tasks = [*TASKS, "qnli"] if scheme in ("SIP", "SILP") else None
    model = make_model(scheme, encoder=encoder, source_tasks=source_tasks)
    model.save_pretrained(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [CONFIG_NAME, WEIGHTS_NAME]
    loaded = CrossPTModel.from_pretrained(make_t5(), tmp_path)
    assert loaded.config == model.config
    with torch.no_grad():
        assert torch.equal(model.eval()(**batch()).logits, loaded.eval()(**batch()).logits)
    loaded.train()(**batch()).loss.backward()
    learns = [name for name, p in loaded.named_parameters() if p.requires_grad]
    assert learns == [name for name, p in model.named_parameters() if p.requires_grad]
    assert all(p.grad is not None for p in loaded.parameters() if p.requires_grad)


def test_text_initialization_is_not_needed_again(tmp_path: Path) -> None:
    config = CrossPTConfig(tasks=TASKS, scheme="P", initialization="text", init_texts=["a"])
    model = CrossPTModel(make_t5(), config, initialize=False)
    model.save_pretrained(tmp_path)
    CrossPTModel.from_pretrained(make_t5(), tmp_path)


def test_only_prompts_are_saved_with_their_temperature(saved: Path) -> None:
    tensors = load_file(saved / WEIGHTS_NAME)
    assert set(tensors) == {"sources", "privates", "logits", "encoder.weight", "encoder.bias", "prompts"}
    header = json.loads((saved / CONFIG_NAME).read_text())
    assert header["schema"] == 1
    assert header["temperature_value"] == pytest.approx(0.6309, abs=1e-4)
    assert header["base_model"]["d_model"] == 16


def test_composed_prompts_seed_other_banks(tmp_path: Path) -> None:
    first = make_model("P", seed=1)
    first.save_pretrained(tmp_path / "a")
    source_prompts = load_source_prompts([tmp_path / "a"], d_model=16)
    torch.testing.assert_close(source_prompts["rte"], first.embedding.compose()[1].detach())
    second = CrossPTModel(
        make_t5(), CrossPTConfig(tasks=TASKS, scheme="PI", prompt_length=3), source_prompts=source_prompts
    )
    torch.testing.assert_close(second.embedding.compose(), first.embedding.compose())
    with pytest.raises(ValueError, match=r"more than one folder holds a prompt for mrpc"):
        load_source_prompts([tmp_path / "a", tmp_path / "a"], d_model=16)
    with pytest.raises(ValueError, match=r"holds width 16, the model has 8"):
        load_source_prompts([tmp_path / "a"], d_model=8)


def test_a_save_cut_off_between_the_files_loads_the_newer_prompts(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_model("SLP", seed=5)
    replace = Path.replace

    def die_at_the_config(self: Path, target: Path) -> Path:
        if target.name == CONFIG_NAME:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", die_at_the_config)
    with pytest.raises(KeyboardInterrupt):
        other.save_pretrained(saved)
    with pytest.warns(UserWarning, match="differs from the configuration inside"):
        loaded = CrossPTModel.from_pretrained(make_t5(), saved)
    assert torch.equal(loaded.embedding.compose(), other.embedding.compose())


def test_a_failed_write_leaves_the_old_files(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        make_model(seed=7).save_pretrained(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def edit_weights(folder: Path, edit: Callable[[dict[str, Tensor]], Any]) -> None:
    saved = load_prompts(folder)
    tensors = {**saved.state, "prompts": saved.prompts}
    metadata = {"crosspt": (folder / CONFIG_NAME).read_text()}
    edit(tensors)
    save_file(tensors, folder / WEIGHTS_NAME, metadata=metadata)


def write_header(folder: Path, **changes: Any) -> None:
    header = {**json.loads((folder / CONFIG_NAME).read_text()), **changes}
    tensors = load_file(folder / WEIGHTS_NAME)
    (folder / CONFIG_NAME).write_text(json.dumps(header))
    save_file(tensors, folder / WEIGHTS_NAME, metadata={"crosspt": json.dumps(header)})


def cut_short(folder: Path) -> None:
    path = folder / WEIGHTS_NAME
    path.write_bytes(path.read_bytes()[:-40])


CORRUPTIONS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no weights": (lambda f: (f / WEIGHTS_NAME).unlink(), rf"holds no {WEIGHTS_NAME}"),
    "no config": (lambda f: (f / CONFIG_NAME).unlink(), rf"holds no {CONFIG_NAME}"),
    "cut short": (cut_short, r"is not a readable safetensors file"),
    "not safetensors": (lambda f: (f / WEIGHTS_NAME).write_text("x" * 99), r"is not a readable safetensors file"),
    "foreign": (lambda f: save_file({"a": torch.zeros(1)}, f / WEIGHTS_NAME), r"was not written by CrossPT"),
    "config not json": (lambda f: (f / CONFIG_NAME).write_text("{"), rf"{CONFIG_NAME} is not JSON: Expecting"),
    "config not text": (lambda f: (f / CONFIG_NAME).write_bytes(b"\xff\xfe\xfa"), rf"{CONFIG_NAME} is not UTF-8 text"),
    "config a list": (lambda f: (f / CONFIG_NAME).write_text("[]"), rf"{CONFIG_NAME} must hold an object, got list"),
    "schema": (lambda f: write_header(f, schema=2), r"its schema must be 1, got 2"),
    "no object": (lambda f: write_header(f, config=3), r"config must be dict, got 3"),
    "no tasks": (lambda f: write_header(f, config={}), r"the key 'tasks' is missing"),
    "wrong type": (
        lambda f: write_header(f, config={"tasks": TASKS, "init_texts": 3}),
        r"init_texts must be list\[str\] or null, got 3",
    ),
    "wrong value": (lambda f: write_header(f, config={"tasks": TASKS, "scheme": "Z"}), r"scheme: expected .*got 'Z'"),
    "no base model": (lambda f: write_header(f, base_model=None), r"base_model must be dict, got None"),
    "base model": (lambda f: write_header(f, base_model={"name": 3}), r"base_model: name must be str or null, got 3"),
    "unknown key": (lambda f: write_header(f, config={"tasks": TASKS, "speed": 1}), r"unknown key 'speed'"),
    "missing tensor": (lambda f: edit_weights(f, lambda t: t.pop("privates")), r"lacks privates"),
    "unknown tensor": (lambda f: edit_weights(f, lambda t: t.update(x=torch.zeros(1))), r"has unknown x"),
    "no prompts": (
        lambda f: edit_weights(f, lambda t: t.pop("prompts")),
        r"must hold 'prompts' of shape \(2, 3, 'd'\), got None",
    ),
    "prompts of one task": (
        lambda f: edit_weights(f, lambda t: t.update(prompts=torch.zeros(1, 3, 16))),
        r"must hold 'prompts' of shape \(2, 3, 'd'\), got \(1, 3, 16\)",
    ),
    "shape": (
        lambda f: edit_weights(f, lambda t: t.update(logits=torch.zeros(2, 2))),
        r"logits in .* must be floating-point of shape \(2, 3\), got torch.float32 of shape \(2, 2\)",
    ),
    "dtype": (
        lambda f: edit_weights(f, lambda t: t.update(logits=torch.zeros(2, 3, dtype=torch.int64))),
        r"logits in .* must be floating-point of shape \(2, 3\), got torch.int64",
    ),
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_damaged_folders(saved: Path, corruption: str) -> None:
    damage, message = CORRUPTIONS[corruption]
    damage(saved)
    with pytest.raises(ValueError, match=message) as caught:
        CrossPTModel.from_pretrained(make_t5(), saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_width_and_places_that_cannot_hold_a_folder(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"have width 16 \(made for .*\), the model has d_model 8"):
        CrossPTModel.from_pretrained(make_t5(d_model=8), saved)
    with pytest.raises(ValueError, match=r"holds no crosspt_model.safetensors"):
        CrossPTModel.from_pretrained(make_t5(), tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"expected a folder, got the file"):
        make_model().save_pretrained(tmp_path / "file")

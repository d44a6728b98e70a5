"""The command line over language models that are no T5."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration

from crosspt.models.causal.family import Causal
from crosspt.storage import WEIGHTS_NAME
from tests.models.causal_models import make_causal
from tests.workspace import VOCABULARY, Workspace, crosspt, make_tokenizer, make_workspace, mistake

TASKS = ("--tasks", "mrpc,rte")
PAPER = "CrossPT (arXiv 2509.14253), section 3.2"


def make_bart() -> BartForConditionalGeneration:
    special: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1, "decoder_start_token_id": 1}
    shape: dict[str, Any] = {"d_model": 16, "max_position_embeddings": 64, "forced_eos_token_id": None, "init_std": 0.3}
    for part in ("encoder", "decoder"):
        shape |= {f"{part}_layers": 1, f"{part}_attention_heads": 2, f"{part}_ffn_dim": 32}
    torch.manual_seed(0)
    return BartForConditionalGeneration(BartConfig(vocab_size=len(VOCABULARY), **special, **shape))


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workspace]:
    """Workspaces whose model is of another family; the tokenizers of the causal ones have no pad token."""
    space = make_workspace(tmp_path_factory.mktemp("workspace"))
    found = {}
    for model_type in ("llama", "gpt2", "bart"):
        folder = space.model.with_name(model_type)
        causal = model_type != "bart"
        model = make_causal(model_type, vocab_size=len(VOCABULARY), pad_token_id=None) if causal else make_bart()
        model.save_pretrained(folder)
        make_tokenizer(**({"pad_token": None} if causal else {})).save_pretrained(folder)
        found[model_type] = dataclasses.replace(space, model=folder)
    return found


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize("model_type", ["llama", "bart"])
def test_a_run_interrupted_and_resumed(
    model_type: str, spaces: dict[str, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, settings = spaces[model_type], [*TASKS, "--epochs", 2]
    steps = iter(range(3))
    backward = torch.Tensor.backward

    def interrupted(*arguments: Any, **options: Any) -> None:
        if next(steps) == 2:
            raise KeyboardInterrupt
        backward(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", interrupted)
        assert space.train(tmp_path / "run", *settings).status == 130
    assert list((tmp_path / "run").rglob("checkpoint-2"))
    assert space.train(tmp_path / "run", *settings, "--resume").status == 0
    assert space.train(tmp_path / "unbroken", *settings).status == 0
    ends = []
    for folder in (tmp_path / "run", tmp_path / "unbroken"):
        rows = [{**row, "cell": ""} for row in read(folder, "results.json")["results"]]
        ends.append(((folder / WEIGHTS_NAME).read_bytes(), rows))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "bart"])
def test_what_a_run_answers_afterwards(model_type: str, spaces: dict[str, Workspace], tmp_path: Path) -> None:
    space, folder = spaces[model_type], tmp_path / "run"
    outcome = space.train(folder, *TASKS)
    assert outcome.status == 0, outcome.stderr
    content = read(folder, "results.json")
    results, suited = content["results"], {} if model_type == "bart" else Causal.defaults
    source = [PAPER, Causal.defaults_source] if suited else [PAPER]
    assert content["method"]["settings_source"] == "; ".join(source)
    assert content["method"]["settings_given"] == ["prompt_length", "epochs", "batch_size"]
    evaluated = crosspt("evaluate", "--checkpoint", folder, "--device", "cpu", "--json")
    assert evaluated.status == 0, evaluated.stderr
    assert evaluated.json()["results"] == results
    predicted = ["predict", "--checkpoint", folder, "--task", "rte", "--device", "cpu"]
    predicted += ["--field", "sentence1=w1 w2", "--field", "sentence2=w3"]
    for decode, answers in (("rank", ["entailment", "not_entailment"]), ("generate", None)):
        outcome = crosspt(*predicted, "--decode", decode)
        assert outcome.status == 0, outcome.stderr
        assert answers is None or outcome.stdout.strip() in answers
    rows = ["--data-dir", space.data, "--test-rows", 6, "--device", "cpu", "--output", tmp_path / "bare"]
    bare = crosspt("evaluate", "--no-prompt", "--model", space.model, *TASKS, *rows, "--json")
    assert bare.status == 0, bare.stderr
    assert {row["scheme"] for row in bare.json()["results"]} == {"bare", "majority"}


def plan(space: Workspace, *settings: object) -> Any:
    outcome = space.train(Path("unused"), *TASKS, *settings, "--dry-run", "--json")
    assert outcome.status == 0, outcome.stderr
    return outcome.json()


def rates_of(config: Any) -> dict[str, float]:
    return {name: value for name, value in config["training"].items() if name.endswith("learning_rate") and value}


def test_the_defaults_suit_the_family(spaces: dict[str, Workspace]) -> None:
    for scheme, groups in (("P", {"private", "encoder"}), ("SLPN", {"source", "private", "logits", "encoder"})):
        config = plan(spaces["llama"], "--scheme", scheme)["config"]
        rates = rates_of(config)
        assert rates.keys() == {f"{group}_learning_rate" for group in groups}
        assert all(rates[name] == value for name, value in Causal.defaults.items() if name in rates)
        prompts = {name: config["prompts"][name] for name in ("initialization", "prefix_mode")}
        assert prompts == {name: Causal.defaults[name] for name in prompts}
    given = plan(spaces["llama"], "--initialization", "uniform", "--source-learning-rate", 0.5)["config"]
    assert given["prompts"]["initialization"] == "uniform"
    assert rates_of(given)["source_learning_rate"] == 0.5
    config = plan(spaces["bart"])["config"]
    assert rates_of(config) == {}
    assert (config["prompts"]["initialization"], config["prompts"]["prefix_mode"]) == ("uniform", "full")


def test_source_prompts_learn_at_the_rates_of_the_family(spaces: dict[str, Workspace]) -> None:
    rates = [job["learning_rates"] for job in plan(spaces["llama"], "--scheme", "SILP")["jobs"]]
    assert [sorted(of_job) for of_job in rates[:2]] == [["encoder", "privates"]] * 2
    assert {of_job["privates"] for of_job in rates} == {Causal.defaults["private_learning_rate"]}


@pytest.mark.parametrize("method", ["prompt-tuning", "dept"])
def test_other_methods_need_a_t5(method: str, spaces: dict[str, Workspace], tmp_path: Path) -> None:
    said = mistake(spaces["llama"].train(tmp_path / "run", "--tasks", "mrpc", "--method", method))
    assert said == f"crosspt train: method {method} needs a T5, got a LlamaForCausalLM"

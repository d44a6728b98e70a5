"""Every example is run, in few epochs."""

import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from crosspt.methods import METHODS
from crosspt.serving import batching
from crosspt.serving.batching import Row
from tests.docs.snippets import ROOT
from tests.serving.conftest import serving

EXAMPLES = ROOT / "examples"


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of the example that the test is named after; nothing that it registers is left."""
    name, methods = request.node.originalname.removeprefix("test_"), dict(METHODS)
    monkeypatch.syspath_prepend(EXAMPLES)
    yield import_module(name)
    METHODS.clear()
    METHODS.update(methods)
    del sys.modules[name]


def test_each_example_has_its_test() -> None:
    assert {f"test_{path.stem}" for path in EXAMPLES.glob("*.py")} <= set(globals())
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"python examples/{path.name}" in listed for path in EXAMPLES.glob("*.py"))


@pytest.mark.slow
def test_own_loop(example: ModuleType) -> None:
    accuracies = example.main(epochs=12)
    assert list(accuracies) == example.TASKS
    assert min(accuracies.values()) > 40, "the T5 without prompts has 0 in one and 50 in the other"
    assert sum(accuracies.values()) > 110


@pytest.mark.slow
def test_with_trainer(example: ModuleType, tmp_path: Path) -> None:
    assert example.main(tmp_path, epochs=10) > 60
    assert (tmp_path / "prompts" / "model.safetensors").stat().st_size < 500_000, "the prompts alone"


@pytest.mark.slow
def test_own_tasks(example: ModuleType, tmp_path: Path) -> None:
    assert len(example.main(tmp_path / "run", epochs=1)) == len(example.NEW)
    assert (tmp_path / "run" / "tasks" / "tickets.yaml").is_file()


@pytest.mark.slow
def test_new_scheme(example: ModuleType) -> None:
    losses, weights = example.main(epochs=3)
    assert losses[-1] < losses[0]
    assert torch.equal(weights == 0, torch.tensor([[False, True, False]] * 2 + [[True, False, False]] * 2))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4))
    prompts = example.FamilyPrompts(torch.nn.Embedding(9, 6), prompt_length=3)
    ids, tasks = torch.zeros(4, 2, dtype=torch.int64), torch.arange(4)
    before = prompts(ids, tasks)
    with torch.no_grad():
        prompts.sources[1] += 1  # of the family of the last two tasks
    changed = (prompts(ids, tasks) != before).flatten(1).any(dim=1)
    assert changed.tolist() == [False, False, True, True]


@pytest.mark.slow
def test_new_method(example: ModuleType, tmp_path: Path) -> None:
    results = example.main(tmp_path / "run", epochs=3)["results"]
    of = {(row["scheme"], row["task"], row["decode"], row["metric"]): row for row in results}
    assert of["shift", "syn_mrpc", "generate", "accuracy"]["value"] > 40, "the T5 alone has 0"
    assert (tmp_path / "run" / "method_config.json").is_file()


@pytest.mark.slow
def test_fine_tuned_t5(example: ModuleType) -> None:
    losses, moved = example.main(epochs=1)
    theirs, _ = example.main("eager", epochs=1)
    assert losses == pytest.approx(theirs, rel=1e-3)
    assert losses[-1] < losses[0]
    assert moved > 0


def test_serving_client(example: ModuleType, slpn_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = batching.answer_rows

    def slowly(batch: Sequence[Row]) -> Any:
        time.sleep(0.2)
        return answer(batch)

    monkeypatch.setattr(batching, "answer_rows", slowly)
    texts = {"sentence1": "w1 w2", "sentence2": "w3"}
    rows = [{"task": ("mrpc", "rte")[number % 2], **texts} for number in range(6)]
    with serving([slpn_run], batch_size=1, queue_rows=1, request_rows=1) as client:
        url = f"http://127.0.0.1:{client.port}"
        alone = [example.ask(url, [row])[0] for row in rows[:2]]
        found = example.main(url, rows)
        assert client.metric("crosspt_request_seconds_count") > 2 + len(rows), "some were refused at first"
        assert found == [alone[number % 2] for number in range(6)]
        with pytest.raises(ValueError, match=r"404: .*unknown task 'cola'; known: mrpc, rte"):
            example.ask(url, [{"task": "cola", "sentence": "w1"}])

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from crosspt import CrossPTConfig, CrossPTModel
from crosspt.evaluation.analysis import analyse, analyse_bank
from crosspt.methods.crosspt import CrossPT
from crosspt.prompts.bank import PromptBank
from tests.conftest import make_t5

TASKS = ["mrpc", "rte", "cola"]
M, D = 4, 6
SAVED = {task: torch.randn(M, D, generator=torch.Generator().manual_seed(k)) for k, task in enumerate([*TASKS, "qnli"])}


def make_bank(scheme: str, tasks: list[str] = TASKS, **settings: Any) -> PromptBank:
    torch.manual_seed(0)
    bank = PromptBank(CrossPTConfig(tasks=tasks, scheme=scheme, prompt_length=M, **settings), torch.zeros(1, D))
    bank.initialize(nn.Embedding.from_pretrained(torch.zeros(1, D)), source_prompts=SAVED)
    return bank


def test_values_by_hand() -> None:
    bank = PromptBank(
        CrossPTConfig(tasks=["mrpc", "rte"], scheme="SLP", prompt_length=1, temperature=1.0), torch.zeros(1, 2)
    )
    assert isinstance(bank.encoder, nn.Linear)
    with torch.no_grad():
        assert bank.sources is not None
        assert bank.privates is not None
        bank.encoder.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
        bank.encoder.bias.copy_(torch.tensor([0.0, 1.0]))
        # Encoded: the source (4, 0), the private prompts (0, 4) and (-4, 0).
        bank.sources.copy_(torch.tensor([[[2.0, -1.0]]]))
        bank.privates.copy_(torch.tensor([[[0.0, 3.0]], [[-2.0, -1.0]]]))
        bank.logits.copy_(torch.tensor([[3.0, 1.0], [0.0, 0.0]]) * torch.log(torch.tensor(3.0)) / 2)
    analysis = analyse_bank(bank)
    # Weights (3/4, 1/4) and (1/2, 1/2): P is (3, 1), and (0, 0), whose cosines are undefined.
    cosine = 10**-0.5
    assert analysis["weights"] == [pytest.approx([0.75, 0.25]), [0.5, 0.5]]
    assert analysis["similarity"] == [pytest.approx([3 * cosine, cosine]), [None, None]]
    assert analysis["task_similarity"] == [[1.0, None], [None, None]]
    assert analysis["wssp"] is None
    assert analysis["candidates"] == ["source 1", "private"]
    with torch.no_grad():
        bank.privates[1] = bank.privates[0]
    # P is (3, 1) and (2, 2): the tasks' parts of equation 3 are 3/4 * 3 / sqrt 10 and 1/2 / sqrt 2.
    analysis = analyse_bank(bank)
    assert analysis["task_similarity"] == [pytest.approx([1.0, 2 / 5**0.5]), pytest.approx([2 / 5**0.5, 1.0])]
    assert analysis["wssp"] == pytest.approx(100 * (0.75 * 3 * cosine + 0.5 * 0.5**0.5) / 2)


# (n + T) m d + d^2 + d, plus T N logits; groups that are absent, frozen or constant are left out, P's encoders are T
@pytest.mark.parametrize(
    ("scheme", "candidates", "parameters", "multiply_adds"),
    [
        ("P", ["private"], 3 * M * D + 3 * (D * D + D), (M * D, M * D * D)),
        ("PI", ["private"], 3 * M * D + 3 * (D * D + D), (M * D, M * D * D)),
        ("SL", ["source 1"], M * D + D * D + D, (M * D, M * D * D)),
        ("SL2", ["source 1", "source 2"], 2 * M * D + D * D + D + 3 * 2, (2 * M * D, M * D * D)),
        ("SLP", ["source 1", "private"], 4 * M * D + D * D + D + 3 * 2, (2 * M * D, M * D * D)),
        (
            "SLPN",
            ["source 1", "source 2", "source 3", "private"],
            6 * M * D + D * D + D + 3 * 4,
            (4 * M * D, M * D * D),
        ),
        ("SIL", [*SAVED], 4 * M * D + D * D + D + 3 * 4, (4 * M * D, M * D * D)),
        ("SIP", [*SAVED, "private"], 3 * M * D + D * D + D + 3 * 5, (5 * M * D, M * D * D)),
        ("SILP", [*SAVED, "private"], 7 * M * D + D * D + D + 3 * 5, (5 * M * D, M * D * D)),
    ],
)
def test_candidates_and_costs(
    scheme: str, candidates: list[str], parameters: int, multiply_adds: tuple[int, int]
) -> None:
    analysis = analyse_bank(make_bank(scheme, source_tasks=[*SAVED] if "I" in scheme else None))
    assert analysis["candidates"] == candidates
    assert analysis["trainable_parameters"] == parameters
    mixing, encoder = multiply_adds
    assert analysis["inference_cost"] == {
        "mixing_multiply_adds": mixing,
        "encoder_multiply_adds": encoder,
        "prompt_tokens": M,
    }
    if scheme in ("P", "PI"):
        assert analysis["wssp"] is None
    elif scheme == "SL":
        assert analysis["wssp"] == 100
    else:
        assert 0 < analysis["wssp"] < 100


@pytest.mark.parametrize(
    ("settings", "multiply_adds"),
    [
        ({"encoder": "none"}, 0),
        ({"encoder_per_prompt": True}, 3 * D * D),
        ({"encoder": "mlp", "encoder_hidden_size": 5}, 3 * 2 * 5 * D),
        # Two directions of four gates over the input and the state, then a linear layer over both states.
        ({"encoder": "lstm", "encoder_hidden_size": 5}, 3 * (2 * 4 * 5 * (D + 5) + 2 * 5 * D)),
    ],
)
def test_the_cost_of_other_encoders(settings: dict[str, Any], multiply_adds: int) -> None:
    cost = analyse_bank(make_bank("SLP2", **settings))["inference_cost"]
    assert cost["encoder_multiply_adds"] == M * multiply_adds


@pytest.mark.parametrize("encoder", ["linear", "mlp"])
def test_the_prompts_compared_are_those_the_model_uses(encoder: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = CrossPTModel(make_t5(), CrossPTConfig(tasks=TASKS, scheme="SLPN", prompt_length=M, encoder=encoder))
    with torch.no_grad():
        nn.init.normal_(model.embedding.bank.logits)
    model.save_pretrained(tmp_path)
    [analysis] = analyse(CrossPT(), tmp_path, ["cola"])
    assert json.loads(json.dumps(analysis, allow_nan=False)) == analysis
    assert analysis["folder"] == "."
    assert analysis["tasks"] == TASKS
    assert analysis["trainable_parameters"] == model.count_parameters()[0]
    torch.testing.assert_close(torch.tensor(analysis["weights"]), model.embedding.mixing_weights().detach())
    prompts = model.embedding.compose().detach()
    token_cosines = torch.nn.functional.cosine_similarity(prompts[:, None], prompts[None], dim=-1)
    torch.testing.assert_close(torch.tensor(analysis["task_similarity"]), token_cosines.mean(dim=-1))

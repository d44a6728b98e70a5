from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from crosspt import CrossPTConfig
from crosspt.config.training import TrainingConfig
from crosspt.prompts.bank import PerPromptEncoder, PromptBank

TASKS = ["mrpc", "rte", "cola"]
M, D = 4, 6
NAMES = ("weight", "bias")
TABLE = torch.randn(11, D, generator=torch.Generator().manual_seed(0))
SAVED = {task: torch.randn(M, D, generator=torch.Generator().manual_seed(k)) for k, task in enumerate([*TASKS, "qnli"])}


def make_bank(scheme: str, **settings: Any) -> PromptBank:
    config = CrossPTConfig(tasks=TASKS, scheme=scheme, prompt_length=M, **settings)
    bank = PromptBank(config, TABLE)
    bank.initialize(nn.Embedding.from_pretrained(TABLE), source_prompts=SAVED, tokenizer=LetterTokenizer())
    return bank


class LetterTokenizer:
    def __call__(self, text: str, *, add_special_tokens: bool) -> Any:
        assert not add_special_tokens
        return SimpleNamespace(input_ids=[ord(letter) - ord("a") for letter in text])


def trainable(bank: PromptBank) -> int:
    return sum(p.numel() for p in bank.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("scheme", "names"),
    [
        ("P", {"privates", "encoder"}),
        ("SL", {"sources", "encoder"}),
        ("SL2", {"sources", "logits", "encoder"}),
        ("SLPN", {"sources", "privates", "logits", "encoder"}),
        ("SIP", {"privates", "logits", "encoder"}),
        ("SIL", {"sources", "logits", "encoder"}),
    ],
)
def test_what_learns(scheme: str, names: set[str]) -> None:
    bank = make_bank(scheme)
    assert {name.split(".")[0] for name, p in bank.named_parameters() if p.requires_grad} == names


# (n + T) m d + d^2 + d, plus T N logits; absent or frozen groups left out, an encoder for every task counts T times
@pytest.mark.parametrize(
    ("scheme", "count"),
    [
        ("SLPN", (3 + 3) * M * D + D * D + D + 3 * 4),
        ("SLP", (1 + 3) * M * D + D * D + D + 3 * 2),
        ("SL", M * D + D * D + D),
        ("P", 3 * M * D + 3 * (D * D + D)),
        ("SIP", 3 * M * D + D * D + D + 3 * 4),
        ("SILP", 6 * M * D + D * D + D + 3 * 4),
    ],
)
def test_number_of_trainable_parameters(scheme: str, count: int) -> None:
    assert trainable(make_bank(scheme)) == count


@pytest.mark.parametrize("scheme", ["SIL", "SIP", "SILP", "SILPI"])
@pytest.mark.parametrize("encoder", ["linear", "none", "mlp", "lstm"])
@pytest.mark.parametrize("per_prompt", [None, True, False])
def test_starting_from_saved_prompts_changes_nothing(scheme: str, encoder: str, per_prompt: bool | None) -> None:
    bank = make_bank(scheme, encoder=encoder, encoder_per_prompt=per_prompt, source_tasks=[*TASKS, "qnli"])
    with torch.no_grad():
        bank.logits[:, 0] = 1e4  # task 0's source alone
    torch.testing.assert_close(bank.compose(), SAVED["mrpc"].expand(3, M, D))


@pytest.mark.parametrize("encoder", ["linear", "none", "mlp", "lstm"])
def test_private_prompts_start_from_their_own_task(encoder: str) -> None:
    bank = make_bank("PI", encoder=encoder)
    torch.testing.assert_close(bank.compose(), torch.stack([SAVED[task] for task in TASKS]))


@pytest.mark.parametrize("encoder", ["linear", "mlp", "lstm"])
@pytest.mark.parametrize("per_prompt", [True, False])
@pytest.mark.parametrize("scheme", ["SLPN", "P", "SLN", "SIP"])
def test_composition_is_the_literal_equation(encoder: str, per_prompt: bool, scheme: str) -> None:
    torch.manual_seed(1)
    bank = make_bank(scheme, encoder=encoder, encoder_per_prompt=per_prompt)
    nn.init.normal_(bank.logits)
    raw: list[tuple[str, Tensor]] = []
    if bank.sources is not None:
        raw += [("raw" if bank.config.encodes_sources else "encoded", source) for source in bank.sources]
    n = len(raw)
    raw += [("raw", private) for private in bank.privates] if bank.privates is not None else []
    encoders: Any = iter(bank.encoder if isinstance(bank.encoder, PerPromptEncoder) else [bank.encoder] * len(raw))
    encoded = [next(encoders)(prompt[None])[0] if kind == "raw" else prompt for kind, prompt in raw]
    alpha = torch.softmax(bank.logits / bank.config.temperature_value, dim=1)
    for task in range(3):
        candidates = [*encoded[:n], *([encoded[n + task]] if bank.privates is not None else [])]
        expected = sum(weight * prompt for weight, prompt in zip(alpha[task], candidates, strict=True))
        torch.testing.assert_close(bank.compose()[task], expected)


def test_tasks_of_p_do_not_touch_each_other() -> None:
    bank = make_bank("P")
    bank.compose()[0].sum().backward()
    assert bank.privates is not None
    assert bank.privates.grad is not None
    assert bank.privates.grad[0].abs().sum() > 0
    assert bank.privates.grad[1:].abs().sum() == 0
    assert isinstance(bank.encoder, PerPromptEncoder)
    gradients: list[Any] = [next(encoder.parameters()).grad for encoder in bank.encoder]
    assert [bool(gradient.abs().sum() > 0) for gradient in gradients] == [True, False, False]


@pytest.mark.parametrize(
    ("scheme", "settings", "shared"),
    [
        ("SLPN", {}, {"sources", "encoder.weight", "encoder.bias"}),
        ("SLP2", {"encoder_per_prompt": True}, {"sources", *(f"encoder.{k}.{n}" for k in (0, 1) for n in NAMES)}),
        ("SIP", {"encoder_per_prompt": True}, {"sources"}),
        ("P", {}, set()),
        ("P", {"encoder_per_prompt": False}, {"encoder.weight", "encoder.bias"}),
    ],
)
def test_what_a_bank_takes_of_another(scheme: str, settings: dict[str, Any], shared: set[str]) -> None:
    bank = make_bank(scheme, source_tasks=TASKS, **settings)
    added: dict[str, Any] = {
        "tasks": ["qnli"],
        "scheme": scheme.replace("N", "3"),
        "source_tasks": TASKS,
        "freeze_shared": True,
    }
    new = PromptBank(CrossPTConfig(prompt_length=M, **added, **settings), TABLE)
    new.initialize(nn.Embedding.from_pretrained(TABLE))
    assert new.shared().keys() == shared
    assert bool(new.compose().isnan().any()) == bool(shared), "what was not taken yet is not used unnoticed"
    new.take_shared(bank)
    assert all(value.equal(bank.shared()[name]) for name, value in new.shared().items())
    assert not new.compose().isnan().any()
    assert {name for name, value in new.named_parameters() if not value.requires_grad} == shared
    rest = {name.split(".")[0] for name, value in new.named_parameters() if value.requires_grad}
    assert rest == TrainingConfig().learning_rates(new.config).keys()
    with pytest.raises(ValueError, match=r"^take_shared: expected a bank that shares \{.*\}, got one that shares"):
        new.take_shared(make_bank("SLP10"))


def test_equal_weights_at_the_start() -> None:
    torch.testing.assert_close(make_bank("SLPN").mixing_weights(), torch.full((3, 4), 0.25))


def test_uniform_initialization() -> None:
    bank = make_bank("SLP10", encoder="none")
    assert bank.sources is not None
    assert bank.sources.min() >= -0.5
    assert bank.sources.max() < 0.5
    assert bank.sources.std().item() == pytest.approx(12**-0.5, rel=0.1)


def test_vocabulary_initialization_takes_rows_of_the_table() -> None:
    bank = make_bank("SLPN", initialization="vocabulary")
    assert bank.sources is not None
    rows = bank.sources.detach().flatten(0, 1)
    assert torch.cdist(rows, TABLE).min(dim=1).values.max() == 0
    assert len(rows.unique(dim=0)) > 1


def test_text_initialization_repeats_or_cuts_the_text() -> None:
    bank = make_bank("SLP", initialization="text", init_texts=["abc", "a", "abcdef", "bc"])
    assert bank.sources is not None
    assert bank.privates is not None
    assert torch.equal(bank.sources[0], TABLE[[0, 1, 2, 0]])
    assert torch.equal(bank.privates, TABLE[torch.tensor([[0, 0, 0, 0], [0, 1, 2, 3], [1, 2, 1, 2]])])


def test_one_text_for_all_private_prompts() -> None:
    bank = make_bank("P", initialization="text", init_texts=["ab"])
    assert bank.privates is not None
    assert torch.equal(bank.privates, TABLE[[0, 1, 0, 1]].expand(3, M, D))


def test_errors() -> None:
    config = CrossPTConfig(tasks=TASKS, scheme="SILP", prompt_length=M)
    with pytest.raises(ValueError, match=r"must hold a stage-1 prompt for mrpc, rte, cola"):
        PromptBank(config, TABLE).initialize(nn.Embedding.from_pretrained(TABLE))
    with pytest.raises(ValueError, match=r"source prompt of mrpc must have shape \(m, d\) = \(4, 6\), got \(4, 7\)"):
        PromptBank(config, TABLE).initialize(
            nn.Embedding.from_pretrained(TABLE), source_prompts={task: torch.zeros(M, D + 1) for task in TASKS}
        )
    config = CrossPTConfig(tasks=TASKS, scheme="P", initialization="text", init_texts=["ab"], prompt_length=M)
    with pytest.raises(ValueError, match=r"initialization 'text' needs a tokenizer"):
        PromptBank(config, TABLE).initialize(nn.Embedding.from_pretrained(TABLE))
    config = CrossPTConfig(tasks=TASKS, scheme="P", initialization="text", init_texts=[""], prompt_length=M)
    with pytest.raises(ValueError, match=r"init_texts must each hold a token"):
        PromptBank(config, TABLE).initialize(nn.Embedding.from_pretrained(TABLE), tokenizer=LetterTokenizer())


def test_prompts_stay_in_float32_beside_a_half_precision_table() -> None:
    bank = PromptBank(CrossPTConfig(tasks=TASKS), TABLE.bfloat16())
    assert {p.dtype for p in bank.parameters()} == {torch.float32}


def test_autocast_leaves_encoders_alone() -> None:
    bank = make_bank("P", encoder="mlp")
    plain = bank.compose()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(bank.compose(), plain)

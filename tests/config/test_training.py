from typing import Any

import pytest

from crosspt import CrossPTConfig
from crosspt.config.scheme import Scheme
from crosspt.config.training import TrainingConfig

# The paper's section 3.2, and the notes on which rate the encoder takes
RATES = {
    "P": {"privates": 0.07, "encoder": 0.07},
    "PI": {"privates": 0.02, "encoder": 0.02},
    "SL": {"sources": 0.15, "encoder": 0.15},
    "SLN": {"sources": 0.15, "logits": 0.1, "encoder": 0.15},
    "SLP": {"sources": 0.15, "privates": 0.07, "logits": 0.1, "encoder": 0.15},
    "SIL": {"sources": 0.05, "logits": 0.1, "encoder": 0.05},
    "SIP": {"privates": 0.02, "logits": 0.1, "encoder": 0.02},
    "SILP": {"sources": 0.05, "privates": 0.02, "logits": 0.1, "encoder": 0.05},
}


@pytest.mark.parametrize("scheme", RATES)
def test_learning_rates_of_the_paper(scheme: str) -> None:
    assert TrainingConfig().learning_rates(CrossPTConfig(tasks=["a", "b"], scheme=scheme)) == RATES[scheme]


def test_given_rates_win() -> None:
    training = TrainingConfig(
        source_learning_rate=1.0, private_learning_rate=2.0, logits_learning_rate=3.0, encoder_learning_rate=4.0
    )
    rates = training.learning_rates(CrossPTConfig(tasks=["a"], scheme="SLP"))
    assert rates == {"sources": 1.0, "privates": 2.0, "logits": 3.0, "encoder": 4.0}


@pytest.mark.parametrize(
    ("settings", "rate", "group"),
    [
        ({"scheme": "SIP"}, "source_learning_rate", "sources"),
        ({"scheme": "SLN"}, "private_learning_rate", "privates"),
        ({"scheme": "P"}, "logits_learning_rate", "logits"),
        ({"scheme": "SL"}, "logits_learning_rate", "logits"),
        ({"scheme": "SLP", "encoder": "none"}, "encoder_learning_rate", "encoder"),
    ],
)
def test_a_rate_for_a_group_that_is_not_there(settings: dict[str, Any], rate: str, group: str) -> None:
    training = TrainingConfig()
    setattr(training, rate, 0.1)
    with pytest.raises(ValueError, match=rf"^learning rates: scheme {settings['scheme']} learns no {group}"):
        training.learning_rates(CrossPTConfig(tasks=["a", "b"], **settings))


@pytest.mark.parametrize(("scheme", "epochs"), [("P", 30), ("SLPN", 30), ("SILP", 20), ("PI", 20), ("SIP", 20)])
def test_epochs_of_the_paper(scheme: str, epochs: int) -> None:
    assert TrainingConfig().resolved_epochs(Scheme.parse(scheme)) == epochs
    assert TrainingConfig(epochs=7).resolved_epochs(Scheme.parse(scheme)) == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"save_steps": -1}, "save_steps must be at least 1"),
        ({"source_learning_rate": 0.0}, "source_learning_rate must be positive and finite"),
        ({"logits_learning_rate": float("nan")}, "logits_learning_rate must be positive and finite, got nan"),
        ({"max_grad_norm": -1.0}, "max_grad_norm must be 0 or more"),
        ({"lm_dropout": 1.0}, r"lm_dropout must be in \[0, 1\)"),
        ({"seed": -1}, "seed must be in"),
        ({"eval_steps": 0, "select": "best"}, "eval_steps must be at least 1, got 0"),
        ({"patience": 0, "select": "best"}, "patience must be at least 1, got 0"),
        ({"select": "first"}, "select must be best or last, got 'first'"),
        ({"patience": 3}, "patience goes with select best, got select last"),
        ({"eval_steps": 5}, "eval_steps goes with select best, got select last"),
        ({"stage1": "all"}, "stage1 must be per_task or joint, got 'all'"),
        ({"stage2": "all"}, "stage2 must be joint or per_target, got 'all'"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^TrainingConfig: {message}"):
        TrainingConfig(**settings)


@pytest.mark.parametrize(("rows", "accumulated", "steps"), [(16, 1, 1), (17, 1, 2), (64, 1, 4), (64, 3, 2), (1, 3, 1)])
def test_steps_per_epoch(rows: int, accumulated: int, steps: int) -> None:
    assert TrainingConfig(gradient_accumulation_steps=accumulated).steps_per_epoch(rows) == steps

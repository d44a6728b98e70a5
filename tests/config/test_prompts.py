import dataclasses
import math
from typing import Any

import pytest

from crosspt import CrossPTConfig
from crosspt.config.scheme import Scheme

TASKS = ["mrpc", "rte", "cola"]

# Table 1 of the paper: sources used, initialised, learned, private used, initialised; then n for 3 targets, 5 sources
TABLE_1 = {
    "P": (False, False, False, True, False, 0),
    "PI": (False, False, False, True, True, 0),
    "SL": (True, False, True, False, False, 1),
    "SLN": (True, False, True, False, False, 3),
    "SL2": (True, False, True, False, False, 2),
    "SLP": (True, False, True, True, False, 1),
    "SLPN": (True, False, True, True, False, 3),
    "SLP10": (True, False, True, True, False, 10),
    "SIL": (True, True, True, False, False, 5),
    "SIP": (True, True, False, True, False, 5),
    "SILP": (True, True, True, True, False, 5),
    "SILPI": (True, True, True, True, True, 5),
    "SLPI": (True, False, True, True, True, 1),
    "SP4": (True, False, False, True, False, 4),
}


@pytest.mark.parametrize("name", TABLE_1)
def test_grammar(name: str) -> None:
    scheme = Scheme.parse(name)
    assert scheme.name == name
    assert (*dataclasses.astuple(scheme)[1:6], scheme.num_sources(3, 5)) == TABLE_1[name]
    assert scheme.needs_source_prompts == ("I" in name)


@pytest.mark.parametrize(("spelling", "name"), [("SLNP", "SLPN"), ("slpn", "SLPN"), ("SL1", "SL"), ("SL02", "SL2")])
def test_spellings(spelling: str, name: str) -> None:
    assert Scheme.parse(spelling).name == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", r"expected S\[I\]"),
        ("X", r"expected S\[I\]"),
        ("LS", r"expected S\[I\]"),
        ("SL2P3", r"expected S\[I\]"),
        ("S", "leaves nothing to learn"),
        ("SI", "leaves nothing to learn"),
        ("P3", "needs sources"),
        ("N", "needs sources"),
        ("SIL3", "take no number"),
        ("SILPN", "take no number"),
        ("SL0", "at least 1"),
        (3, r"expected S\[I\]"),
    ],
)
def test_bad_schemes(name: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^scheme: .*{message}"):
        Scheme.parse(name)


@pytest.mark.parametrize(
    ("scheme", "temperature", "value"),
    [
        ("SLP", "log", 1.0),
        ("SLPN", "log", 1 / math.log2(4)),
        ("SLP7", "log", 1 / 3),
        ("SL7", "log", 1 / 3),  # a private prompt does not change it
        ("SLP4", "sqrt", 0.5),
        ("SLP4", "reciprocal", 0.25),
        ("SLP4", 0.3, 0.3),
        ("P", "log", 1.0),
        ("P", 0.3, 1.0),
    ],
)
def test_temperature(scheme: str, temperature: Any, value: float) -> None:
    assert CrossPTConfig(tasks=TASKS, scheme=scheme, temperature=temperature).temperature_value == pytest.approx(value)


def test_source_tasks_are_the_targets_unless_named() -> None:
    assert CrossPTConfig(tasks=TASKS, scheme="SILP").num_sources == 3
    config = CrossPTConfig(tasks=TASKS, scheme="SILP", source_tasks=["qnli"])
    assert (config.num_sources, config.num_candidates) == (1, 2)


def test_dictionary_round_trip() -> None:
    config = CrossPTConfig(tasks=TASKS, scheme="SLNP", temperature=0.5, source_tasks=["qnli"])
    assert CrossPTConfig.from_dict(config.to_dict()) == config
    assert config.scheme == "SLPN"
    assert "freeze_shared" not in config.to_dict(), "older versions read it"
    added = dataclasses.replace(config, scheme="SLP3", freeze_shared=True, initialization="text", init_texts=["a"])
    assert CrossPTConfig.from_dict(added.to_dict()) == added


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": []}, "tasks must be a list of task names and not empty"),
        ({"tasks": "mrpc"}, "tasks must be a list of task names, got 'mrpc'"),
        ({"tasks": ["mrpc", "mrpc"]}, "tasks must not name a task twice"),
        ({"source_tasks": []}, "source_tasks must be a list"),
        ({"prompt_length": 0}, "prompt_length must be a positive integer, got 0"),
        ({"encoder": "cnn"}, "encoder must be one of linear, none, mlp, lstm, got 'cnn'"),
        ({"encoder_hidden_size": 8}, "encoder_hidden_size is for mlp and lstm"),
        ({"encoder_per_prompt": 1}, "encoder_per_prompt must be a bool or None"),
        ({"temperature": "cold"}, "temperature must be one of log, sqrt, reciprocal, got 'cold'"),
        ({"temperature": -1.0}, "temperature must be positive and finite"),
        ({"temperature": None}, "temperature must be a number or a name"),
        ({"initialization": "zeros"}, "initialization must be one of"),
        ({"initialization": "text"}, "init_texts goes with initialization 'text'"),
        ({"init_texts": ["a"]}, "init_texts goes with initialization 'text'"),
        (
            {"initialization": "text", "init_texts": ["a"]},
            "init_texts must hold 6 texts for scheme SLPN, in the order source 1, source 2, source 3, private prompt "
            "of mrpc, private prompt of rte, private prompt of cola, got 1; sources that start alike would stay alike$",
        ),
        (
            {"scheme": "SLP", "initialization": "text", "init_texts": ["a", "b"]},
            "must hold 4 texts for scheme SLP, in the order source 1, private prompt of mrpc, .* of cola, or one text "
            "for all, got 2$",
        ),
        (
            {"scheme": "SILP", "initialization": "text", "init_texts": ["a", "b"]},
            "must hold 3 texts for scheme SILP, in the order private prompt of mrpc, private prompt of rte, private",
        ),
        (
            {"scheme": "SL", "initialization": "text", "init_texts": ["a", "b"]},
            "must hold 1 text for scheme SL, in the order source 1, got 2$",
        ),
        (
            {"scheme": "PI", "initialization": "text", "init_texts": ["a", "b"]},
            "scheme PI starts every prompt from a saved one, got 2 init_texts",
        ),
        ({"scheme": "PI", "source_tasks": ["rte"]}, "source_tasks lack mrpc, cola"),
        ({"freeze_shared": 1}, "freeze_shared must be a bool, got 1"),
        ({"scheme": "SL", "freeze_shared": True}, "with freeze_shared scheme SL leaves a task nothing to learn"),
        ({"scheme": "SIL", "source_tasks": ["a"], "freeze_shared": True}, "scheme SIL leaves a task nothing to learn"),
    ],
)
def test_bad_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"^CrossPTConfig: .*{message}"):
        CrossPTConfig(**{"tasks": TASKS, **changes})


def test_unknown_and_missing_keys() -> None:
    with pytest.raises(ValueError, match=r"^here: unknown key 'promt_length'; did you mean 'prompt_length'\?"):
        CrossPTConfig.from_dict({"tasks": TASKS, "promt_length": 3}, origin="here")
    with pytest.raises(ValueError, match=r"^here: the key 'tasks' is missing"):
        CrossPTConfig.from_dict({}, origin="here")

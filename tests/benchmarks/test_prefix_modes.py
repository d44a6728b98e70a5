import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from benchmarks import causal, models, prefix_modes
from benchmarks.comparisons import Comparison, Outcome
from benchmarks.peers import Peer, UnavailableError
from benchmarks.prefix_modes import GOALS
from benchmarks.report import GOALS as GOAL_COLUMNS
from benchmarks.report import cells
from benchmarks.shapes import TINY
from benchmarks.timing import Timing

SHAPE = TINY.moved(B=4)


@pytest.fixture
def bench() -> models.Bench:
    return models.make_bench(SHAPE)


def test_attentions_share_weights_and_nothing_else(bench: models.Bench) -> None:
    other = models.with_attention(bench.t5, "eager")
    assert other.encoder.config._attn_implementation == "eager"
    assert bench.t5.encoder.config._attn_implementation != "eager"
    assert all(mine is theirs for mine, theirs in zip(other.parameters(), bench.t5.parameters(), strict=True))


def test_attentions_of_a_plain_t5_are_compared(bench: models.Bench) -> None:
    names = ("eager", "sdpa", "crosspt")
    comparisons = [Comparison(operation, SHAPE, rounds=3, peers=names) for operation in models.PLAIN]
    rows = [row for comparison in comparisons for row in comparison.measure("cpu").to_json()]
    assert [row["operation"] for row in rows] == [*3 * ["plain T5, gradient"], *3 * ["plain T5, answers"]]
    assert [row["peer"] for row in rows] == [*names, *names]
    assert not [row for row in rows if "missing" in row]
    assert all(parameter.grad is None for parameter in bench.t5.parameters())


def test_flex_attention_that_fails_is_missing_with_its_reason(bench: models.Bench) -> None:
    with pytest.raises(UnavailableError, match=r"fails in transformers: .*does not support `dropout`"):
        models.PLAIN[0].peers["flex_attention"].build(bench)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda x: x * 1.01, "wrong: the loss is"),
        (lambda x: x + (x - x.detach()), "wrong: a gradient is off"),
    ],
)
def test_a_wrong_attention_is_not_timed(wrong: Callable[[Tensor], Tensor], complaint: str) -> None:
    def forward(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        return wrong(sdpa_attention_forward(*args, **kwargs)[0]), None

    AttentionInterface.register("crosspt_test_wrong", forward)
    AttentionMaskInterface.register("crosspt_test_wrong", sdpa_mask)
    for operation, training in zip(models.PLAIN, (True, False), strict=True):
        build = partial(models.build_plain, "crosspt_test_wrong", training)
        peers = {"eager": operation.peers["eager"], "wrong": Peer("wrong", "", build)}
        outcome = Comparison(dataclasses.replace(operation, peers=peers), SHAPE, rounds=3).measure("cpu")
        assert outcome.missing["wrong"]["missing"].startswith(complaint)
        assert [name for _, name in outcome.timings] == ["eager"]


def test_modes_that_are_taken_for_each_other_are_noticed(bench: models.Bench) -> None:
    for name in ("CrossPTModel", "CrossPTModel isolated"):
        built = models.MODELS[name].build(bench)
        assert built.check() is None
        assert "the loss is" in str(dataclasses.replace(built, isolated=not built.isolated).check())


@pytest.mark.parametrize(("what", "shape"), [("4 tokens", (4, 1 + 4)), ("forward", ())])
def test_isolated_inference_is_timed_with_a_warm_cache(
    what: str, shape: tuple[int, ...], bench: models.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = models.MODELS["CrossPTModel isolated"].build(bench).work(what)

    def refuse(*_: Any) -> None:
        pytest.fail("a prefix was computed while the clock ran")

    monkeypatch.setattr("crosspt.models.t5.family.compute_prefix", refuse)
    result = work.run(*work.prepare())
    assert result.shape == shape
    assert not result.requires_grad
    assert work.warm


def judged(timings: dict[str, Timing]) -> list[dict[str, Any]]:
    return prefix_modes.judge({"inference": Outcome({("forward", name): timing for name, timing in timings.items()})})


def test_goals_are_judged_by_ratios_within_rounds() -> None:
    timings = {"PEFT prompt tuning": Timing(wall=[4.0, 40.0, 400.0]), "plain": Timing(wall=[1.0, 10.0, 100.0])}
    timings["CrossPTModel isolated"] = Timing(wall=[1.3, 12.0, 110.0])
    peft, plain, full = judged(timings)
    assert (peft["ratio"], peft["met"], peft["rounds"]) == (0.3, True, 3)
    assert (plain["ratio"], plain["met"]) == (1.2, True)
    assert full["missing"] == "CrossPTModel did not run"
    assert cells(GOAL_COLUMNS, peft)[3:] == ["0.300", "0.333", "3"]
    assert cells(GOAL_COLUMNS, full)[3:] == ["CrossPTModel did not run", "1.03", ""]
    timings["CrossPTModel"] = Timing(wall=[4.2, 42.0, 420.0])
    assert not judged(timings)[2]["met"]


def test_modes_are_compared_with_their_peers() -> None:
    pytest.importorskip("peft")
    sizes = SHAPE.to_json()
    outcomes = {name: prefix_modes.comparison(name, 3, **sizes).measure("cpu") for name in prefix_modes.OPERATIONS}
    rows, goals = [row for outcome in outcomes.values() for row in outcome.to_json()], prefix_modes.judge(outcomes)
    assert not [row for row in rows if "missing" in row]
    assert {(row["operation"], row["peer"]) for row in rows} == {
        ("answers", "CrossPTModel"),
        ("answers", "CrossPTModel isolated, warm cache"),
        ("answers", "PEFT prompt tuning"),
        ("answers", "plain"),
        ("causal answer", "CrossPTModel isolated, warm cache"),
        ("causal answer", "PEFT prompt tuning"),
        ("causal answer", "plain"),
        ("inference", "CrossPTModel"),
        ("inference", "CrossPTModel isolated, warm cache"),
        ("inference", "PEFT prompt tuning"),
        ("inference", "plain"),
        ("training_step", "CrossPTModel"),
        ("training_step", "CrossPTModel isolated"),
        ("training_step", "PEFT prompt tuning"),
    }
    assert [goal["ratio"] > 0 for goal in goals] == [True] * len(GOALS)


def test_wrong_causal_answers_are_noticed() -> None:
    batch = causal.make_causal_batch(SHAPE)
    for name, peer in causal.PEERS.items():
        built = peer.build(batch)
        assert built.check() is None, name
        other = dataclasses.replace(built, rows=lambda rows=built.rows: rows() * 1.5)
        assert "a logit is off" in str(other.check())

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from benchmarks import attentions, prefix_modes, steps
from benchmarks.prefix_modes import GOALS, compare_prefix_modes
from benchmarks.providers import UnavailableError
from benchmarks.shapes import TINY
from benchmarks.timing import Timing, Work


@pytest.fixture
def bench() -> steps.Bench:
    return steps.make_bench(steps.T5_TINY, TINY.moved(B=4))


def test_attentions_share_weights_and_nothing_else(bench: steps.Bench) -> None:
    other = steps.with_attention(bench.t5, "eager")
    assert other.encoder.config._attn_implementation == "eager"
    assert bench.t5.encoder.config._attn_implementation != "eager"
    assert all(mine is theirs for mine, theirs in zip(other.parameters(), bench.t5.parameters(), strict=True))


def test_attentions_of_a_plain_t5_are_compared(bench: steps.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attentions, "IMPLEMENTATIONS", ("eager", "sdpa", "crosspt"))
    rows = attentions.compare_attentions(bench, rounds=3)
    assert [row["peer"] for row in rows] == 2 * ["eager", "sdpa", "crosspt"]
    assert not [row for row in rows if "missing" in row]
    assert all(parameter.grad is None for parameter in bench.t5.parameters())


def test_flex_attention_that_fails_is_missing_with_its_reason(bench: steps.Bench) -> None:
    with pytest.raises(UnavailableError, match=r"fails in transformers: .*does not support `dropout`"):
        attentions.plain(bench, "flex_attention", "gradient")


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda x: x * 1.01, "wrong: the loss is"),
        (lambda x: x + (x - x.detach()), "wrong: a gradient is off"),
    ],
)
def test_a_wrong_attention_is_not_timed(
    wrong: Callable[[Tensor], Tensor], complaint: str, bench: steps.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        return wrong(sdpa_attention_forward(*args, **kwargs)[0]), None

    AttentionInterface.register("crosspt_test_wrong", forward)
    AttentionMaskInterface.register("crosspt_test_wrong", sdpa_mask)
    monkeypatch.setattr(attentions, "IMPLEMENTATIONS", ("eager", "crosspt_test_wrong"))
    for row in attentions.compare_attentions(bench, rounds=3):
        if row["peer"] == "eager":
            assert "seconds" in row
        else:
            assert row["missing"].startswith(complaint)


def test_modes_that_are_taken_for_each_other_are_noticed(bench: steps.Bench) -> None:
    for name in ("CrossPTModel", "CrossPTModel isolated"):
        prompted = steps.MODELS[name](bench)
        assert steps.check(prompted, bench) is None
        assert "the loss is" in str(steps.check(dataclasses.replace(prompted, isolated=not prompted.isolated), bench))


@pytest.mark.parametrize(
    ("make", "shape"), [(steps.answering_work, (4, 1 + steps.ANSWER_TOKENS)), (steps.inference_work, ())]
)
def test_isolated_inference_is_timed_with_a_warm_cache(
    make: Callable[[steps.Prompted], Work], shape: tuple[int, ...], bench: steps.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompted = steps.MODELS["CrossPTModel isolated"](bench)
    work = make(prompted)

    def refuse(*_: Any) -> None:
        pytest.fail("a prefix was computed while the clock ran")

    monkeypatch.setattr("crosspt.models.t5.family.compute_prefix", refuse)
    result = work.run(*work.prepare())
    assert result.shape == shape
    assert not result.requires_grad
    assert steps.warm_name(prompted) == "CrossPTModel isolated, warm cache"


def test_goals_are_judged_by_ratios_within_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    timings = {"PEFT prompt tuning": Timing(wall=[4.0, 40.0, 400.0]), "plain": Timing(wall=[1.0, 10.0, 100.0])}
    timings["CrossPTModel isolated"] = Timing(wall=[1.3, 12.0, 110.0])
    peft, plain, full = (prefix_modes._judge(goal, timings) for goal in GOALS[:3])
    assert (peft["ratio"], peft["met"], peft["rounds"]) == (0.3, True, 3)
    assert (plain["ratio"], plain["met"]) == (1.2, True)
    assert full["missing"] == "CrossPTModel did not run"
    prefix_modes.print_goals([peft, full])
    printed = capsys.readouterr().out
    assert "0.300" in printed
    assert "CrossPTModel did not run" in printed
    timings["CrossPTModel"] = Timing(wall=[4.2, 42.0, 420.0])
    assert not prefix_modes._judge(GOALS[2], timings)["met"]


def test_modes_are_compared_with_their_peers() -> None:
    pytest.importorskip("peft")
    shapes = {operation: TINY.moved(B=4) for operation in prefix_modes.SHAPES}
    rows, goals = compare_prefix_modes(steps.T5_TINY, shapes, "cpu", rounds=3)
    assert not [row for row in rows if "missing" in row]
    assert {(row["operation"], row["peer"]) for row in rows} == {
        ("answers", "CrossPTModel"),
        ("answers", "CrossPTModel isolated, warm cache"),
        ("answers", "PEFT prompt tuning"),
        ("answers", "plain"),
        ("inference", "CrossPTModel"),
        ("inference", "CrossPTModel isolated, warm cache"),
        ("inference", "PEFT prompt tuning"),
        ("inference", "plain"),
        ("training_step", "CrossPTModel"),
        ("training_step", "CrossPTModel isolated"),
        ("training_step", "PEFT prompt tuning"),
    }
    assert [goal["ratio"] > 0 for goal in goals] == [True] * len(GOALS)

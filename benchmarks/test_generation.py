"""Answers to a batch: a label of a few tokens, and a longer text."""

from collections.abc import Callable

import pytest

from benchmarks.steps import ANSWER_TOKENS, Bench, Prompted, generation_work


@pytest.mark.parametrize(("operation", "tokens"), [("label_prediction", ANSWER_TOKENS), ("generation", 16)])
def test_generation(
    timed: Callable[..., None], prompted: Prompted, model: str, bench: Bench, operation: str, tokens: int
) -> None:
    """Wall time of one batch, greedy, with a fixed number of tokens."""
    work = generation_work(prompted, bench, tokens)
    timed(work, bench.shape, peer=model, operation=operation, what=f"{tokens} tokens", lacks=prompted.lacks)

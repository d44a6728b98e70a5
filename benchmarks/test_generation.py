"""Answers to a batch: a label of a few tokens, and a longer text."""

from collections.abc import Callable

import pytest

from benchmarks.steps import ANSWER_TOKENS, Bench, Prompted, answering_work, warm_name


@pytest.mark.parametrize(("operation", "tokens"), [("label_prediction", ANSWER_TOKENS), ("generation", 16)])
def test_generation(timed: Callable[..., None], prompted: Prompted, bench: Bench, operation: str, tokens: int) -> None:
    """Wall time of one batch, greedy, with a fixed number of tokens."""
    timed(
        answering_work(prompted, tokens),
        bench.shape,
        peer=warm_name(prompted),
        operation=operation,
        what=f"{tokens} tokens",
        lacks=prompted.lacks,
    )

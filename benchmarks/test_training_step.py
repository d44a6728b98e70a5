"""A T5's training step: forward, backward and the optimizer."""

from collections.abc import Callable

from benchmarks.steps import Bench, Prompted, training_work


def test_training_step(timed: Callable[..., None], prompted: Prompted, bench: Bench) -> None:
    """Wall time of one step."""
    work = training_work(prompted)
    timed(work, bench.shape, peer=prompted.name, operation="training_step", what="step", lacks=prompted.lacks)

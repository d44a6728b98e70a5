"""A T5's training step: forward, backward and the optimizer."""

from collections.abc import Callable

from benchmarks.shapes import Shape
from benchmarks.steps import Bench, Prompted, training_work


def test_training_step(timed: Callable[..., None], prompted: Prompted, model: str, bench: Bench, shape: Shape) -> None:
    """Wall time of one step."""
    bench.t5.train()
    timed(
        training_work(prompted), bench.shape, peer=model, operation="training_step", what="step", lacks=prompted.lacks
    )

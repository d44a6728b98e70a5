"""Full and isolated prefixes, short and long ones before short and long texts."""

from collections.abc import Callable

import pytest

from benchmarks.comparisons import MODEL_OPERATIONS
from benchmarks.shapes import STEP
from benchmarks.steps import PREFIX_MODELS, Bench, Prompted

MODELS = PREFIX_MODELS
GRIDS = {
    "small": [STEP.moved(m=100, L=16), STEP.moved(m=10, L=64)],
    "full": [STEP.moved(m=m, L=L) for m in (10, 100) for L in (16, 64, 256)],
}


@pytest.mark.parametrize("operation", ["training_step", "answers"])
def test_prefix_modes(timed: Callable[..., None], prompted: Prompted, bench: Bench, operation: str) -> None:
    """Wall time of a training step, or of a batch's answers."""
    what, make_work, describe = MODEL_OPERATIONS[operation]
    timed(
        make_work(prompted), bench.shape, peer=describe(prompted), operation=operation, what=what, lacks=prompted.lacks
    )

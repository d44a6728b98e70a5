"""The scale of a task of scores: (the least, the largest, the step between two that can be answered)."""

import math
from decimal import Decimal

SCORE_RANGE = (0.0, 5.0)
"""The similarity scores of STS-B, which a model answers in fifths."""
MOST_STEPS = 100  # each score is an answer
Scale = tuple[float, float, float]


def is_scale(scale: tuple[float, ...]) -> bool:
    """Tells whether 1 to `MOST_STEPS` steps lead from the least score to the largest."""
    if len(scale) != 3 or not all(map(math.isfinite, scale)):
        return False
    low, high, step = scale
    steps = (high - low) / step if step > 0 else 0.0
    return 0.5 < steps <= MOST_STEPS + 0.5 and abs(steps - round(steps)) < 1e-6


def scale_texts(scale: Scale) -> list[str]:
    """Returns every score that can be answered, as text with as many decimals as the scale has ("3.8")."""
    low, high, step = scale
    return [_text(scale, number) for number in range(round((high - low) / step) + 1)]


def nearest_text(scale: Scale, score: float) -> str:
    """Returns the score at the nearest step, as text."""
    low, _, step = scale
    return _text(scale, round((score - low) * (1 / step)))


def _text(scale: Scale, steps: int) -> str:
    low, _, step = scale
    decimals = max(0, *(-int(Decimal(str(part)).normalize().as_tuple().exponent) for part in (low, step)))
    return f"{low + steps * step:.{decimals}f}"

"""What the pytest-benchmark suites time."""

from collections.abc import Hashable
from dataclasses import replace

from benchmarks import models, prefix_modes
from benchmarks.comparisons import Comparison
from benchmarks.embedding import EMBEDDING
from benchmarks.shapes import GROWTH, REFERENCE, SMALL_T5, STEP, TINY, Grid, Shape, shapes

BUDGETS: dict[Grid, float] = {"small": 12.0, "full": 120.0}  # seconds of rounds a pass; thrice for whole T5s
STEPS: dict[Grid, list[Shape]] = {
    "small": [STEP],
    "full": [SMALL_T5.moved(B=B, L=L, n=n) for B in (16, 64) for L in (64, 256) for n in (8, 64)],
}
PREFIXES: dict[Grid, list[Shape]] = {
    "small": [STEP.moved(m=100, L=16), STEP.moved(m=10, L=64)],
    "full": [STEP.moved(m=m, L=L) for m in (10, 100) for L in (16, 64, 256)],
}
GROWING = ("triton", "torch", "literal", "PEFT multitask", "bare prompt")


def suites(grid: Grid) -> dict[str, list[Comparison]]:
    """The comparisons of every suite, by name."""
    budget, prefixes = BUDGETS[grid], prefix_modes.OPERATIONS
    long, quick = 3 * budget, tuple(name for name in EMBEDDING.peers if name != "torch.compile")
    compiled = shapes(grid) if grid == "full" else [REFERENCE]  # each shape takes torch.compile many seconds
    return {
        "embedding": [Comparison(EMBEDDING, s, 31, budget, () if s in compiled else quick) for s in shapes(grid)],
        "training_step": [Comparison(models.TRAINING_STEP, s, 11, long) for s in (SMALL_T5, *STEPS[grid])],
        "generation": [Comparison(o, s, 7, long) for s in STEPS[grid] for o in (models.LABELS, models.GENERATION)],
        "goals": [prefix_modes.comparison(name, 7, long) for name in prefixes],
        "prefix_modes": [
            Comparison(prefixes[name], s, 7, long, prefix_modes.PEERS)
            for s in PREFIXES[grid]
            for name in ("training_step", "answers")
        ],
        "attention": [Comparison(operation, SMALL_T5, 7, budget) for operation in models.PLAIN],
        "growth": [
            *(Comparison(EMBEDDING, REFERENCE, 15, budget, GROWING, name, GROWTH[name]) for name in GROWTH),
            Comparison(models.TRAINING_STEP, STEP, 9, long, ("CrossPTModel", "literal"), "n", GROWTH["n"]),
        ],
    }


def tiny_suites() -> dict[str, list[Comparison]]:
    """The same on the smallest sizes and values, once for each operation and growing size, to see that all run."""
    tiny: dict[str, dict[Hashable, Comparison]] = {}
    for suite, comparisons in suites("small").items():
        for one in comparisons:
            moved = replace(one, shape=TINY, rounds=1, values=(1, 2) if one.size else ())
            tiny.setdefault(suite, {}).setdefault((one.operation, one.size), moved)
    return {suite: list(comparisons.values()) for suite, comparisons in tiny.items()}

"""Which rows a few-shot run trains on."""

from collections.abc import Sequence

import numpy as np

SCORE_BINS = 5


def few_shot_indices(labels: Sequence[int] | Sequence[float], shots: int, seed: int) -> list[int]:
    """Draws `shots` rows in total, as many from each class as possible.

    Rows are dealt one at a time to the classes, in an order that the seed draws; a class that has run out is passed
    over, so classes with rows to spare differ by one at most. Scores (floats) count as classes by five bins of equal
    width between the lowest and the highest.

    Args:
        labels: class id, or score, of every row.
        shots: number of rows to draw.
        seed: of a generator of its own; the global ones are neither read nor advanced.

    Returns:
        Row numbers, ascending.

    Raises:
        ValueError: when shots is below 1 or above the number of rows.
    """
    if not 1 <= shots <= len(labels):
        raise ValueError(f"few_shot_indices: shots must be from 1 to the {len(labels)} rows, got {shots}")
    classes = np.asarray(labels)
    if classes.dtype.kind == "f":
        edges = np.linspace(classes.min(), classes.max(), SCORE_BINS + 1)
        classes = np.digitize(classes, edges[1:-1])
    rng = np.random.Generator(np.random.PCG64(seed))
    members = [rng.permutation(np.flatnonzero(classes == value)) for value in np.unique(classes)]
    turns = [members[position] for position in rng.permutation(len(members))]
    dealt = [rows[depth] for depth in range(max(map(len, turns))) for rows in turns if depth < len(rows)]
    return sorted(int(row) for row in dealt[:shots])

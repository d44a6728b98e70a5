"""Which rows a run trains on, and which it selects on."""

from collections.abc import Sequence

import numpy as np

SCORE_BINS = 5
MOST_DEV_ROWS = 1000  # by default


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
    rng = np.random.Generator(np.random.PCG64(seed))
    members = _shuffle_classes(labels, rng)
    turns = [members[position] for position in rng.permutation(len(members))]
    dealt = [rows[depth] for depth in range(max(map(len, turns))) for rows in turns if depth < len(rows)]
    return sorted(int(row) for row in dealt[:shots])


def share_indices(labels: Sequence[int] | Sequence[float], count: int, seed: int) -> list[int]:
    """Draws `count` rows, of each class as large a share as of another.

    The seed puts the n rows of a class in an order, in which row i has the place (i + 1/2) / n; the first places of all
    classes are taken. A class of one row gives it only where half of all rows are drawn.

    Args:
        labels: as for `few_shot_indices`.
        count: number of rows to draw, of at most all.
        seed: likewise.

    Returns:
        Row numbers, ascending.
    """
    members = _shuffle_classes(labels, np.random.Generator(np.random.PCG64(seed)))
    places = np.concatenate([(np.arange(len(rows)) + 0.5) / len(rows) for rows in members])
    first = np.argsort(places, kind="stable")[:count]
    return sorted(np.concatenate(members)[first].tolist())


def _shuffle_classes(labels: Sequence[int] | Sequence[float], rng: np.random.Generator) -> list[np.ndarray]:
    """Row numbers of each class, in random order."""
    classes = np.asarray(labels)
    if classes.dtype.kind == "f":
        edges = np.linspace(classes.min(), classes.max(), SCORE_BINS + 1)
        classes = np.digitize(classes, edges[1:-1])
    return [rng.permutation(np.flatnonzero(classes == value)) for value in np.unique(classes)]


def dev_count(rows: int, shots: int | None, dev_rows: int | None) -> int:
    """The number of a task's development rows.

    Args:
        rows: number of rows one may train on.
        shots: how many of them are trained on; None for all but the development rows.
        dev_rows: the number where it is given; by default as many as shots, or a tenth of all rows and
            ``MOST_DEV_ROWS`` at most.
    """
    return dev_rows or shots or min(max(rows // 10, 1), MOST_DEV_ROWS)

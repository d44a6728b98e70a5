"""What seeds and rows leave open about a value: its interval, an exact test, and the seeds that would settle it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm, permutation_test, t
from statsmodels.stats.multitest import multipletests

LEVEL = 0.05  # of all tests of a figure or table together, and what an interval leaves out
POWER = 0.8
MOST_SEEDS = 1000  # an estimate beyond says no more than that there is hardly a difference
MOST_FLIPS = 2**16  # all of them up to 16 seeds, and so many drawn ones of more


class Estimate(NamedTuple):
    """A mean over seeds."""

    seeds: int
    mean: float = math.nan
    std: float = math.nan  # sample standard deviation over the seeds
    low: float = math.nan  # the 95 % interval; NaN with fewer than two seeds or where a seed's answers are missing
    high: float = math.nan


def estimate(sample: pd.DataFrame) -> Estimate:
    """The mean of a sample, and its 95 % interval by hierarchical resampling: first seeds, then rows within them.

    A seed's own variance holds that of its rows already, so drawing both as they are would count rows twice. Seeds are
    therefore drawn about their mean at the scale that leaves the variance of the drawn means that of the mean of
    independent seeds, and the interval is as much wider as Student's t of so few seeds is than the normal distribution.

    Args:
        sample: a line for each seed: its value, then its values of draws of rows; NaN where such a draw has none.
    """
    content = sample.to_numpy(dtype=float)
    seeds, values, draws = len(content), content[:, 0], content[:, 1:].copy()
    if seeds == 0:
        return Estimate(0)
    known = ~np.isnan(draws)
    if seeds == 1 or not (known.mean(axis=1) > 0.5).all():
        return Estimate(seeds, float(values.mean()), float(pd.Series(values).std()))
    generator = np.random.default_rng(0)
    for line, defined in zip(draws, known, strict=True):
        line[~defined] = generator.choice(line[defined], (~defined).sum())
    between, within = values.var(ddof=1), draws.var(axis=1).mean()
    scale = math.sqrt(max(between - within, 0) / between * seeds / (seeds - 1)) if between else 0.0
    drawn = generator.integers(seeds, size=(draws.shape[1], seeds))
    rows = (draws - draws.mean(axis=1, keepdims=True))[drawn, generator.integers(draws.shape[1], size=drawn.shape)]
    means = (scale * (values - values.mean())[drawn] + rows).mean(axis=1)
    tails = np.array([LEVEL / 2, 1 - LEVEL / 2])
    low, high = values.mean() + np.quantile(means, tails) * t.ppf(tails[1], seeds - 1) / norm.ppf(tails[1])
    return Estimate(seeds, float(values.mean()), float(values.std(ddof=1)), float(low), float(high))


def find_consistency(differences: np.ndarray) -> np.ndarray:
    """Of k differences over n seeds (n, k) each mean over the root of its mean square: 1 or -1 where all are equal."""
    return _scale(differences).mean(axis=0)


def flip_signs(differences: np.ndarray) -> float:
    """The p of the least consistency of k differences so far below zero, were a seed's signs as likely flipped.

    Consistency makes large differences above zero no reason to doubt small ones below it. p is doubled, as of one
    difference both directions are looked at.

    Args:
        differences: (n, k); a seed's k differences are flipped together.
    """
    seeds = len(differences)
    if seeds < 2:
        return 1.0
    scaled = _scale(differences)

    def find_least(signs: np.ndarray, _: np.ndarray, axis: int) -> np.ndarray:
        return (np.moveaxis(signs, axis, -1) @ scaled / seeds).min(axis=-1)

    signs = np.ones(seeds)
    options = {"permutation_type": "samples", "n_resamples": MOST_FLIPS, "vectorized": True, "alternative": "less"}
    flipped = permutation_test((signs, -signs), find_least, rng=np.random.default_rng(0), **options)
    return min(1.0, 2 * float(flipped.pvalue))


def adjust(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p of each test of a family."""
    return [float(p) for p in multipletests(ps, LEVEL, method="holm")[1]] if len(ps) else []


def least_seeds(tests: int) -> int:
    """The fewest seeds with which the surest of so many tests can be resolved: 2 / 2**n is at most LEVEL / tests."""
    return math.ceil(math.log2(2 * tests / LEVEL))


def seeds_needed(found: Estimate, tests: int) -> float:
    """The seeds that would resolve a difference as large and as variable as what was found.

    That is the least n of at least :func:`least_seeds` with n >= ((z(1 - a/2) + z(POWER)) * std / mean)**2, where z are
    quantiles of the normal distribution and a = LEVEL / tests; infinite for no difference, NaN where std is unknown.
    """
    if not found.mean:
        return math.inf
    quantiles = norm.ppf(1 - LEVEL / tests / 2) + norm.ppf(POWER)
    enough = float((quantiles * found.std / found.mean) ** 2)
    return enough if math.isnan(enough) else float(max(math.ceil(enough), least_seeds(tests)))


def _scale(differences: np.ndarray) -> np.ndarray:
    """Each column (n, k) over the root of its mean square."""
    squares = (differences**2).mean(axis=0)
    return differences / np.sqrt(np.where(squares > 0, squares, 1.0))

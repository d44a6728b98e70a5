import itertools
import math

import numpy as np
import pandas as pd
import pytest

from crosspt.report.statistics import Estimate, adjust, estimate, flip_signs, least_seeds, seeds_needed

DRAWS, ROWS, TRIALS = 200, 20, 300


@pytest.mark.parametrize(
    ("seeds", "of_seeds", "of_rows", "most"),
    [
        pytest.param(3, 1.0, 0.0, 0.98, id="3 seeds vary"),
        pytest.param(3, 1.0, 1.0, 1.0, id="3 seeds and rows vary"),  # too wide rather than too narrow
        pytest.param(10, 1.0, 0.0, 0.98, id="10 seeds vary"),
        pytest.param(10, 1.0, 1.0, 0.98, id="10 seeds and rows vary"),
        pytest.param(10, 0.0, 1.0, 0.99, id="rows vary"),
    ],
)
def test_intervals_cover_the_truth_as_often_as_they_say(
    seeds: int, of_seeds: float, of_rows: float, most: float
) -> None:
    """Seeds and rows of known variances about a known mean; of_rows is the deviation of a mean of ROWS rows."""
    generator, hits = np.random.default_rng(1), 0
    for _ in range(TRIALS):
        centres = 5.0 + generator.normal(0, of_seeds, seeds)
        rows = centres[:, None] + generator.normal(0, of_rows * math.sqrt(ROWS), (seeds, ROWS))
        counts = generator.multinomial(ROWS, np.full(ROWS, 1 / ROWS), (seeds, DRAWS))
        drawn = np.einsum("sdr,sr->sd", counts, rows) / ROWS
        found = estimate(pd.DataFrame(np.column_stack([rows.mean(axis=1), drawn])))
        hits += found.low <= 5.0 <= found.high
    assert 0.92 < hits / TRIALS <= most


def test_without_rows_or_a_second_seed_there_is_no_interval() -> None:
    known = pd.DataFrame([[1.0, 0.5, 1.5], [3.0, 2.5, 3.5]])
    assert estimate(known)[:3] == (2, 2.0, pytest.approx(math.sqrt(2)))
    assert estimate(known).low < 2 < estimate(known).high
    for sample in (known[:1], known[:0]):
        assert math.isnan(estimate(sample).low)
    missing = known.copy()
    missing.iloc[1, 1:] = math.nan
    assert math.isnan(estimate(missing).high)
    assert estimate(missing).mean == 2.0
    undefined = pd.DataFrame([[1.0, *[0.5] * 9, math.nan], [3.0, *[2.5] * 9, 3.5]])
    assert not math.isnan(estimate(undefined).low), "a draw without a value is drawn again"


def test_equal_values_have_a_point_for_an_interval() -> None:
    found = estimate(pd.DataFrame(np.full((4, 11), 7.0)))
    assert (found.mean, found.low, found.high) == (7.0, 7.0, 7.0)


def column(*differences: float) -> np.ndarray:
    return np.array(differences)[:, None]


def test_signs_are_flipped_a_seed_at_a_time() -> None:
    differences = np.array([[-1.0, -2.5, 0.5, -3.0, -0.25, -2.0], [0.5, 1.0, -4.0, 0.5, -1.0, -1.0]]).T
    for given in (differences, differences[:, :1], -differences[:, :1]):
        scaled = given / np.sqrt((given**2).mean(axis=0))
        least = [(np.array(signs) @ scaled).min() for signs in itertools.product((1, -1), repeat=len(given))]
        assert flip_signs(given) == min(1, 2 * np.mean(np.array(least) <= scaled.sum(axis=0).min() + 1e-9))
    assert flip_signs(column(*[-1.0] * 3)) == 2 / 2**3
    assert flip_signs(np.full((8, 5), -1.0)) == 2 / 2**8, "comparisons that fall together count once"
    beside = np.array([[-1.0, 50.0]] * 7 + [[-1.5, 60.0]])
    assert flip_signs(beside) == 2 * 2 / 2**8, "large differences above zero hide no small one below"
    assert flip_signs(column(*[0.0] * 5)) == 1.0
    assert flip_signs(column(*[2.0] * 8)) == 1.0, "above zero"
    assert flip_signs(column(*[-2.0] * 18)) < 1e-4, "flips are drawn where they are too many"
    assert flip_signs(column(-5.0)) == 1.0


@pytest.mark.parametrize(("tests", "seeds"), [(1, 6), (3, 7), (6, 8), (25, 10)])
def test_least_seeds_are_those_of_the_exact_test(tests: int, seeds: int) -> None:
    assert least_seeds(tests) == seeds
    for number, resolved in ((seeds, True), (seeds - 1, False)):
        ps = [flip_signs(column(*[-1.0] * number)), *[1.0] * (tests - 1)]
        assert (adjust(ps)[0] <= 0.05) == resolved


@pytest.mark.parametrize("least", [0.0, 3.0])
def test_a_true_statement_is_rarely_refuted(least: float) -> None:
    """Of five differences that share a scheme, none of them below zero, the surest is taken."""
    generator = np.random.default_rng(11)
    shared = generator.normal(size=(500, 8, 1))
    samples = generator.normal(size=(500, 8, 5)) + shared + np.array([0.0, 0.0, 0.0, 0.0, least])
    assert np.mean([flip_signs(each) <= 0.05 for each in samples]) <= 0.04, "half of the level, and chance"


def test_holm() -> None:
    assert adjust([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjust([]) == []


def test_seeds_that_would_resolve_a_difference() -> None:
    sure = Estimate(3, mean=5.0, std=0.1)
    assert seeds_needed(sure, 1) == 6
    assert seeds_needed(sure._replace(std=5.0), 1) == math.ceil((1.959964 + 0.841621) ** 2)
    assert seeds_needed(sure._replace(mean=-1.0, std=2.0), 5) == math.ceil((2.575829 + 0.841621) ** 2 * 4)
    assert seeds_needed(sure._replace(mean=0.0), 1) == math.inf
    assert math.isnan(seeds_needed(sure._replace(std=math.nan), 1))

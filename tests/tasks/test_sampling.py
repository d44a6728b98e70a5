from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosspt.tasks.sampling import few_shot_indices

label_lists = st.lists(st.integers(0, 4), min_size=1, max_size=60)


@given(labels=label_lists, data=st.data(), seed=st.integers(0, 2**32))
def test_balanced_without_duplicates(labels: list[int], data: st.DataObject, seed: int) -> None:
    shots = data.draw(st.integers(1, len(labels)))
    indices = few_shot_indices(labels, shots, seed)
    assert len(set(indices)) == len(indices) == shots
    assert indices == sorted(indices)
    assert all(type(index) is int for index in indices)
    taken = Counter(labels[index] for index in indices)
    available = Counter(labels)
    most = max(taken.values())
    for label, rows in available.items():
        assert taken[label] >= min(rows, most - 1)


@given(labels=label_lists, seed=st.integers(0, 2**32))
def test_own_generator(labels: list[int], seed: int) -> None:
    shots = (len(labels) + 1) // 2
    np.random.seed(0)  # noqa: NPY002 - the global generator is what is tested
    next_number = np.random.random()  # noqa: NPY002
    first = few_shot_indices(labels, shots, seed)
    np.random.seed(0)  # noqa: NPY002
    assert few_shot_indices(labels, shots, seed) == first
    assert np.random.random() == next_number  # noqa: NPY002


@given(labels=label_lists, seed=st.integers(0, 1000))
def test_more_shots_keep_the_first_ones(labels: list[int], seed: int) -> None:
    draws = [set(few_shot_indices(labels, shots, seed)) for shots in range(1, len(labels) + 1)]
    assert all(small < large for small, large in pairwise(draws))


def test_the_draw_is_pinned() -> None:
    assert few_shot_indices([0, 1] * 10, 4, seed=7) == [0, 5, 9, 16]
    assert few_shot_indices([0, 1] * 10, 4, seed=8) != [0, 5, 9, 16]


def test_the_seed_chooses_who_gets_the_leftover() -> None:
    labels = [0] * 10 + [1] * 10 + [2] * 10
    larger = {
        Counter(labels[index] for index in few_shot_indices(labels, 4, seed)).most_common(1)[0][0] for seed in range(30)
    }
    assert larger == {0, 1, 2}


def test_small_classes_give_their_share_to_others() -> None:
    labels = [0] * 2 + [1] * 20 + [2] * 20
    assert sorted(Counter(labels[index] for index in few_shot_indices(labels, 16, 0)).values()) == [2, 7, 7]


def test_every_row_can_be_drawn() -> None:
    labels = [0, 1] * 5
    assert {index for seed in range(50) for index in few_shot_indices(labels, 2, seed)} == set(range(10))


def test_scores_are_spread_over_five_bins() -> None:
    scores = [0.1, 0.2, 0.3, 0.4] * 10 + [1.5, 2.5, 3.5, 4.9]
    drawn = [scores[index] for index in few_shot_indices(scores, 6, 0)]
    assert {1.5, 2.5, 3.5, 4.9} < set(drawn)
    assert few_shot_indices([2.0] * 4, 4, 0) == [0, 1, 2, 3]


@pytest.mark.parametrize("shots", [0, -1, 4])
def test_shots_out_of_range(shots: int) -> None:
    with pytest.raises(ValueError, match=f"few_shot_indices: shots must be from 1 to the 3 rows, got {shots}"):
        few_shot_indices([0, 1, 0], shots, 0)

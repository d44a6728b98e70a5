"""Values and gradients of the attention kernels against the reference, in every variant, dtype and size."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crosspt import functional
from tests.kernels.attention_cases import CASES, Case, Inputs, Sizes, attended, make_inputs
from tests.kernels.cases import assert_same, output_gradient, results

CLOSE = 1e-12


@pytest.fixture(autouse=True)
def fast() -> Iterator[None]:
    """The interpreter without its slowest habit."""
    if torch.cuda.is_available():
        yield
        return
    from tests.kernels.interpreter import patch_language_once

    with patch_language_once():
        yield


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_variant(case: Case, device: str) -> None:
    x = make_inputs(case, Sizes(), device=device)
    assert_same(results(attended, x, "triton"), results(attended, x, "reference"), CLOSE)


SIZES = {
    "ones": Sizes(1, 1, 1, 1, 1, 1, 1),
    "one query of many keys": Sizes(2, 2, 1, 35, 5, 2, 18),
    "one key": Sizes(2, 1, 19, 1, 3, 1, 1),
    "a block exactly": Sizes(2, 1, 16, 16, 16, 2, 16),
    "larger than a block": Sizes(2, 1, 37, 21, 5, 2, 18),
    "fewer keys than queries": Sizes(2, 1, 21, 2, 5, 2, 3),
    "wider than a power of two": Sizes(1, 2, 3, 4, 19, 1, 2),
    "more tasks than rows": Sizes(2, 1, 2, 3, 4, 5, 2),
    "no own keys": Sizes(2, 2, 3, 0, 4, 2, 3),
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("case", ["prefix, bias, mask", "all"])
def test_sizes(sizes: Sizes, case: str, device: str) -> None:
    x = make_inputs(CASES[case], sizes, device=device)
    assert_same(results(attended, x, "triton"), results(attended, x, "reference"), CLOSE)

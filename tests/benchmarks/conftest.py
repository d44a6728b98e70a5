import pytest
import torch


@pytest.fixture
def interpreted() -> None:
    """For tests that count interpreted kernels."""
    if torch.cuda.is_available():
        pytest.skip("kernels are compiled, not interpreted, on a machine with a GPU")

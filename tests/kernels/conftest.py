from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the kernels run: interpreted on the CPU, or on a GPU where there is one."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA or ROCm device")
        yield "cuda"
        return
    if torch.cuda.is_available():
        pytest.skip("kernels are compiled, not interpreted, on a machine with a GPU")
    from crosspt.kernels.tools.interpreter import round_to_nearest_bfloat16

    with round_to_nearest_bfloat16():
        yield "cpu"


@pytest.fixture
def interpreted() -> None:
    """For tests that look into the interpreter."""
    if torch.cuda.is_available():
        pytest.skip("kernels are compiled, not interpreted, on a machine with a GPU")

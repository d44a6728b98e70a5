import pytest
import torch

from benchmarks.gpus import GPUS
from crosspt.functional import prepend_prompts

pytestmark = pytest.mark.usefixtures("interpreted")


def prepend(batch: int, length: int = 512) -> None:
    """Of 100 tokens a row."""
    ids = torch.arange(batch * 100).view(batch, 100) % 1000
    prompts, table = torch.rand(2, 10, length), torch.rand(1000, length)
    prepend_prompts(prompts, torch.arange(batch) % 2, ids, table, backend="triton")


def test_a_few_programs_stand_for_all() -> None:
    from benchmarks.estimate import sample_launches

    with sample_launches(GPUS["H100"], programs=10**6) as whole:
        prepend(64)
    with sample_launches(GPUS["H100"], programs=9) as few:
        prepend(64)
    assert whole[0].picks == list(range(whole[0].programs))
    assert len(few[0].picks) == len(few[0].runs) == 9
    assert few[0].picks[4] == whole[0].programs // 2
    copied = 64 * 110 * 512 * 4
    assert copied <= whole[0].bytes / 2 <= 1.05 * copied
    assert few[0].bytes == pytest.approx(whole[0].bytes, rel=0.1)
    # prompts and the table are read once, however many rows read them
    assert whole[0].unique_bytes == copied + (20 + 1000) * 512 * 4 + 8 * (64 + 64 * 100)


def test_time_grows_with_what_there_is_to_do() -> None:
    from benchmarks.estimate import estimate, sample_launches

    gpu = GPUS["H100"]
    with sample_launches(gpu, programs=4) as launches:
        prepend(1, 16)
        prepend(1, 2048)
        prepend(256, 2048)
    nothing, narrow, wide = estimate(launches, gpu)
    assert gpu.launch_seconds < nothing < narrow < wide
    moved = launches[2].unique_bytes / gpu.bytes_per_second
    assert moved <= wide - gpu.launch_seconds < 3 * moved
    # eight steps of 256 columns beside one, behind the same start
    assert 2 < (narrow - gpu.launch_seconds) / (nothing - gpu.launch_seconds) < 9

import pytest

from benchmarks.counter import Launch
from benchmarks.gpus import GPUS, Gpu

TOY = Gpu("toy", "sm_90", 100.0, 20.0, 10.0, 1e9, 1, "made up", launch_seconds=0.5)


@pytest.mark.parametrize(
    ("launch", "dtype", "seconds"),
    [
        (Launch("copy", 600, 300), "float32", 3.0),  # distinct bytes
        (Launch("add", 3, 3, flops=80), "bfloat16", 8.0),  # the ordinary units, whatever the type
        (Launch("mm", 3, 3, flops=70, depth=4), "float32", 10.0),
        (Launch("mm", 3, 3, flops=70, depth=4), "bfloat16", 5.0),
        (Launch("mm", 3, 3, flops=0, depth=250), "bfloat16", 2e-6 + 0.03),
        (Launch("template", 3, 3, flops=42, depth=4), "bfloat16", 10.0),
        (Launch("template_backward", 3, 3, flops=44, depth=4), "float16", 10.0),
        (Launch("_flash_attention_", 3, 3, flops=40, depth=4), "float32", 8.0),
    ],
)
def test_time_of_a_launch(launch: Launch, dtype: str, seconds: float) -> None:
    assert TOY.library_seconds(launch, dtype) == pytest.approx(0.5 + max(seconds, 0.03), abs=1e-5)


def test_named_gpus_are_plausible() -> None:
    for gpu in GPUS.values():
        assert 1e12 < gpu.bytes_per_second < gpu.cache_bytes_per_second
        assert gpu.half > gpu.single > gpu.clock * gpu.multiprocessors * 128

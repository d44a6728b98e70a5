"""GPUs that times are estimated for, and what a launch of PyTorch's or of a library's takes of them."""

from typing import NamedTuple

from benchmarks.counter import Launch

HALF = ("bfloat16", "float16")
PRODUCT_SHARE = 0.7
"""Of the peak rate, what a library's large matrix product reaches."""
CYCLES = {"half": (1000, 4), "other": (1000, 16), "attention": (1000, 8)}
"""Cycles of a library's kernel at least: to begin and end, and for each element of its sums or each key."""
LONGEST = 1024
"""Elements of a sum that a library does not split."""
ATTENTION_SHARE = {"template": (0.21, 0.22), "_scaled_dot_product_": (0.083, 0.14), "_flash_attention_": (0.31, 0.25)}
"""Of the peak rate of half types, what others' attention reaches forward and backward; of float32 half of the rate."""


class Gpu(NamedTuple):
    """Peak rates of a GPU."""

    name: str
    target: str  # of crosspt.kernels.tools.inspection.TARGETS
    bytes_per_second: float
    half: float  # operations a second of dense matrix products of half types
    single: float  # of float32, by the ordinary units
    clock: float  # cycles a second
    multiprocessors: int
    sheet: str
    launch_seconds: float = 2.5e-6  # of one launch when the host is no bottleneck
    cache_share: float = 0.6  # of the L2 cache's 5120 bytes a cycle

    @property
    def cache_bytes_per_second(self) -> float:
        """Of the L2 cache."""
        return self.cache_share * 5120 * self.clock

    @property
    def assumptions(self) -> str:
        """What estimates rest on."""
        sdpa, flex = ATTENTION_SHARE["_scaled_dot_product_"][0], ATTENTION_SHARE["template"][0]
        return (
            f"{self.name}, NVIDIA {self.sheet} data sheet (dense rates, {1e-9 * self.clock:.3g} GHz). Assumed: "
            f"{1e6 * self.launch_seconds:.1f} µs a launch, launches one after the other; of peak rates, "
            f"{PRODUCT_SHARE:.0%} in libraries' large products, forward {sdpa:.1%} in sdpa with a bias, {flex:.0%} in "
            f"flex attention, {self.cache_share:.0%} of the L2 cache's; others' launches stream their "
            "bytes. Not compared with a GPU yet."
        )

    def _chain(self, what: str, steps: int) -> float:
        start, step = CYCLES[what]
        return (start + step * steps) / self.clock

    def library_seconds(self, launch: Launch, dtype: str) -> float:
        """Time of a launch that is not ours: its bytes, or its products, whichever take longer."""
        half = dtype in HALF
        moved, rate = launch.unique_bytes / self.bytes_per_second, self.half if half else self.single
        attention = next((share for name, share in ATTENTION_SHARE.items() if name in launch.name), None)
        if attention is not None:
            backward = "backward" in launch.name
            share = attention[backward] if half else 0.5
            computed = max(launch.flops / (rate * share), (1 + backward) * self._chain("attention", launch.depth))
        elif launch.depth:
            chain = self._chain("half" if half else "other", min(launch.depth, LONGEST))
            computed = max(launch.flops / (rate * PRODUCT_SHARE), chain)
        else:
            computed = launch.flops / self.single
        return self.launch_seconds + max(moved, computed)


GPUS = {
    "H200": Gpu("H200 SXM 141 GB", "sm_90", 4.8e12, 989e12, 67e12, 1.755e9, 132, "H200 Tensor Core GPU"),
    "H100": Gpu("H100 SXM 80 GB", "sm_90", 3.35e12, 989e12, 67e12, 1.755e9, 132, "H100 Tensor Core GPU"),
    "A100": Gpu("A100 SXM 80 GB", "sm_80", 2.039e12, 312e12, 19.5e12, 1.41e9, 108, "A100 80 GB"),
}

"""Kernels launched by themselves are the ones that Triton would launch: ``python -m tests.kernels.kept``.

In a process of its own, in which Triton compiles for a GPU that is not there.
"""

from typing import Any
from unittest import mock

import torch
import triton
import triton.language as tl
from triton import knobs
from triton.compiler import CompiledKernel

from crosspt.kernels import launch
from crosspt.kernels.tools import absent_gpu


@triton.jit(do_not_specialize=["m"])
def add_kernel(p_out, p_one, p_other, scale: tl.float64, m, n, stride, FLAG: tl.constexpr):
    """Arguments of every kind that the package's kernels have."""
    o_i = tl.arange(0, 16)
    b_out = tl.load(p_one + o_i * stride, mask=o_i < n) * scale
    if p_other is not None:
        b_out += tl.load(p_other + o_i, mask=o_i < m)
    tl.store(p_out + o_i, -b_out if FLAG else b_out, mask=o_i < n)


def launches() -> dict[str, tuple[Any, ...]]:
    """Arguments, warps and stages by what is special about them; each pair wants another compilation or the same."""
    x = torch.zeros(64)
    usual = (x, x, x, 0.5, 3, 5, 7, False)

    def but(**changes: Any) -> tuple[Any, ...]:
        names = ("out", "one", "other", "scale", "m", "n", "stride", "flag")
        return tuple(changes.get(name, value) for name, value in zip(names, usual, strict=True))

    return {
        "usual": usual,
        "unaligned": but(other=x[1:]),
        "dtype": but(one=x.half()),
        "absent": but(other=None),
        "scale": but(scale=1.0),
        "one": but(n=1),
        "sixteen": but(stride=16),
        "other multiple": but(stride=48),
        "large": but(stride=2**31),
        "not specialized": but(m=1),
        "not specialized, large": but(m=2**31),
        "constant": but(flag=True),
    }


def check(arguments: tuple[Any, ...], warps: int = 4, stages: int = 2, *, kept: bool = True, hook: Any = None) -> None:
    """Launch twice: with the same arguments, and Triton's own choice both times, the second time without asking."""
    chosen: list[CompiledKernel] = []
    given: list[tuple[Any, ...]] = []
    by_itself = CompiledKernel.__getitem__

    def choose(compiled: CompiledKernel, grid: tuple[int, ...]) -> Any:
        chosen.append(compiled)
        return by_itself(compiled, grid)

    def take(_: Any, *launched: Any) -> None:
        given.append(launched)

    with (
        mock.patch.object(CompiledKernel, "__getitem__", choose),
        mock.patch.object(absent_gpu._Launcher, "__call__", take),
        mock.patch.object(knobs.runtime, "launch_enter_hook", hook),
    ):
        for _ in range(2):
            launch.start(add_kernel, (2,), arguments, warps, stages)
    options = {"num_warps": warps, "num_stages": stages, "debug": launch.DEBUG}
    theirs = add_kernel.run(*arguments, grid=(2,), warmup=True, **options)
    assert bool(chosen) is kept
    assert all(compiled is theirs for compiled in chosen)
    for x, y, z, _, function, *_, metadata, enter, _ in (launched[:9] for launched in given):
        assert (x, y, z, function, enter) == (2, 1, 1, theirs.function, hook)
        assert (metadata is None) is (hook is None)
    for launched in given:
        assert all(got is wanted for got, wanted in zip(launched[9:], arguments, strict=True))


def main() -> None:
    """Raise AssertionError where another kernel is launched."""
    usual = launches()["usual"]
    with absent_gpu.absent_gpu(absent_gpu.parse_target("cuda:90")):
        for _ in range(2):  # the second time every launch finds one that is kept, its own
            for name, arguments in launches().items():
                check(arguments, kept=name != "unaligned")
        check(usual, warps=8)
        check(usual, stages=3)
        with mock.patch.object(launch, "DEBUG", True):
            check(usual)
        with mock.patch.object(knobs.runtime, "debug", True):
            check(usual)
        with mock.patch.object(absent_gpu._Driver, "get_current_device", return_value=1):
            check(usual)
        check(usual, hook=print)
        seen: list[Any] = []
        with mock.patch.object(add_kernel, "pre_run_hooks", [lambda *_, **__: seen.append(None)]):
            check(usual, kept=False)
        assert len(seen) == 3
        with mock.patch.object(torch.version, "hip", "7.0"):
            check(usual, kept=False)
        with mock.patch.object(launch, "MOST_KEPT", 1):
            check((*usual[:3], 0.25, *usual[4:]))
            check(usual)
        assert len(launch._KEPT) == 1


if __name__ == "__main__":
    main()

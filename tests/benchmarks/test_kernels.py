"""Counts of a toy kernel, worked out by hand."""

import pytest
import torch
import triton
import triton.language as tl

pytestmark = pytest.mark.usefixtures("interpreted")


@triton.jit
def scale_kernel(p_out, p_in, p_factor, count, BLOCK: tl.constexpr):
    o_x = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    b_x = tl.load(p_in + o_x, mask=o_x < count, other=0.0)
    tl.store(p_out + o_x, b_x * tl.load(p_factor), mask=o_x < count)


@triton.jit
def product_kernel(p_out, p_a, p_b, SIZE: tl.constexpr):
    o_x = tl.arange(0, SIZE)
    o_xy = o_x[:, None] * SIZE + o_x[None, :]
    b_c = tl.dot(tl.load(p_a + o_xy), tl.load(p_b + o_xy))
    tl.store(p_out + o_x, tl.sum(b_c, 1))


def test_bytes_and_operations_of_a_launch() -> None:
    from benchmarks.kernels import count_operations_and_kernels

    values, factor = torch.rand(10), torch.rand(1)
    with count_operations_and_kernels() as count:
        out = torch.zeros(10)
        scale_kernel[(3,)](out, values, factor, 10, BLOCK=4)
        out + 1
    assert torch.equal(out, values * factor)
    assert count.operations == ["zeros", "scale_kernel", "add"]
    # 10 loads, 10 stores, and the factor once in each of three programs; around it a fill and an addition
    assert count.bytes == 40 + (40 + 40 + 12) + 80
    assert count.unique_bytes == 40 + (40 + 40 + 4) + 80
    assert count.flops == 12 + 10  # the lanes that run, two of them padding


def test_operations_of_a_product() -> None:
    from benchmarks.kernels import count_operations_and_kernels

    a, b, out = torch.rand(16, 16), torch.rand(16, 16), torch.empty(16)
    with count_operations_and_kernels() as count:
        product_kernel[(1,)](out, a, b, SIZE=16)
    torch.testing.assert_close(out, (a @ b).sum(1))
    assert count.launches == 1
    assert count.bytes == count.unique_bytes == 2 * 1024 + 64
    assert count.flops == 2 * 16**3 + 16 * 16


def test_accesses_outside_an_argument_are_no_result() -> None:
    from benchmarks.kernels import count_operations_and_kernels

    with pytest.raises(RuntimeError, match="outside p_out"), count_operations_and_kernels():
        scale_kernel[(3,)](torch.zeros(9), torch.rand(10), torch.rand(1), 10, BLOCK=4)


def test_our_operators_are_looked_into() -> None:
    from benchmarks.embedding import EMBEDDING, make_batch
    from benchmarks.kernels import count_operations_and_kernels
    from benchmarks.shapes import TINY

    built = EMBEDDING.peers["triton"].build(make_batch(TINY))
    assert built.check() is None
    with count_operations_and_kernels() as count:
        output = built.forward()
    kernels = [name for name in count.operations if name.endswith("_kernel")]
    assert kernels == ["prompted_embedding_kernel"]
    gradient = torch.ones_like(output)
    with count_operations_and_kernels() as count:
        output.backward(gradient)
    assert 1 <= count.launches <= 3
    assert all(name.endswith("_kernel") for name in count.operations)


@pytest.mark.slow
def test_what_the_compiler_plans_is_counted_without_being_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.codecache import CppPythonBindingsCodeCache

    from benchmarks.kernels import count_compilations

    for name in ("load_pybinding", "load_pybinding_async"):
        monkeypatch.setattr(CppPythonBindingsCodeCache, name, None)  # would call a C++ compiler
    values, weight = torch.rand(8, 16, requires_grad=True), torch.rand(16, 4)
    with count_compilations(run=False) as planned:
        out = torch.compile(lambda: (values.exp() + 1) @ weight)()
        out.backward(torch.ones_like(out))
    assert out.shape == (8, 4)
    fused, product = planned["forward"].launched
    assert fused.bytes == 2 * values.nbytes
    assert product.flops == 2 * 8 * 16 * 4
    assert planned["backward"].launches == 2

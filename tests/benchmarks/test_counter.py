"""The counter against answers worked out by hand: float32 has 4 bytes, int64 has 8."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from benchmarks.counter import Count, count_operations
from benchmarks.embedding import EMBEDDING, make_batch
from benchmarks.shapes import TINY

A, B = torch.rand(3, 5), torch.rand(3, 5)
C, D = torch.rand(3, 5), torch.rand(6)
TABLE = torch.rand(10, 4)
IDS = torch.tensor([[1, 2, 1], [9, 1, 2]])  # 3 distinct rows


def counted(call: Callable[[], Any]) -> Count:
    with count_operations() as count:
        call()
    return count


# what: call, launches, bytes, unique bytes, flops
CASES: dict[str, tuple[Callable[[], Any], int, int, int, int]] = {
    "views": (lambda: A.t()[1:].unsqueeze(0).expand(4, 4, 3).detach(), 0, 0, 0, 0),
    "a view that copies": (lambda: A.t().expand(2, 5, 3).flatten(1), 1, 120 + 120, 60 + 120, 0),
    "allocation": (lambda: torch.empty(100), 0, 0, 0, 0),
    "nothing": (lambda: torch.empty(0, 5) + 1, 0, 0, 0, 0),
    "addition": (lambda: A + B, 1, 3 * 60, 3 * 60, 15),
    "one operand twice": (lambda: A * A, 1, 3 * 60, 2 * 60, 15),
    "broadcast row": (lambda: A + B[0], 1, 60 + 20 + 60, 60 + 20 + 60, 15),
    "expanded operand": (lambda: A.expand(7, 3, 5) * 2, 1, 2 * 7 * 60, 60 + 7 * 60, 7 * 15),
    "overlapping windows": (lambda: D.unfold(0, 3, 1) * 2, 1, 2 * 48, 24 + 48, 12),
    "fill": (lambda: torch.zeros(6, 2), 1, 48, 48, 0),
    "fill like another": (lambda: torch.zeros_like(A), 1, 60, 60, 0),
    "several operands in one launch": (lambda: torch._foreach_add_([C, D], 1.0), 1, 2 * (60 + 24), 2 * (60 + 24), 21),
    "fill in place": (lambda: A.clone().zero_(), 2, 3 * 60, 3 * 60, 0),
    "addition in place": (lambda: A.clone().add_(B), 2, 5 * 60, 5 * 60, 15),
    "copy": (lambda: torch.empty(3, 5).copy_(A), 1, 2 * 60, 2 * 60, 0),
    "cast": (lambda: A.to(torch.bfloat16), 1, 60 + 30, 60 + 30, 0),
    "no cast": (lambda: A.to(torch.float32), 0, 0, 0, 0),
    "matrix product": (lambda: A @ B.t(), 1, 60 + 60 + 36, 60 + 60 + 36, 2 * 3 * 5 * 3),
    "batched product": (lambda: A.view(3, 1, 5) @ B.view(3, 5, 1), 1, 60 + 60 + 12, 60 + 60 + 12, 2 * 3 * 5),
    "sum": (lambda: A.sum(), 1, 64, 64, 15),
    "concatenation": (lambda: torch.cat([A, B.expand(2, 3, 5)[0], A]), 1, 6 * 60, 60 + 60 + 180, 0),
    "embedding": (lambda: F.embedding(IDS, TABLE), 1, 48 + 96 + 96, 48 + 48 + 96, 0),
    "index": (lambda: TABLE[IDS], 1, 48 + 96 + 96, 48 + 48 + 96, 0),
    "index along the second dimension": (lambda: TABLE[:, IDS[0]], 1, 24 + 120 + 120, 24 + 80 + 120, 0),
    "index_select": (lambda: TABLE.index_select(0, IDS[0]), 1, 24 + 48 + 48, 24 + 32 + 48, 0),
    "gather": (lambda: TABLE.gather(0, IDS[:, :1]), 1, 16 + 8 + 8, 16 + 8 + 8, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operation(name: str) -> None:
    call, launches, requested, unique, flops = CASES[name]
    count = counted(call)
    assert (count.launches, count.bytes, count.unique_bytes, count.flops) == (launches, requested, unique, flops)


def test_random_numbers_are_written_and_not_read() -> None:
    count = counted(lambda: torch.empty(5).uniform_())
    assert (count.launches, count.bytes, count.unique_bytes) == (1, 20, 20)


def test_other_libraries_are_looked_into() -> None:
    library = torch.library.Library("crosspt_test_counter", "DEF")
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x + torch.zeros(5), "CompositeExplicitAutograd")
    count = counted(lambda: torch.ops.crosspt_test_counter.twice(A))
    assert count.operations == ["zeros", "add"]


def test_scatters_touch_only_their_places() -> None:
    rows = torch.rand(3, 4)
    count = counted(lambda: TABLE.clone().index_put_((IDS[0],), rows, accumulate=True))
    clone = 2 * 160
    # Values and indices are read; the places, two of them distinct, are read and written.
    assert count.operations == ["clone", "index_put_"]
    assert count.bytes == clone + 48 + 24 + 2 * 48
    assert count.unique_bytes == clone + 48 + 24 + 2 * 32
    without_reading = counted(lambda: TABLE.clone().index_put_((IDS[0],), rows))
    assert without_reading.bytes == clone + 48 + 24 + 48
    whole = counted(lambda: TABLE.index_add(0, IDS[0], rows))
    assert (whole.launches, whole.bytes) == (1, 48 + 24 + 2 * 160)


def test_the_gradient_of_a_slice_is_a_fill_and_a_copy() -> None:
    leaf = torch.rand(6, 5, requires_grad=True)
    part = leaf[1:3]
    gradient = torch.rand(2, 5)
    count = counted(lambda: part.backward(gradient))
    assert count.operations == ["slice_backward", "slice_backward"]
    assert count.bytes == 120 + 40 + 40


def test_backward_is_counted() -> None:
    left, right = torch.rand(3, 5, requires_grad=True), torch.rand(5, 2)
    product = left @ right
    count = counted(lambda: product.backward(torch.ones(3, 2)))
    assert count.operations == ["ones", "mm"]
    assert count.bytes == 24 + 24 + 40 + 60
    assert count.flops == 2 * 3 * 2 * 5


def test_literal_formulation() -> None:
    """Encode sources and private prompts, weigh, stack, mix, gather the rows' prompts and tokens, concatenate."""
    built = EMBEDDING.peers["literal"].build(make_batch(TINY))
    count = counted(built.forward)
    encode, weigh = ["mm", "add"], ["div", "_softmax"]
    assert count.operations == [*encode, *encode, "cat", *weigh, "mul", "sum", "index", "index", "cat"]
    B, L, m, d, n, T = TINY.B, TINY.L, TINY.m, TINY.d, TINY.n, TINY.T
    prompt, candidates = m * d, T * (n + 1)
    numbers = [
        *(n * prompt + d * d + n * prompt, 2 * n * prompt + d, T * prompt + d * d + T * prompt, 2 * T * prompt + d),
        *(2 * candidates, 2 * candidates),
        2 * candidates * prompt,
        candidates + 2 * candidates * prompt,
        candidates * prompt + T * prompt,
        *(2 * B * prompt, 2 * B * L * d, 2 * B * (m + L) * d),
    ]
    assert count.bytes == 4 * sum(numbers) + 8 * (B + B * L)
    repeated = (T - 1) * n * prompt + (B - T) * prompt  # sources expanded over tasks; prompts gathered more than once
    assert count.unique_bytes == count.bytes - 4 * repeated


def test_bare_prompt() -> None:
    built = EMBEDDING.peers["bare prompt"].build(make_batch(TINY))
    count = counted(built.forward)
    B, L, m, d = TINY.B, TINY.L, TINY.m, TINY.d
    assert count.operations == ["embedding", "cat"]
    assert count.bytes == 4 * (2 * B * L * d + 2 * B * (m + L) * d) + 8 * B * L
    assert count.unique_bytes == count.bytes - 4 * (B - 1) * m * d

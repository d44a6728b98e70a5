"""What ``backend="auto"`` takes on a GPU: the rule as a table, and that every operation asks it."""

from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch

from crosspt import functional
from crosspt.functional import operators, routing
from crosspt.kernels.mixture import Mixture

HALF, SINGLE, DOUBLE = torch.bfloat16, torch.float32, torch.float64


def mixture(tasks: int, length: int, width: int, sources: int, dtype: torch.dtype, *, encoder: bool = True) -> Mixture:
    """Of tensors without data."""
    weight = torch.empty(width, width, dtype=dtype, device="meta") if encoder else None
    return Mixture(
        torch.empty(tasks, sources + 1, dtype=dtype, device="meta"),
        torch.empty(sources, length, width, dtype=dtype, device="meta") if sources else None,
        torch.empty(tasks, length, width, dtype=dtype, device="meta"),
        weight,
    )


COMPOSITIONS = [
    # T, m, d, n, encoder, dtype of the parameters, of the table, whether Triton suits eagerly, and compiled
    (8, 10, 768, 8, True, SINGLE, SINGLE, True, False),
    (8, 100, 1024, 8, True, SINGLE, SINGLE, False, False),
    (8, 100, 1024, 8, True, DOUBLE, DOUBLE, False, False),
    (8, 100, 1024, 8, False, SINGLE, SINGLE, True, False),
    (64, 100, 1024, 256, False, SINGLE, SINGLE, False, False),
    (64, 100, 1024, 256, True, SINGLE, HALF, True, False),
    (64, 100, 1024, 256, True, HALF, HALF, True, False),
    (64, 100, 1024, 33, True, HALF, HALF, True, False),
    (64, 100, 1024, 32, True, HALF, HALF, True, True),
    (64, 100, 1024, 256, True, DOUBLE, HALF, False, False),
    (16, 16, 1024, 0, True, SINGLE, SINGLE, True, False),
    (16, 16, 1024, 0, True, SINGLE, HALF, True, True),
    (16, 17, 1024, 0, True, SINGLE, SINGLE, False, False),
]


def test_rows_with_weights_of_their_own_do_not_choose_by_their_number() -> None:
    of_tasks = mixture(8, 10, 768, 8, SINGLE, encoder=False)
    for rows in (1, 4096):
        row_alpha = torch.empty(rows, 9, device="meta")
        assert routing.suits_composition(of_tasks._replace(logits=None, row_alpha=row_alpha), SINGLE, compiled=False)
        large = mixture(8, 100, 1024, 256, SINGLE, encoder=False)
        row_alpha = torch.empty(rows, 257, device="meta")
        assert not routing.suits_composition(large._replace(logits=None, row_alpha=row_alpha), SINGLE, compiled=False)


@pytest.mark.parametrize(
    ("tasks", "length", "width", "sources", "encoder", "dtype", "table", "eagerly", "compiled"), COMPOSITIONS
)
def test_compositions(
    tasks: int,
    length: int,
    width: int,
    sources: int,
    encoder: bool,
    dtype: Any,
    table: Any,
    eagerly: bool,
    compiled: bool,
) -> None:
    x = mixture(tasks, length, width, sources, dtype, encoder=encoder)
    assert routing.suits_composition(x, table, compiled=False) is eagerly
    assert routing.suits_composition(x, table, compiled=True) is compiled


ATTENTIONS = [
    # dtype, Lq, D, mask, prefix, seed
    (HALF, 64, 64, False, False, False, True),
    (HALF, 64, 64, True, True, False, True),
    (HALF, 64, 128, False, False, False, True),
    (HALF, 64, 129, False, False, False, False),
    (HALF, 64, 256, True, True, False, False),
    (HALF, 64, 256, True, True, True, True),
    (HALF, 1, 64, False, False, False, False),
    (HALF, 1, 64, True, False, False, True),
    (HALF, 1, 64, False, True, False, True),
    (SINGLE, 64, 64, False, False, False, False),
    (SINGLE, 64, 64, True, True, False, False),
    (SINGLE, 64, 64, False, False, True, True),
    (SINGLE, 1, 64, True, True, False, True),
    (SINGLE, 1, 64, True, False, False, False),
    (SINGLE, 1, 64, False, False, False, False),
    (DOUBLE, 64, 64, False, False, False, False),
]


@pytest.mark.parametrize(("dtype", "queries", "width", "masked", "prefixed", "seeded", "suits"), ATTENTIONS)
def test_attentions(
    dtype: Any, queries: int, width: int, masked: bool, prefixed: bool, seeded: bool, suits: bool
) -> None:
    given = {"masked": masked, "prefixed": prefixed, "seeded": seeded}
    assert routing.suits_attention(dtype, queries, width, **given) is suits


@pytest.mark.parametrize("refused", ["", "needs another GPU"])
def test_only_auto_is_routed(refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "refusal", lambda device: refused)
    on_gpu: Any = SimpleNamespace(is_cuda=True, device="cuda:0")
    on_cpu: Any = SimpleNamespace(is_cuda=False)
    for suits in (True, False):
        assert routing.runs_triton("attention", "auto", on_gpu, suits) is (suits and not refused)
        assert not routing.runs_triton("attention", "auto", on_cpu, suits)
        assert not routing.runs_triton("attention", "torch", on_gpu, suits)
        assert routing.runs_triton("attention", "triton", on_gpu, suits)


@pytest.fixture
def as_on_gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tensors count as if on a GPU; the names of the Triton operators that are called."""
    called: list[str] = []

    def runs(operation: str, backend: str, tensor: Any, suits: bool = True) -> bool:
        return backend == "triton" or suits

    monkeypatch.setattr(functional, "runs_triton", runs)

    def spy(name: str) -> Any:
        def call(*_: Any) -> list[None]:
            called.append(name)
            return [None]

        return call

    for name in ("attention", "compose_prompts", "prepend_prompts", "prompted_embedding"):
        monkeypatch.setattr(operators, name, spy(name))
    return called


def test_operations_ask_the_rule(as_on_gpu: list[str]) -> None:
    def attend(queries: int, dtype: torch.dtype = HALF, **options: Any) -> None:
        query, key = (torch.zeros(1, 1, length, 4, dtype=dtype) for length in (queries, 3))
        functional.attention(query, key, key, **options)

    prefix: dict[str, Any] = {"task_ids": torch.tensor([0])} | dict.fromkeys(
        ("prefix_key", "prefix_value"), torch.zeros(1, 1, 2, 4)
    )
    seed = torch.tensor([1])
    attend(2)
    attend(1, mask=torch.ones(1, 3, dtype=torch.bool))
    attend(1, SINGLE, **prefix)
    attend(2, SINGLE, dropout=0.1, seed=seed)
    assert as_on_gpu == ["attention"] * 4
    attend(1)
    attend(2, SINGLE)
    attend(2, SINGLE, dropout=0.1)
    attend(2, SINGLE, **prefix)
    assert as_on_gpu == ["attention"] * 4
    attend(1, SINGLE, backend="triton")
    assert as_on_gpu == ["attention"] * 5

    as_on_gpu.clear()
    logits, sources, table = torch.zeros(2, 2), torch.zeros(2, 3, 4), torch.zeros(5, 4)
    ids, rows = torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    for most in (2 * 3 * 4 * 2, 2 * 3 * 4 * 2 - 1):
        with mock.patch.object(routing, "MOST_WIDE_PRODUCTS", most):
            functional.compose_prompts(logits, sources, None)
            functional.prompted_embedding(ids, rows, table, logits, sources, None)
            functional.prompted_embedding(ids, rows, table.bfloat16(), logits, sources, None)
            functional.prepend_prompts(sources, rows, ids, table)
    every = ["compose_prompts", "prompted_embedding", "prompted_embedding", "prepend_prompts"]
    assert as_on_gpu == [*every, *every[2:]]


@pytest.mark.parametrize("dtype", [HALF, SINGLE])
def test_operations_say_when_they_are_compiled(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a compiled graph ``auto`` leaves float32 to PyTorch's operations, which the compiler fuses."""
    monkeypatch.setattr(functional, "runs_triton", lambda operation, backend, tensor, suits=True: suits)
    logits, sources, table = torch.zeros(2, 2), torch.zeros(2, 3, 4), torch.zeros(5, 4, dtype=dtype)
    ids, rows = torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    seen: list[str] = []

    def record(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes if str(node.target).startswith("crosspt."))
        return graph.forward

    def embed() -> torch.Tensor:
        return functional.prompted_embedding(ids, rows, table, logits.to(dtype), sources.to(dtype), None)

    torch.compile(embed, backend=record, fullgraph=True)()
    assert seen == (["crosspt.prompted_embedding.default"] if dtype is HALF else [])

"""What the operations refuse, in one line each."""

from typing import Any

import pytest
import torch
from torch import Tensor

from crosspt import functional
from crosspt.functional import known, library, validation
from tests.mixtures import make_operands, make_rows

BAD_MIXTURES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"logits": torch.zeros(3)}, ValueError, r"logits must have shape \(T, N\), got \(3,\)"),
    ({"logits": torch.zeros(3, 3, dtype=torch.int64)}, TypeError, "logits must be floating-point, got torch.int64"),
    ({"logits": None}, ValueError, "one of logits, alpha and row_alpha must be given, got none"),
    (
        {"alpha": torch.zeros(3, 3)},
        ValueError,
        "one of logits, alpha and row_alpha must be given, got logits and alpha",
    ),
    (
        {"logits": None, "alpha": torch.zeros(3, 3)},
        ValueError,
        "temperature and mask go with logits alone, got temperature 0.7 and no mask with alpha",
    ),
    (
        {"logits": None, "temperature": 1.0, "alpha": torch.zeros(3, 3), "mask": torch.ones(3, 3, dtype=torch.bool)},
        ValueError,
        "temperature and mask go with logits alone, got temperature 1.0 and a mask with alpha",
    ),
    (
        {"logits": None, "temperature": 1.0, "alpha": torch.zeros(3, 2)},
        ValueError,
        r"alpha must have shape \(T, N\) with N = 3 candidates .*, got \(3, 2\)",
    ),
    (
        {"logits": None, "temperature": 1.0, "row_alpha": torch.zeros(4, 2)},
        ValueError,
        r"row_alpha must have shape \(B, N\) with N = 3 candidates .*, got \(4, 2\)",
    ),
    (
        {"logits": None, "temperature": 1.0, "row_alpha": torch.zeros(4, 3, dtype=torch.int64)},
        TypeError,
        "row_alpha must be floating-point",
    ),
    ({"added": torch.zeros(3, 2, 5)}, ValueError, r"added must have shape \(T, m, d\) = \(3, 2, 4\), got"),
    ({"added": torch.zeros(2, 2, 4)}, ValueError, r"added must have shape \(T, m, d\) = \(3, 2, 4\), got"),
    ({"added": torch.zeros(3, 2, 4, device="meta")}, ValueError, "all tensors must be on one device, got .*added on"),
    ({"logits": [[0.0]]}, TypeError, r"logits must be a tensor of shape \(T, N\), got list"),
    ({"logits": torch.zeros(3, 4)}, ValueError, r"N = 3 candidates \(2 sources and a private prompt\), got \(3, 4\)"),
    ({"logits": torch.zeros(0, 3)}, ValueError, "logits must have a task and a candidate"),
    ({"sources": None, "privates": None}, ValueError, "sources or privates must be given, got None for both"),
    ({"sources": torch.zeros(2, 4)}, ValueError, r"sources must have shape \(n, m, d\), got \(2, 4\)"),
    ({"sources": torch.zeros(2, 0, 4), "privates": None}, ValueError, "prompts must have m >= 1 and d >= 1, got m = 0"),
    ({"privates": torch.zeros(3, 2, 5)}, ValueError, r"privates must have shape \(T, m, d\) = \(3, 2, 4\), got"),
    ({"privates": torch.zeros(2, 2, 4)}, ValueError, r"privates must have shape \(T, m, d\) = \(3, 2, 4\), got"),
    ({"weight": torch.zeros(4, 5)}, ValueError, r"weight must have shape \(d, d\) = \(4, 4\), got \(4, 5\)"),
    ({"bias": torch.zeros(5)}, ValueError, r"bias must have shape \(d,\) = \(4,\), got \(5,\)"),
    ({"bias": torch.zeros(1, 4)}, ValueError, r"bias must have shape \(d,\), got \(1, 4\)"),
    ({"weight": None}, ValueError, "bias needs the encoder's weight, got weight=None"),
    ({"temperature": 0.0}, ValueError, "temperature must be positive and finite, got 0.0"),
    ({"temperature": float("nan")}, ValueError, "temperature must be positive and finite, got nan"),
    ({"temperature": "log"}, TypeError, "temperature must be a number, got str"),
    ({"mask": torch.ones(3, 3)}, TypeError, r"mask must be a bool tensor of shape \(T, N\), got torch.float32"),
    ({"mask": torch.ones(3, 2, dtype=torch.bool)}, ValueError, r"mask must have shape \(T, N\) = \(3, 3\), got"),
    ({"mask": torch.tensor([[True] * 3, [False] * 3, [True] * 3])}, ValueError, r"got none for tasks \[1\]"),
    (
        {"weight": torch.zeros(4, 4, device="meta")},
        ValueError,
        "all tensors must be on one device, got .*weight on meta",
    ),
    ({"backend": "cuda"}, ValueError, "backend must be one of auto, torch, triton, got 'cuda'"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD_MIXTURES)
def test_bad_mixtures(change: dict[str, Any], error: type[Exception], message: str) -> None:
    operands = make_operands(dtype=torch.float32)
    with pytest.raises(error, match=f"^compose_prompts: .*{message}"):
        functional.compose_prompts(**{**operands, **change})
    with pytest.raises(error, match=f"^prompted_embedding: .*{message}"):
        functional.prompted_embedding(**make_rows(operands), **{**operands, **change})


BAD_ROWS: list[tuple[dict[str, Any], type[Exception], str]] = [
    (
        {"task_ids": torch.zeros(4, 1, dtype=torch.int64)},
        ValueError,
        r"task_ids must be int64 or int32 of shape \(B,\) = \(4,\), got",
    ),
    (
        {"task_ids": torch.zeros(3, dtype=torch.int64)},
        ValueError,
        r"task_ids must be int64 or int32 of shape \(B,\) = \(4,\), got",
    ),
    (
        {"task_ids": torch.zeros(4)},
        TypeError,
        r"task_ids must be int64 or int32 of shape \(B,\) = \(4,\), got torch.float32",
    ),
    ({"task_ids": [0, 0, 0, 0]}, TypeError, r"task_ids must be a tensor, int64 .*\), got list"),
    ({"task_ids": torch.tensor([0, 1, 2, 3])}, ValueError, r"task_ids must lie in \[0, 3\), got values from 0 to 3"),
    ({"task_ids": torch.tensor([0, -1, 2, 0])}, ValueError, r"task_ids must lie in \[0, 3\), got values from -1 to 2"),
    (
        {"input_ids": torch.zeros(4, dtype=torch.int64)},
        ValueError,
        r"input_ids must be int64 or int32 of shape \(B, L\), got \(4,\)",
    ),
    ({"input_ids": torch.zeros(4, 2, dtype=torch.int16)}, TypeError, r"input_ids must be int64 .*, got torch.int16"),
    ({"input_ids": torch.full((4, 2), 5)}, ValueError, r"input_ids must lie in \[0, 5\), got values from 5 to 5"),
    (
        {"table": torch.zeros(5, 3)},
        ValueError,
        r"table must have shape \(V, d\) with d = 4 as the prompts, got \(5, 3\)",
    ),
    ({"table": torch.zeros(5)}, ValueError, r"table must have shape \(V, d\), got \(5,\)"),
    ({"table": torch.zeros(5, 4, device="meta")}, ValueError, "all tensors must be on one device, got table on meta"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD_ROWS)
def test_bad_rows(change: dict[str, Any], error: type[Exception], message: str) -> None:
    operands = make_operands(dtype=torch.float32)
    rows = {**make_rows(operands), **change}
    with pytest.raises(error, match=f"^prompted_embedding: .*{message}"):
        functional.prompted_embedding(**rows, **operands)
    with pytest.raises(error, match=f"^prepend_prompts: .*{message}"):
        functional.prepend_prompts(operands["privates"], **rows)


BAD_OFFSETS: list[tuple[Any, type[Exception], str]] = [
    ([[0.0]], TypeError, r"offsets must be a tensor of shape \(T, L', d\), got list"),
    (torch.zeros(3, 3, 4, dtype=torch.int64), TypeError, "offsets must be floating-point, got torch.int64"),
    (torch.zeros(3, 4), ValueError, r"offsets must have shape \(T, L', d\), got \(3, 4\)"),
    (torch.zeros(2, 3, 4), ValueError, r"\(T, L', d\) = \(3, L', 4\) with L' >= L = 3, got \(2, 3, 4\)"),
    (torch.zeros(3, 3, 5), ValueError, r"\(T, L', d\) = \(3, L', 4\) with L' >= L = 3, got \(3, 3, 5\)"),
    (torch.zeros(3, 2, 4), ValueError, r"\(T, L', d\) = \(3, L', 4\) with L' >= L = 3, got \(3, 2, 4\)"),
    (torch.zeros(3, 3, 4, device="meta"), ValueError, "all tensors must be on one device, got .*offsets on meta"),
]


@pytest.mark.parametrize(("offsets", "error", "message"), BAD_OFFSETS)
def test_bad_offsets(offsets: Any, error: type[Exception], message: str) -> None:
    operands = make_operands(dtype=torch.float32)
    with pytest.raises(error, match=f"^prepend_prompts: .*{message}"):
        functional.prepend_prompts(operands["privates"], **make_rows(operands), offsets=offsets)


def pair(tasks: int, length: int, width: int, *, positions: Any = None, **options: Any) -> tuple[Any, Tensor]:
    """u, or what is given in its place, and v of a gain."""
    return torch.zeros(tasks, length) if positions is None else positions, torch.zeros(tasks, width, **options)


BAD_GAINS: list[tuple[dict[str, Any], type[Exception], str]] = [
    (
        {"gain": torch.zeros(2, 3, 4)},
        TypeError,
        r"gain must be a pair of tensors u .* and v .*, got Tensor",
    ),
    ({"gain": (torch.zeros(3, 2),)}, TypeError, r"gain must be a pair of tensors .*, got 1 of them"),
    ({"gain": pair(3, 2, 4, positions=[[0.0]])}, TypeError, r"gain's u must be a tensor of shape \(T, m\), got list"),
    ({"gain": pair(3, 2, 4, dtype=torch.int64)}, TypeError, "gain's v must be floating-point, got torch.int64"),
    ({"gain": pair(3, 5, 4)}, ValueError, r"gain's u must have shape \(T, m\) = \(3, 2\), got \(3, 5\)"),
    ({"gain": pair(3, 2, 5)}, ValueError, r"gain's v must have shape \(T, d\) = \(3, 4\), got \(3, 5\)"),
    ({"gain": pair(2, 2, 4, positions=torch.zeros(3, 2))}, ValueError, r"gain's v .* = \(3, 4\), got \(2, 4\)"),
    ({"gain": pair(2, 2, 4)}, ValueError, r"task_ids must lie in \[0, 2\)"),
    (
        {"prompts": torch.zeros(3, 2, 4)},
        ValueError,
        r"prompts must have shape \(1, m, d\) with a gain, got",
    ),
    ({"offsets": torch.zeros(3, 3, 4)}, ValueError, "offsets and gain do not go together"),
    ({"gain": pair(3, 2, 4, device="meta")}, ValueError, "all tensors must be on one device, got .*v on meta"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD_GAINS)
def test_bad_gains(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {
        "prompts": torch.zeros(1, 2, 4),
        "gain": pair(3, 2, 4),
        **make_rows(make_operands(dtype=torch.float32)),
    }
    functional.prepend_prompts(**arguments)
    with pytest.raises(error, match=f"^prepend_prompts: .*{message}"):
        functional.prepend_prompts(**{**arguments, **change})


VALUES = ("got none for tasks", "must lie in")
"""What only a look at values tells, which a GPU is spared."""


def test_a_call_like_a_known_one_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "values_are_visible", lambda tensor: False)  # as for GPU tensors
    operands = make_operands(dtype=torch.float32)
    rows = make_rows(operands)
    first = functional.prompted_embedding(**rows, **operands)
    for change, error, message in BAD_MIXTURES + BAD_ROWS:
        if not any(value in message for value in VALUES):
            with pytest.raises(error, match=message):
                functional.prompted_embedding(**{**rows, **operands, **change})
    functional.prompted_embedding(**rows, **operands | {"temperature": 1.0})
    with pytest.raises(TypeError, match="temperature must be a number, got bool"):
        functional.prompted_embedding(**rows, **operands | {"temperature": True})
    assert known.look_up(rows["task_ids"], [], 1.0, True)[0] != known.look_up(rows["task_ids"], [], 1.0, False)[0]
    monkeypatch.setattr(functional, "check_mixture", None)
    other = functional.prompted_embedding(**rows, **operands | {"sources": operands["sources"] + 1})
    assert other.shape == first.shape
    assert not torch.equal(other, first)


def test_what_is_converted_is_converted_in_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "values_are_visible", lambda tensor: False)
    monkeypatch.setattr(functional.torch_composition, "prompted_embedding", lambda *arguments: arguments)
    operands = make_operands(dtype=torch.float32)
    rows: dict[str, Any] = make_rows(operands)
    for name in ("input_ids", "task_ids"):
        for _ in range(2):
            ids, task_ids, *_ = functional.prompted_embedding(**rows | {name: rows[name].int()}, **operands)
            assert ids.dtype is task_ids.dtype is torch.int64
    for _ in range(2):
        *_, mixture = functional.prompted_embedding(**rows, **operands | {"logits": operands["logits"].double()})
        assert mixture.sources.dtype is torch.float64


def test_no_more_calls_are_known_than_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "values_are_visible", lambda tensor: False)
    monkeypatch.setattr(known, "MOST_KEPT", 2)
    operands = make_operands(dtype=torch.float32)
    rows = make_rows(operands)
    for length in range(1, 6):
        functional.prompted_embedding(**rows | {"input_ids": torch.zeros(4, length, dtype=torch.int64)}, **operands)
        assert len(known._SUITS) <= 2


def test_bad_rows_of_weights() -> None:
    operands = make_operands(dtype=torch.float32, mixing="row_alpha")
    rows = make_rows(operands)
    for count in (3, 5):
        wrong = {**operands, "row_alpha": torch.zeros(count, 3)}
        with pytest.raises(ValueError, match=rf"^prompted_embedding: row_alpha must .* = \(4, 3\), got \({count}, 3\)"):
            functional.prompted_embedding(**rows, **wrong)
        with pytest.raises(ValueError, match=rf"^compose_prompts: task_ids must .* = \({count},\), got \(4,\)"):
            functional.compose_prompts(**wrong, task_ids=rows["task_ids"])
    with pytest.raises(ValueError, match=r"^compose_prompts: row_alpha needs task_ids beside private or added prompts"):
        functional.compose_prompts(**operands)
    with pytest.raises(ValueError, match=r"task_ids must lie in \[0, 3\), got values from 3 to 3"):
        functional.compose_prompts(**operands, task_ids=torch.full((4,), 3))
    with pytest.raises(ValueError, match=r"^compose_prompts: task_ids go with row_alpha, got task_ids without it"):
        functional.compose_prompts(**make_operands(dtype=torch.float32), task_ids=rows["task_ids"])


def test_without_prompts_of_tasks_rows_may_have_any_task_that_is_not_negative() -> None:
    operands = make_operands(mixing="row_alpha", privates=False)
    rows = make_rows(operands)
    wanted = functional.prompted_embedding(**rows, **operands)
    far = torch.full((4,), 10**6)
    torch.testing.assert_close(functional.prompted_embedding(**{**rows, "task_ids": far}, **operands), wanted)
    with pytest.raises(ValueError, match="task_ids must lie in"):
        functional.prompted_embedding(**{**rows, "task_ids": -far}, **operands)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_ids_reach_the_operators_in_64_bits(dtype: torch.dtype) -> None:
    """In 32 bits the place of a row in a large table overflows."""
    ids = validation.check_ids("operation", "ids", torch.tensor([2, 0], dtype=dtype), "(B,)", 3)
    assert ids.dtype is torch.int64
    assert ids.tolist() == [2, 0]


def test_bad_mixing_weights() -> None:
    with pytest.raises(ValueError, match=r"^mixing_weights: temperature must be positive"):
        functional.mixing_weights(torch.zeros(2, 2), -1.0)


def test_a_forced_backend_that_cannot_run_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library._load(), "interpreted", False)
    with pytest.raises(RuntimeError, match=r"^compose_prompts: backend 'triton' needs tensors on a GPU, got cpu"):
        functional.compose_prompts(**make_operands(), backend="triton")

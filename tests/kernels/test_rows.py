"""What prepend_prompts takes besides prompts, offsets or a gain: values, gradients, memory, launches and bytes."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import reduce
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from crosspt.functional import operators, validation
from crosspt.kernels import launch
from tests.kernels.cases import assert_as_accurate, assert_same, output_gradient, results
from tests.kernels.rows import MORE, SIZES, USUAL, Rows, Sizes, make_rows, placed
from tests.kernels.test_strides import GRADIENTS, LAYOUTS

CLOSE = 1e-12
KINDS = pytest.mark.parametrize("kind", MORE)
BACKWARD = {"offsets": ["sum_task_rows_kernel"], "gain": ["prepend_gain_kernel", "gain_sums_kernel"]}


@KINDS
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_sizes(sizes: Sizes, kind: str, device: str) -> None:
    x = make_rows(kind, sizes, device=device)
    assert_same(results(placed, x, "triton"), results(placed, x, "reference"), CLOSE)


@KINDS
def test_gradcheck(kind: str, device: str) -> None:
    x = make_rows(kind, Sizes(B=3, L=2, T=2, m=1, d=2, positions=3, V=4), device=device)

    def function(*tensors: Tensor) -> Tensor:
        return placed(replace(x, given=dict(zip(x.given, tensors, strict=True))), "triton")

    torch.autograd.gradcheck(function, tuple(x.given.values()), fast_mode=True)


HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
GAINED = ("prompts", "positions", "columns")
TYPES: list[tuple[torch.dtype, dict[str, torch.dtype]]] = [
    *((table, {"offsets": kind}) for table, kind in product((HALF, BRAIN, SINGLE), (HALF, BRAIN, SINGLE, DOUBLE))),
    *((table, dict.fromkeys(GAINED, table)) for table in (HALF, BRAIN, SINGLE)),
    *((table, dict.fromkeys(GAINED, SINGLE)) for table in (HALF, BRAIN)),
    *((SINGLE, dict.fromkeys(GAINED, SINGLE) | {name: DOUBLE}) for name in GAINED),
    (BRAIN, {"prompts": SINGLE, "positions": HALF, "columns": BRAIN}),
]
NAMES = [f"{table}, {', '.join(f'{name} {kind}' for name, kind in more.items())}" for table, more in TYPES]


@pytest.mark.parametrize(("table", "more"), TYPES, ids=[name.replace("torch.", "") for name in NAMES])
def test_dtypes(table: torch.dtype, more: dict[str, torch.dtype], device: str) -> None:
    """Rows are rounded once, so that they are the reference's bit for bit; every gradient has its own dtype."""
    x = make_rows("offsets" if "offsets" in more else "gain", USUAL._replace(d=40), table, device)
    x = x.learning(**{name: x.given[name].to(kind) for name, kind in more.items()})
    got = results(placed, x, "triton")
    kinds = dict.fromkeys(("output", "prompts", "table"), table) | more
    assert {name: tensor.dtype for name, tensor in got.items()} == kinds
    wide = reduce(torch.promote_types, kinds.values(), torch.float32)
    exact = x.map(lambda tensor: tensor.to(wide))
    wanted = results(placed, exact, "reference", output_gradient(got["output"]))
    torch.testing.assert_close(got["output"], wanted["output"].to(table), rtol=0, atol=0)
    for name in [name for name in got if got[name].dtype is DOUBLE]:
        torch.testing.assert_close(got[name], wanted[name], rtol=CLOSE, atol=CLOSE)
    low = max(kinds.values(), key=lambda dtype: torch.finfo(dtype).eps)
    assert_as_accurate(x, placed, x.map(lambda tensor: tensor.to(low)), low)


@pytest.mark.parametrize(("kind", "tasks"), [("offsets", 3), ("gain", 3), ("gain", 1)])
def test_offsets_of_zero_and_a_gain_of_ones_change_no_bit(kind: str, tasks: int, device: str) -> None:
    x = make_rows(kind, USUAL._replace(T=tasks), torch.bfloat16, device)
    neutral = torch.zeros_like if kind == "offsets" else torch.ones_like
    same = x.learning(**{name: neutral(x.given[name]) for name in MORE[kind]})
    prompts = x.given["prompts"].expand(tasks, -1, -1)
    plain = replace(x, kind="", given=x.learning(prompts=prompts).without().given)
    grad = output_gradient(placed(x, "reference"))
    got, wanted = results(placed, same, "triton", grad), results(placed, plain, "triton", grad)
    for name in MORE[kind]:
        del got[name]
    if len(prompts) > len(x.given["prompts"]):  # the gradient of what tasks share is the sum of theirs
        del got["prompts"], wanted["prompts"]
    assert_same(got, wanted)


@LAYOUTS
@KINDS
def test_strided_arguments(layout: Callable[[Tensor], Tensor], kind: str, device: str) -> None:
    x = make_rows(kind, USUAL, device=device)
    strided = replace(x.map(layout), input_ids=layout(x.input_ids), task_ids=layout(x.task_ids))
    assert_same(results(placed, strided, "triton"), results(placed, x, "reference"), CLOSE)


@pytest.mark.parametrize("change", GRADIENTS.values(), ids=GRADIENTS)
@pytest.mark.parametrize("frozen", ["", "prompts"])
@KINDS
def test_strided_gradients(change: Callable[[Tensor], Tensor], frozen: str, kind: str, device: str) -> None:
    x = make_rows(kind, USUAL, device=device)
    if frozen:
        x.given[frozen].requires_grad_(False)
    grad = change(output_gradient(placed(x, "reference")))
    assert_same(results(placed, x, "triton", grad), results(placed, x, "reference", grad.clone()), CLOSE)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Kernels started, by name, with their arguments by name."""
    found: list[tuple[str, dict[str, Any]]] = []
    start = launch.start

    def spy(kernel: Any, grid: Any, args: tuple[Any, ...], *rest: Any) -> None:
        found.append((kernel.__name__, dict(zip(kernel.arg_names, args, strict=True))))
        start(kernel, grid, args, *rest)

    monkeypatch.setattr(launch, "start", spy)
    return found


OUTPUTS = {
    "offsets": {"prompts": "p_out", "offsets": "p_offsets"},
    "gain": {"prompts": "p_dprompts", "positions": "p_dpositions", "columns": "p_dcolumns"},
}
LEARNED = [
    *(("offsets", names) for names in ("prompts offsets", "offsets", "prompts", "table")),
    *(("gain", names) for names in ("prompts positions columns", "prompts", "positions", "columns", "table")),
]


@pytest.mark.parametrize(("kind", "learned"), LEARNED)
def test_launches_of_what_learns(
    kind: str, learned: str, device: str, started: list[tuple[str, dict[str, Any]]]
) -> None:
    """One launch forward; none backward where the table learns alone; what is frozen is not written."""
    x = make_rows(kind, USUAL, device=device)
    for name, tensor in x.given.items():
        tensor.requires_grad_(name in learned.split())
    assert_same(results(placed, x, "triton"), results(placed, x, "reference"), CLOSE)
    first, rest = BACKWARD[kind][:1], BACKWARD[kind][1:]
    launches = [] if learned == "table" else first if learned == "prompts" else first + rest
    assert [name for name, _ in started] == ["prepend_prompts_kernel", *launches]
    for _, arguments in started[1:]:
        written = {name for name, output in OUTPUTS[kind].items() if arguments.get(output) is not None}
        assert written == set(learned.split()) & {name for name, output in OUTPUTS[kind].items() if output in arguments}


def test_a_call_without_them_passes_none_and_nothing_of_them(
    device: str, started: list[tuple[str, dict[str, Any]]]
) -> None:
    x = make_rows("offsets", USUAL, device=device).without()
    placed(x, "triton").sum().backward()
    absent = [{name for name, value in arguments.items() if value is None} for _, arguments in started]
    assert absent == [{"p_offsets", "n_offsets", "p_positions", "p_columns"}, {"p_offsets", "L", "n_offsets"}]


@KINDS
@pytest.mark.usefixtures("interpreted")
def test_nothing_else_is_launched(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from crosspt.kernels.tools.interpreter import count_launches

    monkeypatch.setattr(validation, "values_are_visible", lambda tensor: False)  # as for GPU tensors
    x = make_rows(kind, USUAL, torch.bfloat16)
    x.given["table"].requires_grad_(False)
    with count_launches() as forward:
        out = placed(x, "triton")
    grad = output_gradient(out)
    with count_launches() as backward:
        torch.autograd.grad(out, [x.given[name] for name in ("prompts", *MORE[kind])], grad)
    assert (forward.kernels, forward.torch_ops) == (["prepend_prompts_kernel"], [])
    assert (backward.kernels, backward.torch_ops) == (BACKWARD[kind], [])


ADDRESSED = ["ones", "more positions than tokens", "more tasks than rows", "wider than a block"]


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    ("kind", "name"), [*product(MORE, ADDRESSED), ("gain", "longer than a block"), ("gain", "no tokens")]
)
@pytest.mark.parametrize("frozen", ["", "prompts"])
def test_recorded_addresses(kind: str, name: str, frozen: str) -> None:
    """Addresses are own elements, outputs are written exactly once, no program reads what another writes."""
    from crosspt.kernels.tools.recorder import record

    x = make_rows(kind, SIZES[name])
    if frozen:
        x.given[frozen].requires_grad_(False)
    with record() as recording:
        results(placed, x, "triton")
    recording.check()
    first = [output for learned, output in OUTPUTS[kind].items() if learned != frozen]
    expected = [["p_out"], first] + ([["p_dpositions", "p_dcolumns"]] if kind == "gain" else [])
    assert [launch.outputs for launch in recording.launches] == expected


@KINDS
@pytest.mark.usefixtures("interpreted")
def test_bytes_are_the_floor(kind: str) -> None:
    """Each input and each result once: no more than prompt rows of the output's gradient, and text rows for offsets."""
    from crosspt.kernels.tools.recorder import record

    B, L, T, m, d, positions, V = sizes = Sizes(8, 16, 4, 2, 32, 16, 128)
    x = make_rows(kind, sizes, torch.float32)
    tokens = torch.randperm(V, generator=torch.Generator().manual_seed(0)).view(B, L)  # no token twice
    x = replace(x, input_ids=tokens, task_ids=torch.arange(B) % T)
    x.given["table"].requires_grad_(False)
    with record() as forward:
        out = placed(x, "triton")
    with record() as backward:
        torch.autograd.grad(out, [x.given[name] for name in ("prompts", *MORE[kind])], output_gradient(out))
    rows, ids = 4 * d * (m + L), 8 * B
    of_prompt, of_gain = 4 * m * d, 4 * T * (m + d)
    of_tasks = T * rows if kind == "offsets" else of_prompt + of_gain
    assert forward.unique_bytes == 2 * B * rows - B * of_prompt + of_tasks + ids * (L + 1)
    if kind == "offsets":
        assert backward.unique_bytes == B * rows + of_tasks + ids
        assert backward.requested_bytes - backward.unique_bytes <= ids * T * (m + positions)
    else:  # what its tiles leave, one of them here, is written and read
        assert backward.unique_bytes == B * of_prompt + 2 * of_tasks + 2 * of_gain + ids
        assert backward.requested_bytes - backward.unique_bytes == ids * (T - 1)
        kept = [one for each in backward.launches for name, one in each.arguments.items() if name != "p_grad"]
        assert max(one.tensor.numel() for one in kept) < T * m * d


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@KINDS
def test_order_poison_and_masked_lanes_change_no_bit(kind: str, dtype: torch.dtype) -> None:
    from crosspt.kernels.tools.interpreter import (
        nan_masked_lanes,
        poisoned_empty,
        program_order,
        round_to_nearest_bfloat16,
    )

    x = make_rows(kind, SIZES["more positions than tokens"], dtype)
    with round_to_nearest_bfloat16():
        wanted = results(placed, x, "triton")
    assert all(tensor.isfinite().all() for tensor in wanted.values())
    for order in ("reversed", 1):
        with ExitStack() as stack:
            for context in (nan_masked_lanes(), poisoned_empty(), program_order(order), round_to_nearest_bfloat16()):
                stack.enter_context(context)
            got = results(placed, x, "triton")
        assert_same(got, wanted)


def spoiled(x: Rows) -> tuple[Tensor, Tensor]:
    """The ids with two tasks and a token out of range."""
    task_ids, input_ids = x.task_ids.clone(), x.input_ids.clone()
    task_ids[1], task_ids[2], input_ids[0, 1] = USUAL.T, -3, -1
    return task_ids, input_ids


@KINDS
@pytest.mark.usefixtures("interpreted")
def test_ids_out_of_range(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the public checks: an assert when debugging, else NaN in exactly those rows, never a silent read."""
    from triton.runtime.interpreter import interpreter_builder

    from crosspt.kernels.tools.recorder import record

    x = make_rows(kind, USUAL)
    prompts, task_ids, input_ids, *rest = x.operands
    good = operators.prepend_prompts(*x.operands)
    bad_tasks, bad_tokens = spoiled(x)
    with monkeypatch.context() as debugging:
        debugging.setattr(interpreter_builder, "options", replace(interpreter_builder.options, debug=True))
        for ids in ((task_ids, bad_tokens), (bad_tasks, input_ids)):
            with pytest.raises(Exception, match="_ids must lie in"):
                operators.prepend_prompts(prompts, *ids, *rest)
    with record() as recording:
        out = operators.prepend_prompts(prompts, bad_tasks, bad_tokens, *rest)
    recording.check()
    bad = torch.zeros(out.shape[:2], dtype=torch.bool)
    until = None if kind == "offsets" else USUAL.m  # tokens without offsets have nothing of the task
    bad[1:3, :until] = bad[0, USUAL.m + 1] = True
    assert out[bad].isnan().all()
    assert torch.equal(out[~bad], good[~bad])
    kept = torch.ones(USUAL.B, dtype=torch.bool)
    kept[1:3] = False  # such rows belong to no task
    learned = [x.given[name] for name in ("prompts", *MORE[kind])]
    for one, other in zip(
        torch.autograd.grad(out.nan_to_num().sum(), learned),
        torch.autograd.grad(good[kept].sum() - good[0, USUAL.m + 1].sum(), learned),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@KINDS
def test_compiled_without_graph_breaks(kind: str, device: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(placed, fullgraph=True, dynamic=True, backend="aot_eager")
    for sizes in (USUAL, Sizes(B=4, L=5, T=2, m=2, d=6, positions=9)):
        x = make_rows(kind, sizes, device=device)
        assert_same(results(compiled, x, "triton"), results(placed, x, "reference"), CLOSE)


def test_opcheck_of_a_gain(device: str) -> None:
    x = make_rows("gain", Sizes(B=2, L=2, T=2, m=2, d=4, positions=3), torch.float32, device)
    check = torch.library.opcheck
    check(operators.OPS.prepend_prompts.default, x.operands)
    grad, gained = output_gradient(placed(x, "reference")), [x.given[name].detach() for name in GAINED]
    for needs in ([True] * 3, [False, True, False]):
        check(operators.OPS.prepend_gain_backward.default, (grad, x.task_ids, *gained, needs))

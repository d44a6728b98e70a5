"""Values and gradients of the attention kernels against the reference, in every variant, dtype and size."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crosspt import functional
from crosspt.functional import operators
from tests.kernels.attention_cases import CASES, Case, Inputs, Sizes, attended, keep_factors, make_inputs
from tests.kernels.cases import assert_as_accurate, assert_same, output_gradient, results

CLOSE = 1e-12


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_variant(case: Case, device: str) -> None:
    x = make_inputs(case, Sizes(), device=device)
    assert_same(results(attended, x, "triton"), results(attended, x, "reference"), CLOSE)


SIZES = {
    "ones": Sizes(1, 1, 1, 1, 1, 1, 1),
    "one query of many keys": Sizes(2, 1, 1, 35, 5, 2, 37),
    "one key": Sizes(2, 1, 19, 1, 3, 1, 1),
    "a block exactly": Sizes(2, 1, 16, 16, 16, 2, 16),
    "larger than a block": Sizes(2, 1, 37, 21, 5, 2, 18),
    "fewer keys than queries": Sizes(2, 1, 21, 2, 5, 2, 3),
    "wider than a power of two": Sizes(1, 2, 3, 4, 19, 1, 2),
    "more tasks than rows": Sizes(2, 1, 2, 3, 4, 5, 2),
    "no own keys": Sizes(2, 2, 3, 0, 4, 2, 3),
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_sizes(sizes: Sizes, device: str) -> None:
    x = make_inputs(CASES["all"], sizes, device=device)
    assert_same(results(attended, x, "triton"), results(attended, x, "reference"), CLOSE)


@pytest.mark.parametrize("case", ["bias", "prefix, bias, mask"])
def test_sizes_without_causality_and_dropout(case: str, device: str) -> None:
    x = make_inputs(CASES[case], SIZES["larger than a block"], device=device)
    assert_same(results(attended, x, "triton"), results(attended, x, "reference"), CLOSE)


@pytest.mark.parametrize(("programs", "case"), [(1, "all"), (3, "causal"), (3, "all"), (10**6, "all")])
def test_gradient_of_the_bias_however_diagonals_are_split(
    programs: int, case: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crosspt.kernels import attention_bias

    monkeypatch.setattr(attention_bias, "PROGRAMS", programs)
    x = make_inputs(CASES[case], Sizes(B=3, H=2, Lq=50, Lk=35, D=3, T=2, m=18), device=device)
    x = x.frozen(*(name for name in x.given if name != "bias"))
    assert_same(results(attended, x, "triton"), results(attended, x, "reference"), CLOSE)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.builds(
        Sizes,
        B=st.integers(1, 2),
        H=st.integers(1, 2),
        Lq=st.integers(1, 20),
        Lk=st.integers(0, 20),
        D=st.integers(1, 18),
        T=st.integers(1, 3),
        m=st.integers(1, 18),
    ),
    case=st.sampled_from(list(CASES.values())),
    seed=st.integers(0, 99),
)
def test_any_shape(device: str, sizes: Sizes, case: Case, seed: int) -> None:
    x = make_inputs(case, sizes, device=device, seed=seed)
    assert_same(results(attended, x, "triton"), results(attended, x, "reference"), CLOSE)


@pytest.mark.parametrize("sizes", [Sizes(B=0), Sizes(Lq=0)], ids=["no rows", "no queries"])
def test_nothing_to_attend(sizes: Sizes, device: str) -> None:
    x = make_inputs(CASES["prefix, bias, mask"], sizes, device=device)
    got = results(attended, x, "triton")
    assert got.pop("output").shape == (sizes.B, sizes.Lq, sizes.H, sizes.D)
    assert all((gradient == 0).all() for gradient in got.values())


@pytest.mark.parametrize("case", ["bias, mask", "all"])
def test_gradcheck(case: str, device: str) -> None:
    sizes = Sizes(B=2, H=1, Lq=2, Lk=2, D=2, T=2, m=2) if case == "all" else Sizes(B=1, H=1, Lq=2, Lk=2, D=1)
    x = make_inputs(CASES[case], sizes, device=device)
    names = list(x.given)

    def function(*tensors: torch.Tensor) -> torch.Tensor:
        return attended(x.replaced(**dict(zip(names, tensors, strict=True))), "triton")

    torch.autograd.gradcheck(function, tuple(x.given.values()), fast_mode=case == "all")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("case", ["bias", "prefix, mask, causal", "all"])
def test_dtypes(case: str, dtype: torch.dtype, device: str) -> None:
    x = make_inputs(CASES[case], Sizes(B=2, H=1, Lq=9, Lk=21, D=24, T=2, m=5), dtype, device)
    got = results(attended, x, "triton")
    assert {tensor.dtype for tensor in got.values()} == {dtype}
    assert_as_accurate(x, attended, x, dtype)


@pytest.mark.parametrize("case", ["causal", "prefix, bias, mask"])
def test_gradient_of_the_bias_over_several_blocks_of_half_precision(case: str, device: str) -> None:
    """Whose blocks have twice as many queries as keys."""
    x = make_inputs(CASES[case], Sizes(B=2, H=1, Lq=150, Lk=110, D=16, T=2, m=40), torch.bfloat16, device)
    x = x.frozen(*(name for name in x.given if name != "bias"))
    assert_as_accurate(x, attended, x, torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_bias_of_another_dtype(dtype: torch.dtype, device: str) -> None:
    x = make_inputs(CASES["bias"], Sizes(), dtype, device)
    wider = x.replaced(bias=x.tensors["bias"].detach().double().requires_grad_())
    got, wanted = results(attended, wider, "triton"), results(attended, x, "triton")
    assert got["bias"].dtype is torch.float64
    got["bias"] = got["bias"].to(dtype)
    assert_same(got, wanted)


def test_query_without_keys(device: str) -> None:
    """Zero output and zero gradients, whether the mask, the bias or causality hides every key."""
    x = make_inputs(CASES["bias, mask"], Sizes(B=3, Lq=5, Lk=4), device=device)
    assert x.mask is not None
    x.mask[1] = False
    x.tensors["bias"].data[0] = float("-inf")
    x = replace(x, causal=True)
    got = results(attended, x, "triton")
    assert_same(got, results(attended, x, "reference"), CLOSE)
    assert (got["output"][1] == 0).all()
    assert (got["output"][:, :, 0] == 0).all()
    assert (got["output"][:, 0] == 0).all()
    assert (got["query"][1] == 0).all()
    assert (got["output"][0, 1:, 1] != 0).all()


def test_large_scores_do_not_overflow(device: str) -> None:
    """Scores of hundreds, as an unscaled attention may have; what a score is off by is a share of its weight."""
    x = make_inputs(CASES["prefix, bias, mask"], Sizes(Lk=35), torch.float32, device).map(lambda tensor: tensor * 12)
    got, wanted = results(attended, x, "triton"), results(attended, x.map(torch.Tensor.double), "reference")
    for name, tensor in got.items():
        off = (tensor.double() - wanted[name]).abs().max().item()
        assert off < (300 * 2**-22 if name == "output" else 1e-3) * wanted[name].abs().max().item(), name


def test_large_bias_beside_queries_that_do_not_exist(device: str) -> None:
    """A bias of every score alike changes nothing, not even where a block has no more queries to take it away."""
    x = make_inputs(CASES["prefix, bias, mask"], Sizes(), torch.float32, device)
    larger = x.replaced(bias=(x.tensors["bias"].detach() + 256).requires_grad_())
    assert_same(results(attended, larger, "triton"), results(attended, x, "triton"), 1e-3)


@pytest.mark.parametrize("name", ["bias, mask", "all"])
def test_hidden_keys_are_of_no_effect(name: str, device: str) -> None:
    x = make_inputs(CASES[name], Sizes(), device=device)
    assert x.mask is not None
    wanted = results(attended, x, "triton")
    hidden = ~x.mask[:, None, :, None]
    other = {n: x.tensors[n].detach().masked_fill(hidden, 99.0).requires_grad_() for n in ("key", "value")}
    got = results(attended, x.replaced(**other), "triton")
    assert_same(got, wanted)
    assert (got["key"].masked_select(hidden) == 0).all()
    assert (got["value"].masked_select(hidden) == 0).all()


def test_dropout(device: str) -> None:
    """The same for the same seed, another for another one; of the rate asked for, in every row, head and place."""
    sizes, dropout = Sizes(B=2, H=2, Lq=32, Lk=40, m=20), 0.3
    keep = keep_factors(sizes, dropout, torch.tensor([5], device=device))
    assert torch.equal(keep, keep_factors(sizes, dropout, torch.tensor([5], device=device)))
    dropped = keep.abs() < 1e-9
    torch.testing.assert_close(keep[~dropped], torch.full_like(keep[~dropped], 1 / (1 - dropout)))
    for part in (dropped[0, 0], dropped[1, 0], dropped[0, 1], dropped[..., :20], dropped[..., 20:], dropped[..., ::4]):
        deviation = (dropout * (1 - dropout) / part.numel()) ** 0.5
        assert abs(part.double().mean().item() - dropout) < 4 * deviation
    halves = dropped[0, 0, :, :20], dropped[0, 0, :, 20:40]  # the prefix, and as many of the row's own keys
    assert abs((halves[0] == halves[1]).double().mean().item() - 0.58) < 0.08
    others = (
        dropped[1, 0],
        dropped[0, 1],
        dropped[0, 0].roll(1, 0),
        dropped[0, 0].roll(1, 1),
        keep_factors(sizes, dropout, torch.tensor([6], device=device))[0, 0].abs() < 1e-9,
        keep_factors(sizes, dropout, torch.tensor([5 + 2**32], device=device))[0, 0].abs() < 1e-9,
    )
    for other in others:
        agree = (dropped[0, 0] == other).double().mean().item()
        assert abs(agree - 0.58) < 0.05  # 0.3 ** 2 + 0.7 ** 2


def test_dropout_is_the_same_in_every_tile(device: str) -> None:
    """Half precision has other blocks than float64."""
    seed = torch.tensor([3], device=device)
    sizes = Sizes(B=1, H=1, Lq=20, Lk=20, m=20)
    keep = keep_factors(sizes, 0.5, seed)
    assert torch.equal(keep_factors(sizes, 0.5, seed, torch.bfloat16) > 0.5, keep > 0.5)


def test_seed_is_drawn_from_torch(device: str) -> None:
    x = replace(make_inputs(CASES["dropout"], Sizes(), device=device), seed=None)
    first, second = attended(x, "triton"), attended(x, "triton")
    assert not torch.equal(first, second)
    outputs = []
    for _ in range(2):
        torch.manual_seed(4)
        outputs.append(attended(x, "triton"))
    assert torch.equal(*outputs)


def test_checkpointing_repeats_the_dropout(device: str) -> None:
    x = replace(make_inputs(CASES["dropout"], Sizes(), device=device), seed=None)

    def operation(x: Inputs, backend: str) -> torch.Tensor:
        torch.manual_seed(4)
        if backend == "triton":
            return attended(x, "triton")
        query = x.tensors["query"]
        return torch.utils.checkpoint.checkpoint(
            lambda query: attended(x.replaced(query=query), "triton"),
            query,
            use_reentrant=False,
        )

    assert_same(results(operation, x, "checkpointed"), results(operation, x, "triton"))


@pytest.mark.usefixtures("interpreted")
def test_task_ids_out_of_range() -> None:
    """Past the public checks: NaN in exactly those rows, forward and backward, and no share in a prefix's gradient."""
    x = make_inputs(Case(bias=False), Sizes(B=4), device="cpu")
    assert x.task_ids is not None
    tensors = [tensor.detach().requires_grad_() for tensor in x.given.values()]
    grad = output_gradient(attended(x, "reference"))

    def run(task_ids: torch.Tensor, rows: slice) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        own = [tensor[rows] for tensor in tensors[:3]]
        out, _ = operators.attention(*own, None, None, *tensors[3:], task_ids[rows], None, False, 0.0)
        return out, torch.autograd.grad(out, tensors, grad[rows])

    bad = x.task_ids.clone()
    bad[2], bad[3] = 2, -1
    out, gradients = run(bad, slice(0, 4))
    wanted, wanted_gradients = run(bad, slice(0, 2))
    assert torch.equal(out[:2], wanted)
    assert out[2:].isnan().all()
    for got, expected in zip(gradients[:3], wanted_gradients[:3], strict=True):
        assert torch.equal(got[:2], expected[:2])
        assert got[2:].isnan().all()
    for got, expected in zip(gradients[3:], wanted_gradients[3:], strict=True):
        assert torch.equal(got, expected)


@pytest.mark.usefixtures("interpreted")
def test_a_task_id_out_of_range_makes_the_gradient_of_the_bias_nan() -> None:
    """And no prefix is read for it."""
    from crosspt.kernels.tools.recorder import record

    x = make_inputs(CASES["prefix, bias, mask"], Sizes(), device="cpu")
    query, key, value, bias, prefix_key, prefix_value = x.tensors.values()
    ids = torch.tensor([0, 2, -1])
    with record() as recording:
        out, _ = operators.attention(query, key, value, bias, x.mask, prefix_key, prefix_value, ids, None, False, 0.0)
        (gradient,) = torch.autograd.grad(out.nansum(), bias)
    recording.check()
    assert gradient.isnan().all()


def test_task_ids_are_checked_when_debugging(monkeypatch: pytest.MonkeyPatch, interpreted: None) -> None:
    from triton.runtime.interpreter import interpreter_builder

    x = make_inputs(Case(bias=False), Sizes(B=2), device="cpu")
    monkeypatch.setattr(interpreter_builder, "options", replace(interpreter_builder.options, debug=True))
    query, key, value, prefix_key, prefix_value = x.given.values()
    with pytest.raises(Exception, match="task_ids must lie in"):
        operators.attention(
            query, key, value, None, None, prefix_key, prefix_value, torch.tensor([0, 2]), None, False, 0.0
        )


def test_torch_takes_no_seed() -> None:
    x = make_inputs(CASES["dropout"], Sizes())
    query, key, value = x.given.values()
    with pytest.raises(ValueError, match="attention: backend 'torch' takes no seed"):
        functional.attention(query, key, value, dropout=0.1, seed=x.seed, backend="torch")

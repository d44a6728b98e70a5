"""Which combinations of arguments are compiled, and what is said of them."""

from itertools import combinations, product

import pytest

from crosspt.kernels.tools.combinations import Combinations, covering, main, report
from crosspt.kernels.tools.inspection import Row, describe
from crosspt.kernels.tools.variants import BFLOAT16, FLOAT16, Variant

NAMES = ("p_bias", "p_mask", "p_seed", "CAUSAL")


def variant(*there: bool) -> Variant:
    """An attention with some of its arguments, causal or not."""
    signature = {name: "*bf16" if given else "constexpr" for name, given in zip(NAMES[:3], there, strict=False)}
    absent = {name: None for name, kind in signature.items() if kind == "constexpr"}
    return Variant(None, "", "bfloat16", signature | {"CAUSAL": "constexpr"}, {**absent, "CAUSAL": there[3]}, (), 4, 1)


def present(chosen: Variant) -> tuple[bool, ...]:
    return (*(name not in chosen.constexprs for name in NAMES[:3]), bool(chosen.constexprs["CAUSAL"]))


@pytest.mark.parametrize(("cover", "most"), [(1, 2), (2, 6), (3, 12), (4, 16)])
def test_few_variants_hold_every_combination_of_some_arguments(cover: int, most: int) -> None:
    chosen = [present(one) for one in covering([variant(*there) for there in product((True, False), repeat=4)], cover)]
    assert len(chosen) <= most
    for places in combinations(range(4), cover):
        assert {tuple(there[place] for place in places) for there in chosen} == set(
            product((True, False), repeat=cover)
        )


def test_combinations_are_those_of_the_dtypes_widths_and_kernels_asked_for() -> None:
    provider = Combinations((BFLOAT16, FLOAT16), (16, 32), 1, ("attention_kernel",))
    rows = describe(["sm_80"], provider=provider)
    assert {row.kernel for row in rows} == {"attention_kernel"}
    assert {row.dtype for row in rows} == {"bfloat16", "float16"}
    assert {row.variant.split(" D ")[1].split()[0] for row in rows} == {"16", "32"}
    assert {"p_bias" in row.variant for row in rows} == {True, False}


def test_problems_are_reported_with_the_arguments_that_are_absent() -> None:
    rows = [Row("k", "D 64 without p_bias", "bfloat16", "sm_90", 255, stack_bytes=8), Row("k", "", "bfloat16", "sm_90")]
    assert report(rows).splitlines() == [
        "sm_90 k bfloat16 D 64 without p_bias: spills: 8 bytes of stack and 0 of local memory a thread",
        "sm_90 k: 2, up to 255 registers",
        "2 compilations, 1 with a problem",
    ]


def test_the_command_compiles_for_targets(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--target", "sm_90", "--kernel", "attention_bias_sum_kernel", "--width", "64", "--cover", "1"]
    assert main([*asked, "--jobs", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("compilations, 0 with a problem")
    with pytest.raises(SystemExit):
        main([*asked[:2], "--kernel", "attention"])
    assert "kernel must be one of" in capsys.readouterr().err

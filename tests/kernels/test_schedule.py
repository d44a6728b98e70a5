"""The time of a warp through programs written by hand."""

import pytest

from crosspt.kernels.tools.sass import Instruction, Place, parse
from crosspt.kernels.tools.schedule import CONFLICTS, LATENCY, Spent, spend

KNOWN = {"a.py"}


def one(
    opcode: str,
    line: int = 1,
    stall: int = 1,
    *,
    sets: int = 7,
    waits: int = 0,
    pending: int = -1,
    target: int = -1,
    conditional: bool = False,
) -> Instruction:
    return Instruction(("a.py", line), opcode, stall, sets, waits, conditional, pending, target)


def took(program: list[Instruction], runs: dict[int, int]) -> Spent:
    by_place: dict[Place, dict[tuple[Place, ...], int]] = {("a.py", line): {(): n} for line, n in runs.items()}
    return spend(program, by_place, KNOWN)


def looped(body: list[Instruction], start: int = 0) -> list[Instruction]:
    """A body long enough to be a loop, and the branch back."""
    padding = [one("IADD3", body[0].place[1] if body[0].place else 0)] * 16
    return [*body, *padding, one("BRA", body[0].place[1] if body[0].place else 0, target=start, conditional=True)]


def test_instructions_wait_for_each_other() -> None:
    spent = took([one("FADD", stall=4), one("MUFU", stall=2), one("IADD3", stall=5)], {1: 1})
    assert spent.cycles == 11
    assert (spent.units["issue"], spent.units["special"], spent.units["integer"]) == (3, 8, 2)


def test_a_result_is_waited_for_where_it_is_read() -> None:
    load, filler, use = one("LDG.E.128", sets=0), one("FADD", stall=4), one("FADD", waits=1)
    assert took([load, filler, use], {1: 1}).cycles == LATENCY["LDG.128"] + 1
    assert took([load, filler], {1: 1}).cycles == 5
    assert took([one("LDG.E", sets=0), filler, use], {1: 1}).cycles == LATENCY["LDG"] + 1


def test_copies_may_be_on_their_way_behind_a_wait() -> None:
    copy, close = one("LDGSTS.E.BYPASS.128"), one("LDGDEPBAR")
    both, first = one("DEPBAR.LE", pending=0), one("DEPBAR.LE", pending=1)
    start = [copy, close, *[one("FADD", stall=15)] * 10, copy, close]
    assert took([*start, first], {1: 1}).cycles == LATENCY["LDGSTS"] + 1
    assert took([*start, both], {1: 1}).cycles == 152 + LATENCY["LDGSTS"] + 1


@pytest.mark.parametrize("turns", [1, 3, 4, 5, 24])
def test_a_loop_turns_as_often_as_its_lines_run(turns: int) -> None:
    program = looped([one("LDG.E.128", 2, sets=0), one("FADD", 2, waits=1)])
    spent = took(program, {2: turns})
    assert spent.cycles == turns * (LATENCY["LDG.128"] + 1 + 16 + 1)
    assert spent.units["issue"] == turns * 19
    assert spent.units["cache"] == turns * 512


def test_a_loop_without_turns_and_one_in_another() -> None:
    assert took(looped([one("FADD", 2)]), {2: 0}).cycles == 0
    inner = looped([one("FADD", 3)], start=1)
    program = [one("FADD", 2), *inner, *[one("FADD", 2)] * 16, one("BRA", 2, target=0, conditional=True)]
    assert took(program, {2: 5, 3: 15}).cycles == 15 * 18 + 5 * 18


def test_what_a_loop_computes_anew_does_not_tell_its_turns() -> None:
    """A line before the loop, whose result would take a register all along."""
    program = [one("IADD3", 1), *looped([one("LDG.E", 2), one("IADD3", 1), one("IADD3", 1)], start=1)]
    spent = took(program, {1: 1, 2: 15})
    assert (spent.units["memory"], spent.units["issue"]) == (15, 1 + 15 * 20)


def test_an_unrolled_loop_and_its_rest() -> None:
    """Four turns at once, then those that are left, one by one."""
    whole = looped([one("LDG.E", 2)] * 4)
    rest = looped([one("LDG.E", 2)], start=len(whole))
    assert took([*whole, *rest], {2: 11}).units["memory"] == 2 * 4 + 3


def test_a_function_of_two_callers() -> None:
    """Its copies turn as often as their callers, in the order of the source, ask."""
    first = looped([one("LDG.E", 2)])
    second = looped([one("LDG.E.64", 2)], start=len(first))
    runs: dict[Place, dict[tuple[Place, ...], int]] = {("a.py", 2): {(("a.py", 7),): 5, (("a.py", 9),): 20}}
    assert spend([*first, *second], runs, KNOWN).units["memory"] == 5 * 1 + 20 * 2


@pytest.mark.parametrize(("taken", "stall"), [(2, 3), (3, 9)])
def test_one_side_of_an_if(taken: int, stall: int) -> None:
    """What both sides have in common, such as a function that both call, does not tell; their own lines do."""
    common = one("FADD", 5, stall=2)
    program = [
        one("BRA", 1, target=4, conditional=True),
        *(one("FADD", 2, stall=3), common, one("BRA", 2, target=6)),
        *(one("FADD", 3, stall=9), common),
        one("EXIT", 1),
    ]
    other = {2: 0, 3: 0, taken: 1}
    assert took(program, {1: 1, 5: 1, **other}).cycles == 1 + stall + 2 + (1 if taken == 2 else 0) + 1


def test_products_of_matrix_units_and_conflicts_without_them() -> None:
    # 64 x 64 x 16 by four warps, a quarter each; 16 x 8 x 16 by one
    assert took([one("HGMMA.64x64x16.F32.BF16")], {1: 1}).units["matrix"] == 64 * 64 * 16 / 4 / 512
    assert took([one("HMMA.16816.F32.BF16")], {1: 1}).units["matrix"] == 16 * 8 * 16 / 320
    assert took([one("LDS.128")], {1: 1}).units["memory"] == 4 * CONFLICTS
    assert took([one("LDS.128"), one("HMMA.16816.F32")], {1: 1}).units["memory"] == 4


def test_assembly_is_read() -> None:
    text = """
	//## File "/somewhere/a.py", line 7
        /*0000*/              @!P0 LDG.E.128 R4, desc[UR4][R2.64] ;       /* 0x0000000402047981 */
                                                                          /* 0x000ea4000c1e1d00 */
.L_x_1:
	//## File "/somewhere/b.py", line 9
        /*0010*/                   DEPBAR.LE SB0, 0x2 ;                   /* 0x000080800000791a */
                                                                          /* 0x004fc80000000000 */
        /*0020*/               @P1 BRA `(.L_x_1) ;                        /* 0xfffffffc00f40947 */
                                                                          /* 0x000fea000383ffff */
"""
    load, wait, branch = parse(text)
    assert load == Instruction(("a.py", 7), "LDG.E.128", 2, 2, 0, True, -1, -1)
    assert wait == Instruction(("b.py", 9), "DEPBAR.LE", 4, 7, 4, False, 2, -1)
    assert (branch.place, branch.target, branch.stem) == (("b.py", 9), 1, "BRA")

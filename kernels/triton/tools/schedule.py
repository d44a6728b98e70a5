"""How long a warp takes through an NVIDIA binary: its instructions issued in order, with the compiler's own waits.

Every instruction carries how many cycles the next one must wait, the scoreboard that its result clears and those that
it waits for; results take the latencies below. Nothing contends: what warps share is counted apart, as the cycles for
which each unit is busy. How often a line runs is told by the interpreter; a loop turns as often as the rarest of its
lines, and an ``if`` in it is taken where it is in half of the turns.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crosspt.kernels.tools.assembly import WAIT
from crosspt.kernels.tools.sass import MEMORY, Instruction, Place

Runs = Mapping[Place, Mapping[tuple[Place, ...], int]]
"""How often a program runs each line, by the lines that its function is called through, from the kernel on."""

LATENCY = {"LDG": 41, "LDG.128": 273, "LDGSTS": 273, "HMMA": 33, "HGMMA": 64, "LDC": 41, "ULDC": 41, "BAR": 30}
"""Cycles until a result is there, of an H100 (https://arxiv.org/abs/2501.12084): tiles, loaded in 16 bytes a thread,
come from the L2 cache, and what is loaded in fewer, such as ids and logits, from the L1."""
OTHER_LATENCY = 27
CONFLICTS = 4
"""Turns that a load from shared memory takes in products without matrix units: Triton lays their operands out so that
the lanes of a warp meet in few banks. Emulated addresses of compose_prompts_kernel in float32 gave 364 turns for 92.
"""
FOLLOWED = 4
"""Turns of a loop that are followed; the others take as long as the last of them."""


class Spent(NamedTuple):
    """What a warp of a program takes."""

    cycles: float  # from its first instruction to its last
    units: dict[str, float]  # cycles for which it keeps each busy, and bytes of the "cache"


class _Warp:
    """A warp on its way."""

    def __init__(self, instructions: Sequence[Instruction], runs: Runs, known: set[str]) -> None:
        self.instructions = instructions
        self.now = 0.0
        self.ready = [0.0] * 8  # when each scoreboard is clear
        self.copies: list[float] = []  # when each group of asynchronous copies is there
        self.products = self.copied = 0.0  # when the last asynchronous product, the last copy is there
        self.units: dict[str, float] = defaultdict(float)
        places = [one.place if one.place is not None and one.place[0] in known else None for one in instructions]
        self.by_caller = runs
        self.runs = [None if place is None else sum(runs.get(place, {}).values()) for place in places]
        self.span: dict[Place, tuple[int, int]] = {}  # first and last instruction of each line
        for number, place in enumerate(places):
            if place is not None:
                self.span[place] = self.span.get(place, (number, 0))[0], number
        self.done = False
        self.conflicts = 1 if any("MMA" in one.stem for one in instructions) else CONFLICTS
        self.loops = _loops(instructions)
        self.blocks = _blocks(instructions)

    def rarest(
        self, start: int, end: int, skipped: Sequence[tuple[int, int]] = (), least: float = 0.0
    ) -> tuple[float, Place | None]:
        """How often the instructions from ``start`` to ``end`` but those in ``skipped`` run, and the line that tells.

        It is the line that runs least of those that a twentieth of them or more come from; -1 and None without a line.
        One that runs less than ``least`` does not tell if it is found elsewhere too and all that are found here alone
        run more often: it ran before, and is computed anew to keep no register for it.
        """
        votes = Counter[tuple[int, Place | None]]()
        for number in range(start, end):
            runs = self.runs[number]
            if runs is not None and not any(first <= number < last for first, last in skipped):
                votes[runs, self.instructions[number].place] += 1
        often = [vote for vote in votes if vote[0] and 20 * votes[vote] >= votes.total()]
        alone = [vote for vote in often if vote[1] is not None and self.only_in(vote[1], start, end)]
        telling = min(often, key=lambda vote: vote[0], default=(-1 + any(not runs for runs, _ in votes), None))
        own = min(alone, key=lambda vote: vote[0], default=telling)
        return own if telling[0] < min(least, own[0]) else telling

    def only_in(self, place: Place, start: int, end: int) -> bool:
        """Whether a line is found from ``start`` to ``end`` alone."""
        first, last = self.span[place]
        return start <= first and last < end

    def own(self, start: int, end: int) -> list[int]:
        """How often the lines run that are found from ``start`` to ``end`` alone."""
        return [self.runs[first] or 0 for place, (first, _) in self.span.items() if self.only_in(place, start, end)]

    def entered(self, start: int, end: int) -> bool:
        """Whether what a branch goes around runs: its own lines tell, or, if it has none, the other side's.

        A function that both sides call leaves its lines in both. Of what is there for a loop without turns and of the
        loop, the loop runs.
        """
        own = self.own(start, end)
        if own:
            return sum(map(bool, own)) * 2 >= len(own)
        leave = self.instructions[end - 1]
        if leave.target <= end or leave.conditional:
            return True
        loops = [(first, last) for first, last in self.loops.items() if end <= first < leave.target]
        return not (any(self.rarest(*loop)[0] > 0 for loop in loops) or any(self.own(end, leave.target)))

    def walk(self, start: int, end: int, times: float, loop: int = -1) -> None:
        """Take the instructions from ``start`` to ``end`` once of ``times``; ``loop`` is where their own starts."""
        number = start
        while number < end and not self.done:
            last = self.loops.get(number)
            if last is not None and number != loop:
                self.turn(number, last, times)
                number = last
                continue
            until = min([self.blocks[number], end, *(first for first in self.loops if first > number)])
            votes, _ = self.rarest(number, until, least=times / 2)
            runs = votes < 0 or votes >= times / 2
            for one in self.instructions[number:until] if runs else ():
                self.step(one)
            last_one, number = self.instructions[until - 1], until
            if last_one.target > until - 1 and last_one.conditional:
                number = until if self.entered(until, min(last_one.target, end)) else min(last_one.target, end)
            elif last_one.target > until - 1 and runs:
                number = min(last_one.target, end)
            elif last_one.opcode == "EXIT" and not last_one.conditional and runs:
                self.done = True

    def turn(self, start: int, end: int, times: float) -> None:
        """Go through a loop that is met ``times``."""
        total, place = self.rarest(start, end, self.inner(start), 1.5 * times)
        copies = self.twins(start, place)
        size, largest = copies[start], max(copies.values())
        same = [first for first, other in copies.items() if other == size]
        callers = sorted(self.by_caller.get(place, {}).items()) if place is not None else []
        if len(callers) == len(same):
            total = callers[same.index(start)][1]
        elif len(callers) > 1:
            total /= len(same)
        turns = 1 if total < 0 else round(total / times)
        turns = turns // size if size > 1 else turns % largest if largest > 1 else turns
        before = self.now, dict(self.units)
        for _ in range(min(turns, FOLLOWED)):
            before = self.now, dict(self.units)
            self.walk(start, end, max(total, times), start)
        if turns > FOLLOWED:
            more, then = turns - FOLLOWED, self.now
            shift = more * (then - before[0])
            for unit, cycles in list(self.units.items()):
                self.units[unit] = cycles + more * (cycles - before[1].get(unit, 0.0))
            self.now += shift
            self.ready = [at + shift for at in self.ready]
            self.copies = [at + shift for at in self.copies]
            self.products, self.copied = self.products + shift, self.copied + shift

    def inner(self, start: int) -> list[tuple[int, int]]:
        """The loops inside of a loop."""
        return [(first, last) for first, last in self.loops.items() if start < first and last <= self.loops[start]]

    def twins(self, start: int, place: Place | None) -> dict[int, int]:
        """Loops of the same lines as the one at ``start``, and how many turns of the source a turn of each holds.

        They are copies of a function for several callers, and, where they are larger, unrolled.
        """
        numbers = {}
        for first, last in sorted(self.loops.items()):
            skipped = self.inner(first)
            numbers[first] = [i for i in range(first, last) if not any(lo <= i < hi for lo, hi in skipped)]
        places = {first: {self.instructions[i].place for i in some} for first, some in numbers.items()}
        own, sizes = places[start], {}
        for first, some in numbers.items():
            if first == start or (place in places[first] and 2 * len(own & places[first]) > len(own | places[first])):
                stems = [self.instructions[i].stem for i in some]
                sizes[first] = max(sum(stem in MEMORY or "MMA" in stem for stem in stems), 1)
        return {first: round(size / min(sizes.values())) for first, size in sizes.items()}

    def step(self, one: Instruction) -> None:
        """Issue an instruction."""
        stem = one.stem
        for scoreboard in range(6):
            if one.waits >> scoreboard & 1:
                self.now = max(self.now, self.ready[scoreboard])
        if stem == "DEPBAR" and one.pending >= 0:
            done = self.copies[: len(self.copies) - one.pending]
            self.now, self.copies = max([self.now, *done]), self.copies[len(done) :]
        elif stem == "WARPGROUP" and one.pending >= 0:
            self.now = max(self.now, self.products)
        elif stem == "LDGDEPBAR":
            self.copies.append(self.copied)
        unit, busy = one.busy()
        self.units["issue"] += 1
        self.units[unit] += busy * (self.conflicts if stem == "LDS" else 1)
        self.units["cache"] += one.cached()
        wide = "LDG.128" if stem == "LDG" and ".128" in one.opcode else stem
        result = self.now + LATENCY.get(wide, OTHER_LATENCY)
        if stem == "HGMMA":
            result = self.products = max(self.products, result) + busy
        elif stem == "LDGSTS":
            self.copied = result
        if one.sets < 6:
            self.ready[one.sets] = max(self.ready[one.sets], result)
        self.now += max(one.stall, 1)


def _loops(instructions: Sequence[Instruction]) -> dict[int, int]:
    """First instruction of each loop, and the one behind its last; those that only wait are none."""
    ends = [number for number, one in enumerate(instructions) if one.opcode == "EXIT"]
    loops: dict[int, int] = {}
    for number, one in enumerate(instructions):
        if one.target >= 0 and number - one.target >= WAIT and not any(one.target <= e <= number for e in ends):
            loops[one.target] = max(number + 1, loops.get(one.target, 0))
    return loops


def _blocks(instructions: Sequence[Instruction]) -> list[int]:
    """For each instruction, the first of the next block."""
    starts = {one.target for one in instructions if one.target >= 0}
    starts |= {number + 1 for number, one in enumerate(instructions) if one.target >= 0 or one.stem == "EXIT"}
    after, blocks = len(instructions), []
    for number in reversed(range(len(instructions))):
        blocks.append(after)
        if number in starts:
            after = number
    return blocks[::-1]


def spend(instructions: Sequence[Instruction], runs: Runs, known: set[str]) -> Spent:
    """What a warp takes of a program.

    Args:
        instructions: of the kernel.
        runs: how often the program runs each line.
        known: names of the files whose lines ``runs`` counts.
    """
    warp = _Warp(instructions, runs, known)
    warp.walk(0, len(instructions), 1.0)
    return Spent(warp.now, warp.units)

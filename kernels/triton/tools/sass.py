"""Instructions of an NVIDIA binary: where they come from, what the compiler lets them wait for, what they occupy."""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import triton

Place = tuple[str, int]
"""File and line."""

MATRIX_RATE = {"HGMMA": 512.0, "HMMA": 320.0}
"""Products of half types and their sums in a cycle by a quarter's matrix unit, of TF32 half as many; of float64 64.
HMMA reaches 62 % of HGMMA's."""
FLOATING = ("FADD", "FMUL", "FFMA", "IMAD", "HFMA2", "HADD2", "HMUL2")
"""On units of 32 lanes a quarter; other arithmetic has 16."""
CONTROL = ("BRA", "EXIT", "BSSY", "BSYNC", "BAR", "DEPBAR", "LDGDEPBAR", "WARPGROUP", "WARPSYNC", "NOP", "MOV", "CS2R")
MEMORY = ("LDG", "STG", "LDGSTS", "LDS", "LDSM", "STS", "STSM", "SHFL", "LD", "ST")


class Instruction(NamedTuple):
    """One instruction, with the compiler's control bits."""

    place: Place | None  # of what it was compiled from
    opcode: str
    stall: int  # cycles until the next may issue
    sets: int  # scoreboard that its result clears; 7 for none
    waits: int  # bit mask of scoreboards
    conditional: bool  # whether a predicate decides if it runs
    pending: int  # copies or products that may still run behind it, if it waits for those; -1 otherwise
    target: int  # number of the instruction that a branch goes to; -1 for none

    @property
    def stem(self) -> str:
        """The opcode up to its first dot."""
        return self.opcode.partition(".")[0]

    def busy(self) -> tuple[str, float]:
        """The unit that an instruction of a warp occupies and its cycles; memory's is one for all quarters."""
        stem = self.stem
        shape = re.match(r"HGMMA\.(\d+)x(\d+)x(\d+)|[HD]MMA\.(16|8)8?(16|8|4)", self.opcode)
        if shape is not None:
            return "matrix", self._products(shape) / MATRIX_RATE.get(stem, 64.0) * (2 if "TF32" in self.opcode else 1)
        if stem in MEMORY:
            width = re.search(r"\.(64|128)\b", self.opcode)
            return "memory", int(width[1]) / 32 if width else 4.0 if stem.endswith("SM") else 1.0
        if stem == "MUFU":
            return "special", 8.0
        if stem in FLOATING or stem in CONTROL or stem.startswith("U"):
            return "float", 1.0
        return "integer", 2.0

    def cached(self) -> int:
        """Bytes that a warp moves through the L2 cache: all that it stores, and tiles that it loads."""
        stem = self.stem
        width = re.search(r"\.(64|128)\b", self.opcode)
        if stem in ("STG", "ST"):
            return 32 * int(width[1]) // 8 if width else 128
        return 512 if stem in ("LDG", "LD", "LDGSTS") and width is not None and width[1] == "128" else 0

    def _products(self, shape: re.Match[str]) -> float:
        """Multiply-adds of a matrix instruction; a warp's share, for those that four warps issue together."""
        if shape[1]:
            return int(shape[1]) * int(shape[2]) * int(shape[3]) / 4
        return int(shape[4]) * 8 * int(shape[5])


def disassemble(cubin: bytes) -> list[Instruction]:
    """The instructions of a binary's only kernel."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        command = [triton.knobs.nvidia.nvdisasm.path, "-g", "-hex", "-c", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"nvdisasm failed: {' '.join(done.stderr.split())}")
    return parse(done.stdout)


_LINE = re.compile(
    r"""//\#\#\ File\ "(?P<file>[^"]+)",\ line\ (?P<line>\d+)
    | ^(?P<label>\.L_\w+):
    | ^\s*/\*[0-9a-f]{4,}\*/\s+(?P<if>@!?U?P\w+\s+)?(?P<opcode>[A-Z][\w.]*)(?P<operands>[^;]*);\s+/\*\ 0x[0-9a-f]+\ \*/
      \s+/\*\ 0x(?P<control>[0-9a-f]+)\ \*/""",
    re.MULTILINE | re.VERBOSE,
)


def parse(text: str) -> list[Instruction]:
    """Read what ``nvdisasm -g -hex -c`` prints."""
    place: Place | None = None
    labels: dict[str, int] = {}
    jumps: dict[int, str] = {}
    found: list[Instruction] = []
    for match in _LINE.finditer(text):
        if match["file"]:
            place = Path(match["file"]).name, int(match["line"])
        elif match["label"]:
            labels[match["label"]] = len(found)
        else:
            control, opcode = int(match["control"], 16) >> 41, match["opcode"]
            label = re.search(r"\((\.L_\w+)\)", match["operands"]) if opcode.startswith("BRA") else None
            if label is not None:
                jumps[len(found)] = label[1]
            left = re.search(r"(?:SB0|gsb0), 0x([0-9a-f]+)", match["operands"]) if "DEPBAR.LE" in opcode else None
            pending = int(left[1], 16) if left else -1
            bits = control & 15, control >> 5 & 7, control >> 11 & 63
            found.append(Instruction(place, opcode, *bits, bool(match["if"]), pending, -1))
    return [one._replace(target=labels.get(jumps.get(number, ""), -1)) for number, one in enumerate(found)]

"""Compile a variant for a GPU, and read what it is made of out of the NVIDIA binary or the AMD assembly.

Triton's own wheel carries the disassembler for NVIDIA binaries, so no CUDA installation is needed.
"""

import hashlib
import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from crosspt.kernels.tools.variants import Variant


def source_of(variant: Variant, gpu: GPUTarget) -> ASTSource:
    """What Triton compiles for a GPU; AMD's address tensors of less than 2 GiB in another way, and these are."""
    names = variant.kernel.arg_names
    attrs: dict[tuple[int], list[Any]] = {
        (names.index(name),): [["tt.divisibility", 16]] for name in variant.divisible_by_16
    }
    if gpu.backend == "hip":
        for name, kind in variant.signature.items():
            if kind.startswith("*"):
                attrs.setdefault((names.index(name),), []).append(["tt.pointer_range", 32])
    return ASTSource(variant.kernel, variant.signature, constexprs=variant.constexprs, attrs=attrs)


def compile_key(variant: Variant, gpu: GPUTarget) -> str:
    """What decides how a variant compiles, as a hash: sources, argument types, constants, tile, GPU and Triton."""
    parts = source_of(variant, gpu).hash(), str(gpu), variant.num_warps, variant.num_stages, triton.__version__
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def compile_variant(variant: Variant, gpu: GPUTarget, *, disassembled: bool = True) -> dict[str, Any]:
    """Compile a variant and read registers, memory, widths of global accesses, matrix instructions and its inner loop.

    Args:
        variant: the variant.
        gpu: what it is compiled for.
        disassembled: for NVIDIA's, whether more than registers and memory is read; it takes a third of the time.

    Raises:
        RuntimeError: It does not compile; the message is the compiler's, in one line.
    """
    options = {"num_warps": variant.num_warps, "num_stages": variant.num_stages}
    with tempfile.TemporaryFile() as said:
        try:
            with _output_to(said.fileno()):
                compiled: Any = triton.compile(source_of(variant, gpu), target=gpu, options=options)
        except Exception as error:  # of many types: Triton's own, LLVM's, those of the code it runs
            said.seek(0)
            raise RuntimeError(_complaint(error, said.read().decode(errors="replace"))) from error
    assembly = compiled.asm
    facts = read_cubin(assembly["cubin"], disassembled) if "cubin" in assembly else read_amdgcn(assembly["amdgcn"])
    facts["shared_bytes"] = max(facts["shared_bytes"], compiled.metadata.shared)
    return facts


@contextmanager
def _output_to(descriptor: int) -> Iterator[None]:
    """Send what native code prints to a file; a failing compiler prints thousands of lines, some to stdout."""
    kept = [(stream, os.dup(stream)) for stream in (1, 2)]
    try:
        for stream, _ in kept:
            os.dup2(descriptor, stream)
        yield
    finally:
        for stream, copy in kept:
            os.dup2(copy, stream)
            os.close(copy)


def _complaint(error: BaseException, said: str) -> str:
    native = re.search(r"Assertion .* failed|error: (?!Failures have been detected).*", said)
    if native is not None:
        return native[0]
    while error.__cause__ is not None:  # Triton wraps an error in one for each function that calls the faulty one
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if re.search(r"\w", line)]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"


def read_cubin(cubin: bytes, disassembled: bool = True) -> dict[str, Any]:
    """Read registers and memory of an NVIDIA binary and, where it is ``disassembled``, what :func:`read_sass` reads."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        facts = read_resource_usage(_cuobjdump("--dump-resource-usage", path))
        return facts | read_sass(_cuobjdump("-sass", path)) if disassembled else facts


def _cuobjdump(option: str, path: Path) -> str:
    command = [triton.knobs.nvidia.cuobjdump.path, option, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"cuobjdump {option} failed: {' '.join(done.stderr.split())}")
    return done.stdout


def read_resource_usage(text: str) -> dict[str, Any]:
    """Read ``cuobjdump --dump-resource-usage``."""
    numbers = dict(re.findall(r"\b(REG|STACK|LOCAL|SHARED):(\d+)", text))
    if len(numbers) < 4:
        raise RuntimeError(f"cuobjdump: expected REG, STACK, LOCAL and SHARED, got {' '.join(text.split())!r}")
    return {
        "registers": int(numbers["REG"]),
        "stack_bytes": int(numbers["STACK"]),
        "local_bytes": int(numbers["LOCAL"]),
        "shared_bytes": int(numbers["SHARED"]),
    }


def read_sass(text: str) -> dict[str, Any]:
    """Read NVIDIA assembly: global accesses, matrix instructions, inner loop. Bulk (TMA) copies count as 128 bits."""
    pattern = r"^\s*/\*([0-9a-f]+)\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*)"
    instructions = re.findall(pattern, text, re.MULTILINE)
    at = {int(address, 16): i for i, (address, _, _) in enumerate(instructions)}
    loads, stores, matrix = Counter[int](), Counter[int](), set[str]()
    jumps, ends = [], []
    for i, (_, opcode, operands) in enumerate(instructions):
        target = re.search(r"0x([0-9a-f]+)", operands) if opcode.startswith("BRA") else None
        if target is not None:
            jumps.append((i, at.get(int(target[1], 16), i)))
        elif opcode == "EXIT":
            ends.append(i)
        name, *modifiers = opcode.split(".")
        if name in ("LDG", "LD", "LDGSTS", "UBLKCP", "UTMALDG"):
            loads[_sass_bits(name, modifiers)] += 1
        elif name in ("STG", "ST", "UTMASTG"):
            stores[_sass_bits(name, modifiers)] += 1
        elif name.endswith("MMA"):
            matrix.add(opcode)
    return _accesses(loads, stores, matrix) | {"loop_instructions": _inner_loop(jumps, ends)}


WAIT = 16
"""Instructions; a shorter loop waits for a copy or a product, and is part of the loop around it."""


def _inner_loop(jumps: Sequence[tuple[int, int]], ends: Sequence[int]) -> int:
    """Instructions of the longest loop that holds no other; 0 if nothing loops.

    Args:
        jumps: numbers of each branch and of the instruction it goes to.
        ends: numbers of the instructions that end the program; what lies behind one and jumps back is no loop.
    """
    last: dict[int, int] = {}
    for branch, target in jumps:
        if branch - target >= WAIT and not any(target <= end <= branch for end in ends):
            last[target] = max(branch, last.get(target, 0))
    loops = list(last.items())
    inner = [
        (start, end)
        for start, end in loops
        if not any(start <= other and until <= end for other, until in loops if (other, until) != (start, end))
    ]
    return max((end - start + 1 for start, end in inner), default=0)


def _sass_bits(name: str, modifiers: Sequence[str]) -> int:
    if name.startswith("U"):
        return 128
    widths = [int(match[1]) for match in (re.fullmatch(r"[US]?(8|16|64|128|256)", m) for m in modifiers) if match]
    return widths[0] if widths else 32


def read_amdgcn(text: str) -> dict[str, Any]:
    """Read AMD assembly and the metadata at its end."""
    names = (
        "vgpr_count",
        "vgpr_spill_count",
        "sgpr_spill_count",
        "private_segment_fixed_size",
        "group_segment_fixed_size",
    )
    numbers = {}
    for name in names:
        match = re.search(rf"^\s*\.{name}:\s*(\d+)", text, re.MULTILINE)
        if match is None:
            raise RuntimeError(f"amdgcn: expected .{name} in the metadata, found none")
        numbers[name] = int(match[1])
    loads, stores = Counter[int](), Counter[int]()
    for verb, width in re.findall(r"^\s*(?:global|buffer|flat)_(load|store)_([a-z0-9_]+)", text, re.MULTILINE):
        (loads if verb == "load" else stores)[_amdgcn_bits(width)] += 1
    matrix = set(re.findall(r"^\s*(v_s?mfmac?_\w+)", text, re.MULTILINE))
    lines = re.findall(r"^(?:(\.L\w+):|[ \t]+([a-z]\w+)[ \t]*(.*))", text, re.MULTILINE)
    labels, jumps, ends = dict[str, int](), list[tuple[int, int]](), list[int]()
    count = 0
    for label, opcode, operands in lines:
        if label:
            labels[label] = count
            continue
        if opcode.startswith(("s_cbranch", "s_branch")) and operands in labels:
            jumps.append((count, labels[operands]))
        elif opcode == "s_endpgm":
            ends.append(count)
        count += 1
    return {
        "registers": numbers["vgpr_count"],
        "stack_bytes": numbers["private_segment_fixed_size"],
        "local_bytes": 4 * numbers["vgpr_spill_count"],
        "shared_bytes": numbers["group_segment_fixed_size"],
        "scalar_spills": numbers["sgpr_spill_count"],
        "loop_instructions": _inner_loop(jumps, ends),
    } | _accesses(loads, stores, matrix)


def _amdgcn_bits(width: str) -> int:
    match = re.match(r"dword(?:x(\d))?", width)
    if match:
        return 32 * int(match[1] or 1)
    return 8 if "byte" in width else 16


def _accesses(loads: Counter[int], stores: Counter[int], matrix: set[str]) -> dict[str, Any]:
    return {
        "load_bits": max(loads, default=0),
        "store_bits": max(stores, default=0),
        "matrix_instructions": tuple(sorted(matrix)),
        "loads": dict(sorted(loads.items())),
        "stores": dict(sorted(stores.items())),
    }

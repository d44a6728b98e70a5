"""The inspection is tested on toy kernels with known faults."""

import json
import os

import pytest

from crosspt.kernels.inspect import format_table, main
from crosspt.kernels.tools.inspection import DEFAULT_TARGETS, TARGETS, Row, describe, inspect
from tests.kernels.compiled import DISASSEMBLED, compile_unknown, read_known, write
from tests.kernels.toys import changed_toys, crashing_toys, faulty_toys, tiled_toys, toys


@pytest.fixture(scope="module")
def rows():
    steps = []
    found = inspect(provider=toys, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(i + 1, 12) for i in range(12)]
    assert [(row.variant, row.target) for row in found] == [
        (name, target) for name in ("aligned", "unaligned", "tiles") for target in DEFAULT_TARGETS
    ]
    return {(row.variant, row.target): row for row in found}


@pytest.mark.parametrize("target", DEFAULT_TARGETS)
def test_clean_kernels_pass_and_their_widths_are_read(rows, target):
    for name in ("aligned", "unaligned", "tiles"):
        assert rows[name, target].problem == ""
        assert rows[name, target].registers > 0
    assert (rows["aligned", target].load_bits, rows["aligned", target].store_bits) == (128, 128)
    assert (rows["unaligned", target].load_bits, rows["unaligned", target].store_bits) == (16, 16)
    assert rows["aligned", target].stores.keys() == {128}
    assert rows["aligned", target].matrix_instructions == ()


@pytest.mark.parametrize(
    ("target", "name"), [("sm_80", "HMMA"), ("sm_90", "HGMMA"), ("sm_100", "UTCHMMA"), ("gfx942", "v_mfma_f32")]
)
def test_matrix_instructions_are_named(rows, target, name):
    found = rows["tiles", target].matrix_instructions
    assert found
    assert all(instruction.startswith(name) for instruction in found)
    assert rows["tiles", target].shared_bytes > 0
    assert rows["tiles", target].load_bits == 128


@pytest.mark.parametrize("disassembled", [True, False])
def test_each_fault_is_a_problem_except_spills_of_float64(disassembled):
    found = inspect(["sm_90"], provider=faulty_toys, disassembled=disassembled, jobs=1)
    single, double, shared, broken = (row.problem for row in found)
    assert single.startswith("spills: ")
    assert double == ""
    assert all(row.stack_bytes + row.local_bytes > 0 for row in found[:2])
    assert shared.startswith("needs ")
    assert shared.endswith("bytes of shared memory, sm_90 has 232448")
    assert broken.startswith("does not compile: CompilationError: ")
    assert "no_such_function" in broken


def test_every_variant_of_a_target_is_compiled():
    found = inspect(["sm_90", "sm_100"], provider=tiled_toys, jobs=1)
    names = [(row.variant, row.target) for row in found]
    assert names == [("everywhere", "sm_90"), ("everywhere", "sm_100"), ("its own", "sm_100")]
    assert [row.problem for row in found] == ["", "", ""]


def test_what_is_known_is_not_compiled_again(rows):
    known = {row.key: row for row in rows.values()}
    assert len(known) == len(rows), "no two variants and targets share a key"
    *others, same = inspect(["sm_90"], provider=changed_toys, known=known, jobs=1)
    assert same == rows["aligned", "sm_90"]
    assert all(row.key not in known for row in others)


def test_a_crash_of_the_compiler_costs_one_row_only():
    crashed, fine = inspect(["sm_90"], provider=crashing_toys, jobs=1)
    assert crashed.problem == "does not compile: the compiler crashed"
    assert fine.problem == ""
    assert fine.registers > 0


def test_the_command_prints_json(capfd, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    output = tmp_path / "rows.json"
    chosen = ["--target", "sm_80", "--kernel", "copy", "--jobs", "1"]
    assert main([*chosen, "--json", "--output", str(output)], provider=toys) == 0
    text = capfd.readouterr().out
    document = json.loads(text)
    assert document == json.loads(output.read_text())
    assert document["schema"] == 1
    assert [row["variant"] for row in document["rows"]] == ["aligned", "unaligned"]
    assert set(document["rows"][0]) >= {
        "kernel", "variant", "dtype", "target", "registers", "stack_bytes", "local_bytes", "shared_bytes", "load_bits",
        "store_bits", "matrix_instructions",
    }  # fmt: skip
    assert os.environ["TRITON_INTERPRET"] == "1"


@pytest.mark.parametrize(("stack", "dtype", "status"), [(8, "float32", 1), (8, "float64", 0), (0, "float32", 0)])
def test_the_command_prints_a_table_and_fails_on_a_problem(stack, dtype, status, capsys, monkeypatch):
    row = Row("copy", "aligned", dtype, "sm_90", stack_bytes=stack)
    monkeypatch.setattr("crosspt.kernels.inspect.inspect", lambda *arguments, **options: [row])
    assert main([]) == status
    *_, line, summary = capsys.readouterr().out.splitlines()
    assert line.endswith("spills: 8 bytes of stack and 0 of local memory a thread") == bool(status)
    assert summary == f"1 compilations in 0 s, {status} with a problem"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "sm_91"], "target must be one of sm_80, sm_90, sm_100, gfx942, sm_86, sm_89, sm_120, got sm_91"),
        (["--kernel", "paste"], "kernel must be one of copy, multiply, got paste"),
        (["--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["--verbose"], "unrecognized arguments: --verbose"),
    ],
)
def test_a_wrong_command_line_gets_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments, provider=toys)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.fixture(scope="module")
def kernel_rows():
    return [row for row in read_known(sampled=False).values() if row.target == DISASSEMBLED]


def test_the_table_is_that_of_these_kernels():
    """Which of them spill, and what they need of a consumer card's 99 KiB of shared memory."""
    known = read_known(sampled=False)
    assert {row.key for row in describe(list(TARGETS))} == known.keys(), (
        "python -m tests.kernels.compiled writes the table anew"
    )
    assert {row.target for row in known.values()} == {*TARGETS}
    assert [row.problem for row in known.values() if row.problem] == []
    assert sum(row.target in DEFAULT_TARGETS for row in known.values()) <= 500


@pytest.mark.slow
def test_the_table_says_what_the_compiler_does():
    known, sampled = read_known(sampled=False), read_known()
    rows = [row for row in compile_unknown(sampled) if row.key not in sampled]
    assert len(rows) > len(known) / 20
    assert DISASSEMBLED in {row.target for row in rows}
    for row in rows:
        assert write(row) == write(known[row.key])


def test_rows_of_half_types_move_128_bits_at_a_time(kernel_rows):
    halves = [row for row in kernel_rows if row.dtype in ("float16", "bfloat16")]
    assert {row.kernel for row in halves} == {row.kernel for row in kernel_rows}
    summing = {  # they read along diagonals or parts, and write numbers
        "attention_bias_sum_kernel",
        "compose_sums_kernel",
        "gain_sums_kernel",
    }
    moving = [row for row in halves if row.kernel not in summing]
    softmax = ("compose_mixture_kernel", "long prompts, no encoder")  # nothing else is asked of it
    assert {(row.kernel, row.variant) for row in moving if row.load_bits < 128} <= {softmax}
    narrow = {(row.kernel, row.variant) for row in moving if row.store_bits < 128}
    assert narrow <= {softmax, ("compose_products_kernel", "no encoder")}  # it writes inner products only, no rows


def test_raw_prompts_of_half_types_meet_the_encoder_on_matrix_units(kernel_rows):
    names = {"prompted_embedding_kernel", "compose_prompts_kernel", "compose_products_kernel"}
    names |= {"compose_encode_kernel", "compose_encode_backward_kernel"}
    encoding = [
        row
        for row in kernel_rows
        if row.dtype in ("float16", "bfloat16") and row.kernel in names and "no encoder" not in row.variant
    ]
    assert len(encoding) >= 12
    for row in encoding:
        assert any(instruction.startswith("HGMMA") for instruction in row.matrix_instructions), row


def test_attention_of_half_types_multiplies_on_matrix_units(kernel_rows):
    names = {f"attention_{part}kernel" for part in ("", "query_", "key_", "bias_")}
    halves = [row for row in kernel_rows if row.dtype in ("float16", "bfloat16") and row.kernel in names]
    assert len(halves) == 15
    for row in halves:
        assert all(instruction.startswith("HGMMA") for instruction in row.matrix_instructions), row
        assert row.matrix_instructions


def test_the_table_lines_up():
    row = Row("copy", "aligned", "bfloat16", "sm_90", 32, 0, 0, 1024, 128, 64, ("HGMMA.64",))
    header, line = format_table([row]).splitlines()
    assert header.split() == [
        "kernel",
        "variant",
        "dtype",
        "target",
        "regs",
        "stack",
        "local",
        "shared",
        "load",
        "store",
        "matrix",
    ]
    assert line.split() == ["copy", "aligned", "bfloat16", "sm_90", "32", "0", "0", "1024", "128", "64", "HGMMA.64"]
    assert header.index("matrix") == line.index("HGMMA")

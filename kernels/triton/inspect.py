"""Compile every kernel for real GPU targets and read what came out. Needs neither a GPU nor CUDA.

    python -m crosspt.kernels.inspect [--target sm_90 ...] [--kernel NAME ...] [--dtype NAME ...] [--json]

The exit status is 1 when a variant spills registers (float64 is only reported), needs more shared memory than the
target has, or does not compile; 2 when the command line is wrong.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from crosspt.kernels.tools.inspection import DEFAULT_TARGETS, TARGETS, Provider, Row, inspect
from crosspt.kernels.tools.variants import variants


def format_table(rows: Sequence[Row]) -> str:
    """Format rows as text."""
    header = ["kernel", "variant", "dtype", "target", "regs", "stack", "local", "shared", "load", "store", "matrix", ""]
    lines = [header]
    for row in rows:
        numbers = [row.registers, row.stack_bytes, row.local_bytes, row.shared_bytes, row.load_bits, row.store_bits]
        names = [row.kernel, row.variant, row.dtype, row.target]
        lines.append([*names, *map(str, numbers), " ".join(row.matrix_instructions) or "-", row.problem])
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    numeric = range(4, 10)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i in numeric else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def _show_progress(done: int, total: int) -> None:
    terminal = sys.stderr.isatty()
    if terminal or done == total or done % 20 == 0:
        end = "\r" if terminal and done < total else "\n"
        print(f"compiled {done} of {total}", end=end, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None, provider: Provider = variants) -> int:
    """Run the command line and return its exit status."""
    parser = _Parser(prog="python -m crosspt.kernels.inspect", description="Compile every kernel for GPU targets.")
    parser.add_argument(
        "--target", nargs="+", default=list(DEFAULT_TARGETS), metavar="NAME", help=f"of {', '.join(TARGETS)}"
    )
    parser.add_argument("--kernel", nargs="+", default=[], metavar="NAME", help="only these kernels")
    parser.add_argument("--dtype", nargs="+", default=[], metavar="NAME", help="only these dtypes")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes; one for each CPU by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the JSON object to a file")
    options = parser.parse_args(arguments)
    if options.jobs is not None and options.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {options.jobs}")
    started = time.perf_counter()
    try:
        rows = inspect(
            options.target,
            options.kernel,
            options.dtype,
            provider=provider,
            jobs=options.jobs,
            progress=_show_progress,
        )
    except ValueError as error:
        parser.error(str(error))
    document = json.dumps({"schema": 1, "rows": [asdict(row) for row in rows]}, indent=2)
    if options.output is not None:
        options.output.write_text(document + "\n", encoding="utf-8")
    problems = sum(bool(row.problem) for row in rows)
    if options.json:
        print(document)
    else:
        seconds = time.perf_counter() - started
        print(f"{format_table(rows)}\n{len(rows)} compilations in {seconds:.0f} s, {problems} with a problem")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

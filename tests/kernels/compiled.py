"""What kernels come to on all GPUs but one, as a table: ``python -m tests.kernels.compiled`` compiles what it lacks.

A row is found by what decides it: the kernel's sources, its arguments, tile, GPU and Triton. Where one of these changes
a test asks for the table anew, whose new rows take about a second and a half each; it compiles a sample of the others.
"""

import os
from pathlib import Path

import pandas as pd

from crosspt.kernels.tools.inspection import TARGETS, Row, inspect

TABLE = Path(__file__).with_name("compiled.csv")
COMPILED = "sm_90"
"""The target whose rows are always compiled, and disassembled."""
OTHERS = tuple(target for target in TARGETS if target != COMPILED)
COLUMNS = ["kernel", "variant", "dtype", "target", "registers", "stack_bytes", "local_bytes", "shared_bytes", "key"]
SAMPLE = 16
"""Of so many rows of the table one is compiled again."""


def read_known(*, sampled: bool = True) -> dict[str, Row]:
    """The rows of the table by their keys, but for the sample."""
    rows = [Row(**row) for row in pd.read_csv(TABLE, keep_default_na=False).to_dict("records")]
    return {row.key: row for row in rows if not sampled or int(row.key, 16) % SAMPLE}


def main() -> None:
    """Compile what the table lacks, and write it."""
    known = read_known(sampled=False) if TABLE.is_file() else {}
    rows = inspect(
        OTHERS,
        disassembled=False,
        known=known,
        progress=lambda done, total: print(f"{done} of {total}", end="\r", flush=True),
    )
    pd.DataFrame([[getattr(row, name) for name in COLUMNS] for row in rows], columns=COLUMNS).to_csv(TABLE, index=False)
    print(f"{len(rows)} rows, {sum(row.key not in known for row in rows)} of them new")


if __name__ == "__main__":
    os.environ.pop("TRITON_INTERPRET", None)
    main()

"""What compiles, as tables: ``python -m tests.kernels.compiled`` compiles what they lack, and writes them.

One says what the kernels come to on every GPU, one names what ``tests.kernels.launched`` launches. A row is found by
what decides it: the kernel's sources, its arguments, tile, GPU and Triton. Where one of these changes a test asks for
the tables anew, whose new rows take about a second each; it compiles a sample of the others. Of the combinations of
arguments, which are thousands, one hash says that all of them have become Triton IR.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from crosspt.kernels.tools.combinations import check
from crosspt.kernels.tools.inspection import TARGETS, Row, inspect
from tests.kernels.launched import LAUNCHED, SAMPLE, WHOLE

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("compiled.csv")
COMBINED = Path(__file__).with_name("combined.json")
STEPS = "tests.kernels.launched"
DISASSEMBLED = "sm_90"
"""The target whose binaries are read: the widths of what they load and store, and their matrix instructions."""
COLUMNS = [
    *("kernel", "variant", "dtype", "target", "registers", "stack_bytes", "local_bytes", "shared_bytes"),
    *("load_bits", "store_bits", "matrix_instructions", "key"),
]


def read_known(*, sampled: bool = True) -> dict[str, Row]:
    """The rows of the table by their keys, but for the sample."""
    found = pd.read_csv(TABLE, keep_default_na=False).to_dict("records")
    rows = [Row(**{**row, "matrix_instructions": tuple(row["matrix_instructions"].split())}) for row in found]
    return {row.key: row for row in rows if not sampled or int(row.key, 16) % SAMPLE}


def compile_unknown(known: Mapping[str, Row], **options: Any) -> list[Row]:
    """The rows of every target, of which those that are not known are compiled."""
    others = [target for target in TARGETS if target != DISASSEMBLED]
    rows = inspect([DISASSEMBLED], known=known, **options)
    return rows + inspect(others, disassembled=False, known=known, **options)


def write(row: Row) -> list[Any]:
    """A row as the table holds it."""
    return [" ".join(value) if isinstance(value := getattr(row, name), tuple) else value for name in COLUMNS]


def run(module: str, *arguments: str) -> dict[str, Any]:
    """The last line of JSON that a module prints, in a process that does not interpret."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Compile what the tables lack, and write them."""
    known = read_known(sampled=False) if TABLE.is_file() else {}
    rows = compile_unknown(known, progress=lambda done, total: print(f"{done} of {total}", end="\r", flush=True))
    pd.DataFrame(map(write, rows), columns=COLUMNS).to_csv(TABLE, index=False)
    print(f"{len(rows)} rows, {sum(row.key not in known for row in rows)} of them new")
    found = [(target, kernel, key) for target in WHOLE for key, kernel in run(STEPS, target)["keys"].items()]
    pd.DataFrame(sorted(found), columns=["target", "kernel", "key"]).to_csv(LAUNCHED, index=False)
    print(f"{len(found)} kernels that steps launch")
    combined = run("tests.kernels.combined")
    if not COMBINED.is_file() or json.loads(COMBINED.read_text()) != combined:
        check(os.cpu_count() or 1)
        COMBINED.write_text(json.dumps(combined, indent=4) + "\n")


if __name__ == "__main__":
    os.environ.pop("TRITON_INTERPRET", None)
    main()

"""Plant the faults of ``faults.py`` in copies of the kernels, one at a time, and see that the tests notice.

    python -m tests.kernels.mutants [--only K ...] [--jobs N] [--json]

Nothing in the working tree is touched. The exit status is 1 when a fault survives, 2 when the run means nothing: the
tests fail without a fault, or a fault does not fit its function.
"""

import argparse
import ast
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.kernels.faults import FAULTS
from tests.kernels.planting import Fault, places, planted

ROOT = Path(__file__).parents[2]
TEST_SECONDS = 120  # a test that hangs on a fault has noticed it


@dataclass(frozen=True)
class Outcome:
    """What became of one fault.

    Attributes:
        number: Position in the list, from 1.
        place: File, line and function of the fault.
        change: The code before and after.
        caught: Whether a test failed.
        seconds: Time the tests took.
        detail: The first failed test, or why the fault counts as not caught.
    """

    number: int
    place: str
    change: str
    caught: bool
    seconds: float
    detail: str


@contextmanager
def copied(root: Path) -> Iterator[Path]:
    """Copy the package, the kernels and the tests to a temporary folder in which they import each other."""
    with tempfile.TemporaryDirectory(prefix="crosspt-mutant-") as name:
        folder = Path(name)
        for part in ("crosspt", "kernels", "tests"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(root / part, folder / part, symlinks=True, ignore=ignored)
        shutil.copy(root / "pyproject.toml", folder)
        yield folder


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a copy, whose modules hide those of an installed crosspt."""
    # Same size and same second would make stale byte code look fresh after a fault is planted.
    settings = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "TRITON_INTERPRET": "1"}
    settings |= {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )


def run_tests(folder: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run tests in a copy, up to the first failure."""
    options = ["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", f"--timeout={TEST_SECONDS}"]
    return run_python(folder, "-m", "pytest", *options, *tests)


def misfits(root: Path, faults: Sequence[Fault]) -> list[str]:
    """List the faults that cannot be planted: they must have exactly one place, and change the code there."""
    found = []
    for number, fault in enumerate(faults, 1):
        path = root / fault.file
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        times = len(places(fault, ast.parse(source)))
        where = f"{fault.function} of {fault.file}"
        if times != 1:
            found.append(f"fault {number}: expected {fault.before!r} once in {where}, got it {times} times")
        elif planted(fault, source) == ast.unparse(ast.parse(source)):
            found.append(f"fault {number}: expected a change in {where}, got the same code {fault.after!r}")
    return found


def plant(folder: Path, number: int, fault: Fault) -> Outcome:
    """Plant one fault in a copy, run its tests there, and take it out again."""
    path = folder / fault.file
    text = path.read_text(encoding="utf-8")
    (node,) = places(fault, ast.parse(text))
    place = f"{fault.file}:{node.lineno} in {fault.function}"
    path.write_text(planted(fault, text), encoding="utf-8")
    started = time.perf_counter()
    try:
        done = run_tests(folder, fault.tests)
    finally:
        path.write_text(text, encoding="utf-8")
    change = f"{fault.before} -> {fault.after}"
    if done.returncode == 1:
        detail = ", ".join(re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE))
    elif done.returncode == 0:
        detail = "its tests pass"
    elif done.returncode < 0:
        detail = f"the tests were killed by signal {-done.returncode}, probably for writing where they must not"
    else:
        detail = f"pytest ended with status {done.returncode}: {last_line(done)}"
    return Outcome(number, place, change, done.returncode == 1, time.perf_counter() - started, detail)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a process printed."""
    return (done.stdout.strip() + "\n" + done.stderr.strip()).strip().rpartition("\n")[2]


def check_baseline(folder: Path, tests: Sequence[str]) -> None:
    """Raise RuntimeError unless the copy imports its own kernels and the tests pass without a fault."""
    found = run_python(folder, "-c", "import crosspt.kernels; print(crosspt.kernels.__file__)")
    if not Path(found.stdout.strip()).is_relative_to(folder):
        raise RuntimeError(f"mutants: expected to import the kernels in {folder}, got {last_line(found)}")
    if not tests:
        return
    done = run_tests(folder, tests)
    if done.returncode:
        raise RuntimeError(f"mutants: expected the tests to pass without a fault, got {last_line(done)}")


def run(
    faults: Sequence[tuple[int, Fault]],
    *,
    root: Path = ROOT,
    jobs: int = 2,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Plant numbered faults one at a time, in ``jobs`` copies of the repository.

    Args:
        faults: The faults and their numbers.
        root: The repository.
        jobs: Number of copies worked on at once.
        report: Called with each outcome as it comes.

    Returns:
        The outcomes in the order of the faults.

    Raises:
        RuntimeError: The tests fail without a fault.
    """
    tests = list(dict.fromkeys(test for _, fault in faults for test in fault.tests))
    folders: queue.SimpleQueue[Path] = queue.SimpleQueue()

    def plant_in_free_copy(numbered: tuple[int, Fault]) -> Outcome:
        folder = folders.get()
        try:
            outcome = plant(folder, *numbered)
        finally:
            folders.put(folder)
        report(outcome)
        return outcome

    with ExitStack() as stack:
        copies = [stack.enter_context(copied(root)) for _ in range(jobs)]
        with ThreadPoolExecutor(jobs) as pool:
            shares = {folder: tests[i::jobs] for i, folder in enumerate(copies)}
            list(pool.map(check_baseline, shares, shares.values()))
            for folder in copies:
                folders.put(folder)
            return list(pool.map(plant_in_free_copy, faults))


def main(arguments: Sequence[str] | None = None, *, faults: Sequence[Fault] = FAULTS, root: Path = ROOT) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.kernels.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", type=int, metavar="K", help="only these faults, numbered from 1")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="faults tested at once (2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args(arguments)
    numbers = options.only or range(1, len(faults) + 1)
    problems = [f"fault {number}: there are {len(faults)}" for number in numbers if not 1 <= number <= len(faults)]
    if options.jobs < 1:
        problems.append(f"--jobs must be at least 1, got {options.jobs}")
    problems += misfits(root, faults)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 2

    def report(outcome: Outcome) -> None:
        verdict = "caught  " if outcome.caught else "SURVIVED"
        line = f"{verdict} {outcome.number:3} {outcome.place}  {outcome.change}"
        stream = sys.stderr if options.json else sys.stdout
        print(f"{line}  ({outcome.seconds:.0f} s; {outcome.detail})", file=stream, flush=True)

    chosen = [(number, faults[number - 1]) for number in numbers]
    try:
        outcomes = run(chosen, root=root, jobs=options.jobs, report=report)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    caught = sum(outcome.caught for outcome in outcomes)
    if options.json:
        rows = [asdict(outcome) for outcome in outcomes]
        print(json.dumps({"schema": 1, "caught": caught, "planted": len(outcomes), "faults": rows}, indent=2))
    else:
        print(f"caught {caught} / planted {len(outcomes)}")
    return 0 if caught == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())

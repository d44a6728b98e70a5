"""``python -m tests.release``: what the wheel in ``dist/`` holds, and the demo from an empty environment that has it.

The environment gets the versions of ``constraints.txt``, which takes minutes.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LARGEST = 4_000_000
"""Bytes of the wheel, of which the embedded T5 is the most."""
NEEDED = (
    "crosspt/py.typed",
    "crosspt/kernels/attention.py",
    "crosspt/kernels/tools/inspection.py",
    "crosspt/models/embedded/t5-crosspt-mini/model.safetensors",
    "crosspt/models/embedded/t5-crosspt-mini/tokenizer.json",
    "crosspt/report/page.html.j2",
    "crosspt/report/paper.yaml",
    "crosspt/runs/experiments/definitions/figure-2.yaml",
)


def read_wheel(wheel: Path) -> dict[str, int]:
    """The files of a wheel and their sizes, packed."""
    with zipfile.ZipFile(wheel) as archive:
        return {file.filename: file.compress_size for file in archive.infolist()}


def find_faults(files: dict[str, int]) -> list[str]:
    """What is wrong with the files of a wheel."""
    faults = [f"{name} is missing" for name in NEEDED if name not in files]
    for name in files:
        if not name.startswith(("crosspt/", "crosspt-")):
            faults.append(f"{name} is no part of the package")
        if name.startswith("crosspt/models/embedded/make/"):
            faults.append(f"{name} makes the embedded T5, and is of no use to who has it")
    size = sum(files.values())
    if size > LARGEST:
        faults.append(f"it has {size} bytes, the most is {LARGEST}")
    return faults


def main() -> int:
    """Look into the wheel, install it and run the demo; returns the exit status."""
    wheels = list((ROOT / "dist").glob("*.whl"))
    if len(wheels) != 1:
        print(f"release: expected one wheel in dist, got {len(wheels)}; make release builds it", file=sys.stderr)
        return 1
    files = read_wheel(wheels[0])
    folders: dict[str, int] = {}
    for name, size in files.items():
        folder = "/".join(name.split("/")[:-1][:2])
        folders[folder] = folders.get(folder, 0) + size
    for folder, size in sorted(folders.items(), key=lambda entry: -entry[1]):
        print(f"{size:>9,} bytes  {folder}")
    print(f"{sum(files.values()):>9,} bytes  in {len(files)} files of {wheels[0].name}", flush=True)
    faults = find_faults(files)
    if faults:
        print(*(f"release: {fault}" for fault in faults), sep="\n", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="crosspt-release-") as name:
        place = Path(name)
        subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
        pip = [str(place / "venv/bin/python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), str(wheels[0])], check=True, cwd=place)
        return subprocess.run([place / "venv/bin/crosspt", "demo"], check=False, cwd=place).returncode


if __name__ == "__main__":
    sys.exit(main())

"""Run the tests that depend on transformers under the oldest and the newest version that are supported.

``python -m tests.compat [oldest] [newest]``: both by default. The pinned version is that of ``make test``. Another
version lies in a folder in front of the environment's own, with no dependency but those that it needs older.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
OVERLAYS = ROOT / ".venv" / "compat"
VERSIONS = {"oldest": "5.17.0", "pinned": "5.23.0", "newest": "5.24.0"}
BESIDE = {"oldest": ["huggingface_hub==1.33.0", "httpx==0.28.1", "httpcore==1.0.9"], "newest": []}
TESTS = ["tests/models", "tests/prompts", "tests/training"]


def install(name: str) -> Path:
    """The folder with a version of transformers and what goes with it, installed unless it is there."""
    packages = [f"transformers=={VERSIONS[name]}", *BESIDE[name]]
    folder = OVERLAYS / "-".join(packages).replace("==", "-")
    if not folder.exists():
        partial = folder.with_name("partial")
        shutil.rmtree(partial, ignore_errors=True)
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--target", str(partial)]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, *packages], check=True)
        partial.rename(folder)
    return folder


def run_tests(name: str) -> int:
    """The exit status of the tests under a version."""
    path = [str(install(name)), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    asked = [sys.executable, "-c", "import transformers; print(transformers.__version__)"]
    found = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    if found != VERSIONS[name]:
        raise RuntimeError(f"compat: expected transformers {VERSIONS[name]} in front, got {found}")
    print(f"transformers {found}, the {name}", flush=True)
    options = ["--numprocesses", "auto", "--maxprocesses", "8"]
    return subprocess.run([sys.executable, "-m", "pytest", *options, *TESTS], cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(max(run_tests(name) for name in sys.argv[1:] or BESIDE))

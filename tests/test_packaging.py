import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.compat import VERSIONS
from tests.release import LARGEST, NEEDED, find_faults, read_wheel

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


def test_every_file_names_the_version() -> None:
    (version,) = re.findall(r'^    version="(.+)",$', (ROOT / "setup.py").read_text(), re.MULTILINE)
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_runs_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"  # a copy: the build writes beside what it builds
    for name in ("crosspt", "kernels"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    files = read_wheel(wheel)
    assert find_faults(files) == []
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "crosspt").rglob("*.py")}
    left_out = {name for name in sources if name not in files}
    assert left_out == {name for name in sources if "/embedded/make/" in name}
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import crosspt, crosspt.kernels.inspect; print(crosspt.__file__)\n"
        "from crosspt.cli.main import main\n"
        "import sys; sys.exit(main(['train', '--shots', '4', '--epochs', '1', '--test-rows', '4', '--output', 'run']))"
    )
    run = [sys.executable, "-P", "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site" / "crosspt"))


def test_faults_of_a_wheel_are_found() -> None:
    files = {**dict.fromkeys(NEEDED[1:], 1), "tests/a.py": LARGEST, "crosspt/models/embedded/make/build.py": 1}
    assert len(find_faults(files)) == 4

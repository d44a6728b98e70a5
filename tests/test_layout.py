"""The plan of the house: what lies where, and which way imports run."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = (
    "config",
    "storage",
    "tasks",
    "kernels",
    "functional",
    "reference",
    "prompts",
    "models",
    "methods",
    "training",
    "evaluation",
    "runs",
    "report",
    "serving",
    "cli",
)
"""From the lowest to the highest: a room imports itself and those before it."""


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module: str) -> str | None:
    """The room of ``crosspt`` that a module lies in, if any."""
    parts = module.split(".")
    return parts[1] if parts[0] == "crosspt" and len(parts) > 1 and parts[1] in ROOMS else None


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("file", files("crosspt"), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_downwards(file: Path) -> None:
    own = file.relative_to(ROOT / "crosspt").with_suffix("").parts[0]
    if own == "__init__":
        return
    assert own in ROOMS
    upwards = [module for module in imported(file) if (other := room(module)) and ROOMS.index(other) > ROOMS.index(own)]
    assert upwards == []


@pytest.mark.parametrize("file", files("kernels"), ids=lambda file: str(file.relative_to(ROOT)))
def test_kernels_know_torch_and_triton_alone(file: Path) -> None:
    ours = [module for module in imported(file) if module.split(".")[0] == "crosspt"]
    assert [module for module in ours if room(module) != "kernels"] == []


def test_nothing_but_tests_imports_tests() -> None:
    found = [
        str(file.relative_to(ROOT))
        for folder in ("crosspt", "kernels", "benchmarks", "examples")
        for file in files(folder)
        if any(module.split(".")[0] == "tests" for module in imported(file))
    ]
    assert found == []


def test_the_package_shows_its_plan() -> None:
    entries = {entry.name for entry in (ROOT / "crosspt").iterdir()} - {"__pycache__", "py.typed"}
    assert {entry.removesuffix(".py") for entry in entries} == {"__init__", *ROOMS}
    assert len(entries) <= 16

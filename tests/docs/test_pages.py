"""Every command and snippet of README, CONTRIBUTING and the documentation runs, and every link leads somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from crosspt.models import smollm2
from crosspt.models.embedded import EMBEDDED_T5
from crosspt.tasks import registry
from tests.docs.snippets import PAGES, ROOT, read_commands, read_snippets, run_command, run_page
from tests.models.gguf_files import write_llama
from tests.models.test_smollm2 import sha256
from tests.workspace import Workspace

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.fixture
def place(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a page is run: with examples, stand-ins for the models that it would fetch, and rows of GLUE's tasks."""
    for name, target in (("examples", ROOT / "examples"), ("t5-base", EMBEDDED_T5), ("glue", workspace.data)):
        (tmp_path / name).symlink_to(target)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    smollm2.cached_file().parent.mkdir(parents=True)
    write_llama(smollm2.cached_file())
    monkeypatch.setattr(smollm2, "GGUF_SHA256", sha256(smollm2.cached_file()))
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))  # pages register some
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.usefixtures("place")
def test_a_page_runs_from_top_to_end(page: Path) -> None:
    expected = sum(
        len(list(read_commands(snippet))) if snippet.language in ("sh", "console", "bash", "") else 1
        for snippet in read_snippets(page)
        if snippet.language in ("sh", "console", "bash", "", "python")
    )
    assert run_page(page) == expected


def test_the_pages_have_commands_and_snippets() -> None:
    languages = [snippet.language for snippet in read_snippets(ROOT / "README.md")]
    assert {"sh", "python", "yaml"} <= set(languages)


@pytest.mark.parametrize(
    "command",
    [
        "make no-such-target",
        'pip install -e ".[no_such_extra]"',
        "python -m crosspt.no_such_module",
        "pytest tests/no_such_folder",
        "crosspt train --no-such-flag",
        "curl example.org",
    ],
)
def test_a_command_that_is_not_there_fails(command: str) -> None:
    with pytest.raises(AssertionError, match=r"^page\.md:1: "):
        run_command(shlex.split(command), "page.md:1", set())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    made = {"command-line.md", "contributing.md", "changelog.md"}  # by docs/hooks.py
    missing = [
        link
        for link in links
        if "://" not in link and Path(link).name not in made and not (page.parent / link).exists()
    ]
    assert not missing

"""Every command and snippet of README, CONTRIBUTING and the documentation runs, and every link leads somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from crosspt.models import smollm2
from crosspt.models.embedded import EMBEDDED_T5
from crosspt.tasks import registry
from tests.docs.snippets import PAGES, ROOT, run_command, run_page
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
    run_page(page)


def test_blocks_are_found_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = [
        '```yaml title="a/b.yaml"\nkey: value\n```',
        "- a list\n\n  ```python\n  import pathlib\n\n  text = pathlib.Path('a/b.yaml').read_text()\n  ```",
        "```python\nassert text == 'key: value\\n'\n```",
        "    make demo  # a comment\n    x = 1",
        "```sh\nmake test \\\n    lint\n```",
        "<!-- tested: tests/docs/test_pages.py -->\n```sh\nno-such-program\n```",
        "```text\nno-such-program\n```",
    ]
    monkeypatch.setattr("tests.docs.snippets.ROOT", tmp_path)
    (tmp_path / "Makefile").write_text("demo:\ntest:\nlint:\n")
    (tmp_path / "tests" / "docs").mkdir(parents=True)
    (tmp_path / "tests" / "docs" / "test_pages.py").touch()
    page = tmp_path / "page.md"
    page.write_text("\n\n".join(blocks))
    assert run_page(page) == 5
    page.write_text("# A page\n\n```python\nassert False\n```\n")
    with pytest.raises(AssertionError) as caught:
        run_page(page)
    entry = caught.traceback[-1]
    assert (str(entry.path), entry.lineno + 1) == ("page.md:4", 4)


@pytest.mark.parametrize(
    "command",
    [
        "make no-such-target",
        'pip install -e ".[no_such_extra]"',
        "python -m crosspt.no_such_module",
        "pytest tests/no_such_folder",
        "crosspt train --no-such-flag",
        "crosspt serve",
        "curl example.org",
        "torchrun --nproc_per_node 2 $(which crosspt) train --no-such-flag",
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

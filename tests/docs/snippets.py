"""The commands and snippets of the documentation, and what runs them.

A page is run from its top to its end in a folder of its own, in this process. Commands are run as they are written,
with flags behind them that make them small; ``t5-base`` is a folder with the embedded T5. A block that needs a server
or a cluster names the file of the tests that run it, in a comment above it: ``<!-- tested: tests/... -->``.
"""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt

from tests.workspace import FIELDS, crosspt

ROOT = Path(__file__).parent.parent.parent
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)

SHELL = ("sh", "console", "bash")
TEXTS = ("", "text", "math", "csv", "json", "cff")  # nothing to run
LAUNCHERS = ("torchrun", "accelerate")  # which start $(which crosspt) in several processes
PROGRAMS = ("crosspt", "make", "python", "pip", "pytest", "pre-commit", *LAUNCHERS)
SMALL = ["--epochs", "1", "--shots", "4", "--test-rows", "4", "--batch-size", "8"]
SMALLER = [*SMALL, "--scheme", "P", "--seeds", "1"]  # for a grid


@dataclass(frozen=True)
class Snippet:
    """A block of a page.

    Attributes:
        where: the page and the line of its first line.
        language: of the block; empty for an indented one.
        title: the file that it shows.
        tested: the file of the tests that run it elsewhere.
        text: what it says.
    """

    where: str
    language: str
    title: str | None
    tested: str | None
    text: str


def read_snippets(page: Path) -> list[Snippet]:
    """The blocks of a page in their order, those in lists and quotes too."""
    snippets = []
    tested: re.Match[str] | None = None
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            assert token.map is not None
            language, _, rest = token.info.strip().partition(" ")
            title = re.search(r'title="([^"]+)"', rest)
            line = token.map[0] + (2 if token.type == "fence" else 1)
            where = f"{page.relative_to(ROOT)}:{line}"
            snippets.append(Snippet(where, language, title and title[1], tested and tested[1], token.content))
        if token.type in ("fence", "code_block", "html_block"):
            tested = re.search(r"<!-- tested: (\S+) -->", token.content) if token.type == "html_block" else None
    return snippets


def read_commands(snippet: Snippet) -> Iterator[list[str]]:
    """The commands of a block as lists of words; of an indented block the lines that start with a known program."""
    for line in snippet.text.replace("\\\n", " ").splitlines():
        if not snippet.language and not line.startswith(PROGRAMS):
            continue
        words = shlex.split(line, comments=True)
        if words:
            yield words


def run_page(page: Path) -> int:
    """Run the blocks of a page in the current folder; returns their number."""
    snippets = read_snippets(page)
    reported = {word for snippet in snippets for words in _shell(snippet) if words[1:2] == ["report"] for word in words}
    names: dict[str, Any] = {"__name__": "__page__"}
    count = 0
    for snippet in snippets:
        if snippet.title:
            _show_file(snippet)
        if snippet.tested:
            assert (ROOT / snippet.tested).is_file(), f"{snippet.where}: there is no {snippet.tested}"
            count += 1
        elif snippet.language == "python":
            lines = "\n" * (int(snippet.where.rpartition(":")[2]) - 1)
            exec(compile(lines + snippet.text, snippet.where, "exec"), names)
            count += 1
        elif snippet.language == "yaml":
            yaml.safe_load(snippet.text)
        elif snippet.language in (*SHELL, ""):
            for words in _shell(snippet):
                run_command(words, snippet.where, reported)
                count += 1
        else:
            assert snippet.language in TEXTS, f"{snippet.where}: nothing runs the language {snippet.language}"
    return count


def run_command(words: list[str], where: str, reported: set[str]) -> None:
    """Run a command of ours; of others, which take minutes or a network, look whether there is such a thing.

    Args:
        words: of the command.
        where: for messages.
        reported: the folders of experiments that are read later; others are only planned.
    """
    program, *arguments = words
    match program:
        case "crosspt":
            run_crosspt(arguments, where, reported)
        case _ if program in LAUNCHERS:
            run_crosspt([*arguments[arguments.index("crosspt)") + 1 :], "--dry-run"], where, reported)
        case "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            missing = [name for name in arguments if name not in targets]
            assert not missing, f"{where}: the Makefile has no target {missing}"
        case "pip":
            assert arguments[:2] == ["install", "-e"], f"{where}: {words}"
            extras = re.findall(r"^        \"(\w+)\": \[", (ROOT / "setup.py").read_text(), re.MULTILINE)
            wanted = re.fullmatch(r"\.(?:\[([\w,]+)\])?", arguments[2])
            assert wanted is not None, f"{where}: {words}"
            assert set((wanted[1] or "").split(",")) <= {*extras, ""}, f"{where}: setup.py has no such extra: {words}"
        case "python" if arguments[0].startswith("examples/"):
            assert (ROOT / arguments[0]).is_file(), f"{where}: there is no {arguments[0]}"  # test_examples.py runs it
        case "python":
            assert arguments[0] == "-m", f"{where}: {words}"
            assert importlib.util.find_spec(arguments[1]) is not None, f"{where}: there is no module {arguments[1]}"
        case "pytest":
            paths = [word for word in arguments if "/" in word or (ROOT / word).exists()]
            missing = [path for path in paths if not (ROOT / path.partition("::")[0]).exists()]
            assert paths, f"{where}: {words}"
            assert not missing, f"{where}: there is no {missing}"
        case "pre-commit":
            assert arguments[0] in ("install", "run"), f"{where}: {words}"
        case ".":
            assert arguments == [".venv/bin/activate"], f"{where}: {words}"
        case _:
            raise AssertionError(f"{where}: tests/docs/snippets.py has no rule for {words}")


def run_crosspt(arguments: list[str], where: str, reported: set[str]) -> None:
    """Run a command of ours, made small."""
    command = arguments[0]
    assert command != "serve", f"{where}: it does not end; name the tests that run it: <!-- tested: tests/... -->"
    if command == "train":
        arguments = [*arguments, *SMALL]
    elif command == "experiment" and "--list" not in arguments:
        arguments = [*arguments, *SMALLER, *(() if "--engine" in arguments else ("--jobs", "1"))]
        if not reported & set(arguments):
            arguments.append("--dry-run")
    if "/" in {word[0] for word in arguments if word} and command in ("train", "experiment"):
        arguments.append("--dry-run")  # into a folder that several machines share
    if command in ("train", "experiment"):
        arguments += _few_rows(arguments)
    outcome = crosspt(*arguments)
    assert outcome.status == 0, f"{where}: crosspt {shlex.join(arguments)}: {outcome.stderr[-2000:]}"


def _few_rows(arguments: list[str]) -> list[str]:
    """Two tasks of a suite, and a folder for rows that would come from the hub."""
    given = dict(pairwise(arguments))
    if given.get("--suite") == "glue":
        return ["--tasks", "mrpc,rte", "--data-dir", "glue"]
    if arguments[0] == "experiment" or ("--tasks" not in given and given.get("--suite") in (None, "embedded")):
        return ["--tasks", "syn_mrpc,syn_rte"]
    tasks = given.get("--tasks", "").split(",")
    return ["--data-dir", "glue"] if set(tasks) & set(FIELDS) else []


def _shell(snippet: Snippet) -> list[list[str]]:
    return list(read_commands(snippet)) if snippet.language in (*SHELL, "") else []


def _show_file(snippet: Snippet) -> None:
    """Write the file that a block shows; one of the repository must say the same."""
    path = Path(snippet.title or "")
    if (ROOT / path).exists():
        assert (ROOT / path).read_text(encoding="utf-8") == snippet.text, f"{snippet.where}: {path} says otherwise"
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(snippet.text, encoding="utf-8")

"""What the site has beside its pages: pages made of the command line and of files elsewhere, equations, plain roles.

A hook of MkDocs, and an extension of Griffe, which reads the docstrings.
"""

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

import griffe
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from crosspt.cli.main import COMMANDS, main

ROOT = Path(__file__).parent.parent
ROLE = re.compile(r":(?:class|func|meth):`~?([^`]+)`")


def on_config(config: MkDocsConfig) -> None:
    """Let blocks of the language ``math`` be equations: MathML, which browsers show without a script."""
    fence = {"name": "math", "class": "math", "format": _equation}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that are made."""
    made = {"reference/command-line.md": _command_line()}
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        made[name.lower()] = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))


class PlainRoles(griffe.Extension):
    """Sphinx's roles in docstrings become code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(r"`\1`", obj.docstring.value)


def _equation(source: str, *_: Any, **__: Any) -> str:
    return f'<div class="math">{convert(source, display="block")}</div>'


def _command_line() -> str:
    """The help of the program and of each of its commands."""
    blocks = [f"## crosspt {name}\n\n```text\n{_help(name)}```\n" for name in COMMANDS]
    return "\n".join(["# The command line\n", f"```text\n{_help()}```\n", *blocks])


def _help(*command: str) -> str:
    shown = io.StringIO()
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            main([*command, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
    return shown.getvalue()

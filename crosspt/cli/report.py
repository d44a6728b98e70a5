"""The command ``report``: experiments' folders become pages, tables and figures, and one Markdown file."""

import shlex
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from crosspt.cli.outcome import Outcome
from crosspt.cli.parser import Parser
from crosspt.config.files import SCHEMA

HELP = "make a page, tables and figures of experiments"
DESCRIPTION = (
    "Make report.html, a page that opens from disk, tables and figures of an experiment: means with intervals over "
    "seeds and rows, beside the paper's numbers, and a verdict on each of its statements. Unfinished cells and files "
    "that cannot be read are named and left out."
)
INTERRUPTED = ""


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    parser.add_setting("folder", list[str], "an experiment's folder, or several", nargs="+", metavar="FOLDER")
    parser.add_setting("--output", str, "for the report of one experiment; by default its own", metavar="FOLDER")
    text = "also write one Markdown file about all of them, with figures beside it, such as docs/experiments.md"
    parser.add_setting("--markdown", str, text, metavar="FILE")


def run(settings: Namespace) -> Outcome:
    """Make the reports and say what was left out on stderr."""
    from crosspt.report.document import write_document
    from crosspt.report.make import PAGE_NAME, make_report

    folders = list(map(Path, settings.folder))
    if settings.output is not None and len(folders) > 1:
        raise ValueError(f"--output is for the report of one experiment, got {len(folders)}")
    reports: list[tuple[Path, dict[str, Any]]] = []
    shown: list[Any] = []
    for folder in folders:
        output = Path(settings.output or folder)
        content, tables = make_report(folder, output)
        for warning in content["warnings"]:
            print(f"crosspt report: {f'{folder}: ' * (len(folders) > 1)}{warning}", file=sys.stderr)
        shown += [
            *tables,
            *(f"{one['headline']} {one['text']}" for one in content["best"]),
            f"{content['finished']} of {content['cells']} cells; {output / PAGE_NAME}",
        ]
        reports.append((output, content))
    if settings.markdown is not None:
        command = shlex.join(["crosspt", "report", *settings.folder, "--markdown", settings.markdown])
        written = write_document(Path(settings.markdown), command, reports)
        shown.append(", ".join(map(str, written)))
    contents = [content for _, content in reports]
    return Outcome(contents[0] if len(contents) == 1 else {"schema": SCHEMA, "reports": contents}, shown)

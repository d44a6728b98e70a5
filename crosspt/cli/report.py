"""The command ``report``: an experiment's folder becomes a page, tables and figures."""

import sys
from argparse import Namespace
from pathlib import Path

from crosspt.cli.outcome import Outcome
from crosspt.cli.parser import Parser

HELP = "make a page, tables and figures of an experiment"
DESCRIPTION = (
    "Make report.html, a page that opens from disk, tables and figures of an experiment: means and deviations over "
    "seeds, beside the paper's numbers. Unfinished cells and files that cannot be read are named and left out."
)
INTERRUPTED = ""


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    parser.add_setting("folder", str, "the experiment's folder (required)", metavar="FOLDER")
    parser.add_setting("--output", str, "for the report; by default the experiment's", metavar="FOLDER")


def run(settings: Namespace) -> Outcome:
    """Make the report and say what was left out on stderr."""
    from crosspt.report.make import PAGE_NAME, make_report

    folder = Path(settings.folder)
    output = Path(settings.output or folder)
    content, means = make_report(folder, output)
    for warning in content["warnings"]:
        print(f"crosspt report: {warning}", file=sys.stderr)
    finished = f"{content['finished']} of {content['cells']} cells"
    return Outcome(content, [means.rich(), f"{finished}; {output / PAGE_NAME}"])

"""The command ``report``: an experiment's folder becomes a page, tables and figures."""

import sys
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.table import Table
from rich.text import Text

from crosspt.report.make import PAGE_NAME, make_report
from crosspt.report.tables import Table as ReportTable


def report(settings: Namespace) -> tuple[dict[str, Any], list[Table | str]]:
    """Make the report of ``settings.folder`` and say what was left out on stderr.

    Returns:
        The summary, and what to show of it: the table of means and where the page is.
    """
    folder = Path(settings.folder)
    output = Path(settings.output or folder)
    content, means = make_report(folder, output)
    for warning in content["warnings"]:
        print(f"crosspt report: {warning}", file=sys.stderr)
    finished = f"{content['finished']} of {content['cells']} cells"
    return content, [_shown(means), f"{finished}; {output / PAGE_NAME}"]


def _shown(means: ReportTable) -> Table:
    table = Table(title=Text(means.title))
    for heading, numeric in means.numeric.items():
        table.add_column(Text(heading), justify="right" if numeric else "left")
    for entries in means.entries():
        table.add_row(*(Text(entry.with_paper) for entry in entries))
    return table

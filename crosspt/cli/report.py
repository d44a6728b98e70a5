"""The command ``report``: an experiment's folder becomes a page, tables and figures."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosspt.cli.outcome import Outcome
from crosspt.cli.parser import Parser

if TYPE_CHECKING:
    from rich.table import Table

    from crosspt.report.sheets import Sheet
    from crosspt.report.summary import Summary

HELP = "make a page, tables and figures of an experiment"
DESCRIPTION = (
    "Make report.html, a page that opens from disk, tables and figures of an experiment: means and deviations over "
    "seeds, beside the paper's numbers. Unfinished cells and files that cannot be read are named and left out."
)
INTERRUPTED = ""
PAGE_NAME = "report.html"


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    parser.add_setting("folder", str, "the experiment's folder (required)", metavar="FOLDER")
    parser.add_setting("--output", str, "for the report; by default the experiment's", metavar="FOLDER")


def run(settings: Namespace) -> Outcome:
    """Make the report and say what was left out on stderr."""
    folder = Path(settings.folder)
    output = Path(settings.output or folder)
    content, means = make_report(folder, output)
    for warning in content["warnings"]:
        print(f"crosspt report: {warning}", file=sys.stderr)
    finished = f"{content['finished']} of {content['cells']} cells"
    return Outcome(content, [_shown(means), f"{finished}; {output / PAGE_NAME}"])


def make_report(folder: Path, output: Path) -> tuple[dict[str, Any], Sheet]:
    """Write ``report.html``, ``tables/`` and ``figures/`` about an experiment.

    Args:
        folder: the experiment's folder.
        output: where the report goes.

    Returns:
        The summary as plain JSON values, and the table of means.

    Raises:
        ValueError: the folder holds no experiment of this version, or the output cannot be written.
    """
    from crosspt.config.files import check_writable, write_atomically
    from crosspt.report.cells import read_experiment
    from crosspt.report.charts import draw_charts
    from crosspt.report.contents import make_sheets
    from crosspt.report.figures import save
    from crosspt.report.page import Picture, number_notes, render_page
    from crosspt.report.paper import check_statements, load_paper
    from crosspt.report.summary import summarize

    experiment = read_experiment(folder)
    check_writable(output)
    for name in ("tables", "figures"):
        (output / name).mkdir(parents=True, exist_ok=True)
    summary = summarize(experiment)
    pictures = []
    files = []
    for chart in draw_charts(summary):
        paths = [f"figures/{chart.name}.{suffix}" for suffix in ("png", "svg")]
        save(chart.figure, *(output / path for path in paths))
        pictures.append(Picture.of(chart.name, chart.caption, (output / paths[-1]).read_bytes()))
        files += paths
    verdicts = check_statements(summary)
    sheets = list(make_sheets(summary, verdicts))
    numbers = number_notes(sheets)
    for sheet in sheets:
        for suffix, text in (("csv", sheet.csv()), ("md", sheet.markdown(numbers, load_paper().notes))):
            files.append(f"tables/{sheet.name}.{suffix}")
            write_atomically(output / files[-1], text.encode())
    write_atomically(output / PAGE_NAME, render_page(summary, sheets, pictures, numbers).encode())
    return _content(summary, [PAGE_NAME, *files]) | {"statements": [vars(verdict) for verdict in verdicts]}, sheets[0]


def _content(summary: Summary, files: list[str]) -> dict[str, Any]:
    experiment = summary.experiment
    return {
        "schema": 1,
        "experiment": experiment.name,
        "suite": experiment.suite,
        "model": experiment.model,
        "decided_by_construction": experiment.decided_by_construction,
        "cells": len(experiment.cells),
        "finished": len(experiment.finished),
        "unfinished": [
            {"cell": cell.name, "reason": cell.problem} for cell in experiment.cells if cell.results is None
        ],
        "warnings": experiment.warnings,
        "decode": summary.decode,
        "conditions": [
            {
                "settings": dict(condition.settings),
                "seeds": len(condition.cells),
                "mean": vars(condition.overall()),
                "invalid": vars(condition.invalid()),
                "wssp": vars(condition.wssp()),
                "trainable_parameters": condition.parameters(),
                "tasks": {task: vars(condition.task(task)) for task in summary.tasks},
            }
            for condition in summary.conditions
        ],
        "files": files,
    }


def _shown(sheet: Sheet) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(sheet.title))
    for column in sheet.columns:
        table.add_column(Text(column.heading), justify="right" if column.numeric else "left")
    for row in sheet.rows:
        table.add_row(*(Text(entry.shown + (f" (paper {entry.paper})" if entry.paper else "")) for entry in row))
    return table

"""From an experiment's folder to ``report.html``, ``tables/`` and ``figures/``."""

from pathlib import Path
from typing import Any

from crosspt.config.files import SCHEMA, check_writable, write_atomically
from crosspt.report.draw import save
from crosspt.report.figures import draw_figures
from crosspt.report.page import render_page
from crosspt.report.paper import check_statements, load_paper
from crosspt.report.read import read_experiment
from crosspt.report.summary import INVALID, MEAN, WSSP, Condition, Summary, summarize
from crosspt.report.tables import Table, make_tables

PAGE_NAME = "report.html"


def make_report(folder: Path, output: Path) -> tuple[dict[str, Any], Table]:
    """Write ``report.html``, ``tables/`` and ``figures/`` about an experiment.

    Args:
        folder: the experiment's folder.
        output: where the report goes.

    Returns:
        The summary as plain JSON values, and the table of means.

    Raises:
        ValueError: the folder holds no experiment of this version, or the output cannot be written.
    """
    summary = summarize(read_experiment(folder))
    for place in (output, output / "tables", output / "figures"):
        check_writable(place)
    names = [PAGE_NAME]
    figures = []
    for drawn in draw_figures(summary):
        paths = [f"figures/{drawn.name}.{suffix}" for suffix in ("png", "svg")]
        save(drawn.figure, *(output / path for path in paths))
        figures.append((drawn, (output / paths[-1]).read_bytes()))
        names += paths
    verdicts = check_statements(summary)
    tables = make_tables(summary, verdicts)
    notes = dict.fromkeys(note for table in tables for row in table.entries() for entry in row for note in entry.notes)
    numbers = {note: number for number, note in enumerate(notes, start=1)}
    for table in tables:
        for suffix, text in (("csv", table.csv()), ("md", table.markdown(numbers, load_paper().notes))):
            names.append(f"tables/{table.name}.{suffix}")
            write_atomically(output / names[-1], text.encode())
    write_atomically(output / PAGE_NAME, render_page(summary, tables, figures, numbers).encode())
    return {**_content(summary), "files": names, "statements": [vars(verdict) for verdict in verdicts]}, tables[0]


def _content(summary: Summary) -> dict[str, Any]:
    experiment = summary.experiment
    return {
        "schema": SCHEMA,
        **{key: getattr(experiment, key) for key in ("experiment", "suite", "model", "decided_by_construction")},
        "cells": len(experiment.cells),
        "finished": len(experiment.finished),
        "unfinished": [{"cell": cell.name, "reason": cell.problem} for cell in experiment.cells if not cell.results],
        "warnings": experiment.warnings,
        "decode": summary.decode,
        "conditions": [_condition(condition, summary.tasks) for condition in summary.conditions],
    }


def _condition(condition: Condition, tasks: list[str]) -> dict[str, Any]:
    spreads = condition.spreads.astype(object).where(condition.spreads.notna(), None).to_dict("index")
    return {
        "settings": dict(condition.settings),
        "seeds": len(condition.cells),
        **{key: spreads[quantity] for key, quantity in (("mean", MEAN), ("invalid", INVALID), ("wssp", WSSP))},
        "trainable_parameters": condition.parameters,
        "tasks": {task: spreads[task] for task in tasks},
    }

"""The report's page: one file that holds its figures, tables, style and script."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from crosspt.report.figures import Captioned
from crosspt.report.paper import load_paper
from crosspt.report.summary import Summary, show
from crosspt.report.tables import Entry, Table

MOST_VALUES = 8  # of a setting that are listed


class Section(NamedTuple):
    """A part of the page."""

    id: str
    heading: str
    tables: Sequence[Table]
    figures: Sequence[tuple[Captioned, str]]  # each with a link that holds it


def render_page(
    summary: Summary, tables: Sequence[Table], figures: Sequence[tuple[Captioned, bytes]], numbers: Mapping[str, int]
) -> str:
    """The page as HTML, of all tables, every figure with its SVG, and the numbers of the footnotes."""
    sections = [
        Section(
            name,
            heading,
            [table for table in tables if table.name.startswith(names)],
            [(figure, _link("image/svg+xml", svg)) for figure, svg in figures if figure.section == name],
        )
        for name, heading, names in (
            ("results", "Results", ("means", "tasks")),
            ("paper", "Beside the paper", ("statements", "paper-")),
            ("prompts", "Prompts", ("prompts",)),
            ("metrics", "All metrics", ("metrics",)),
            ("unfinished", "Failed and unfinished cells", ("unfinished",)),
        )
    ]
    settings = [table for table in _settings(summary) if table.rows]
    environment = Environment(
        loader=PackageLoader("crosspt.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        experiment=summary.experiment,
        sections=[section for section in sections if section.tables or section.figures],
        settings=settings,
        generated=summary.decode == "generate",
        ranked=summary.has_ranks or summary.decode == "rank",
        metrics=set(summary.rows["metric"]),
        beside=any(entry.beside for table in tables for row in table.rows for entry in row.values()),
        paper=load_paper(),
        numbers=numbers,
        zip=zip,
        links={table.name: _link("text/csv", table.csv().encode()) for table in (*tables, *settings)},
        style=_part("page.css"),
        script=_part("page.js"),
    )


def _settings(summary: Summary) -> list[Table]:
    """What the cells were run with and on, each value with the number of cells it holds for."""
    contents = [cell.results for cell in summary.experiment.finished]
    environments = [{key: value for key, value in one["environment"].items() if key != "command"} for one in contents]
    seconds = pd.DataFrame([one["seconds"] for one in contents], dtype=float).sum()
    seconds["all"] = seconds.sum()
    times = [{"part": Entry(part), "seconds over all cells": Entry(float(value))} for part, value in seconds.items()]
    return [
        Table("configuration", "Settings of the finished cells", _tally([_flatten(one["config"]) for one in contents])),
        Table("versions", "Versions", _tally([one["versions"] for one in contents])),
        Table("machine", "Machine", _tally(environments)),
        Table("seconds", "Time", times),
        Table("definition", "Definition of the experiment", _tally([_flatten(summary.experiment.definition)])),
    ]


def _tally(contents: Sequence[Mapping[str, Any]]) -> list[dict[str, Entry]]:
    rows = []
    for key in dict.fromkeys(key for content in contents for key in content):
        counts = Counter(_text(content[key]) for content in contents if key in content)
        text = "; ".join(counts if len(counts) == 1 else (f"{value} ({n} cells)" for value, n in counts.items()))
        text = text if len(counts) <= MOST_VALUES else f"{len(counts)} different values"
        rows.append({"setting": Entry(key.replace("_", " ")), "value": Entry(text)})
    return rows


def _flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flatten(value, f"{prefix}{key}: ") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def _text(value: Any) -> str:
    return "none" if value is None or value in ([], {}, "") else show(value)


def _link(kind: str, content: bytes) -> str:
    """A link that holds what it leads to."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _part(name: str) -> Markup:
    """A file of this package, which the page takes as it is."""
    return Markup(files("crosspt.report").joinpath(name).read_text(encoding="utf-8"))

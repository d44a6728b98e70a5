"""From an experiment's folder to ``report.html``, a page that opens from disk, ``tables/`` and ``figures/``."""

import base64
import itertools
import math
import shlex
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from crosspt.config.files import SCHEMA, check_writable, write_atomically
from crosspt.config.values import fits
from crosspt.report.draw import save
from crosspt.report.figures import draw_figures
from crosspt.report.paper import load_paper
from crosspt.report.statements import check_statements
from crosspt.report.statistics import estimate, least_seeds
from crosspt.report.summary import INVALID, MEAN, WSSP, Condition, Summary, say_tuning, show, summarize
from crosspt.report.table import Row, Table
from crosspt.report.tables import SAID, STATED, make_tables, shorten
from crosspt.report.verdict import judge_best
from crosspt.runs.experiments.choose import choose_cells
from crosspt.runs.experiments.read import Experiment, read_experiment

PAGE_NAME = "report.html"
DESCRIBED = ("experiment", "title", "suite", "model", "seeds", "decided_by_construction")
BRIEF = (SAID, STATED, "decided by", "difference", "verdict", "more seeds")
MOST_VALUES = 8  # of a setting that are listed


def make_report(folder: Path, output: Path) -> tuple[dict[str, Any], list[Table]]:
    """Write ``report.html``, ``tables/`` and ``figures/`` about the experiment in a folder into ``output``.

    Returns:
        The summary as plain JSON values, and the tables of means and, in brief, of statements.

    Raises:
        ValueError: the folder holds no experiment of this version, or the output cannot be written.
    """
    summary = summarize(choose_cells(read_experiment(folder)))
    for place in (output, output / "tables", output / "figures"):
        check_writable(place)
    if (seeds := len({cell.seed for cell in summary.experiment.finished})) < 2:
        few = "intervals and verdicts need two seeds or more"
        summary.experiment.warnings.append(f"{seeds} seed{'s' * (seeds != 1)} with a finished cell: {few}")
    best, verdicts, paper = judge_best(summary), check_statements(summary), load_paper()
    tables = make_tables(summary, verdicts)
    notes = dict.fromkeys(note for table in tables for note in table.notes)
    numbers = {note: number for number, note in enumerate(notes, start=1)}
    names, figures = [PAGE_NAME], []
    for drawn in draw_figures(summary):
        paths = [f"figures/{drawn.name}.{suffix}" for suffix in ("png", "svg")]
        save(drawn.figure, *(output / path for path in paths))
        svg = (output / paths[-1]).read_text(encoding="utf-8")
        figures.append({**drawn._asdict(), "source": _link("image/svg+xml", svg)})
        names += paths
    for table in tables:
        for suffix, text in (("csv", table.csv()), ("md", table.markdown(paper["notes"]))):
            names.append(f"tables/{table.name}.{suffix}")
            write_atomically(output / names[-1], text.encode())
    loader = PackageLoader("crosspt.report", "")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page = environment.get_template("page.html.j2").render(
        summary=summary,
        experiment=summary.experiment,
        best=best,
        tables=tables,
        figures=figures,
        settings=_settings(summary),
        beside=any(entry.beside for table in tables for row in table.entries for entry in row),
        paper=paper,
        tuning=say_tuning(summary),
        tested=sum(one["p"] is not None for one in verdicts),
        least_seeds=least_seeds,
        numbers=numbers,
        link=_link,
    )
    write_atomically(output / PAGE_NAME, page.encode())
    captions = {f"figures/{one['name']}.png": one["caption"] for one in figures if one["section"] == "results"}
    return {**_content(summary), "best": best, "files": names, "figures": captions, "statements": verdicts}, [
        tables[0],
        *(shorten(table, BRIEF) for table in tables if table.name == "statements"),
    ]


def _settings(summary: Summary) -> list[Table]:
    """What the cells were run with and on, each value with the number of cells it holds for."""
    contents = [cell.results for cell in summary.experiment.finished]
    machines = [{key: value for key, value in one["environment"].items() if key != "command"} for one in contents]
    seconds = pd.DataFrame([one["seconds"] for one in contents], dtype=float).sum()
    seconds["all"] = seconds.sum()
    tables = [
        Table("methods", "How each was trained", _methods(summary)),
        Table("configuration", "Settings of the finished cells", _tally([one["config"] for one in contents])),
        Table("versions", "Versions", _tally([one["versions"] for one in contents])),
        Table("machine", "Machine", _tally(machines)),
        Table("seconds", "Time", [{"part": part, "seconds over all cells": each} for part, each in seconds.items()]),
        Table("definition", "Definition of the experiment", _tally([summary.experiment.definition])),
    ]
    return [table for table in tables if table.rows]


def _methods(summary: Summary) -> list[Row]:
    """Where each scheme's and method's settings come from, and what it was given beyond its training rows."""
    rows: dict[str, Row] = {}
    for cell in summary.experiment.finished:
        told = cell.results.get("method", {})
        if fits(told, dict[str, Any]) and told:
            given, sources = (show(told.get(key) or "none") for key in ("settings_given", "pretrained_on"))
            rows[str(cell.settings["scheme"])] = {
                "scheme": str(cell.settings["scheme"]),
                "settings from": show(told.get("settings_source")),
                "settings given": given,
                "tuning": show(told.get("tuning_budget")),
                "selection": show(told.get("selection")),
                "prompts trained on source tasks": sources,
                "weights of the T5 learn": show(bool(told.get("changes_backbone"))),
            }
    return list(rows.values())


def _tally(contents: Sequence[Mapping[str, Any]]) -> list[Row]:
    counts: dict[str, Counter[str]] = {}
    for key, value in itertools.chain.from_iterable(_flatten(content) for content in contents):
        text = "none" if value is None or value in ([], {}, "") else show(value)
        counts.setdefault(key.replace("_", " "), Counter())[text] += 1
    rows = []
    for key, known in counts.items():
        text = "; ".join(known if len(known) == 1 else (f"{value} ({n} cells)" for value, n in known.items()))
        text = text if len(known) <= MOST_VALUES else f"{len(known)} different values"
        rows.append({"setting": key, "value": text})
    return rows


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        yield from _flatten(value, f"{prefix}{key}: ") if isinstance(value, dict) and value else [(prefix + key, value)]


def _link(kind: str, content: str) -> str:
    """A link that holds what it leads to."""
    return f"data:{kind};base64,{base64.b64encode(content.encode()).decode()}"


def _content(summary: Summary) -> dict[str, Any]:
    experiment = summary.experiment
    return {
        "schema": SCHEMA,
        **{key: getattr(experiment, key) for key in DESCRIBED},
        "command": _command(experiment),
        "cells": len(experiment.cells),
        "finished": len(experiment.finished),
        "unfinished": [{"cell": cell.name, "reason": cell.problem} for cell in experiment.cells if not cell.results],
        "warnings": experiment.warnings,
        "decode": summary.decode,
        "tuning": say_tuning(summary),
        "choices": experiment.choices,
        "conditions": [_condition(summary, condition) for condition in summary.conditions],
    }


def _command(experiment: Experiment) -> str | None:
    """The command that ran the last of the finished cells, for the whole grid where it was given a part of it."""
    commands = [cell.results["environment"].get("command") for cell in experiment.finished]
    known = [one for one in commands if fits(one, list[str]) and "experiment" in one]
    if not known:
        return None
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--shard", nargs="?")
    return shlex.join(["crosspt", *parser.parse_known_args(known[-1][known[-1].index("experiment") :])[1]])


def _condition(summary: Summary, condition: Condition) -> dict[str, Any]:
    spreads = condition.spreads.rename(columns={"std": "deviation"}).astype(object)
    spreads = spreads.where(spreads.notna(), None).to_dict("index")
    found = estimate(summary.sample(condition, MEAN))
    spreads[MEAN] |= {
        end: None if math.isnan(value) else value for end, value in zip(("low", "high"), found[-2:], strict=True)
    }
    return {
        "settings": dict(condition.settings),
        "seeds": len(condition.cells),
        **{key: spreads[quantity] for key, quantity in (("mean", MEAN), ("invalid", INVALID), ("wssp", WSSP))},
        "trainable_parameters": condition.facts.get("parameters"),
        "tasks": {task: spreads[task] for task in summary.tasks},
    }

"""The report's page: one file that holds its figures, tables, style and script."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from crosspt.report.paper import load_paper
from crosspt.report.sheets import Column, Entry, Sheet
from crosspt.report.summary import Summary, show

GLOSSARY = {
    "accuracy": "Answers that are the right label word, in percent. An answer that is no label word is wrong.",
    "f1": "Harmonic mean of precision and recall of class 1 (equivalent, duplicate), in percent.",
    "matthews": "Matthews correlation of answers and labels, in percent: 0 is chance, 100 is perfect.",
    "pearson": "Linear correlation of answered and true scores, in percent; an answer that is no number counts as 0.",
    "spearman": "Correlation of the ranks of answered and true scores, in percent.",
    "mean": "Mean of a seed's primary metrics over all tasks; then mean and sample standard deviation over seeds.",
    "invalid": "Answers that are no label word, or for scores no number, in percent of the test rows.",
    "ranked": "The answer is the label word that the model finds likeliest, so that none is invalid.",
    "majority": "The most frequent label of the test rows, given as every answer.",
    "WSSP": "Weighted similarity to source prompts (equation 3): the cosine of a task's prompt and each source prompt, "
    "weighted by the task's attention, in percent, averaged over tasks. Undefined without source prompts.",
    "attention weights": "Softmax weights with which a task mixes source prompts and its private prompt (equation 1).",
    "equation 2": "Cosine of the mean embedding of a task's prompt and that of a source or private prompt.",
    "equation 4": "Cosine of two tasks' prompts, token by token, averaged over the tokens.",
    "parameters": "Trainable parameters: prompts, their encoder and attention logits.",
    "undefined": "The metric has no value, such as a correlation of answers that are all the same.",
}


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it."""

    name: str
    caption: str
    source: str

    @classmethod
    def of(cls, name: str, caption: str, svg: bytes) -> "Picture":
        """A picture that the page itself holds."""
        return cls(name, caption, f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}")


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    id: str
    heading: str
    sheets: Sequence[Sheet] = ()
    pictures: Sequence[Picture] = ()
    paragraphs: Sequence[str] = field(default=())


def number_notes(sheets: Sequence[Sheet]) -> dict[str, int]:
    """Numbers of the footnotes, in the order in which the tables first need them."""
    used = dict.fromkeys(note for sheet in sheets for row in sheet.rows for entry in row for note in entry.notes)
    return {note: number for number, note in enumerate(used, 1)}


def render_page(
    summary: Summary, sheets: Sequence[Sheet], pictures: Sequence[Picture], numbers: Mapping[str, int]
) -> str:
    """The page as HTML."""
    sections = [section for section in _sections(summary, sheets, pictures) if section.sheets or section.pictures]
    settings = _settings(summary)
    contents = [(section.id, section.heading) for section in sections]
    contents += [("notes", "Footnotes")] if numbers else []
    contents += [("glossary", "Glossary"), ("settings", "Settings and machine")]
    environment = Environment(
        loader=PackageLoader("crosspt.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        experiment=summary.experiment,
        sections=sections,
        contents=contents,
        settings=settings,
        glossary=_glossary(summary),
        notes=load_paper().notes,
        numbers=numbers,
        links={sheet.name: _csv_link(sheet) for sheet in (*sheets, *settings)},
        style=_part("page.css"),
        script=_part("page.js"),
    )


def _sections(summary: Summary, sheets: Sequence[Sheet], pictures: Sequence[Picture]) -> list[Section]:
    by_name = {sheet.name: sheet for sheet in sheets}
    paper = load_paper()
    printed = [sheet for sheet in sheets if sheet.name.startswith("paper-")]
    beside = [f"{paper.source}, {paper.model}. {_comparable(summary)}".strip()]
    results = ["Means are over the tasks and then over the seeds."]
    if summary.decode != "generate":
        results.append("Answers are ranked label words; no cell has generated ones.")
    if any(entry.paper for sheet in sheets for row in sheet.rows for entry in row):
        results.append(f"Small numbers are the paper's. {_comparable(summary)}".strip())
    heat = [picture for picture in pictures if picture.name.startswith(("weights-", "similarity-", "task-similarity-"))]
    prompts = [
        "Each heatmap is of the first seed that finished: source prompts that start at random do not correspond "
        "between seeds, so that a mean over seeds would say nothing."
    ]

    def some(*names: str) -> list[Sheet]:
        return [by_name[name] for name in names if name in by_name]

    return [
        Section("results", "Results", some("means", "tasks"), [one for one in pictures if one not in heat], results),
        Section("paper", "Beside the paper", [*some("statements"), *printed], (), beside),
        Section("prompts", "Prompts", some("prompts"), heat, prompts if heat else ()),
        Section("metrics", "All metrics", some("metrics")),
        Section("unfinished", "Failed and unfinished cells", some("unfinished")),
    ]


def _comparable(summary: Summary) -> str:
    return load_paper().notes["embedded"] if summary.experiment.suite == "embedded" else ""


def _glossary(summary: Summary) -> list[tuple[str, str]]:
    """The terms that the page uses; metrics that no task has are left out."""
    metrics = {row["metric"] for cell in summary.experiment.finished if cell.results for row in cell.results["results"]}
    absent = {"accuracy", "f1", "matthews", "pearson", "spearman"} - metrics
    absent |= set() if summary.has_ranks or summary.decode == "rank" else {"ranked"}
    return [(term, meaning) for term, meaning in GLOSSARY.items() if term not in absent]


def _settings(summary: Summary) -> list[Sheet]:
    """What the cells were run with and on, each value with the number of cells it holds for."""
    contents = [cell.results for cell in summary.experiment.finished if cell.results]
    seconds: dict[str, float] = {}
    for content in contents:
        for part, value in content["seconds"].items():
            seconds[part] = seconds.get(part, 0.0) + float(value)
    environments = [
        {name: value for name, value in content["environment"].items() if name != "command"} for content in contents
    ]
    columns = [Column("part", numeric=False), Column("seconds over all cells")]
    rows = [[Entry(part), Entry(number=value)] for part, value in (seconds | {"all": sum(seconds.values())}).items()]
    return [
        _tally(
            "configuration", "Settings of the finished cells", [_flatten(content["config"]) for content in contents]
        ),
        _tally("versions", "Versions", [content["versions"] for content in contents]),
        _tally("machine", "Machine", environments),
        Sheet("seconds", "Time", columns, rows),
        _tally("definition", "Definition of the experiment", [_flatten(summary.experiment.definition)]),
    ]


def _tally(name: str, title: str, contents: Sequence[Mapping[str, Any]]) -> Sheet:
    columns = [Column("setting", numeric=False), Column("value", numeric=False)]
    rows = []
    for key in dict.fromkeys(key for content in contents for key in content):
        counts: dict[str, int] = {}
        for content in contents:
            if key in content:
                text = _text(content[key])
                counts[text] = counts.get(text, 0) + 1
        if len(counts) == 1:
            text = next(iter(counts))
        elif len(counts) <= 8:
            text = "; ".join(f"{value} ({count} cells)" for value, count in counts.items())
        else:
            text = f"{len(counts)} different values"
        rows.append([Entry(key.replace("_", " ")), Entry(text)])
    return Sheet(name, title, columns, rows)


def _flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict) and value:
            flat |= _flatten(value, f"{prefix}{key}: ")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _text(value: Any) -> str:
    return "none" if value is None or value in ([], {}, "") else show(value)


def _csv_link(sheet: Sheet) -> str:
    return f"data:text/csv;base64,{base64.b64encode(sheet.csv().encode()).decode()}"


def _part(name: str) -> Markup:
    """A file of this package, which the page takes as it is."""
    return Markup(files("crosspt.report").joinpath(name).read_text(encoding="utf-8"))

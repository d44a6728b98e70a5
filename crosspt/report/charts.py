"""Which figures an experiment gets: those its definition names, else those that follow from its axes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from crosspt.report.figures import draw_bars, draw_groups, draw_heatmap, draw_lines
from crosspt.report.paper import plain_task, table_of, tables_of
from crosspt.report.summary import Condition, Spread, Summary, show, split_scheme

KINDS = ("bars", "lines", "groups", "heatmaps", "grid")
WSSP_LABEL = "weighted similarity to sources, percent"
MOST_HEATMAPS = 9  # conditions; without a limit the heatmaps of a large grid fill the page and take minutes
AXES = {
    "shots": "training rows of each task",
    "sources": "source prompts",
    "label_set": "labels",
    "prefix": "task prefix",
    "source_learning_rate": "learning rate of source prompts",
    "private_learning_rate": "learning rate of private prompts",
}
MATRICES = {
    "weights": ("attention weights", "weights", (0.0, None)),
    "similarity": ("cosine of target prompts and candidates (equation 2)", "similarity", (None, None)),
    "task_similarity": ("token-level cosine of target prompts (equation 4)", "task-similarity", (None, None)),
}
Quantity = Callable[[Condition], Spread]


@dataclass(frozen=True)
class Chart:
    """A figure of the report.

    Attributes:
        name: of its files.
        caption: what it shows, for whoever cannot see it too.
        figure: the drawing.
    """

    name: str
    caption: str
    figure: Figure


def draw_charts(summary: Summary) -> Iterator[Chart]:
    """Draw an experiment's figures one after the other; the mean over tasks first, heatmaps last."""
    if not summary.find():
        return
    kinds = _kinds(summary)
    kind = next((kind for kind in kinds if kind != "heatmaps"), _derived_kind(summary))
    quantities: list[tuple[str, str, Quantity]] = [("means", "mean over tasks, percent", Condition.overall)]
    if any(condition.wssp().mean is not None for condition in summary.find()):
        quantities.append(("wssp", WSSP_LABEL, Condition.wssp))
    for name, label, quantity in quantities:
        yield from DRAWN[kind](summary, name, label, quantity)
    if kind == "bars" and len(summary.tasks) == 2:
        yield from _task_groups(summary)
    if "heatmaps" in kinds:
        yield from _heatmaps(summary)


def axis_name(axis: str) -> str:
    """What an axis is called in a figure."""
    return AXES.get(axis, axis.replace("_", " "))


def _kinds(summary: Summary) -> list[str]:
    hints = summary.experiment.definition.get("figures")
    kinds = [hint.get("kind") for hint in hints if isinstance(hint, dict)] if isinstance(hints, list) else []
    for kind in kinds:
        if kind not in KINDS:
            summary.experiment.warnings.append(
                f"experiment.json: no kind of figure {kind!r}, they are {', '.join(KINDS)}; left out"
            )
    return [kind for kind in kinds if kind in KINDS] or [_derived_kind(summary)]


def _derived_kind(summary: Summary) -> str:
    numeric, others = _split_axes(summary)
    if len(numeric) >= 2:
        return "grid"
    return "lines" if numeric else "groups" if others else "bars"


def _split_axes(summary: Summary) -> tuple[list[str], list[str]]:
    """The axes beside the scheme that vary: those of numbers, and the others."""
    numeric = [
        axis
        for axis, values in summary.varying.items()
        if axis != "scheme" and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    ]
    return numeric, [axis for axis in summary.varying if axis not in (*numeric, "scheme")]


def _bars(summary: Summary, name: str, label: str, quantity: Quantity) -> Iterator[Chart]:
    tables = tables_of(summary) if name == "means" else []
    for suffix, where, conditions in _panels(summary, {"scheme"}):
        printed = {}
        for condition in conditions:
            table = table_of(condition, tables)
            value = table.value(table.row(condition.scheme), "mean") if table else None
            if value is not None:
                printed[condition.scheme] = value
        values = {condition.scheme: quantity(condition) for condition in conditions}
        if any(value.mean is not None for value in values.values()):
            figure = draw_bars(values, _title(summary, where), label, printed)
            beside = "; diamonds: the paper" if printed else ""
            yield Chart(name + suffix, _caption(f"{label} of each scheme{where}{beside}", values), figure)


def _groups(summary: Summary, name: str, label: str, quantity: Quantity) -> Iterator[Chart]:
    numeric, others = _split_axes(summary)
    if not (others or numeric):
        yield from _bars(summary, name, label, quantity)
        return
    axis = (others or numeric)[0]
    for suffix, where, conditions in _panels(summary, {"scheme", axis}):
        groups: dict[str, dict[str, Spread]] = {}
        for condition in conditions:
            groups.setdefault(show(condition.settings[axis]), {})[condition.scheme] = quantity(condition)
        figure = draw_groups(groups, _title(summary, where), axis_name(axis), label)
        yield Chart(name + suffix, f"{label} of each scheme by {axis_name(axis)}{where}{ERRORS}", figure)


def _lines(summary: Summary, name: str, label: str, quantity: Quantity) -> Iterator[Chart]:
    numeric, _ = _split_axes(summary)
    axis = numeric[0] if numeric else "sources"
    for suffix, where, conditions in _panels(summary, {"scheme", axis}):
        lines: dict[str, dict[float, Spread]] = {}
        for condition in conditions:
            line, number = condition.scheme, condition.settings.get(axis)
            if axis == "sources" and number is None:
                line, number = split_scheme(condition.scheme)
            if number is not None and quantity(condition).mean is not None:
                lines.setdefault(line, {})[number] = quantity(condition)
        if lines:
            numbers = {number for line in lines.values() for number in line}
            log = min(numbers) > 0 and max(numbers) >= 16 * min(numbers)
            figure = draw_lines(lines, _title(summary, where), axis_name(axis), label, log)
            yield Chart(name + suffix, f"{label} by {axis_name(axis)}, a line for each scheme{where}{ERRORS}", figure)


def _grid(summary: Summary, name: str, label: str, quantity: Quantity) -> Iterator[Chart]:
    numeric, _ = _split_axes(summary)
    if len(numeric) < 2:
        yield from DRAWN[_derived_kind(summary)](summary, name, label, quantity)
        return
    down, across = sorted(numeric, key=lambda axis: axis != "source_learning_rate")[:2]
    rows, columns = (sorted(summary.varying[axis]) for axis in (down, across))
    for suffix, where, conditions in _panels(summary, {down, across}):
        found = {
            (condition.settings[down], condition.settings[across]): quantity(condition).mean for condition in conditions
        }
        figure = draw_heatmap(
            [[found.get((row, column)) for column in columns] for row in rows],
            [show(row) for row in rows],
            [show(column) for column in columns],
            f"{_title(summary, where)}: {label}",
            digits=1,
            row_label=axis_name(down),
            column_label=axis_name(across),
        )
        yield Chart(name + suffix, f"{label} by {axis_name(down)} and {axis_name(across)}{where}", figure)


def _task_groups(summary: Summary) -> Iterator[Chart]:
    """Two tasks and their mean side by side, as in figure 3."""
    for suffix, where, conditions in _panels(summary, {"scheme"}):
        groups = {
            plain_task(task): {condition.scheme: condition.task(task) for condition in conditions}
            for task in summary.tasks
        }
        groups["mean"] = {condition.scheme: condition.overall() for condition in conditions}
        figure = draw_groups(groups, _title(summary, where), "task", "primary metric, percent")
        yield Chart(f"tasks{suffix}", f"primary metric of each scheme by task{where}{ERRORS}", figure)


def _heatmaps(summary: Summary) -> Iterator[Chart]:
    conditions = [condition for condition in summary.find() if any(condition.banks())]
    if len(conditions) > MOST_HEATMAPS:
        summary.experiment.warnings.append(
            f"heatmaps of the first {MOST_HEATMAPS} of {len(conditions)} conditions are drawn"
        )
    for condition in conditions[:MOST_HEATMAPS]:
        cell = next(cell for cell in condition.cells if cell.results and cell.results.get("analysis"))
        banks = list((cell.results or {})["analysis"])
        where = "".join(
            f", {axis_name(axis)}: {show(condition.settings[axis])}" for axis in summary.varying if axis != "scheme"
        )
        for key, (what, file, (low, high)) in MATRICES.items():
            for columns, rows in _stack(banks, key):
                known = [value for _, values in rows for value in values if value is not None]
                if not known or len(columns) == 1:
                    continue
                limits = (min(known) if low is None else low, max(known) if high is None else high)
                title = f"{condition.scheme}{where}, seed {cell.seed}: {what}"
                figure = draw_heatmap(
                    [values for _, values in rows],
                    [plain_task(task) for task, _ in rows],
                    [plain_task(column) for column in columns],
                    title,
                    limits=limits if limits[0] < limits[1] else None,
                )
                name = f"{file}-{condition.scheme}{_slug(condition, summary, {'scheme'})}"
                yield Chart(name, title, figure)
                break


def _stack(banks: list[Mapping[str, Any]], key: str) -> Iterator[tuple[list[str], list[tuple[str, list[Any]]]]]:
    """The rows of banks that mix the same candidates, under each other."""
    stacked: dict[tuple[str, ...], list[tuple[str, list[Any]]]] = {}
    for bank in banks:
        columns = tuple(bank["tasks"] if key == "task_similarity" else bank["candidates"])
        stacked.setdefault(columns, []).extend(zip(bank["tasks"], bank[key], strict=True))
    for columns, rows in stacked.items():
        yield list(columns), rows


def _panels(summary: Summary, inside: set[str]) -> Iterator[tuple[str, str, list[Condition]]]:
    """The finished conditions apart by the axes that a figure does not show: a suffix, words, and the conditions."""
    panels: dict[str, tuple[str, list[Condition]]] = {}
    for condition in summary.find():
        words = "".join(
            f", {axis_name(axis)}: {show(condition.settings[axis])}" for axis in summary.varying if axis not in inside
        )
        panels.setdefault(_slug(condition, summary, inside), (words, []))[1].append(condition)
    for suffix, (words, conditions) in panels.items():
        yield suffix, words, conditions


def _slug(condition: Condition, summary: Summary, inside: set[str]) -> str:
    parts = [f"{axis}-{show(condition.settings[axis])}" for axis in summary.varying if axis not in inside]
    text = "".join(f"-{part}" for part in parts)
    return "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in text).replace("_", "-")


def _title(summary: Summary, where: str) -> str:
    return f"{summary.experiment.title}{where}"


ERRORS = "; bars are one standard deviation over seeds"


def _caption(text: str, values: Mapping[str, Spread]) -> str:
    numbers = ", ".join(f"{name} {value.mean:.1f}" for name, value in values.items() if value.mean is not None)
    return f"{text}{ERRORS}. {numbers}"


DRAWN: Mapping[str, Callable[[Summary, str, str, Quantity], Iterator[Chart]]] = {
    "bars": _bars,
    "lines": _lines,
    "groups": _groups,
    "grid": _grid,
}

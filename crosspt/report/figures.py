"""Which figures an experiment gets: those its definition names, else those that follow from its axes."""

import itertools
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from crosspt.config.scheme import Scheme
from crosspt.config.values import fits
from crosspt.report.draw import draw_dots, draw_heatmap, draw_lines
from crosspt.report.paper import table_of
from crosspt.report.statistics import estimate
from crosspt.report.summary import MEAN, WSSP, Condition, Summary, axis_name, plain_task, show

MOST_HEATMAPS = 9  # conditions; without a limit the heatmaps of a large grid fill the page and take minutes
MATRICES = {  # the colours' limits, and what they show
    "weights": ((0.0, 1.0), "attention weights"),
    "similarity": ((-1.0, 1.0), "cosine of target prompts and candidates (equation 2)"),
    "task_similarity": ((-1.0, 1.0), "token-level cosine of target prompts (equation 4)"),
}


class Captioned(NamedTuple):
    """A figure of the report."""

    section: str  # of the page, ``results`` or ``prompts``
    name: str  # of its files
    caption: str  # what it shows, for whoever cannot see it too
    figure: Figure


def draw_figures(summary: Summary) -> Iterator[Captioned]:
    """Draw an experiment's figures one after the other; the mean over tasks first, heatmaps last."""
    axes = {axis: all(fits(value, float) for value in summary.varying[axis]) for axis in summary.varying}
    numeric = sorted((axis for axis in axes if axes[axis]), key=lambda axis: axis != "source_learning_rate")
    others = [axis for axis in axes if not axes[axis] and axis != "scheme"]
    shown = {  # the axes of each kind of figure that the experiment has
        "grid": numeric[:2] if len(numeric) > 1 else [],
        "lines": [numeric[0], "scheme"] if numeric else ["sources", "family"] if not others else [],
        "groups": ["scheme", (others + numeric)[0]] if others + numeric else [],
        "bars": ["scheme"],
    }
    hints = summary.experiment.definition.get("figures")
    named = [str(hint.get("kind")) for hint in hints if isinstance(hint, dict)] if isinstance(hints, list) else []
    derived = ["grid"] * (len(numeric) > 1) + ["lines"] * bool(numeric) + ["groups"] * bool(others) + ["bars"]
    kind = next(kind for kind in [*named, *derived] if shown.get(kind))
    yield from _plot(summary, kind, shown[kind], "means", "mean over tasks", [MEAN])
    yield from _plot(summary, kind, shown[kind], "wssp", "weighted similarity to sources", [WSSP])
    if kind == "bars" and len(summary.tasks) == 2:  # side by side, as in figure 3
        yield from _plot(summary, "groups", ["scheme", "task"], "tasks", "primary metric", [*summary.tasks, MEAN])
    if "heatmaps" in named:
        yield from _heatmaps(summary)


def _plot(
    summary: Summary, kind: str, axes: Sequence[str], name: str, what: str, quantities: Sequence[str]
) -> Iterator[Captioned]:
    """Bars of each scheme, groups of them by an axis or by task, lines over an axis, or a grid of two."""
    names, label = [axis_name(axis) for axis in axes], f"{what}, percent"
    panels: dict[tuple[str, str], list[Condition]] = {}
    for condition in summary.find():
        panels.setdefault(_outside(summary, condition, axes if kind == "grid" else [*axes, "scheme"]), []).append(
            condition
        )
    every = [condition.spreads.at[quantity, "mean"] for condition in summary.find() for quantity in quantities]
    for (suffix, words), conditions in panels.items():
        records = []
        for condition, quantity in itertools.product(conditions, quantities):
            found = estimate(summary.sample(condition, quantity))
            records.append((*(_place(condition, quantity, axis) for axis in axes), found.mean, found.low, found.high))
        values = pd.DataFrame(records, columns=[*names, label, "low", "high"]).dropna(subset=[*names, label])
        if values.empty:
            continue
        title, caption = f"{summary.experiment.title}{words}: {what}", f"{label} by {' and '.join(names)}{words}"
        if kind != "grid" and values["low"].notna().any():
            caption += "; with 95 % intervals over seeds and rows"
        if kind == "grid":
            means = values.pivot_table(label, *names).rename(index=show, columns=show)
            figure = draw_heatmap(means, f"{title}, percent", limits=(np.nanmin(every), np.nanmax(every)), digits=1)
        elif kind == "lines":
            figure = draw_lines(values, title)
        elif kind == "groups":
            figure = draw_dots(values.assign(**{names[1]: values[names[1]].map(show)}), title)
        else:
            known = [one for one in conditions if MEAN in quantities and one.spreads.at[MEAN, "count"]]
            papers = [(one, table_of(summary, one)) for one in known]
            printed = {one.scheme: paper.number(paper.row(one), MEAN)[0] for one, paper in papers if paper}
            figure = draw_dots(values, title, printed=printed)
            means = values.set_index("scheme")[label]
            caption += "; diamonds: the paper" * bool(printed)
            caption += f". {', '.join(f'{scheme} {value:.1f}' for scheme, value in means.items())}"
        yield Captioned("results", name + suffix, caption, figure)


def _place(condition: Condition, quantity: str, axis: str) -> Any:
    """Where a condition's quantity stands on an axis of a figure."""
    places: dict[str, Any] = {"task": plain_task(quantity), "family": condition.scheme}
    with suppress(ValueError):  # another method than CrossPT has no sources to count
        scheme = Scheme.parse(condition.scheme)
        counted = scheme.learns_sources and not scheme.initializes_sources and scheme.count != "N"
        places["family"] = scheme.name.removesuffix(scheme.count)
        places["sources"] = int(scheme.count or 1) if counted else None
    return condition.settings.get(axis, places.get(axis))


def _heatmaps(summary: Summary) -> Iterator[Captioned]:
    """The matrices of each condition's first seed."""
    conditions = [condition for condition in summary.find() if any(cell.banks for cell in condition.cells)]
    if len(conditions) > MOST_HEATMAPS:
        drawn = f"heatmaps of the first {MOST_HEATMAPS} of {len(conditions)} conditions are drawn"
        summary.experiment.warnings.append(drawn)
    for (key, (limits, what)), condition in itertools.product(MATRICES.items(), conditions[:MOST_HEATMAPS]):
        cell = next(cell for cell in condition.cells if cell.banks)
        suffix, words = _outside(summary, condition, ["scheme"])
        title = f"{condition.scheme}{words}, seed {cell.seed}: {what}"
        frame = _stack(cell.banks, key)
        if frame is not None:
            name = f"{key.replace('_', '-')}-{condition.scheme}{suffix}"
            yield Captioned("prompts", name, title, draw_heatmap(frame, title, limits=limits))


def _stack(banks: list[dict[str, Any]], key: str) -> pd.DataFrame | None:
    """The rows of the first banks that mix the same candidates; None where they would say nothing."""
    stacks: dict[tuple[str, ...], list[pd.DataFrame]] = {}
    for bank in banks:
        stacks.setdefault(tuple(bank[key].columns), []).append(bank[key])
    frames = [pd.concat(frames).rename(index=plain_task, columns=plain_task) for frames in stacks.values()]
    return next((frame for frame in frames if frame.shape[1] > 1 and frame.notna().any(axis=None)), None)


def _outside(summary: Summary, condition: Condition, inside: Collection[str]) -> tuple[str, str]:
    """What tells a condition apart beside the axes of a figure: the suffix of a file, and words."""
    values = {axis: show(condition.settings[axis]) for axis in summary.varying if axis not in inside}
    text = "".join(f"-{axis}-{value}" for axis, value in values.items())
    suffix = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in text)
    return suffix, "".join(f", {axis_name(axis)}: {value}" for axis, value in values.items())

"""Which figures an experiment gets: those its definition names, else those that follow from its axes."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from crosspt.report.draw import draw_bars, draw_heatmap, draw_lines
from crosspt.report.paper import table_of, tables_of
from crosspt.report.summary import MEAN, WSSP, Condition, Summary, axis_name, is_number, plain_task, show, split_scheme

KINDS = ("bars", "lines", "groups", "heatmaps", "grid")
MOST_HEATMAPS = 9  # conditions; without a limit the heatmaps of a large grid fill the page and take minutes
MATRICES = {
    "weights": ("weights", "attention weights"),
    "similarity": ("similarity", "cosine of target prompts and candidates (equation 2)"),
    "task_similarity": ("task-similarity", "token-level cosine of target prompts (equation 4)"),
}
Place = Callable[[Condition, str], tuple[Any, str]]


class Captioned(NamedTuple):
    """A figure of the report."""

    section: str  # of the page, ``results`` or ``prompts``
    name: str  # of its files
    caption: str  # what it shows, for whoever cannot see it too
    figure: Figure


class Panel(NamedTuple):
    """The finished conditions that one figure shows, and what sets them apart from those of other figures."""

    suffix: str  # of a file
    words: str
    conditions: list[Condition]

    def frames(self, quantities: Sequence[str], place: Place) -> list[pd.DataFrame]:
        """Means and deviations of quantities, each at its row and column; what has the row None is left out."""
        pairs = [(condition, quantity) for condition in self.conditions for quantity in quantities]
        records = [(*place(*pair), *pair[0].spreads.loc[pair[1], ["mean", "deviation"]]) for pair in pairs]
        frame = pd.DataFrame(records, columns=["row", "column", "mean", "deviation"]).dropna(subset=["row"])
        frame = frame.drop_duplicates(["row", "column"], keep="last")
        found = frame.pivot(index="row", columns="column").reindex(frame["row"].unique())
        return [found[part][frame["column"].unique()] for part in ("mean", "deviation")]


def draw_figures(summary: Summary) -> Iterator[Captioned]:
    """Draw an experiment's figures one after the other; the mean over tasks first, heatmaps last."""
    finished = summary.find()
    if not finished:
        return
    kinds = _kinds(summary)
    axes = _axes(summary)
    kind = next((kind for kind in kinds if kind != "heatmaps"), _derived_kind(summary))
    if (kind == "grid" and sum(axes.values()) < 2) or (kind == "groups" and not axes):
        kind = _derived_kind(summary)
    yield from _plot(summary, kind, "means", "mean over tasks", [MEAN])
    if any(condition.spreads.at[WSSP, "count"] for condition in finished):
        yield from _plot(summary, kind, "wssp", "weighted similarity to sources", [WSSP])
    if kind == "bars" and len(summary.tasks) == 2:  # side by side, as in figure 3
        yield from _plot(summary, "tasks", "tasks", "primary metric", [*summary.tasks, MEAN])
    if "heatmaps" in kinds:
        yield from _heatmaps(summary)


def _kinds(summary: Summary) -> list[str]:
    hints = summary.experiment.definition.get("figures")
    named = [hint.get("kind") for hint in hints if isinstance(hint, dict)] if isinstance(hints, list) else []
    for kind in named:
        if kind not in KINDS:
            summary.experiment.warnings.append(
                f"experiment.json: no kind of figure {kind!r}, they are {', '.join(KINDS)}; left out"
            )
    return [kind for kind in named if kind in KINDS] or [_derived_kind(summary)]


def _derived_kind(summary: Summary) -> str:
    axes = _axes(summary)
    numeric = sum(axes.values())
    return "grid" if numeric >= 2 else "lines" if numeric else "groups" if axes else "bars"


def _axes(summary: Summary) -> dict[str, bool]:
    """The axes beside the scheme that vary, and whether they are of numbers."""
    return {axis: all(map(is_number, values)) for axis, values in summary.varying.items() if axis != "scheme"}


def _places(summary: Summary, kind: str) -> tuple[tuple[str, ...], Place]:
    """The axes of a kind of figure, and the row and the column of a condition's quantity in it."""
    axes = _axes(summary)
    numeric = [axis for axis in axes if axes[axis]]
    others = [axis for axis in axes if not axes[axis]]
    if kind == "grid":
        down, across = sorted(numeric, key=lambda axis: axis != "source_learning_rate")[:2]
        return (down, across), lambda one, _: (one.settings[down], one.settings[across])
    if kind == "groups":
        axis = (others or numeric)[0]
        return ("scheme", axis), lambda one, _: (one.scheme, show(one.settings[axis]))
    if kind == "lines":
        axis = numeric[0] if numeric else "sources"

        def place(one: Condition, _: str) -> tuple[Any, str]:
            number = one.settings.get(axis)
            return split_scheme(one.scheme)[::-1] if number is None else (number, one.scheme)

        return ("scheme", axis), place
    return ("scheme", "task"), lambda one, quantity: (one.scheme, plain_task(quantity))


def _plot(summary: Summary, kind: str, name: str, what: str, quantities: Sequence[str]) -> Iterator[Captioned]:
    """Bars of each scheme, groups of them by an axis or by task, lines over an axis, or a grid of two."""
    axes, place = _places(summary, kind)
    first, second = map(axis_name, axes)
    label = f"{what}, percent"
    found = [(panel, *panel.frames(quantities, place)) for panel in _panels(summary, axes)]
    limits = _limits(means for _, means, _ in found)
    for panel, means, deviations in found:
        title, errors = f"{summary.experiment.title}{panel.words}: {what}", _errors(deviations)
        if not means.notna().any(axis=None):
            continue
        if kind == "grid":
            down, across = (sorted(summary.varying[axis]) for axis in axes)
            means = means.reindex(index=down, columns=across).rename(index=show, columns=show)
            labels = {"row_label": first, "column_label": second}
            figure = draw_heatmap(means, f"{title}, percent", limits=limits, digits=1, **labels)
            caption = f"{label} by {first} and {second}{panel.words}"
        elif kind == "lines":
            means = means.dropna(how="all").dropna(how="all", axis=1).sort_index()
            figure = draw_lines(means, title, second, label, deviations=deviations)
            caption = f"{label} by {second}, a line for each scheme{panel.words}{errors}"
        elif kind == "bars":
            printed = _printed(summary, panel) if MEAN in quantities else {}
            figure = draw_bars(means, title, label, deviations=deviations, printed=printed)
            numbers = ", ".join(f"{scheme} {value:.1f}" for scheme, value in means.iloc[:, 0].dropna().items())
            beside = "; diamonds: the paper" if printed else ""
            caption = f"{label} of each scheme{panel.words}{beside}{errors}. {numbers}"
        else:
            figure = draw_bars(means, title, label, deviations=deviations, legend=second)
            caption = f"{label} of each scheme by {second}{panel.words}{errors}"
        yield Captioned("results", name + panel.suffix, caption, figure)


def _printed(summary: Summary, panel: Panel) -> dict[str, float]:
    """The paper's means of the schemes that have one."""
    found = {one.scheme: table_of(one, tables_of(summary)) for one in panel.conditions if one.spreads.at[MEAN, "count"]}
    return {scheme: table.value(table.row(scheme), MEAN) for scheme, table in found.items() if table}


def _heatmaps(summary: Summary) -> Iterator[Captioned]:
    """The matrices of each condition's first seed; those of one kind share their colours."""
    conditions = [condition for condition in summary.find() if any(cell.banks for cell in condition.cells)]
    if len(conditions) > MOST_HEATMAPS:
        summary.experiment.warnings.append(
            f"heatmaps of the first {MOST_HEATMAPS} of {len(conditions)} conditions are drawn"
        )
    for key, (file, what) in MATRICES.items():
        found = {}
        for condition in conditions[:MOST_HEATMAPS]:
            cell = next(cell for cell in condition.cells if cell.banks)
            suffix, words = _outside(summary, condition, ["scheme"])
            title = f"{condition.scheme}{words}, seed {cell.seed}: {what}"
            frame = _stack(cell.banks, key)
            if frame is not None:
                found[f"{file}-{condition.scheme}{suffix}"] = title, frame
        low, high = _limits(frame for _, frame in found.values()) or (0.0, 1.0)
        for name, (title, frame) in found.items():
            figure = draw_heatmap(frame, title, limits=(0.0 if key == "weights" else low, high))
            yield Captioned("prompts", name, title, figure)


def _stack(banks: list[dict[str, Any]], key: str) -> pd.DataFrame | None:
    """The rows of the first banks that mix the same candidates; None where they would say nothing."""
    stacks: dict[tuple[str, ...], list[pd.DataFrame]] = {}
    for bank in banks:
        stacks.setdefault(tuple(bank[key].columns), []).append(bank[key])
    frames = [pd.concat(frames).rename(index=plain_task, columns=plain_task) for frames in stacks.values()]
    return next((frame for frame in frames if frame.shape[1] > 1 and frame.notna().any(axis=None)), None)


def _limits(frames: Iterable[pd.DataFrame]) -> tuple[float, float] | None:
    """The least and the largest value of several matrices; None where there is none."""
    values = np.concatenate([np.empty(0), *(frame.to_numpy().ravel() for frame in frames)])
    return (float(np.nanmin(values)), float(np.nanmax(values))) if np.isfinite(values).any() else None


def _panels(summary: Summary, inside: Collection[str]) -> list[Panel]:
    """The finished conditions apart by the axes that a figure does not show."""
    panels: dict[str, Panel] = {}
    for condition in summary.find():
        suffix, words = _outside(summary, condition, inside)
        panels.setdefault(suffix, Panel(suffix, words, [])).conditions.append(condition)
    return list(panels.values())


def _outside(summary: Summary, condition: Condition, inside: Collection[str]) -> tuple[str, str]:
    """What tells a condition apart beside some axes: the suffix of a file, and words."""
    values = {axis: show(condition.settings[axis]) for axis in summary.varying if axis not in inside}
    text = "".join(f"-{axis}-{value}" for axis, value in values.items())
    suffix = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in text)
    return suffix, "".join(f", {axis_name(axis)}: {value}" for axis, value in values.items())


def _errors(deviations: pd.DataFrame) -> str:
    return "; bars are one standard deviation over seeds" if deviations.notna().any(axis=None) else ""

"""Drawing. What is told apart by colour is so by marker or dash too, and no number stands on a mark."""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from crosspt.report.palette import COLOURS, FAINT, GROUND, GROUND_ID, INK, MUTED, RULE, add_dark

DASHES = ["-", "--", "-.", ":"]
MARKERS = ["o", "s", "^", "D"]
ABOVE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 4, "frameon": False, "fontsize": 8}
TURNED: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
LABEL_HEIGHT = 0.055  # of an axis, that a name beside a line takes


def save(figure: Figure, *paths: Path) -> None:
    """Write a figure as what each file's suffix says, ``.png`` or ``.svg``; equal figures give equal bytes.

    The canvases are asked directly: ``Figure.savefig`` draws everything twice.
    """
    figure.patch.set(gid=GROUND_ID, facecolor=GROUND)
    for text in figure.findobj(Text):
        if text.get_color() == "black":
            text.set_color(INK)
    for path in paths:
        if path.suffix == ".svg":
            drawn = StringIO()
            with matplotlib.rc_context({"svg.hashsalt": "crosspt"}):
                FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None})
            path.write_text(add_dark(drawn.getvalue()), encoding="utf-8")
        else:
            FigureCanvasAgg(figure).print_png(path)
        figure.set_layout_engine("none")  # the first drawing has found it


def draw_dots(
    values: pd.DataFrame, title: str, *, printed: Mapping[str, float] | None = None, muted: Collection[str] = ()
) -> Figure:
    """A line for each name, the highest first: a dot with its interval, and the numbers beside it.

    The columns of ``values`` are names, what sets a name's dots apart, if anything does, the means, and the ends of
    their intervals, NaN where there is none; a row for each dot. Beyond four of what sets them apart each has a panel.
    ``printed`` are the paper's values of some names, drawn as diamonds; ``muted`` are names of what was not trained.
    """
    (name, *group), label = values.columns[:-3], values.columns[-3]
    values = values.dropna(subset=[name, label]).astype({name: str})
    means = values.groupby(name, sort=False)[label].mean().sort_values(ascending=False, kind="stable")
    names, parts = list(means.index), _split(values, group)
    panels = [parts] if len(parts) <= len(COLOURS) else [[part] for part in parts]
    height = 1.1 + max(len(names), 2) * (0.14 + 0.17 * len(panels[0]))
    width = 7.2 if len(panels) == 1 else 1.2 + 1.9 * len(panels)
    figure, drawn = _start(width, height, title, 1, len(panels))
    for axes, shown in zip(drawn, panels, strict=True):
        for number, (part, rows) in enumerate(shown):
            lines = np.array([names.index(each) for each in rows[name]])
            places = lines + 0.76 * ((number + 0.5) / len(shown) - 0.5)
            colours = [MUTED if names[line] in muted else COLOURS[number] for line in lines]
            _mark(axes, rows, places, colours, MARKERS[number], part, intervals=len(panels) == 1)
        if printed:
            style: dict[str, Any] = {"marker": "D", "s": 30, "facecolors": "none", "edgecolors": MUTED}
            rows_of = [names.index(each) for each in printed]
            axes.scatter(list(printed.values()), rows_of, label="the paper", zorder=2, **style)
        axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6), xlim=_limits([values]))
        if printed:
            axes.autoscale(axis="x")
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color=RULE, linewidth=0.6)
        axes.tick_params(axis="y", length=0, labelleft=axes is drawn[0])
        if len(panels) > 1:
            axes.set_title(f"{group[0]}: {shown[0][0]}", fontsize=9, loc="left")
    if len(panels) == 1 and (group or printed):
        drawn[0].legend(**ABOVE, title=group[0] if group else None, title_fontsize=8)
    figure.supxlabel(label, fontsize=10)
    return figure


def _mark(
    axes: Axes, rows: pd.DataFrame, places: np.ndarray, colours: Sequence[str], marker: str, part: str, intervals: bool
) -> None:
    """Dots with their intervals, and right of the panel the numbers."""
    label, low, high = rows.columns[-3:]
    axes.hlines(places, rows[low], rows[high], colors=colours, linewidth=2)
    axes.scatter(rows[label], places, s=34, c=colours, marker=marker, zorder=3, label=part)
    where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 8}
    for place, colour, (mean, bottom, top) in zip(places, colours, rows[[label, low, high]].to_numpy(), strict=True):
        interval = f"  [{bottom:.1f}, {top:.1f}]" if intervals and not np.isnan(bottom) else ""
        axes.annotate(f"{mean:.1f}{interval}", (1.02, place), color=colour, **where)


def draw_lines(values: pd.DataFrame, title: str) -> Figure:
    """A line of means over a number for each name, with intervals; more than four have a panel each.

    The columns of ``values`` are numbers, names, the means, and the ends of their intervals, NaN where there is none;
    a row for each point. Grey lines are those of the other panels. Names far from most are at
    other percents, with a step of one percent as high.
    """
    (over, name), (label, _, _) = values.columns[:-3], values.columns[-3:]
    values = values.dropna(subset=[over, label]).sort_values(over, kind="stable")
    parts = _split(values, [name])
    if len(parts) <= len(COLOURS):
        return _draw_together(values, parts, title)
    ticks, apart = sorted(values[over].unique()), _find_apart(parts, label)
    columns = 3 if len(parts) <= 9 else 4
    rows = -(-len(parts) // columns)
    sides = [[these for other, these in parts if (other in apart) == side] for side in (False, True)]
    height = max(np.ptp(_limits(side)) for side in sides if side)
    figure, panels = _start(1 + 2.1 * columns, 0.9 + 1.55 * rows, title, rows, columns)
    for axes in panels[len(parts) :]:
        axes.set_axis_off()
    for number, (axes, (part, own)) in enumerate(zip(panels, parts, strict=False)):
        alike = [(other, these) for other, these in parts if (other in apart) == (part in apart)]
        for other, these in alike:
            if other != part:
                axes.plot([ticks.index(each) for each in these[over]], these[label], color=FAINT, linewidth=0.8)
        places = [ticks.index(each) for each in own[over]]
        axes.fill_between(places, *_interval(own), color=COLOURS[0], alpha=0.25, linewidth=0)
        axes.plot(places, own[label], color=COLOURS[0], marker="o", markersize=4, linewidth=1.8)
        bottom, top = _limits([these for _, these in alike])
        room = (height - (top - bottom)) / 2  # a step of one percent is as high in every panel
        axes.set_ylim(bottom - room, top + room)
        axes.set_title(f"{part}, at other percents" if part in apart else part, fontsize=9, loc="left")
        axes.set_xticks(range(len(ticks)), [f"{each:g}" for each in ticks], fontsize=8)
        first, bottom = number % columns == 0, number + columns >= len(parts)
        axes.tick_params(labelleft=first or part in apart, labelbottom=bottom, labelsize=8)
        axes.set_xlabel(over if bottom else "")
    figure.supylabel(label, fontsize=10)
    return figure


def _draw_together(values: pd.DataFrame, parts: Sequence[tuple[str, pd.DataFrame]], title: str) -> Figure:
    """A few lines in one panel, each with its name at its end."""
    (over, _), (label, low, high) = values.columns[:-3], values.columns[-3:]
    ticks = sorted(values[over].unique())
    figure, (axes,) = _start(3.2 + max(0.55 * len(ticks), 3), 4, title)
    for number, (part, rows) in enumerate(parts):
        places = [ticks.index(each) + 0.08 * (number - (len(parts) - 1) / 2) for each in rows[over]]
        style: dict[str, Any] = {"color": COLOURS[number], "linestyle": DASHES[number], "marker": MARKERS[number]}
        style |= {"label": part, "linewidth": 1.8, "elinewidth": 1.2, "markersize": 5}
        axes.errorbar(places, rows[label], np.abs([rows[label] - rows[low], rows[high] - rows[label]]), **style)
    bottom, top = _limits([rows for _, rows in parts])
    ends = {number: rows[label].iloc[-1] for number, (_, rows) in enumerate(parts)}
    above = -np.inf
    for number in sorted(ends, key=ends.__getitem__):  # from below, each clear of the one before
        above = max((ends[number] - bottom) / (top - bottom), above + LABEL_HEIGHT)
        where: dict[str, Any] = {"xycoords": "axes fraction", "va": "center", "fontsize": 9}
        axes.annotate(f"{MARKED[MARKERS[number]]} {parts[number][0]}", (1.02, above), color=COLOURS[number], **where)
    axes.set(xlabel=over, ylabel=label, ylim=(bottom, top))
    axes.set_xticks(range(len(ticks)), [f"{each:g}" for each in ticks])
    return figure


MARKED = dict(zip(MARKERS, "●■▲◆", strict=True))  # as letters


def _find_apart(parts: Sequence[tuple[str, pd.DataFrame]], label: str) -> set[str]:
    """The fewer names that a gap as wide as all that the others span parts from these: they would press them flat."""
    spans = sorted((rows[label].min(), rows[label].max(), part) for part, rows in parts)
    tops = np.maximum.accumulate([top for _, top, _ in spans])
    gaps = [spans[number + 1][0] - tops[number] for number in range(len(spans) - 1)]
    cut = int(np.argmax(gaps)) + 1
    sides = sorted((spans[:cut], spans[cut:]), key=len)
    reach = max(top for _, top, _ in sides[1]) - min(bottom for bottom, _, _ in sides[1])
    return {part for _, _, part in sides[0]} if gaps[cut - 1] > reach else set()


def _interval(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The ends of the intervals, the mean itself where there is none."""
    label, low, high = rows.columns[-3:]
    return rows[low].fillna(rows[label]), rows[high].fillna(rows[label])


def _limits(parts: Sequence[pd.DataFrame]) -> tuple[float, float]:
    lows, highs = zip(*map(_interval, parts), strict=True)
    low, high = min(map(min, lows)), max(map(max, highs))
    room = 0.05 * (high - low) or 1.0
    return low - room, high + room


def draw_heatmap(
    values: pd.DataFrame, title: str, *, limits: tuple[float, float] | None = None, digits: int = 2
) -> Figure:
    """A matrix in colours, every cell with its number; a cell without one stays white.

    ``limits`` are the values of the darkest and of the lightest colour, by default the least and the largest value;
    ``digits`` are the decimals of the numbers.
    """
    values, (rows, columns) = values.astype(float), values.shape
    wide = max(rows, columns) > 12
    size, cell_width, cell_height = (5.5, 0.30, 0.24) if wide else (8, 0.52, 0.36)
    width = 1.5 + 0.07 * max(map(len, values.index), default=0) + cell_width * max(columns, 4)
    figure, (axes,) = _start(width, 1.5 + cell_height * max(rows, 3), title)
    axes.grid(visible=False)
    texts = values.map(lambda value: f"{round(value, digits) + 0.0:.{digits}f}")  # + 0.0: no -0.00
    if wide and digits == 2:
        texts = texts.map(lambda text: text.replace("0.", ".", 1))  # .07 fits a small cell
    low, high = limits or (values.min(axis=None), values.max(axis=None))
    low, high = (low, high) if low < high else (low - 0.5, high + 0.5)
    style: dict[str, Any] = {"cmap": "viridis", "annot_kws": {"fontsize": size}, "cbar_kws": {"pad": 0.02}}
    seaborn.heatmap(
        values, vmin=low, vmax=high, annot=texts, fmt="", xticklabels=True, yticklabels=True, ax=axes, **style
    )
    for number in axes.texts:
        number.set_in_layout(False)  # the layout of 30 x 30 numbers would take seconds
    axes.set_xticks(np.arange(columns) + 0.5, values.columns, **({"rotation": 90} if wide else TURNED))
    axes.tick_params(length=0, labelsize=size + 1)
    axes.tick_params(axis="y", rotation=0)
    figure.axes[1].tick_params(color=MUTED, labelcolor=INK)  # of the colours
    return figure


def _split(values: pd.DataFrame, group: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each name in a column, in the order of the first ones; all of them without a column."""
    return [(str(name), rows) for name, rows in values.groupby(group[0], sort=False)] if group else [("", values)]


def _start(width: float, height: float, title: str, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    every = list(figure.subplots(rows, columns, squeeze=False).flat)
    figure.suptitle(textwrap.fill(title, int(12 * width)), fontsize=10)  # 12 letters an inch
    for axes in every:
        axes.set_facecolor("none")
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(MUTED)
        axes.tick_params(color=MUTED, labelcolor=INK)
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=RULE, linewidth=0.6)
    return figure, every

"""Drawing. Colours differ in lightness, bars in hatch, and lines in marker and dash, also in greyscale."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
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
from matplotlib.patheffects import withStroke

COLOURS = ["#440154", "#2f6c8e", "#35b779", "#c8d930"]  # of viridis, darkest first
HATCHES = ["", "///", "...", "xx"]
DASHES = ["-", "--", "-.", ":"]
MARKERS = ["o", "s", "^", "D"]
LEGEND: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1), "frameon": False, "fontsize": 8}
TURNED: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}


def save(figure: Figure, *paths: Path) -> None:
    """Write a figure as what each file's suffix says, ``.png`` or ``.svg``; equal figures give equal bytes.

    The canvases are asked directly: ``Figure.savefig`` draws everything twice.
    """
    for path in paths:
        if path.suffix == ".svg":
            with matplotlib.rc_context({"svg.hashsalt": "crosspt"}):
                FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None})
        else:
            FigureCanvasAgg(figure).print_png(path)
        figure.set_layout_engine("none")  # the first drawing has found it


def draw_bars(values: pd.DataFrame, title: str, *, printed: Mapping[str, float] | None = None) -> Figure:
    """A bar for each name, with its interval.

    The columns of ``values`` are names, what sets a name's bars apart, if anything does, the means, and the ends of
    their intervals, NaN where there is none; a row for each bar. ``printed`` are the paper's values of some names,
    drawn as diamonds.
    """
    (name, *group), (label, low, high) = values.columns[:-3], values.columns[-3:]
    values = values.dropna(subset=[name, label])
    names, parts = list(values[name].unique()), _split(values, group)
    figure, (axes,) = _start(2.5 + max(0.3 * len(parts), 0.55) * max(len(names), 6), 4.2, title)
    room = 0.8 / len(parts)  # of a bar
    for number, (part, rows) in enumerate(parts):
        places = [names.index(each) + (number - (len(parts) - 1) / 2) * room for each in rows[name]]
        style: dict[str, Any] = {"color": COLOURS[number % 3 if group else 1], "hatch": HATCHES[number % len(HATCHES)]}
        style |= {"label": part, "edgecolor": "black", "linewidth": 0.8, "error_kw": {"elinewidth": 1, "capsize": 3}}
        bars: Any = axes.bar(places, rows[label], room, yerr=_reach(rows, label, low, high), **style)
        for order, line in enumerate(itertools.chain(*bars.errorbar.lines[1:])):  # dark bars would hide caps and lines
            line.set(path_effects=[withStroke(linewidth=3, foreground="white")], zorder=3 + order)
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        axes.bar_label(bars, fmt="%.0f" if group else "%.1f", fontsize=7, label_type="center", bbox=ground)
    axes.set(ylabel=label, ylim=(min(values[label].min() - 4, 0), 108), yticks=range(0, 101, 20))
    if printed:
        places, style = [names.index(each) + 0.25 for each in printed], {"color": "white", "markeredgecolor": "black"}
        axes.plot(places, list(printed.values()), "D", label="paper", zorder=9, **style)
    if group or printed:
        axes.legend(title=group[0] if group else None, **LEGEND)
    crowded = len(names) > 12 or max((len(str(each)) for each in names), default=0) > 8
    axes.set_xticks(range(len(names)), names, **(TURNED if crowded else {}))
    return figure


def draw_lines(values: pd.DataFrame, title: str) -> Figure:
    """A line of means over a number for each name, with intervals; many lines side by side, three in a panel.

    The columns of ``values`` are numbers, names, the means, and the ends of their intervals, NaN where there is none;
    a row for each point. Grey lines are those of the other panels.
    """
    (over, name), (label, low, high) = values.columns[:-3], values.columns[-3:]
    values = values.dropna(subset=[over, label]).sort_values(over, kind="stable")
    ticks, parts = sorted(values[over].unique()), _split(values, [name])
    shared = len(parts) if len(parts) < 5 else 3  # lines of a panel
    count = -(-len(parts) // shared)
    figure, panels = _start(1.5 + count * max(0.55 * len(ticks), 2.4 + 2.4 * (count == 1)), 4.2, title, count)
    for number, axes in enumerate(panels):
        first = number * shared
        for _, rows in parts[:first] + parts[first + shared :]:
            axes.plot([ticks.index(each) for each in rows[over]], rows[label], color="#cccccc", linewidth=0.8)
        for place, (part, rows) in enumerate(parts[first : first + shared]):
            places = [ticks.index(each) + 0.14 * (place - (shared - 1) / 2) for each in rows[over]]
            style: dict[str, Any] = {"color": COLOURS[place % 3], "linestyle": DASHES[place], "marker": MARKERS[place]}
            style |= {"label": part, "capsize": 3, "linewidth": 1.4, "elinewidth": 0.9, "markersize": 5}
            axes.errorbar(places, rows[label], _reach(rows, label, low, high), **style)
        axes.set(xlabel=over, ylabel="" if number else label)
        axes.set_xticks(range(len(ticks)), [f"{each:g}" for each in ticks])
        place_of = LEGEND if count == 1 else {**LEGEND, "loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 3}
        axes.legend(title=name if count == 1 else None, **place_of)
    return figure


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
    return figure


def _split(values: pd.DataFrame, group: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each name in a column, in the order of the first ones; all of them without a column."""
    return [(str(name), rows) for name, rows in values.groupby(group[0], sort=False)] if group else [("", values)]


def _reach(rows: pd.DataFrame, label: str, low: str, high: str) -> np.ndarray:
    """How far the intervals reach below and above their means, (2, n)."""
    return np.clip([rows[label] - rows[low], rows[high] - rows[label]], 0, None)


def _start(width: float, height: float, title: str, panels: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    every = list(figure.subplots(1, panels, sharey=True, squeeze=False)[0])
    figure.suptitle(textwrap.fill(title, int(12 * width)), fontsize=10)  # 12 letters an inch
    for axes in every:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    return figure, every

"""Drawing with matplotlib. Colours differ in lightness, and lines in marker and dash, so that they survive greyscale.

Means and deviations are frames of the same shape, NaN where there is none.
"""

import textwrap
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

COLOURS = ("#440154", "#2f6c8e", "#35b779", "#c8d930")  # of viridis, darkest first
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
HATCHES = ("", "///", "...", "xx")
BAR: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.5, "error_kw": {"elinewidth": 1, "capsize": 3}}
TURNED: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
MEAN_LABEL = "mean over tasks, percent"


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


def draw_bars(
    means: pd.DataFrame,
    title: str,
    label: str = MEAN_LABEL,
    *,
    deviations: pd.DataFrame | None = None,
    legend: str = "",
    printed: Mapping[str, float] | None = None,
) -> Figure:
    """A bar for each name of ``means`` (names, groups), side by side one for each group; ``deviations`` are likewise.

    A name without any mean is left out. ``label`` says what is measured, ``legend`` what tells the groups apart;
    ``printed`` are the paper's values of some names, drawn as diamonds.
    """
    means = means.dropna(how="all")
    names, groups = list(means.index), means.shape[1]
    if groups > 1:
        figure, axes = _start(2.2 + max(0.3 * groups, 0.6) * max(len(names), 3), 4.0, title, label)
    else:
        figure, axes = _start(2.0 + 0.52 * max(len(names), 4), 3.6, title, label)
    width = 0.8 / max(groups, 1)
    for number, group in enumerate(means):
        heights = means[group].dropna()
        bars = axes.bar(
            means.index.get_indexer(heights.index) + (number - (groups - 1) / 2) * width,
            heights,
            yerr=None if deviations is None else deviations[group].reindex(heights.index),
            width=0.92 * width,
            label=group,
            color=matplotlib.colormaps["viridis"](0.1 + 0.8 * number / (groups - 1)) if groups > 1 else COLOURS[1],
            hatch=HATCHES[number % len(HATCHES)],
            **BAR,
        )
        if printed:  # above the bars the numbers would lie on the diamonds
            axes.bar_label(bars, fmt="%.1f", fontsize=8, label_type="center", color="white")
        else:
            axes.bar_label(bars, fmt="%.0f" if groups > 1 else "%.1f", fontsize=7 if groups > 1 else 8, padding=2)
    if printed:
        places = means.index.get_indexer(list(printed))
        axes.plot(places, list(printed.values()), "D", color="white", markeredgecolor="black", label="paper")
        handles = axes.get_legend_handles_labels()[0][:1]
        figure.legend(handles=handles, loc="outside lower right", frameon=False, fontsize=8)
    if groups > 1:
        figure.legend(title=legend, loc="outside right center", frameon=False, fontsize=8, title_fontsize=8)
    crowded = len(names) > 12 or max(map(len, names), default=0) > 8
    axes.set_xticks(range(len(names)), names, **(TURNED if crowded else {}))
    lowest = axes.dataLim.y0
    axes.set(ylim=(lowest - 4 if lowest < 0 else 0, 108), yticks=range(0, 101, 20))
    return figure


def draw_lines(
    means: pd.DataFrame, title: str, x_label: str, label: str = MEAN_LABEL, *, deviations: pd.DataFrame | None = None
) -> Figure:
    """A line for each name of ``means`` (numbers, names) over a number, which rises; ``deviations`` are likewise.

    The axis of the number is logarithmic where it grows 16 times or more.
    """
    figure, axes = _start(7.2, 4.4, title, label)
    low, high = means.index[0], means.index[-1]
    log = low > 0 and high >= 16 * low
    styles = zip(cycle(MARKERS), cycle(DASHES), cycle(COLOURS[:3]), strict=False)
    for place, (name, (marker, dash, colour)) in enumerate(zip(means, styles, strict=False)):
        heights = means[name].dropna()
        shift = (place - (means.shape[1] - 1) / 2) * 0.012  # so that the bars of one number do not lie on each other
        places = heights.index * 2**shift if log else heights.index + shift * (high - low or 1) / 2
        errors = None if deviations is None else deviations.loc[heights.index, name]
        style = {"label": name, "marker": marker, "linestyle": dash, "color": colour, "markersize": 5, "linewidth": 1.4}
        face = colour if place < len(MARKERS) // 2 else "white"
        axes.errorbar(places, heights, errors, **style, markerfacecolor=face, elinewidth=0.8, capsize=2)
    if log:
        axes.set_xscale("log", base=2)
    axes.set_xticks(means.index, [f"{number:g}" for number in means.index])
    axes.minorticks_off()
    axes.set_xlabel(x_label)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return figure


def draw_heatmap(
    values: pd.DataFrame,
    title: str,
    *,
    limits: tuple[float, float] | None = None,
    digits: int = 2,
    row_label: str = "",
    column_label: str = "",
) -> Figure:
    """A matrix in colours, every cell with its number; a cell without one stays white.

    ``limits`` are the values of the darkest and of the lightest colour, by default the least and the largest value;
    ``digits`` are the decimals of the numbers.
    """
    matrix = values.to_numpy(dtype=float)
    (rows, columns), known = matrix.shape, np.isfinite(matrix)
    wide = max(rows, columns) > 12
    size, name_size, cell_width, cell_height = (5.5, 7, 0.30, 0.24) if wide else (8, 9, 0.52, 0.36)
    width = 1.5 + 0.07 * max(map(len, values.index), default=0) + cell_width * max(columns, 4)
    figure, axes = _start(width, 1.5 + cell_height * max(rows, 3), title, row_label)
    axes.grid(visible=False)
    low, high = limits or ((matrix[known].min(), matrix[known].max()) if known.any() else (0.0, 1.0))
    if low == high:
        low, high = low - 0.5, high + 0.5
    mesh = axes.pcolormesh(np.ma.masked_invalid(matrix), cmap="viridis", vmin=low, vmax=high, edgecolors="face")
    axes.invert_yaxis()
    axes.set_xlabel(column_label)
    axes.set_xticks(
        np.arange(columns) + 0.5, values.columns, fontsize=name_size, **({"rotation": 90} if wide else TURNED)
    )
    axes.set_yticks(np.arange(rows) + 0.5, values.index, fontsize=name_size)
    axes.tick_params(length=0)
    for row, column in np.argwhere(known):
        text = f"{round(matrix[row, column], digits) + 0.0:.{digits}f}"  # + 0.0: no -0.00
        if wide and digits == 2:
            text = text.replace("0.", ".", 1)  # .07 fits a small cell
        colour = "black" if matrix[row, column] - low > 0.6 * (high - low) else "white"
        number = axes.text(
            column + 0.5, row + 0.5, text, color=colour, fontsize=size, ha="center", va="center_baseline"
        )
        number.set_in_layout(False)  # the layout of 30 x 30 numbers would take seconds
    bar = figure.colorbar(mesh, ax=axes, fraction=0.04, pad=0.02)
    bar.ax.tick_params(labelsize=name_size)
    bar.outline.set_visible(False)
    return figure


def _start(width: float, height: float, title: str, label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.subplots()
    figure.suptitle(textwrap.fill(title, int(12 * width)), fontsize=10)  # 12 letters an inch
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_ylabel(label)
    return figure, axes

"""Figures. Colours differ in lightness, and lines in marker and dash, so that they survive greyscale."""

import pathlib
import textwrap
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from crosspt.report.summary import Spread

COLOURS = ("#440154", "#2f6c8e", "#35b779", "#c8d930")  # of viridis, darkest first
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
HATCHES = ("", "///", "...", "xx")
DPI = 150
ERROR = {"ecolor": "black", "elinewidth": 1, "capsize": 3}
MEAN_LABEL = "mean over tasks, percent"


def save(figure: Figure, *paths: pathlib.Path) -> None:
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
    values: Mapping[str, Spread], title: str, label: str = MEAN_LABEL, printed: Mapping[str, float] | None = None
) -> Figure:
    """A bar for each name, with its deviation; a name without a mean is left out.

    Args:
        values: of each name.
        title: above the bars.
        label: what is measured.
        printed: the paper's value of some names, drawn as a diamond.
    """
    shown = {name: value for name, value in values.items() if value.mean is not None}
    figure, axes = _start(2.0 + 0.52 * max(len(shown), 4), 3.6, title)
    places = np.arange(len(shown))
    heights, deviations = _heights(shown.values())
    bars = axes.bar(places, heights, yerr=deviations, width=0.72, color=COLOURS[1], error_kw=ERROR)
    if printed:  # above the bars the numbers would lie on the diamonds
        axes.bar_label(bars, fmt="%.1f", fontsize=8, label_type="center", color="white")
        known = [(place, printed[name]) for place, name in zip(places, shown, strict=True) if name in printed]
        axes.plot(*zip(*known, strict=True), "D", color="white", markeredgecolor="black", markersize=6, label="paper")
        figure.legend(loc="outside lower right", frameon=False, fontsize=8)
    else:
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
    _name_places(axes, list(shown))
    _percent_axis(axes, label)
    return figure


def draw_groups(groups: Mapping[str, Mapping[str, Spread]], title: str, legend: str, label: str = MEAN_LABEL) -> Figure:
    """Bars side by side for each name, one for each group.

    Args:
        groups: by group, the values of each name.
        title: above the bars.
        legend: what tells the groups apart.
        label: what is measured.
    """
    names = list(dict.fromkeys(name for values in groups.values() for name in values))
    width = 0.8 / len(groups)
    figure, axes = _start(2.2 + max(0.3 * len(groups), 0.6) * max(len(names), 3), 4.0, title)
    for number, (group, values) in enumerate(groups.items()):
        shown = [name for name in names if name in values and values[name].mean is not None]
        places = [names.index(name) + (number - (len(groups) - 1) / 2) * width for name in shown]
        heights, deviations = _heights(values[name] for name in shown)
        lightness = number / max(len(groups) - 1, 1)
        bars = axes.bar(
            places,
            heights,
            yerr=deviations,
            width=0.92 * width,
            label=group,
            color=matplotlib.colormaps["viridis"](0.1 + 0.8 * lightness),
            edgecolor="black",
            linewidth=0.5,
            hatch=HATCHES[number % len(HATCHES)],
            error_kw=ERROR,
        )
        axes.bar_label(bars, fmt="%.0f", fontsize=7, padding=1)
    _name_places(axes, names)
    _percent_axis(axes, label)
    figure.legend(title=legend, loc="outside right upper", frameon=False, fontsize=8, title_fontsize=8)
    return figure


def draw_lines(
    lines: Mapping[str, Mapping[float, Spread]], title: str, x_label: str, label: str = MEAN_LABEL, log: bool = False
) -> Figure:
    """A line for each name over a number, with its deviations.

    Args:
        lines: by name, the values at each number.
        title: above the lines.
        x_label: what the number is.
        label: what is measured.
        log: whether equal ratios of the number are equally far apart.
    """
    figure, axes = _start(7.2, 4.4, title)
    numbers = sorted({number for values in lines.values() for number in values})
    styles = zip(cycle(MARKERS), cycle(DASHES), cycle(COLOURS[:3]), strict=False)
    for place, ((name, values), (marker, dash, colour)) in enumerate(zip(lines.items(), styles, strict=False)):
        known = {number: values[number] for number in numbers if number in values and values[number].mean is not None}
        heights, deviations = _heights(known.values())
        shift = (place - (len(lines) - 1) / 2) * 0.012  # so that the bars of one number do not lie on each other
        span = numbers[-1] - numbers[0] or 1
        places = [number * 2**shift if log else number + shift * span / 2 for number in known]
        axes.errorbar(
            places,
            heights,
            yerr=deviations,
            label=name,
            marker=marker,
            linestyle=dash,
            color=colour,
            markersize=5,
            linewidth=1.4,
            markerfacecolor=colour if place < len(MARKERS) // 2 else "white",
            elinewidth=0.8,
            capsize=2,
        )
    if log:
        axes.set_xscale("log", base=2)
    axes.set_xticks(numbers, [f"{number:g}" for number in numbers])
    axes.minorticks_off()
    axes.set_xlabel(x_label)
    axes.set_ylabel(label)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def draw_heatmap(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    *,
    limits: tuple[float, float] | None = None,
    digits: int = 2,
    row_label: str = "",
    column_label: str = "",
) -> Figure:
    """A matrix in colours, every cell with its number; a cell without one stays white.

    Args:
        values: (rows, columns).
        rows: their names, from the top.
        columns: their names.
        title: above the matrix.
        limits: values of the darkest and of the lightest colour; by default the least and the largest value.
        digits: decimals of the numbers.
        row_label: what the rows are.
        column_label: what the columns are.
    """
    matrix = np.array([[np.nan if value is None else value for value in row] for row in values], dtype=float)
    matrix = matrix.reshape(len(rows), len(columns))
    wide = max(len(rows), len(columns)) > 12
    size, name_size = (5.5, 7) if wide else (8, 9)
    cell_width, cell_height = (0.30, 0.24) if wide else (0.52, 0.36)
    longest = max(map(len, rows), default=0)
    figure, axes = _start(
        1.5 + 0.07 * longest + cell_width * max(len(columns), 4), 1.5 + cell_height * max(len(rows), 3), title
    )
    known = matrix[~np.isnan(matrix)]
    low, high = limits or ((float(known.min()), float(known.max())) if known.size else (0.0, 1.0))
    if low == high:
        low, high = low - 0.5, high + 0.5
    mesh = axes.pcolormesh(np.ma.masked_invalid(matrix), cmap="viridis", vmin=low, vmax=high, edgecolors="face")
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90 if wide else 45, fontsize=name_size)
    if not wide:
        for tick in axes.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=name_size)
    axes.tick_params(length=0)
    axes.set(xlabel=column_label, ylabel=row_label)
    _write_numbers(axes, matrix, digits, size, (matrix - low) / (high - low), short=wide and digits == 2)
    bar = figure.colorbar(mesh, ax=axes, fraction=0.04, pad=0.02)
    bar.ax.tick_params(labelsize=name_size)
    bar.outline.set_visible(False)
    return figure


def _write_numbers(
    axes: Axes, matrix: np.ndarray, digits: int, size: float, lightness: np.ndarray, short: bool
) -> None:
    """Write each number of a matrix into its cell, in the colour that stands out there.

    One collection of outlines for each text instead of a text artist for each number, which at 30 x 30 takes seconds.
    """
    places: dict[str, list[tuple[int, ...]]] = {}
    for place in np.ndindex(matrix.shape):
        if not np.isnan(matrix[place]):
            text = f"{np.round(matrix[place], digits) + 0.0:.{digits}f}"  # + 0.0: no -0.00
            places.setdefault(text.replace("0.", ".", 1) if short else text, []).append(place)  # .07 fits a small cell
    for text, same in places.items():
        numbers = PathCollection(
            [_outline(text, size)],
            offsets=[(column + 0.5, row + 0.5) for row, column in same],
            offset_transform=axes.transData,
            facecolors=["black" if lightness[place] > 0.6 else "white" for place in same],
            linewidths=0,
        )
        numbers.set_transform(axes.figure.dpi_scale_trans)
        numbers.set_in_layout(False)
        axes.add_collection(numbers, autolim=False)


@lru_cache(maxsize=4096)
def _outline(text: str, size: float) -> Path:
    """The outline of a text around the origin, in inches."""
    outline = TextPath((0, 0), text, size=size)
    low, high = outline.get_extents().get_points()
    return Path((outline.vertices - (low + high) / 2) / 72, outline.codes)


def _start(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    figure.suptitle(textwrap.fill(title, int(12 * width)), fontsize=10)  # 12 letters an inch
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return figure, axes


def _heights(values: Any) -> tuple[list[float], list[float]]:
    """Means and deviations; a deviation of one seed, which is undefined, is NaN, which draws no bar."""
    values = list(values)
    return [value.mean for value in values], [
        np.nan if value.deviation is None else value.deviation for value in values
    ]


def _name_places(axes: Axes, names: Sequence[str]) -> None:
    crowded = len(names) > 12 or max(map(len, names), default=0) > 8
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axes.set_xticks(range(len(names)), names, **turned)


def _percent_axis(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    lowest = axes.dataLim.y0
    axes.set_ylim(lowest - 4 if lowest < 0 else 0, 108)
    axes.set_yticks(range(0, 101, 20))
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)

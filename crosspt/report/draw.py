"""Drawing. Colours differ in lightness, bars in hatch, and lines in marker and dash, also in greyscale."""

import textwrap
from collections.abc import Mapping
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

COLOURS = ["#440154", "#2f6c8e", "#35b779", "#c8d930"]  # of viridis, darkest first
HATCHES = ["", "///", "...", "xx"]
DASHES = ["-", "--", "-.", ":"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "*"]
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


def draw_means(
    values: pd.DataFrame, title: str, *, lines: bool = False, printed: Mapping[str, float] | None = None
) -> Figure:
    """Means and their intervals, as a bar for each name or, as lines, over a number.

    The columns of ``values`` are names or numbers, what sets bars or lines apart, if anything does, the means, and the
    ends of their intervals, NaN where there is none; a row for each mean. ``printed`` are the paper's values of some
    names, drawn as diamonds.
    """
    (name, *group), (label, low, high) = values.columns[:-3], values.columns[-3:]
    values = values.dropna(subset=[name, label])
    names = sorted(values[name].unique()) if lines else list(values[name].unique())
    parts = list(values.groupby(group[0], sort=False)) if group else [("", values)]
    figure, axes = _start(2.5 + max(0.3 * len(parts), 0.55) * max(len(names), 6), 4.2, title)
    room = (0.3 if lines else 0.8) / len(parts)  # of each part beside a name
    for number, (part, rows) in enumerate(parts):
        rows = rows.sort_values(name) if lines else rows
        heights, offset = rows[label], (number - (len(parts) - 1) / 2) * room
        places = [names.index(each) + offset for each in rows[name]]
        colour = COLOURS[number % 3] if group else COLOURS[1]
        errors = np.clip([heights - rows[low], rows[high] - heights], 0, None)
        style: dict[str, Any] = {"color": colour, "label": str(part), "capsize": 3}
        if lines:
            style |= {"marker": MARKERS[number % len(MARKERS)], "linestyle": DASHES[number % len(DASHES)]}
            axes.errorbar(places, heights, errors, linewidth=1.4, elinewidth=0.8, markersize=5, **style)
            continue
        style |= {"hatch": HATCHES[number % len(HATCHES)], "edgecolor": "black", "linewidth": 0.8}
        bars = axes.bar(places, heights, room, yerr=errors, error_kw={"ecolor": "black", "elinewidth": 1}, **style)
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        axes.bar_label(bars, fmt="%.0f" if group else "%.1f", fontsize=7, label_type="center", bbox=ground)
    if not lines:
        axes.set(ylim=(min(values[label].min() - 4, 0), 108), yticks=range(0, 101, 20))
    if printed:
        axes.plot(
            [names.index(each) for each in printed],
            list(printed.values()),
            "D",
            color="white",
            markeredgecolor="black",
            label="paper",
        )
    if group or printed:
        handles = [handle for handle in zip(*axes.get_legend_handles_labels(), strict=True) if handle[1]]
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1), "frameon": False, "fontsize": 8}
        axes.legend(*zip(*handles, strict=True), title=group[0] if group else None, **place)
    texts = [f"{each:g}" if lines else str(each) for each in names]
    crowded = len(names) > 12 or max(map(len, texts), default=0) > 8
    axes.set_xticks(range(len(names)), texts, **(TURNED if crowded else {}))
    axes.set(xlabel=name if lines else "", ylabel=label)
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
    figure, axes = _start(width, 1.5 + cell_height * max(rows, 3), title)
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


def _start(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.subplots()
    figure.suptitle(textwrap.fill(title, int(12 * width)), fontsize=10)  # 12 letters an inch
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    return figure, axes

"""Figures as PNG files. The colours differ in lightness, so that they survive greyscale."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor


def draw_weights(weights: Tensor, tasks: Sequence[str], candidates: Sequence[str], path: Path) -> None:
    """Heatmap of attention weights.

    Args:
        weights: alpha (T, N).
        tasks: the T tasks.
        candidates: the N candidates.
        path: file to write.
    """
    values = weights.detach().float().cpu().numpy()
    figure = Figure(figsize=(2.5 + 0.6 * len(candidates), 1.5 + 0.4 * len(tasks)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="viridis", vmin=0.0, vmax=float(values.max()), aspect="auto")
    axes.set_xticks(range(len(candidates)), candidates, rotation=45, ha="right")
    axes.set_yticks(range(len(tasks)), tasks)
    threshold = 0.6 * values.max()
    for row, column_values in enumerate(values):
        for column, value in enumerate(column_values):
            colour = "black" if value > threshold else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_title("attention weights of each task")
    figure.colorbar(image, ax=axes)
    figure.savefig(path, dpi=150)


def draw_means(means: Mapping[str, float | None], path: Path) -> None:
    """Bar chart of the mean primary metric of each scheme; a scheme without one is left out.

    Args:
        means: percent by scheme.
        path: file to write.
    """
    shown = {scheme: value for scheme, value in means.items() if value is not None}
    figure = Figure(figsize=(1.5 + 0.9 * len(shown), 3.5), layout="constrained")
    axes = figure.subplots()
    bars = axes.bar(list(shown), list(shown.values()), color="#3b528b")
    axes.bar_label(bars, fmt="%.1f")
    axes.set_ylim(0, 105)
    axes.set_ylabel("mean over tasks, percent")
    figure.savefig(path, dpi=150)

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

from crosspt.report.figures import COLOURS, draw_bars, draw_heatmap, draw_lines, save
from crosspt.report.summary import Spread


def lightness(colour: Any) -> float:
    """CIE L*, which is what a grey print keeps."""
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in matplotlib.colors.to_rgb(colour)]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def test_colours_differ_in_lightness() -> None:
    greys = [lightness(colour) for colour in COLOURS]
    assert greys == sorted(greys)
    assert min(np.diff(greys)) > 12
    scale = [lightness(matplotlib.colors.to_hex(matplotlib.colormaps["viridis"](x))) for x in np.linspace(0, 1, 21)]
    assert min(np.diff(scale)) > 1


def test_a_heatmap_is_lighter_where_the_value_is_larger(tmp_path: Path) -> None:
    values = np.array([[0.9, 0.1], [0.1, 0.9]])
    for name, matrix in (("first", values), ("second", values[:, ::-1])):
        save(draw_heatmap(matrix.tolist(), ["a", "b"], ["source 1", "private"], "title"), tmp_path / f"{name}.png")
    first, second = (
        matplotlib.image.imread(tmp_path / name)[..., :3].mean(axis=2) for name in ("first.png", "second.png")
    )
    assert first.shape == second.shape
    lighter, darker = (first - second) > 0.3, (second - first) > 0.3
    assert lighter.sum() > 1000
    assert darker.sum() > 1000


@pytest.mark.parametrize("tasks", [8, 30])
def test_numbers_of_a_heatmap_stand_out_and_fit_their_cells(tasks: int, tmp_path: Path) -> None:
    values = np.linspace(-0.99, 0.99, tasks * (tasks + 1)).reshape(tasks, -1)
    figure = draw_heatmap(values.tolist(), [f"a long task {row}" for row in range(tasks)], list("s" * (tasks + 1)), "")
    save(figure, tmp_path / "heatmap.png")
    axes = figure.axes[0]
    mesh, *numbers = axes.collections
    written = 0
    cell = axes.transData.transform((1, 1)) - axes.transData.transform((0, 0))
    inches = np.abs(cell) / figure.dpi
    for collection in numbers:
        (outline,) = collection.get_paths()
        assert (outline.get_extents().size < 0.95 * inches).all(), "a number must fit its cell"
        assert outline.get_extents().height > 0.05, "and be of 5 points at least, 0.7 of which a digit takes"
        for (column, row), colour in zip(
            np.asarray(collection.get_offsets()).astype(int), np.asarray(collection.get_facecolor()), strict=True
        ):
            ground = tuple(np.asarray(mesh.to_rgba(values[row, column])))
            contrast = abs(lightness(ground) - lightness(tuple(colour)))
            assert contrast > 33
            written += 1
    assert written == values.size


def test_a_missing_value_stays_white(tmp_path: Path) -> None:
    save(draw_heatmap([[None, 0.5]], ["a"], ["x", "y"], ""), tmp_path / "one.png")
    save(draw_heatmap([[None, None]], ["a"], ["x", "y"], ""), tmp_path / "none.png")
    one, none = (matplotlib.image.imread(tmp_path / name)[..., :3] for name in ("one.png", "none.png"))
    assert (one == 1).mean() < (none == 1).mean()


def test_bars_for_names_with_a_mean(tmp_path: Path) -> None:
    spreads = {name: Spread.of([40.0, 42.0]) for name in "abcdef"}
    few = draw_bars({**dict(list(spreads.items())[:5]), "none": Spread.of([])}, "title")
    assert [label.get_text() for label in few.axes[0].get_xticklabels()] == list("abcde")
    assert draw_bars(spreads, "title").get_figwidth() > few.get_figwidth()


def test_lines_go_through_their_means() -> None:
    lines = {"SL": {1.0: Spread.of([40.0, 44.0]), 8.0: Spread.of([50.0])}, "P": {8.0: Spread.of([None])}}
    figure = draw_lines(lines, "title", "shots")
    heights = [np.asarray(line.get_ydata()).tolist() for line in figure.axes[0].lines]
    assert [42.0, 50.0] in heights


def test_equal_figures_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        figure = draw_heatmap([[0.5, 0.1]], ["a"], ["x", "y"], "title")
        save(figure, tmp_path / f"{name}.png", tmp_path / f"{name}.svg")
    for suffix in ("png", "svg"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_a_long_title_fits_its_figure() -> None:
    figure = draw_bars(
        {"P": Spread.of([40.0])}, "One source prompt beside private prompts, and two source prompts alone"
    )
    figure.draw_without_rendering()
    (title,) = figure.texts
    assert title.get_window_extent().width < figure.bbox.width

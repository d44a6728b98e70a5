from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.colors
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from crosspt.report.draw import COLOURS, draw_bars, draw_heatmap, draw_lines, save
from crosspt.report.figures import draw_figures
from crosspt.report.summary import summarize
from crosspt.runs.experiments.read import read_experiment
from tests.report.made_up import make_experiment


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
        save(draw_heatmap(pd.DataFrame(matrix, ["a", "b"], ["source 1", "private"]), "title"), tmp_path / f"{name}.png")
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
    names = [f"a long task {row}" for row in range(tasks)]
    figure = draw_heatmap(pd.DataFrame(values, names, list("s" * (tasks + 1))), "")
    save(figure, tmp_path / "heatmap.png")
    axes = figure.axes[0]
    (mesh,) = axes.collections
    cell = np.abs(axes.transData.transform((1, 1)) - axes.transData.transform((0, 0)))
    for number in axes.texts:
        extent = number.get_window_extent()
        assert extent.width < 0.95 * cell[0], "a number must fit its cell"
        assert extent.height < 0.95 * cell[1], "a number must fit its cell"
        assert float(number.get_fontsize()) >= 5
        column, row = np.asarray(number.get_position()).astype(int)
        ground = tuple(np.asarray(mesh.to_rgba(values[row, column])))
        assert abs(lightness(ground) - lightness(number.get_color())) > 30
        assert float(number.get_text()) == pytest.approx(values[row, column], abs=0.005)
    assert len(axes.texts) == values.size


def test_a_missing_value_stays_white(tmp_path: Path) -> None:
    save(draw_heatmap(pd.DataFrame([[None, 0.5]], ["a"], ["x", "y"]), ""), tmp_path / "one.png")
    save(draw_heatmap(pd.DataFrame([[None, None]], ["a"], ["x", "y"]), ""), tmp_path / "none.png")
    one, none = (matplotlib.image.imread(tmp_path / name)[..., :3] for name in ("one.png", "none.png"))
    assert (one == 1).mean() < (none == 1).mean()


def means(names: dict[str, list[Any]], heights: list[float | None], reach: float = 2.0) -> pd.DataFrame:
    values = pd.DataFrame({**names, "percent": pd.Series(heights, dtype=float)})
    return values.assign(low=values["percent"] - reach, high=values["percent"] + 2 * reach)


def test_bars_for_names_with_a_value() -> None:
    values = means({"scheme": [*"abcde", "none", "f"]}, [42.0, *[41.0] * 4, None, 30.0])
    few, all_of_them = draw_bars(values[:-1], "title"), draw_bars(values, "title")
    assert [label.get_text() for label in few.axes[0].get_xticklabels()] == list("abcde")
    assert [text.get_text() for text in all_of_them.axes[0].texts] == ["42.0", *["41.0"] * 4, "30.0"]
    assert all_of_them.get_figwidth() > draw_bars(values[:2], "title").get_figwidth() - 1e-9


def intervals(axes: Axes) -> list[list[tuple[float, float]]]:
    """The ends of the thin lines of each set of bars or line."""
    found = [container.lines[2][0].get_segments() for container in axes.containers if hasattr(container, "lines")]
    return [[(one[0][1], one[1][1]) for one in segments if len(one)] for segments in found]


def test_bars_beside_each_other_have_their_intervals() -> None:
    names = {"scheme": ["P", "SL", "P", "SL"], "shots": ["8", "8", "16", "16"]}
    values = means(names, [40.0, 50.0, 60.0, 70.0])
    values.loc[3, ["low", "high"]] = np.nan
    axes = draw_bars(values, "title").axes[0]
    assert intervals(axes) == [[(38, 44), (48, 54)], [(58, 64)]]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["8", "16"]
    assert [
        round(bar.get_extents().transformed(axes.transData.inverted()).get_points()[:, 0].mean(), 6)
        for bar in axes.patches
    ] == [-0.2, 0.8, 0.2, 1.2]


def test_lines_go_through_their_means_with_their_intervals() -> None:
    values = means({"n": [8, 1, 8], "scheme": ["SL", "SL", "P"]}, [50.0, 42.0, 30.0])
    axes = draw_lines(values, "title").axes[0]
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.lines if line.get_marker() in ("o", "s")] == [
        [42.0, 50.0],
        [30.0],
    ]
    assert intervals(axes) == [[(40, 46), (48, 54)], [(28, 34)]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "8"]
    styles = {(line.get_marker(), line.get_linestyle()) for line in axes.lines if line.get_marker() in ("o", "s")}
    assert len(styles) == 2, "told apart without colours"


def test_many_lines_stand_three_in_a_panel() -> None:
    schemes = list("abcdefgh")
    values = means({"n": [1, 2] * 8, "scheme": sorted(schemes * 2)}, [float(height) for height in range(16)])
    panels = draw_lines(values, "title").axes
    assert [len(axes.get_legend_handles_labels()[1]) for axes in panels] == [3, 3, 2]
    assert [label for axes in panels for label in axes.get_legend_handles_labels()[1]] == schemes
    assert [len(intervals(axes)) for axes in panels] == [3, 3, 2]
    for axes in panels:
        grey = [line for line in axes.lines if line.get_color() == "#cccccc"]
        assert len(grey) == len(schemes) - len(intervals(axes)), "those of the other panels"


def test_equal_figures_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        figure = draw_heatmap(pd.DataFrame([[0.5, 0.1]], ["a"], ["x", "y"]), "title")
        save(figure, tmp_path / f"{name}.png", tmp_path / f"{name}.svg")
    for suffix in ("png", "svg"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_a_long_title_fits_its_figure() -> None:
    long = "One source prompt beside private prompts, and two source prompts alone, and a little more of it to fold"
    figure = draw_bars(means({"scheme": ["P"]}, [40.0]), long)
    figure.draw_without_rendering()
    (title,) = figure.texts
    assert title.get_window_extent().width < figure.bbox.width


def test_an_experiments_figures(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"scheme": ["SLP", "SLPN"], "shots": [32]}
    kinds = [{"kind": "bars"}, {"kind": "heatmaps"}]
    for seeds in ([0], [0, 1]):
        folder = make_experiment(tmp_path / str(len(seeds)), axes=axes, seeds=seeds, figures=kinds)
        bars, wssp, *heatmaps = draw_figures(summarize(read_experiment(folder)))
        assert " ".join(bars.figure.get_suptitle().split()).endswith(": mean over tasks")
        assert " ".join(wssp.figure.get_suptitle().split()).endswith(": weighted similarity to sources")
        for figure in (bars, wssp):
            assert ("95 % intervals" in figure.caption) == (len(seeds) > 1)
        assert [heatmap.section for heatmap in heatmaps] == ["prompts"] * 6
        for one, other in zip(heatmaps[::2], heatmaps[1::2], strict=True):
            assert one.name.replace("SLP", "SLPN") == other.name
            limits = [heatmap.figure.axes[0].collections[0].get_clim() for heatmap in (one, other)]
            assert limits[0] == limits[1], "matrices of one kind share their colours"

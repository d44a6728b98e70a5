from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.colors
import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from crosspt.report.draw import COLOURS, draw_heatmap, draw_means, save
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


def test_bars_for_names_with_a_value() -> None:
    values = pd.DataFrame({"scheme": [*"aabcde", "none", "f"], "percent": [40.0, 44.0, *[41.0] * 4, None, 30.0]})
    draw_means(pd.DataFrame({"shots": [8, 16], "scheme": "P", "percent": 40.0}), "one line", lines=True)
    few, all_of_them = draw_means(values[:-1], "title"), draw_means(values, "title")
    assert [label.get_text() for label in few.axes[0].get_xticklabels()] == list("abcde")
    assert [text.get_text() for text in all_of_them.axes[0].texts] == ["42.0", *["41.0"] * 4, "30.0"]
    assert all_of_them.get_figwidth() > draw_means(values[:2], "title").get_figwidth() - 1e-9


def test_lines_go_through_their_means_with_one_deviation() -> None:
    frame = pd.DataFrame([(1, "SL", 42.0), (8, "SL", 48.0), (8, "SL", 52.0), (8, "P", 30.0)], columns=["n", "s", "%"])
    axes = draw_means(frame, "title", lines=True).axes[0]
    heights = [np.asarray(line.get_ydata()).tolist() for line in axes.lines]
    assert [42.0, 50.0] in heights
    spread = np.std([48, 52], ddof=1)
    assert any(np.allclose([np.nanmin(line), np.nanmax(line)], [50 - spread, 50 + spread]) for line in heights)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "8"]


def test_equal_figures_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        figure = draw_heatmap(pd.DataFrame([[0.5, 0.1]], ["a"], ["x", "y"]), "title")
        save(figure, tmp_path / f"{name}.png", tmp_path / f"{name}.svg")
    for suffix in ("png", "svg"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_a_long_title_fits_its_figure() -> None:
    long = "One source prompt beside private prompts, and two source prompts alone, and a little more of it to fold"
    figure = draw_means(pd.DataFrame({"scheme": ["P"], "percent": [40.0]}), long)
    figure.draw_without_rendering()
    (title,) = figure.texts
    assert title.get_window_extent().width < figure.bbox.width


def test_an_experiments_figures(tmp_path: Path) -> None:
    axes: dict[str, list[Any]] = {"scheme": ["SLP", "SLPN"], "shots": [32]}
    kinds = [{"kind": "bars"}, {"kind": "heatmaps"}]
    for seeds in ([0], [0, 1]):
        folder = make_experiment(tmp_path / str(len(seeds)), axes=axes, seeds=seeds, figures=kinds)
        means, wssp, *heatmaps = draw_figures(summarize(read_experiment(folder)))
        assert " ".join(means.figure.get_suptitle().split()).endswith(": mean over tasks")
        assert " ".join(wssp.figure.get_suptitle().split()).endswith(": weighted similarity to sources")
        for figure in (means, wssp):
            assert ("one standard deviation" in figure.caption) == (len(seeds) > 1)
        assert [heatmap.section for heatmap in heatmaps] == ["prompts"] * 6
        for one, other in zip(heatmaps[::2], heatmaps[1::2], strict=True):
            assert one.name.replace("SLP", "SLPN") == other.name
            limits = [heatmap.figure.axes[0].collections[0].get_clim() for heatmap in (one, other)]
            assert limits[0] == limits[1], "matrices of one kind share their colours"

import itertools
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.colors
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection

from crosspt.report.draw import draw_dots, draw_heatmap, draw_lines, save
from crosspt.report.figures import draw_figures
from crosspt.report.palette import COLOURS, DARK, FAINT, GROUND, INK, MUTED
from crosspt.report.summary import summarize
from crosspt.runs.experiments.read import read_experiment
from tests.report.made_up import make_experiment


def lightness(colour: Any) -> float:
    """CIE L*, which is what a grey print keeps."""
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in matplotlib.colors.to_rgb(colour)]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2."""
    high, low = sorted((((lightness(colour) + 16) / 116) ** 3 for colour in (one, other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_differ_in_lightness() -> None:
    greys = [lightness(colour) for colour in COLOURS]
    assert greys == sorted(greys)
    assert min(np.diff(greys)) > 11
    assert min(np.diff(sorted(lightness(DARK[colour]) for colour in COLOURS))) > 11
    scale = [lightness(matplotlib.colors.to_hex(matplotlib.colormaps["viridis"](x))) for x in np.linspace(0, 1, 21)]
    assert min(np.diff(scale)) > 1


def test_colours_stand_out_from_both_grounds() -> None:
    for light, least in {**dict.fromkeys(COLOURS, 3.0), INK: 7.0, MUTED: 4.5}.items():  # WCAG 2: of marks 3, text 4.5
        assert contrast(light, GROUND) > least
        assert contrast(DARK[light], DARK[GROUND]) > least
    css = files("crosspt.report").joinpath("page.css").read_text()
    dark = css[css.index("prefers-color-scheme: dark") :]
    assert f"--ground: {GROUND}" in css
    assert f"--ground: {DARK[GROUND]}" in dark
    assert f"--text: {DARK[INK]}" in dark


def means(names: dict[str, list[Any]], heights: list[float | None], reach: float = 2.0) -> pd.DataFrame:
    values = pd.DataFrame({**names, "percent": pd.Series(heights, dtype=float)})
    return values.assign(low=values["percent"] - reach, high=values["percent"] + 2 * reach)


def test_every_colour_of_an_svg_has_a_dark_one(tmp_path: Path) -> None:
    names = {"scheme": [*"aabbcc"], "shots": ["8", "16"] * 3}
    printed = {"a": 41.0}
    lines = means({"n": [8, 1, 8], "scheme": ["SL", "SL", "P"]}, [50.0, 42.0, 30.0])
    many = means({"n": [1, 2] * 8, "scheme": sorted("abcdefgh" * 2)}, [float(height) for height in range(16)])
    dots = draw_dots(means(names, [40.0] * 6), "title", printed=printed, muted=["b"])
    for figure in (dots, draw_lines(lines, "title"), draw_lines(many, "title")):
        save(figure, tmp_path / "figure.svg")
        svg = (tmp_path / "figure.svg").read_text()
        style, drawn = re.findall(r"<style>(.*?)</style>", svg, re.DOTALL)[0], svg[svg.index("</style>") :]
        assert "prefers-color-scheme: dark" in style
        used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", drawn))
        assert used <= set(DARK)
        assert {COLOURS[0], INK, GROUND} <= used
        assert not re.search(r"<g id=\"text_\d+\">\s*<!--[^>]*-->\s*<g transform", drawn), (
            "text without a colour is black"
        )


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


def test_dots_for_names_with_a_value_the_highest_first() -> None:
    values = means({"scheme": [*"abcde", "none", "f"]}, [42.0, *[41.0] * 4, None, 43.0])
    few, all_of_them = draw_dots(values[:-1], "title"), draw_dots(values, "title")
    assert [label.get_text() for label in few.axes[0].get_yticklabels()] == list("abcde")
    assert [label.get_text() for label in all_of_them.axes[0].get_yticklabels()] == list("fabcde")
    assert sorted(text.get_text() for text in all_of_them.axes[0].texts) == [
        *["41.0  [39.0, 45.0]"] * 4,
        "42.0  [40.0, 46.0]",
        "43.0  [41.0, 47.0]",
    ]


def segments(axes: Axes) -> list[list[tuple[float, float]]]:
    """The ends of the intervals of each set of dots or line, along x for dots."""
    found = [one.get_segments() for one in axes.collections if isinstance(one, LineCollection)]
    along = 0 if len({point[1] for point in found[0][0]}) == 1 else 1
    return [
        [(one[0][along], one[1][along]) for one in lines if len(one) and not np.isnan(one).any()] for lines in found
    ]


def test_dots_beside_each_other_have_their_intervals() -> None:
    names = {"scheme": ["P", "SL", "P", "SL"], "shots": ["8", "8", "16", "16"]}
    values = means(names, [40.0, 50.0, 60.0, 70.0])
    values.loc[3, ["low", "high"]] = np.nan
    axes = draw_dots(values, "title").axes[0]
    assert segments(axes) == [[(38, 44), (48, 54)], [(58, 64)]]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["8", "16"]
    dots = [one.get_offsets() for one in axes.collections if isinstance(one, PathCollection)]
    assert np.concatenate(dots)[:, 1].round(6).tolist() == [0.81, -0.19, 1.19, 0.19]
    assert len({np.asarray(one.get_paths()[0].vertices).tobytes() for one in axes.collections[1::2]}) == 2, (
        "other markers too"
    )


def test_more_than_four_kinds_have_a_panel_each_on_one_scale() -> None:
    names = {"scheme": ["P", "SL"] * 5, "labels": sorted("abcde" * 2)}
    panels = draw_dots(means(names, [float(height) for height in range(40, 50)]), "title").axes
    assert [axes.get_title(loc="left") for axes in panels] == [f"labels: {name}" for name in "abcde"]
    assert len({axes.get_xlim() for axes in panels}) == 1


@pytest.mark.parametrize("kinds", [1, 2, 4, 5])
def test_no_number_stands_on_a_mark(kinds: int, tmp_path: Path) -> None:
    names = {"scheme": [f"scheme {row}" for row in range(9) for _ in range(kinds)], "kind": [*"abcde"[:kinds]] * 9}
    heights: list[float | None] = [29.0 + 1.5 * place for place in range(9 * kinds)]
    figure = draw_dots(means(names, heights), "title", printed={"scheme 1": 90.0} if kinds == 1 else None)
    save(figure, tmp_path / "figure.png")
    for axes in figure.axes:
        box, numbers = axes.get_window_extent(), [text.get_window_extent() for text in axes.texts]
        assert len(numbers) == 9 * (kinds if kinds < 5 else 1)
        assert all(number.x0 > box.x1 for number in numbers), "beside the panel"
        assert max(number.x1 for number in numbers) < figure.bbox.x1
        ordered = sorted(numbers, key=lambda number: number.y0)
        assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(ordered)), "and clear of each other"
        for dots in (one for one in axes.collections if isinstance(one, PathCollection)):
            places = axes.transData.transform(dots.get_offsets())
            assert (places[:, 0] < box.x1).all()
    for axes, after in itertools.pairwise(figure.axes):
        assert max(text.get_window_extent().x1 for text in axes.texts) < after.get_window_extent().x0


def test_lines_go_through_their_means_with_their_intervals_and_end_at_their_names(tmp_path: Path) -> None:
    values = means({"n": [8, 1, 8, 8], "scheme": ["SL", "SL", "P", "SLP"]}, [50.0, 42.0, 30.0, 50.1])
    figure = draw_lines(values, "title")
    save(figure, tmp_path / "figure.png")
    axes = figure.axes[0]
    lines = [line for line in axes.lines if line.get_marker() in ("o", "s", "^")]
    assert [np.asarray(line.get_ydata()).tolist() for line in lines] == [[42.0, 50.0], [30.0], [50.1]]
    assert segments(axes) == [[(40, 46), (48, 54)], [(28, 34)], [(48.1, 54.1)]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "8"]
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 3, "told apart without colours"
    names = {text.get_text().split(" ", 1)[1]: text for text in axes.texts}
    assert set(names) == {"SL", "P", "SLP"}
    assert names["SLP"].get_window_extent().y0 >= names["SL"].get_window_extent().y1 - 1, "names stay apart"
    assert {name: text.get_color() for name, text in names.items()} == dict(
        zip(("SL", "P", "SLP"), COLOURS, strict=False)
    )


def test_many_lines_have_a_panel_each() -> None:
    schemes = list("abcdefgh")
    values = means({"n": [1, 2] * 8, "scheme": sorted(schemes * 2)}, [60.0 + height for height in range(16)])
    values.loc[values["scheme"] == "c", ["percent", "low", "high"]] -= 40
    panels = [axes for axes in draw_lines(values, "title").axes if axes.axison]
    titles = [axes.get_title(loc="left") for axes in panels]
    assert titles == [name if name != "c" else "c, at other percents" for name in schemes]
    for title, axes in zip(titles, panels, strict=True):
        own = [line for line in axes.lines if line.get_color() == COLOURS[0]]
        grey = [line for line in axes.lines if line.get_color() == FAINT]
        assert len(own) == 1
        assert len(grey) == (0 if title.startswith("c") else 6), "those of the other panels, where they are in it"
        assert len(axes.collections) == 1, "its band"
        low, high = axes.get_ylim()
        assert all(low < value < high for line in axes.lines for value in np.asarray(line.get_ydata()))
    assert len({round(np.ptp(axes.get_ylim()), 6) for axes in panels}) == 1, "a percent is as high in all of them"
    assert len({axes.get_ylim() for axes in panels}) == 2


def test_equal_figures_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        figure = draw_heatmap(pd.DataFrame([[0.5, 0.1]], ["a"], ["x", "y"]), "title")
        save(figure, tmp_path / f"{name}.png", tmp_path / f"{name}.svg")
    for suffix in ("png", "svg"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_a_long_title_fits_its_figure() -> None:
    long = "One source prompt beside private prompts, and two source prompts alone, and a little more of it to fold"
    figure = draw_dots(means({"scheme": ["P"]}, [40.0]), long)
    figure.draw_without_rendering()
    title, _ = figure.texts
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

from pathlib import Path

import matplotlib.image
import torch

from crosspt.report.figures import draw_means, draw_weights


def test_a_heatmap_is_lighter_where_the_weight_is_larger(tmp_path: Path) -> None:
    weights = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    draw_weights(weights, ["a", "b"], ["source 1", "private"], tmp_path / "first.png")
    draw_weights(weights.flip(1), ["a", "b"], ["source 1", "private"], tmp_path / "second.png")
    first, second = (
        matplotlib.image.imread(tmp_path / name)[..., :3].mean(axis=2) for name in ("first.png", "second.png")
    )
    assert first.shape == second.shape
    lighter, darker = (first - second) > 0.3, (second - first) > 0.3
    assert lighter.sum() > 1000
    assert darker.sum() > 1000


def test_bars_for_schemes_with_a_mean(tmp_path: Path) -> None:
    draw_means({"majority": None, "P": 40.0}, tmp_path / "one.png")
    draw_means({"SL": 20.0, "P": 40.0}, tmp_path / "two.png")
    one, two = (matplotlib.image.imread(tmp_path / name) for name in ("one.png", "two.png"))
    assert one.shape[1] < two.shape[1]

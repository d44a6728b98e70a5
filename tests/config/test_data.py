from typing import Any

import pytest

from crosspt.config.data import DataConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shots": 0}, "shots must be at least 1, got 0"),
        ({"dev_rows": 0}, "dev_rows must be at least 1, got 0"),
        ({"test_rows": -1}, "test_rows must be at least 1, got -1"),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
        ({"data_seed": -1}, "data_seed must be 0 or more, got -1"),
        ({"label_set": "words"}, "label_set must be one of natural, synthetic, numeric, got 'words'"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(**settings)

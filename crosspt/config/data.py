"""Which rows a run reads, and how it writes them as text."""

from dataclasses import dataclass
from typing import Literal, get_args

LabelSet = Literal["natural", "synthetic", "numeric"]


@dataclass
class DataConfig:
    """The rows of a run.

    Args:
        data_dir: folder with ``<task>/{train,validation,test}.{jsonl,csv,tsv,parquet}``; by default the hub.
        shots: training rows of each task in total, balanced over its classes; by default all.
        dev_rows: for select best: rows of each task to select on, drawn from those one may train on and not trained
            on, balanced over the classes where there are shots; by default as many as shots, or a tenth of all rows,
            1000 at most.
        data_seed: of the draw of all these rows.
        test_rows: most rows to report on.
        prefix: whether the input begins with the task's prefix.
        label_set: label words: natural, synthetic (A0, A1, B0, ...) or numeric (0, 1, 2).
        max_length: most tokens of an input; longer texts are cut, the longest first.
    """

    data_dir: str | None = None
    shots: int | None = None
    dev_rows: int | None = None
    data_seed: int = 0
    test_rows: int = 300
    prefix: bool = False
    label_set: LabelSet = "natural"
    max_length: int = 256

    def __post_init__(self) -> None:
        for name in ("shots", "dev_rows", "test_rows", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"DataConfig: {name} must be at least 1, got {value}")
        if self.data_seed < 0:
            raise ValueError(f"DataConfig: data_seed must be 0 or more, got {self.data_seed}")
        if self.label_set not in get_args(LabelSet):
            raise ValueError(
                f"DataConfig: label_set must be one of {', '.join(get_args(LabelSet))}, got {self.label_set!r}"
            )

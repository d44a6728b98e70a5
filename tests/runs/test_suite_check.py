import pandas as pd
import pytest

from crosspt.config.data import DataConfig
from crosspt.config.training import TrainingConfig
from crosspt.runs import suite_check
from crosspt.runs.suite_check import FAMILIES, FEW, MANY, SOME, TASKS, check, measure_seed, starts

NUMBERS = {f"P at {FEW} rows": 60.0, f"P at {SOME} rows": 75.0, f"P at {MANY} rows": 85.0}
NUMBERS |= {"related start": 70.0, "unrelated start": 62.0}
ALONE = {"majority": 50.0, "bare": 52.0, "prefix": 95.0}


def make_results(numbers, spread=1.0):
    """Results of three seeds: the number of a condition, less, or more by the spread."""
    return pd.DataFrame(
        [
            {"condition": condition, "task": task, "seed": seed, "decode": decode, "primary": True,
             "value": value + spread * (seed - 1)}
            for condition, value in numbers.items()
            for task in TASKS
            for seed in range(3)
            for decode in ("generate", "rank")
        ]
    )  # fmt: skip


def make_alone(numbers):
    return pd.DataFrame(
        [
            {"scheme": scheme, "task": task, "decode": decode, "primary": True, "value": value}
            for scheme, value in numbers.items()
            for task in TASKS
            for decode in ("generate", "rank")
        ]
    )


def missed(numbers, alone=ALONE, spread=1.0):
    return [one.name for one in check(make_results(numbers, spread), make_alone(alone)) if not one.holds]


def test_numbers_within_all_limits() -> None:
    found = {one.name: one.value for one in check(make_results(NUMBERS), make_alone(ALONE))}
    assert missed(NUMBERS) == []
    assert found["T5 without prompt over majority, rank"] == 2.0
    assert found[f"P at {SOME} rows, percent of the way to it, rank"] == pytest.approx(100 * 25 / 45)
    assert found[f"P at {SOME} rows over {FEW}, generate"] == 15.0
    assert found[f"P at {MANY} rows over {SOME}, generate"] == 10.0
    assert found[f"deviation over seeds at {SOME} rows, rank"] == 1.0
    assert found["tasks 30 to 95 percent of the way, rank"] == 8
    assert found[f"related over unrelated start at {FEW} rows, generate"] == 8.0


@pytest.mark.parametrize(
    ("changed", "alone", "spread", "name"),
    [
        ({}, {"bare": 58.5}, 1.0, "T5 without prompt"),
        ({}, {"prefix": 89.0}, 1.0, "T5 with text prefix"),
        ({"P at 32 rows": 71.0}, {}, 1.0, "percent of the way"),
        ({"P at 32 rows": 61.0, "P at 8 rows": 52.0}, {}, 1.0, "of the way"),
        ({"P at 512 rows": 79.0}, {}, 1.0, "P at 512 rows over 32"),
        ({"P at 8 rows": 70.0}, {}, 1.0, "P at 32 rows over 8"),
        ({}, {}, 2.6, "deviation"),
        ({"unrelated start": 68.0}, {}, 1.0, "related over"),
    ],
)
def test_each_limit_is_missed(changed, alone, spread, name) -> None:
    found = missed(NUMBERS | changed, ALONE | alone, spread)
    assert found
    assert all(name in text for text in found)


@pytest.mark.parametrize("seed", range(4))
def test_starts(seed: int) -> None:
    family = {name: names for names in FAMILIES for name in names}
    related, unrelated = (starts(seed)[name] for name in ("related start", "unrelated start"))
    for name in family:
        assert related[name] in family[name]
        assert related[name] != name
        assert unrelated[name] in TASKS
        assert unrelated[name] not in family[name]


def test_a_whole_check(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class InProcess:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        map = staticmethod(map)

    measured = []

    def measure(*arguments, **settings):
        measured.append(rows := measure_seed(*arguments, **settings))
        return rows

    monkeypatch.setattr(suite_check, "ProcessPoolExecutor", InProcess)
    monkeypatch.setattr(suite_check, "measure_seed", measure)
    monkeypatch.setattr(suite_check, "MANY", 16)
    monkeypatch.setattr(suite_check, "SOME", 12)
    monkeypatch.setattr(suite_check, "DataConfig", lambda **settings: DataConfig(**settings | {"test_rows": 10}))
    monkeypatch.setattr(suite_check, "TrainingConfig", lambda **settings: TrainingConfig(**settings | {"epochs": 1}))
    for _ in range(2):  # the second time nothing is trained
        with pytest.raises(SystemExit) as stop:
            suite_check.main(["--seeds", "2", "--output", str(tmp_path)])
        assert stop.value.code == 1
    printed = capsys.readouterr().out
    assert printed.count("labels that the text does not bear out") == 2
    assert "missed" in printed
    assert measured[0] == measured[2]
    primary = [(row["condition"], row["task"], row["decode"]) for row in measured[0] if row["primary"]]
    assert len(primary) == len({*primary}) == 5 * len(TASKS) * 2

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import methods

ROW = {"task": "a", "decode": "rank", "scheme": "lora", "metric": "accuracy", "value": 75.0}
RESULTS: dict[str, Any] = {
    "results": [ROW, {**ROW, "scheme": "majority", "value": 50.0}],
    "config": {"prompts": {"tasks": ["a"]}},
    "method": {"trainable_parameters": 1234, "seconds_per_step": 0.5},
}
PROGRAM = f"""
import json, pathlib, sys, time
command, results = sys.argv[1], {RESULTS!r}
folder = pathlib.Path(sys.argv[sys.argv.index("--output" if command == "train" else "--checkpoint") + 1])
if command == "train" and not (folder / "parts").exists():
    (folder / "parts" / "checkpoint-1").mkdir(parents=True)
    time.sleep(60)
elif command == "predict":
    print("yes")
else:
    target = folder / ("again" if command == "evaluate" else "")
    target.mkdir(exist_ok=True)
    if command == "train":
        (folder / "trained").write_text(" ".join(sys.argv))
    elif "--differs" in (folder / "trained").read_text():
        results["results"][0]["value"] = 74.0
    (target / "results.json").write_text(json.dumps(results))
"""


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "CROSSPT", [sys.executable, "-c", PROGRAM])


@pytest.mark.usefixtures("program")
def test_a_method_is_killed_resumed_evaluated_and_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["methods", "--methods", "lora,lora", "--output", str(tmp_path), "--shots", "8"]
    monkeypatch.setattr(sys, "argv", given)
    methods.main()
    found = json.loads((tmp_path / "lora.json").read_text())
    assert found.pop("peak_mb") > 1
    assert found == {"method": "lora", "a rank": 75.0, "trainable_parameters": 1234, "seconds_per_step": 0.5}
    assert (
        (tmp_path / "lora" / "trained")
        .read_text()
        .endswith("--shots 8 --output " + str(tmp_path / "lora") + " --resume")
    )
    assert capsys.readouterr().out.count("1,234") == 2, "the second time it is there already"


@pytest.mark.usefixtures("program")
def test_results_that_differ_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="lora: evaluated again, the results differ"):
        methods.measure("lora", tmp_path / "lora", ["--differs"])


def test_a_run_that_ends_before_a_checkpoint_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "CROSSPT", [sys.executable, "-c", "print('unknown method')"])
    with pytest.raises(RuntimeError, match="lora: expected to be killed at its first checkpoint: unknown method"):
        methods.measure("lora", tmp_path / "lora", [])

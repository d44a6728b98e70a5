"""What is said of a training while it runs."""

import io
import sys
from pathlib import Path

import pytest

from crosspt.training.progress import Steps
from tests.training.support import make_trainer


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosspt.training.trainer.Steps", lambda *given, **options: Steps(*given, **options, pause=0))


@pytest.mark.usefixtures("at_once")
def test_without_a_terminal_lines_name_the_work_and_how_far_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer(tmp_path, epochs=2)
    trainer.progress = "SLPN, stage 2, 3 tasks"
    trainer.train_or_resume()
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert "\r" not in err
    assert "\x1b" not in err
    assert [line.split(",")[2].split(":")[1].strip() for line in lines] == [
        *(f"{step} of 10 steps" for step in range(1, 11)),
        "finished 10 steps",
    ]
    assert all(line.startswith("SLPN, stage 2, 3 tasks: ") and line.endswith(" s") for line in lines)
    assert "loss" in lines[-1]


def test_a_training_that_goes_on_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Steps("P, stage 2, cola", shown=True) as steps:
        steps.plan(40, 15)
    assert capsys.readouterr().err == "P, stage 2, cola: goes on at step 15 of 40\n"


def test_a_trainer_that_was_given_no_words_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_trainer(tmp_path, epochs=1).train_or_resume()
    assert capsys.readouterr() == ("", "")


def test_lines_keep_their_distance(capsys: pytest.CaptureFixture[str]) -> None:
    with Steps("P, evaluation, cola", 5, "batches", pause=3600) as steps:
        for _ in range(5):
            steps.advance()
        steps.say("a warning")
    assert capsys.readouterr().err == "a warning\n"


def test_in_a_terminal_there_is_a_bar_with_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with Steps("SLPN, stage 1, [cola]", 5) as steps:
        steps.advance(2)
        steps.describe("loss 0.5")
        steps.bar.refresh()
    shown = terminal.getvalue()
    assert "SLPN, stage 1, [cola]: loss 0.5" in shown
    assert "2/5" in shown

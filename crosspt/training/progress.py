"""How far long work is: a bar in a terminal, elsewhere a line every few seconds."""

import sys
import time
from typing import Any, ClassVar, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from transformers import TrainerCallback

PAUSE = 10.0


class Steps:
    """So many steps of a piece of work, on stderr; a context manager.

    Args:
        what: names the work: the scheme, the stage, the task.
        total: number of steps; where it is not known yet, :meth:`plan` says it.
        unit: what a step is.
        shown: whether anything is.
        pause: seconds from line to line, at least.
    """

    spoken: ClassVar[float] = time.monotonic()  # when the last line was written, of any work

    def __init__(
        self, what: str, total: int = 0, unit: str = "steps", *, shown: bool = True, pause: float = PAUSE
    ) -> None:
        self.what, self.unit, self.note, self.done, self.total = what, unit, "", 0, total
        self.pause = pause
        self.started = time.monotonic()
        self.console = Console(stderr=True)
        self.lines = shown and not self.console.is_terminal
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        disabled = not shown or self.lines
        self.bar = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True, disable=disabled)
        self.task = self.bar.add_task(what, total=total)

    def __enter__(self) -> Self:
        """Show the bar."""
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self.bar.stop()

    def plan(self, total: int, done: int = 0) -> None:
        """Say how many steps there are, and how many are made already."""
        self.total, self.done = total, done
        self.bar.update(self.task, total=total, completed=done)
        if self.lines and done:
            self.say(f"{self.what}: goes on at {self.unit.removesuffix('s')} {done} of {total}")

    def describe(self, note: str) -> None:
        """Say what is on hand beside the work's name."""
        self.note = note
        self.bar.update(self.task, description=f"{self.what}: {note}" if note else self.what)

    def advance(self, count: int = 1) -> None:
        """So many steps more are made."""
        self.done += count
        self.bar.update(self.task, completed=self.done)
        if self.lines and time.monotonic() - Steps.spoken >= self.pause:
            self._say_count(f"{self.done} of {self.total}")

    def finish(self) -> None:
        """Where there is no terminal, say that the work is done."""
        if self.lines:
            self._say_count(f"finished {self.done}")

    def _say_count(self, count: str) -> None:
        note = f", {self.note}" if self.note else ""
        self.say(f"{self.what}: {count} {self.unit}{note}, {time.monotonic() - self.started:.0f} s")

    def say(self, line: str) -> None:
        """Write a line, above the bar where there is one."""
        Steps.spoken = time.monotonic()
        if self.lines:
            print(line, file=sys.stderr, flush=True)
        else:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)


class Following(TrainerCallback):
    """Has steps follow a training."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """How many steps the training has, and has made where it goes on."""
        self.steps.plan(state.max_steps, state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step of the optimizer."""
        self.steps.advance(state.global_step - self.steps.done)

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """The mean loss since the last time."""
        if "loss" in given["logs"]:
            self.steps.describe(f"loss {float(given['logs']['loss']):.3g}")

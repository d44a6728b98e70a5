"""Runs in processes of their own that kill themselves at a chosen moment."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

# What a killed run left in memory is gone: every run has a clean process. The server imports the modules once.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.training.support", "tests.workspace"])


def die_at_call(owner: Any, name: str, call: int, *, after: bool = False) -> None:
    """Kill this process with SIGKILL at the given call of a function: before it, or after it has run."""
    original = getattr(owner, name)
    calls = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, counted)


def in_a_process(target: Callable[..., None], *arguments: Any) -> int | None:
    """Run a function in a clean process; returns its exit code."""
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    process.join()
    return process.exitcode

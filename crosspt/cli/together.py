"""A command in several processes, as torchrun and accelerate launch start it: one of them speaks."""

import contextlib
import io
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import NoReturn

HEAD_START = 0.5  # seconds that the first process has to say what went wrong in all of them


def count() -> int:
    """The number of processes that were started together."""
    return int(os.environ.get("WORLD_SIZE", 1)) if "LOCAL_RANK" in os.environ else 1


def is_first() -> bool:
    """Whether this is the first of them, or the only one."""
    return count() == 1 or os.environ.get("RANK") == "0"


@contextlib.contextmanager
def showing(shown: bool) -> Iterator[None]:
    """A block whose output, warnings and progress bars are shown, or not."""
    if shown:
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(),
    ):
        yield


@contextlib.contextmanager
def speaking_once() -> Iterator[None]:
    """A block that may end the process with a message, which one of all processes says."""
    if count() == 1:
        yield
        return
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit:
        say(said.getvalue().rstrip("\n"))
        raise


def say(message: str) -> None:
    """Say why a command ends. Where it ends in several processes, for one reason or one after the other, one says."""
    if not is_first():
        time.sleep(HEAD_START)
    if count() == 1 or _is_first_to_end():
        print(message, file=sys.stderr, flush=True)


def explain(error: Exception) -> str:
    """An error in one line; of a lost connection to the other processes, that it is one."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if count() > 1:
        from torch.distributed import DistError

        if isinstance(error, DistError) or "gloo" in reason:
            return f"another of the {count()} processes has ended, or does not answer: {reason}"
        if not is_first():
            return f"process {os.environ['RANK']} on {socket.gethostname()}: {reason}"
    return reason


def part() -> None:
    """End the connection once all processes are done."""
    from accelerate import PartialState

    PartialState().wait_for_everyone()
    PartialState().destroy_process_group()


def leave(status: int) -> NoReturn:
    """End this process at once: others may wait for it, and its own threads for them."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _is_first_to_end() -> bool:
    """Whether no other process has come here: they count in the store that the launcher keeps."""
    from torch.distributed import TCPStore

    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)
    try:
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(*place, is_master=False, timeout=timedelta(seconds=10))
        return store.add(f"crosspt/ended/{attempt}", 1) == 1
    except (KeyError, ValueError, RuntimeError):  # of a launcher that keeps none, or is gone
        return is_first()

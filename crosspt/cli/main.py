"""The command line: ``crosspt COMMAND``, of those in ``COMMANDS``.

Flags and YAML files set the fields of the same dataclasses. Exit status: 0 done, 1 the run failed, 2 a mistake in what
was asked, 130 interrupted. Results go to stdout, everything else to stderr.

torchrun and accelerate launch may start ``train``, ``evaluate`` and ``predict``: their processes work together, and the
first of them shows what the command comes to.

A command is a module of this package, of the same name (``import_prompts`` for ``import``), with ``HELP`` and
``DESCRIPTION``, one line and all of it; ``INTERRUPTED``, what goes on after Ctrl-C; ``add_flags(parser)``; and
``run(settings)``, which returns an ``Outcome``.
"""

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from crosspt.cli.together import count, explain, is_first, leave, part, say, showing, speaking_once

TOGETHER = ("train", "evaluate", "predict")  # what several processes can do
COMMANDS = (
    "demo",
    "train",
    "evaluate",
    "predict",
    "serve",
    "experiment",
    "report",
    "show",
    "export",
    "import",
    "doctor",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given[0] if given and given[0] in COMMANDS else ""
    interrupted, status = False, 130
    try:
        status = _run(name, given[1:]) if name else _explain(given)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # another Ctrl-C must not break the process's end
        interrupted = True
    if interrupted:
        hint = getattr(sys.modules.get(_module(name)), "INTERRUPTED", "")
        say(f"{f'crosspt {name}'.strip()}: interrupted{hint and '; '}{hint}")
    if status and count() > 1:
        leave(status)
    return status


def _module(name: str) -> str:
    """The module of a command."""
    return f"crosspt.cli.{'import_prompts' if name == 'import' else name}"  # a module import.py could not be imported


def _run(name: str, arguments: Sequence[str]) -> int:
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # read once tqdm is imported: no bars of other packages in logs
    # Whatever takes time to import is imported here or below, where Ctrl-C is caught.
    from crosspt.cli.parser import Parser

    command = import_module(_module(name))
    parser = Parser(f"crosspt {name}", command.DESCRIPTION)
    command.add_flags(parser)
    with speaking_once():
        settings = parser.read(arguments)
        settings.stdout = sys.stdout  # for what is written there while the command runs
        if count() > 1 and name not in TOGETHER:
            parser.error(f"this command is for one process, got {count()}; only {', '.join(TOGETHER)} take several")
    plain = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"crosspt {name}: {' '.join(str(message).split())}\n"
    try:
        with contextlib.redirect_stdout(sys.stderr), showing(is_first()):  # the Trainer logs to stdout
            outcome = command.run(settings)
    except (ValueError, RuntimeError, OSError) as error:
        reason = explain(error)
        status = 2 if isinstance(error, ValueError) else 1
    else:
        if count() > 1:
            part()
        if is_first():
            outcome.print(settings.json)
        return outcome.status
    finally:
        warnings.formatwarning = plain
    # Said after the error is let go: a progress bar that the failed run has left open ends its line when it is freed.
    say(f"crosspt {name}: {reason}")
    return status


def _explain(given: Sequence[str]) -> int:
    """Show the help or the version, or say what is wrong where no command is named."""
    from importlib.metadata import version

    from crosspt.cli.parser import OneLineParser
    from crosspt.config.files import did_you_mean

    parser = OneLineParser(prog="crosspt", description="Cross-task prompt tuning of a frozen language model.")
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    commands = parser.add_subparsers(title="commands", description="crosspt COMMAND --help says more.")
    for name in COMMANDS:
        commands.add_parser(name, help=import_module(_module(name)).HELP)
    if not given:
        parser.error(f"expected a command, one of {{{','.join(COMMANDS)}}}")
    if not given[0].startswith("-"):
        parser.error(f"unknown command {given[0]!r}{did_you_mean(given[0], COMMANDS)}")
    if parser.parse_known_args(given[:1])[1]:
        parser.error(f"unrecognized arguments: {' '.join(given)}")
    print(f"crosspt {version('crosspt')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

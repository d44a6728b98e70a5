"""The command ``serve``: the tasks of saved prompts over HTTP."""

import signal
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

from crosspt.cli.flags import add_device, add_fields
from crosspt.cli.outcome import Outcome, quiet_transformers
from crosspt.cli.parser import Parser
from crosspt.config.serving import ServingConfig
from crosspt.config.values import pick

HELP = "answer rows of many tasks over HTTP"
DESCRIPTION = (
    "Answer rows of the tasks of one or more runs over HTTP: POST /v1/predict; /docs describes it, /health and "
    "/metrics say how it goes. SIGHUP loads the runs anew, SIGTERM ends the server when what it took is answered."
)
INTERRUPTED = "what the server took is answered"
PACKAGES = ("fastapi", "uvicorn", "prometheus_client")
GRACE = 60
"""Most seconds that a stopping server waits for clients to take their answers."""


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    text = "folders of runs or of saved prompts"
    parser.add_setting("--checkpoint", list[str], text, metavar="RUN", nargs="+", required=True)
    parser.add_setting("--host", str, "address to listen at", default="127.0.0.1")
    parser.add_setting("--port", int, "port to listen at; 0 takes a free one", default=8000)
    parser.add_setting("--model", str, "language model to use instead of those the prompts were trained on")
    add_device(parser)
    add_fields(parser, ServingConfig)


def run(settings: Namespace) -> Outcome:
    """Serve until a signal ends it."""
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise ValueError(f"it needs {', '.join(missing)}, which is not installed: pip install 'crosspt[serve]'")
    if not 0 <= settings.port < 2**16:
        raise ValueError(f"--port must be from 0 to 65535, got {settings.port}")
    config = pick(ServingConfig, vars(settings))

    import uvicorn

    from crosspt.models.loading import pick_device
    from crosspt.serving.app import make_app
    from crosspt.serving.roster import Roster, Runs

    quiet_transformers()
    pick_device(settings.device)  # raises before anything is loaded
    roster = Roster(Runs([Path(name) for name in settings.checkpoint], settings.device, settings.model))
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(roster, config),
            host=settings.host,
            port=settings.port,
            access_log=False,
            timeout_graceful_shutdown=GRACE,
        )
    )
    signal.signal(signal.SIGTERM, lambda *_: None)  # which the server raises again when it has ended
    server.run()
    return Outcome({"schema": 1, "tasks": roster.names}, [])

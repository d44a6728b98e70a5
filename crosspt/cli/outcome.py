"""What a command comes to."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosspt.config.files import check_writable

if TYPE_CHECKING:
    from crosspt.report.table import Table


@dataclass(frozen=True)
class Outcome:
    """What a finished command says.

    Args:
        content: the JSON object of ``--json``.
        shown: tables and lines that are shown without it.
        status: the exit status.
    """

    content: dict[str, Any]
    shown: list[Table | str]
    status: int = 0

    def print(self, as_json: bool) -> None:
        """Print the content, or what is shown."""
        if as_json:
            print(json.dumps(self.content, indent=2))
            return
        from rich.console import Console

        console = Console(highlight=False)
        if not (console.is_terminal or "COLUMNS" in os.environ):
            console.width = 120
        for part in self.shown:
            if isinstance(part, str):
                print(part)
            else:
                console.print(part)


def output_file(name: str | None) -> Path | None:
    """The file to write to, if any. Raises ValueError before any work is done where it cannot be written."""
    if not name:
        return None
    file = Path(name)
    if file.is_dir():
        raise ValueError(f"--output must be a file, got the folder {file}")
    check_writable(file.parent)
    return file


def quiet_transformers() -> None:
    """Leave out the progress bars and warnings of transformers."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()

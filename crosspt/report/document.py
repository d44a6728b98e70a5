"""One Markdown file about several experiments, from the tables and figures of their reports."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crosspt.config.files import check_writable, write_atomically
from crosspt.report.paper import load_paper

INTRODUCTION = """\
# Experiments

Written by `{command}`.

Means are over the tasks, then over the seeds. Intervals hold 95 % and are of seeds and test rows; tasks are fixed. A
statement of the paper *agrees* where all its differences are resolved in the paper's direction, *differs* where one is
resolved in the other direction, and is *not resolved* else. A difference is resolved where its interval leaves out what
it must exceed and an exact test that flips the signs of whole seeds, with Holm's correction over the statements of an
experiment, has p at most 0.05. One is called best where its difference to each of the others is resolved, with p times
the number of conditions that are not the best.
"""


def write_document(path: Path, command: str, reports: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[Path]:
    """Write the file, and beside it a copy of every figure of results.

    Args:
        path: of the file.
        command: that it is written by.
        reports: folder and content of each report, from :func:`crosspt.report.make.make_report`.

    Returns:
        The files that were written.

    Raises:
        ValueError: one cannot be written.
    """
    check_writable(path.parent)
    parts, written = [INTRODUCTION.format(command=command)], [path]
    for folder, content in reports:
        parts.append(f"## {content['experiment']}: {content['title']}\n")
        if content["command"] is not None:
            parts.append(f"    {content['command']}\n")
        seeds = ", ".join(map(str, content["seeds"]))
        facts = f"Suite {content['suite']}, model {content['model']}, seeds {seeds}; {content['finished']} of"
        parts.append(f"{facts} {content['cells']} cells finished. {content['tuning']}\n")
        if content["suite"] == "embedded":
            parts.append(f"{load_paper()['notes']['embedded']}\n")
        parts += [f"- **{one['headline']}** {one['text']}\n" for one in content["best"]]
        parts += [f"- {warning}\n" for warning in content["warnings"]]
        parts.append(_read(folder, "means"))
        for name, caption in content["figures"].items():
            copy = path.with_name(f"{content['experiment']}-{Path(name).name}")
            shutil.copyfile(folder / name, copy)
            written.append(copy)
            parts.append(f"![{caption}]({copy.name})\n")
        if content["statements"]:
            parts.append(_read(folder, "statements"))
    write_atomically(path, "\n".join(parts).encode())
    return written


def _read(folder: Path, table: str) -> str:
    return (folder / "tables" / f"{table}.md").read_text(encoding="utf-8")

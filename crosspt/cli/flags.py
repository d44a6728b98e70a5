"""Settings that several commands have."""

import dataclasses
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal, get_type_hints

import docstring_parser

from crosspt.cli.parser import Parser
from crosspt.config.run import EMBEDDED, DecodeChoice, ReportTo
from crosspt.tasks.registry import SUITES

Names = list[str] | str
METAVARS: dict[Any, str] = {str: "NAME", str | None: "FOLDER"}  # of fields


def add_device(parser: Parser) -> None:
    """Add ``--device``."""
    parser.add_setting("--device", Literal["auto", "cpu", "cuda"], "where to compute", default="auto")


def add_report_to(parser: Parser) -> None:
    """Add ``--report-to``."""
    text = "log the curves of a training, scores on development rows among them, into logs in the run's folder"
    parser.add_setting("--report-to", ReportTo, text, default="none")


def add_suite(parser: Parser, default: str | None, text: str = "take the tasks of a suite") -> None:
    """Add ``--suite``."""
    parser.add_setting("--suite", Literal[tuple(sorted(SUITES))], f"{text}, where --tasks names none", default=default)


def add_decode(parser: Parser, default: str | None, kind: Any = DecodeChoice) -> None:
    """Add ``--decode``."""
    text = "how rows are answered: generate greedily, or rank the task's answers by likelihood"
    text += "; by default as the run was, both for the language model alone" if default is None else ""
    parser.add_setting("--decode", kind, text, default=default)


def add_fields(
    parser: Parser, config: type, skip: AbstractSet[str] = frozenset(), *, defaults: bool = True, several: bool = False
) -> None:
    """Add the fields of a dataclass, with its documentation as their help; a bool may stand without its value.

    Args:
        parser: of the command.
        config: the dataclass.
        skip: fields that are left out.
        defaults: whether what is not given has the field's default, else None.
        several: whether a field takes one or more values.
    """
    documentation = docstring_parser.parse(config.__doc__ or "")
    texts = {parameter.arg_name: parameter.description or "" for parameter in documentation.params}
    group = parser.add_argument_group((documentation.short_description or "").rstrip("."))
    hints = get_type_hints(config)
    for field in dataclasses.fields(config):
        if field.name in skip:
            continue
        hint = hints[field.name]
        options: dict[str, Any] = {"nargs": "?", "const": True} if hint is bool else {}
        if hint in METAVARS:
            options["metavar"] = METAVARS[hint]
        if defaults:
            options["default"] = field.default
        text = " ".join(texts[field.name].partition("; see :class:")[0].replace("``", "").split()).rstrip(".")
        flag = "--" + field.name.replace("_", "-")
        parser.add_setting(flag, hint, text, several=several, group=group, **options)


def whole_path(name: str) -> str:
    """A name that is there as a file or folder, as a whole path that means the same from everywhere; others as is."""
    path = Path(name).expanduser()
    return str(path.resolve()) if name != EMBEDDED and path.exists() else name


def split_names(value: Names | None) -> list[str]:
    """Names separated by commas, or a list from YAML; empty where nothing is given."""
    names = value.split(",") if isinstance(value, str) else value or []
    return [name.strip() for name in names if name.strip()]

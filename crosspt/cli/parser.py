"""Reads the settings of a command from its flags and from YAML files, each against its type."""

import argparse
import difflib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_args

import yaml

from crosspt.config.files import did_you_mean, parse_yaml
from crosspt.config.values import describe, fits

METAVARS = {
    int: "N",
    int | None: "N",
    float: "X",
    float | None: "X",
    bool: "{true,false}",
    bool | None: "{true,false,null}",
}


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """End the process with one line and status 2."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())} ({self.prog} --help explains)\n")


class Parser(OneLineParser):
    """The settings of a command. A mistake ends the process with one line and status 2.

    Args:
        prog: what the line begins with, such as ``crosspt train``.
        description: what the command does.

    Attributes:
        settings: every setting by its name, which is its key in a YAML file.
        derive: the defaults, by name, that follow from the settings which are given; it may raise ValueError.
    """

    def __init__(self, prog: str, description: str):
        super().__init__(prog=prog, description=description)
        self.settings: dict[str, _Setting] = {}
        self.derive: Callable[[argparse.Namespace], Mapping[str, Any]] = lambda settings: {}
        self.set_defaults(given=frozenset())
        text = "YAML file with any of these settings"
        self.add_argument("--config", action=_Config, settings=self.settings, metavar="FILE", help=text)
        text = "print the settings as a file for --config and exit; skip_default and skip_unset leave some out"
        self.add_argument(
            "--print_config", "--print-config", action=_Print, settings=self.settings, metavar="=SKIP", help=text
        )
        self.add_switch("--json", "print JSON instead of tables")

    def add_setting(
        self, flag: str, kind: Any, text: str, *, several: bool = False, group: Any = None, **options: Any
    ) -> None:
        """Add a setting.

        Args:
            flag: with dashes in front, or the name of a positional argument.
            kind: its type.
            text: its help.
            several: whether it takes one or more values, which are not checked.
            group: of the help that it is shown in.
            options: of ``argparse.ArgumentParser.add_argument``; a default that is a list gathers repeated flags.
        """
        default = options.get("default")
        if options.get("required"):
            text += " (required)"
        elif default is not None and default != []:
            text += f" (default: {default})"
        names = [name for name in get_args(kind) if isinstance(name, str)]
        if names and "metavar" not in options:
            options["metavar"] = "{" + ",".join(names) + "}"
        options = {"metavar": METAVARS.get(kind), "help": text.replace("%", "%%"), **options}
        read = read_values if several else partial(read_value, kind=kind)
        setting: Any = (group or self).add_argument(flag, action=_Setting, read=read, **options)
        self.settings[setting.dest] = setting

    def add_switch(self, flag: str, text: str) -> None:
        """Add a setting that is false where its flag is not given."""
        self.add_setting(flag, bool, text, nargs=0, const=True, default=False)

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The settings by name. One that is null in a YAML file has its default."""
        settings, unknown = self.parse_known_args([_dashed(argument) for argument in arguments])
        if unknown:
            name = unknown[0].strip("-").partition("=")[0].replace("-", "_")
            close = difflib.get_close_matches(name, self.settings, n=1)
            hint = "".join(f"; did you mean --{name.replace('_', '-')}?" for name in close)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        try:
            derived = self.derive(settings)
        except ValueError as error:
            self.error(str(error))
        vars(settings).update({name: value for name, value in derived.items() if name not in settings.given})
        if settings.print_config is not None:
            shown = {name: getattr(settings, name) for name in self.settings}
            for name, action in self.settings.items():
                if ("skip_default" in settings.print_config and shown[name] == action.default) or (
                    "skip_unset" in settings.print_config and shown[name] is None
                ):
                    del shown[name]
            print(yaml.safe_dump(shown, sort_keys=False), end="")
            self.exit()
        return settings


class _Setting(argparse.Action):
    """Keeps the value of a setting; a list in its default gathers the values of every flag."""

    def __init__(self, *, read: Callable[[Any], Any], option_strings: Sequence[str], dest: str, **options: Any):
        super().__init__(option_strings, dest, **options)
        self._read = read

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        if isinstance(self.default, list):
            values = [*getattr(namespace, self.dest), values]
        if values is not None:  # a positional that is not given
            self.keep(namespace, self.const if self.nargs == 0 else values, option_string or self.dest)

    def keep(self, namespace: argparse.Namespace, value: Any, origin: str) -> None:
        """Read the text of a flag or a value of a YAML file; a mistake's message begins with the origin."""
        try:
            setattr(namespace, self.dest, self._read(value))
            namespace.given |= {self.dest}
        except ValueError as error:
            raise argparse.ArgumentError(None, f"{origin} {error}") from None


class _Config(argparse.Action):
    """Takes settings from a YAML file; flags after it override them."""

    def __init__(self, *, settings: Mapping[str, _Setting], option_strings: Sequence[str], dest: str, **options: Any):
        super().__init__(option_strings, dest, **options)
        self.settings = settings

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        for key, value in _read_yaml(values).items():
            name = str(key).replace("-", "_")
            if name not in self.settings:
                hint = did_you_mean(name, self.settings)
                raise argparse.ArgumentError(None, f"{values}: unknown key {str(key)!r}{hint}")
            setting = self.settings[name]
            if value is None:
                setattr(namespace, name, setting.default)
                namespace.given -= {name}
            else:
                setting.keep(namespace, value, f"{values}: {key}")
                setting.required = False


class _Print(argparse.Action):
    """Asks for the settings to be printed; none is required then."""

    def __init__(self, *, settings: Mapping[str, _Setting], option_strings: Sequence[str], dest: str, **options: Any):
        super().__init__(option_strings, dest, nargs="?", const="", **options)
        self.settings = settings

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        skip = values.split(",") if values else []
        for name in skip:
            if name not in ("skip_default", "skip_unset"):
                raise argparse.ArgumentError(self, f"must be skip_default or skip_unset, got {name}")
        setattr(namespace, self.dest, skip)
        for setting in self.settings.values():
            setting.required = False


def read_value(value: Any, kind: Any) -> Any:
    """A value from YAML, or from text as YAML reads it, of a type. Raises ValueError that says what it must be."""
    if isinstance(value, str):
        try:
            parsed = parse_text(value)
        except ValueError:
            parsed = value
        if not fits(value, kind) or (isinstance(parsed, list | NoneType) and fits(parsed, kind)):
            value = parsed
    if not fits(value, kind):
        raise ValueError(f"must be {describe(kind)}, got {value}")
    return float(value) if type(value) is int and fits(0.5, kind) else value


def read_values(given: Any) -> list[Any]:
    """One or more values: a list or a value from YAML, or text with commas between them."""
    if isinstance(given, str):
        given = given.split(",")
    try:
        values = given if isinstance(given, list) else [given]
        return [parse_text(value) if isinstance(value, str) else value for value in values]
    except ValueError:
        raise ValueError(f"must have commas between its values, got {','.join(map(str, given))!r}") from None


def parse_text(text: str) -> Any:
    """Text as YAML reads it, with numbers that YAML takes for text, such as 1e-3; blank text is itself."""
    value = parse_yaml(text) if text.strip() else text
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    return value


def _read_yaml(name: str) -> dict[Any, Any]:
    try:
        content = parse_yaml(Path(name).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 text: {error.reason} at byte {error.start}"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except ValueError as error:
        reason = f"is not YAML: {error}"
    else:
        if isinstance(content, dict):
            return content
        got = "nothing" if content is None else repr(content)
        reason = f"must hold keys and values such as 'epochs: 3', got {got}"
    raise argparse.ArgumentError(None, f"--config {name} {reason}")


def _dashed(argument: str) -> str:
    """A flag with dashes, however it is written; ``--print-config`` takes nothing of what comes after it."""
    flag, equals, value = argument.partition("=")
    flag = flag.replace("_", "-") if flag.startswith("--") else flag
    return flag + ("=" if flag == "--print-config" else equals) + value

"""The flags of every command, over the fields of the configuration classes; a YAML file sets them too."""

import argparse
import dataclasses
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NoReturn, get_args

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, DefaultHelpFormatter, Namespace

from crosspt.config.data import DataConfig
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import EMBEDDED, Decode, DecodeChoice
from crosspt.config.training import TrainingConfig
from crosspt.tasks.registry import SUITES

HELP = {
    "demo": "train four schemes on the embedded suite and show them side by side",
    "train": "train prompts over a frozen T5 and report their accuracy",
    "evaluate": "report the accuracy of saved prompts",
    "predict": "answer rows of a task with saved prompts",
    "experiment": "run an experiment of the paper, or list them",
    "report": "make a page, tables and figures of an experiment",
    "doctor": "say what this machine can run, and check the operations",
}
METAVARS = {"int": "N", "int | None": "N", "float": "X", "float | None": "X", "str": "NAME", "str | None": "FOLDER"}


def parse_arguments(arguments: Sequence[str] | None = None) -> Namespace:
    """Read the command line and the YAML files it names: ``command``, and its settings under the command's name.

    A setting that is null takes its default. A mistake ends the process with one line and status 2.
    """
    parsers = {
        "demo": _demo_parser(),
        "train": _train_parser(),
        "evaluate": _evaluate_parser(),
        "predict": _predict_parser(),
        "experiment": _experiment_parser(),
        "report": _report_parser(),
        "doctor": _doctor_parser(),
    }
    options = _join(parsers).parse_args(arguments)
    settings = options[options.command]
    for name, default in vars(parsers[options.command].get_defaults()).items():
        if settings.get(name) is None:
            settings[name] = default
    return options


def _join(parsers: Mapping[str, ArgumentParser]) -> ArgumentParser:
    joined = _Parser(
        prog="crosspt", description="Cross-task prompt tuning of a frozen T5.", formatter_class=_HelpFormatter
    )
    commands = joined.add_subcommands(dest="command", title="commands", description="crosspt COMMAND --help says more.")
    for name, parser in parsers.items():
        commands.add_subcommand(name, parser, help=HELP[name])
        parser.prog = f"crosspt {name}"
    return joined


class _HelpFormatter(DefaultHelpFormatter):
    """Leaves out types, which the placeholders tell, and defaults of nothing."""

    def _expand_help(self, action: argparse.Action) -> str:
        text = re.sub(r"(, )?type: .+?(?=, default: |\)$)", "", super()._expand_help(action))
        text = re.sub(r"(, )?default: (null|\[\])(?=\)$)", "", text)
        return text.replace("(, ", "(").removesuffix(" ()")


class _Parser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong in one line."""
        parser = getattr(ex, "subcommand_parser", None) or self
        self.exit(2, f"{parser.prog}: {_one_line(message)} ({parser.prog} --help explains)\n")


def _one_line(message: str) -> str:
    message = re.sub(r"<class '(?:NoneType|(\w+))'>", lambda match: match[1] or "null", message)
    key = re.search(r'Parser key "(.+?)":', message)
    types = re.search(r"Subtypes: \[(.*)\]$", message, re.MULTILINE) or re.search(r"Expected an? (\S+)\. Got", message)
    value = re.search(r"Given value: (.*)", message, re.DOTALL) or re.search(r"Got value: (.*)", message, re.DOTALL)
    if key and types and value:
        kinds = re.sub(r"typing\.Literal\[(.+?)\]", lambda match: match[1].replace("'", ""), types[1])
        message = f"{key[1]} must be {kinds.replace(', ', ' or ')}, got {value[1]}"
    message = re.sub(
        r"^Unexpected config: ?", "a YAML file must hold keys and values such as 'epochs: 3', got: ", message
    )
    message = re.sub(rf"\b(?:{'|'.join(HELP)})\.(\w+)", lambda match: "--" + _dashed(match[1]), message)
    return " ".join(message.split())


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _command_parser(description: str) -> ArgumentParser:
    parser = _Parser(description=description)
    parser.add_argument(
        "--config", action=ActionConfigFile, metavar="FILE", help="YAML file with any of these settings"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


def _demo_parser() -> ArgumentParser:
    parser = _command_parser(
        "Train P, SL, SLP and SLPN on the embedded suite and the embedded T5 with 32 examples a task and no text "
        "prefix, beside the majority baseline, the bare T5 and the T5 with its text prefix. Needs no network."
    )
    parser.add_argument("--output", type=str, metavar="FOLDER", default="runs/demo", help="for results and figures")
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="of initialisation, data order and drawn rows")
    _add_device(parser)
    return parser


def _train_parser() -> ArgumentParser:
    parser = _command_parser(
        "Train the prompts of a scheme over a frozen T5, source prompts first where the scheme starts from them and "
        "none are given. Writes the prompts and results.json; a stopped run goes on with --resume."
    )
    parser.add_argument("--model", type=str, default=EMBEDDED, help="folder or hub name of the T5, or embedded")
    _add_suite(parser, EMBEDDED)
    _add_list(parser, "--tasks", "NAMES", "target tasks, separated by commas: names or .yaml files of your own")
    _add_list(parser, "--source-tasks", "NAMES", "tasks whose stage-1 prompts are started from; by default the targets")
    _add_list(parser, "--source-prompts", "FOLDERS", "folders with stage-1 prompts to start from, not trained again")
    parser.add_argument("--output", type=str, metavar="FOLDER", required=True, help="folder of the run, new or empty")
    parser.add_argument("--resume", action="store_true", help="go on with the run that --output holds")
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained, and train nothing")
    _add_decode(parser, get_args(DecodeChoice), "both")
    _add_device(parser)
    _add_fields(parser, CrossPTConfig, skip={"tasks", "source_tasks", "init_texts"})
    _add_list(
        parser,
        "--init-texts",
        "TEXTS",
        "for initialization text: one text, or a YAML list of one for every such prompt",
    )
    _add_fields(parser, TrainingConfig)
    _add_fields(parser, DataConfig)
    return parser


def _evaluate_parser() -> ArgumentParser:
    parser = _command_parser("Report the metrics of saved prompts, or of the T5 alone, on the test rows of tasks.")
    _add_checkpoint(parser, required=False)
    parser.add_argument("--no-prompt", action="store_true", help="evaluate the T5 alone, by default the embedded one")
    _add_suite(parser, None)
    _add_list(parser, "--tasks", "NAMES", "tasks to report on, separated by commas; by default all the prompts are for")
    text = "for results.json; by default <checkpoint>/evaluation or runs/no-prompt"
    parser.add_argument("--output", type=str, metavar="FOLDER", help=text)
    parser.add_argument("--seed", type=int, metavar="N", help="of the draw of test rows; the same as --data-seed")
    _add_decode(parser, get_args(DecodeChoice), None)
    _add_data_overrides(parser, skip={"shots"})
    return parser


def _predict_parser() -> ArgumentParser:
    parser = _command_parser("Answer rows of a task: one from --field, formatted ones from --text, or a file of them.")
    _add_checkpoint(parser)
    parser.add_argument("--task", type=str, required=True, help="the task whose prompt is used")
    parser.add_argument(
        "--field", type=str, metavar="NAME=TEXT", action="append", default=[], help="a column of one row"
    )
    parser.add_argument("--text", type=str, action="append", default=[], help="an input that is formatted already")
    parser.add_argument("--input", type=str, metavar="FILE", help="file of rows: .jsonl, .csv, .tsv or .parquet")
    parser.add_argument("--output", type=str, metavar="FILE", help="JSON file for the answers")
    _add_decode(parser, get_args(Decode), "generate")
    parser.add_argument(
        "--seed", type=int, metavar="N", default=0, help="of the random generators; greedy answers do not use them"
    )
    _add_data_overrides(parser, skip={"shots", "data_dir", "data_seed", "test_rows"})
    return parser


def _experiment_parser() -> ArgumentParser:
    parser = _command_parser(
        "Run the grid of an experiment of the paper: every combination of its settings, with every seed, each a run in "
        "a folder of its own. A grid that was stopped goes on with the same command; finished cells stay as they are, "
        "failed ones are run again. The settings of crosspt train override the experiment's; several values, separated "
        "by commas, make a setting an axis of the grid: --scheme SL,SLP --shots 8,16."
    )
    parser.add_argument("name", nargs="?", type=str, help="the experiment, such as figure-2")
    parser.add_argument("--list", action="store_true", help="show the experiments")
    parser.add_argument("--model", type=str, default=EMBEDDED, help="folder or hub name of the T5, or embedded")
    text = "the suite whose tasks are trained, where --tasks names none"
    parser.add_argument("--suite", choices=sorted(SUITES), default=EMBEDDED, help=text)
    parser.add_argument("--output", type=str, metavar="FOLDER", help="for the grid; by default runs/NAME")
    parser.add_argument("--seeds", type=int, metavar="N", default=3, help="number of seeds")
    parser.add_argument("--seed", type=int, metavar="N", default=0, help="the first seed, of training and drawn rows")
    text = "processes, of one thread each; by default one for each core, up to 8, and one on a GPU"
    parser.add_argument("--jobs", type=int, metavar="N", help=text)
    parser.add_argument(
        "--dry-run", action="store_true", help="show the cells and an estimated time, and train nothing"
    )
    _add_device(parser)
    _add_list(parser, "--tasks", "NAMES", "target tasks, separated by commas: names or .yaml files of your own")
    _add_list(parser, "--source-tasks", "NAMES", "tasks whose stage-1 prompts are started from")
    _add_list(parser, "--init-texts", "TEXTS", "for initialization text: one text, or a YAML list")
    for config, skip in (
        (CrossPTConfig, {"tasks", "source_tasks", "init_texts"}),
        (TrainingConfig, {"seed"}),
        (DataConfig, set()),
    ):
        _add_several(parser, config, skip)
    return parser


def _report_parser() -> ArgumentParser:
    parser = _command_parser(
        "Make report.html, a page that opens from disk, tables and figures of an experiment: means and deviations over "
        "seeds, beside the paper's numbers. Unfinished cells and files that cannot be read are named and left out."
    )
    parser.add_argument("folder", type=str, metavar="FOLDER", help="the experiment's folder")
    parser.add_argument("--output", type=str, metavar="FOLDER", help="for the report; by default the experiment's")
    return parser


def _doctor_parser() -> ArgumentParser:
    parser = _command_parser("Say what this machine can run, and check the operations against their reference.")
    parser.add_argument("--output", type=str, metavar="FILE", help="JSON file for the findings")
    parser.add_argument(
        "--seed", type=int, metavar="N", default=0, help="of the inputs that the operations are checked on"
    )
    return parser


def _add_list(parser: ArgumentParser, flag: str, metavar: str, text: str, required: bool = False) -> None:
    action = parser.add_argument(flag, type=list[str] | str, metavar=metavar, help=text, required=required)
    action.option_strings = [flag]  # without jsonargparse's --flag+


def _add_suite(parser: ArgumentParser, default: str | None) -> None:
    text = "take the tasks of a suite, where --tasks names none"
    parser.add_argument("--suite", choices=sorted(SUITES), default=default, help=text)


def _add_device(parser: ArgumentParser) -> None:
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to compute")


def _add_decode(parser: ArgumentParser, choices: Sequence[str], default: str | None) -> None:
    text = "how rows are answered: generate greedily, or rank the task's answers by likelihood"
    text += "; by default as the run was, both for the T5 alone" if default is None else ""
    parser.add_argument("--decode", choices=choices, default=default, help=text)


def _add_checkpoint(parser: ArgumentParser, required: bool = True) -> None:
    text = "folder of a run or of saved prompts"
    parser.add_argument("--checkpoint", type=str, metavar="FOLDER", required=required, help=text)
    parser.add_argument("--model", type=str, help="T5 to use instead of the one the prompts were trained on")
    parser.add_argument("--batch-size", type=int, metavar="N", default=32, help="rows in a batch")
    parser.add_argument("--bf16", action="store_true", help="generate in bfloat16 autocast")
    _add_device(parser)


def _add_fields(parser: ArgumentParser, config: type, skip: AbstractSet[str] = frozenset()) -> None:
    """Add the fields of a dataclass as flags with dashes; a bool may stand without its value."""
    parser.add_class_arguments(config, None, skip=set(skip))
    flags = {"--" + field.name: field for field in dataclasses.fields(config) if field.name not in skip}
    for action in parser._actions:
        for option in flags.keys() & set(action.option_strings):
            kind: Any = flags[option].type
            action.help = re.sub(r"; see :class:`\w+`|``", "", action.help or "")
            action.metavar = METAVARS.get(kind.__name__ if isinstance(kind, type) else str(kind), action.metavar)
            if kind is bool:
                action.nargs, action.const = "?", True
            action.option_strings = [_dashed(option)]
            parser._option_string_actions[_dashed(option)] = action


def _add_several(parser: ArgumentParser, config: type, skip: AbstractSet[str]) -> None:
    """Add the fields of a dataclass as flags that take one or more values and have no default."""
    single = _Parser()
    _add_fields(single, config, skip=skip)
    for action in single._actions:
        if action.dest in {field.name for field in dataclasses.fields(config)}:
            options: dict[str, Any] = {"metavar": action.metavar, "help": action.help, "nargs": action.nargs}
            parser.add_argument(*action.option_strings, type=_values, const=action.const, **options)


def _values(given: Any) -> list[Any]:
    """One or more values: a list or a value from YAML, or text with commas between them."""
    if not isinstance(given, str):
        return given if isinstance(given, list) else [given]
    try:
        values = [yaml.safe_load(part) for part in given.split(",")]
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"values must have commas between them, got {given!r}") from None
    return [float(value) if isinstance(value, str) and _is_number(value) else value for value in values]


def _is_number(text: str) -> bool:
    """Whether the text is a number, such as 1e-3, which YAML takes for text."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def split_names(value: str | list[str] | None) -> list[str]:
    """Names separated by commas, or a list from YAML; empty where nothing is given."""
    names = value.split(",") if isinstance(value, str) else value or []
    return [name.strip() for name in names if name.strip()]


def _add_data_overrides(parser: ArgumentParser, skip: set[str]) -> None:
    """Add the data settings without defaults: what is not given stays as the run had it."""
    _add_fields(parser, DataConfig, skip=skip)
    parser.set_defaults({field.name: None for field in dataclasses.fields(DataConfig) if field.name not in skip})

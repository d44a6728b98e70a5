"""The command line: ``crosspt train | evaluate | predict | doctor``.

Flags and YAML files set the fields of the same dataclasses. Exit status: 0 done, 1 the run failed, 2 a mistake in what
was asked, 130 interrupted. Results go to stdout, everything else to stderr.
"""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace
from rich.console import Console
from rich.table import Table
from transformers import set_seed
from transformers.utils import logging

from crosspt.config import CrossPTConfig
from crosspt.doctor import examine
from crosspt.evaluation.results import RESULTS_NAME, results_table, write_json
from crosspt.evaluation.run import evaluate, find_task, open_checkpoint, predict
from crosspt.runs import RunConfig
from crosspt.tasks.config import DataConfig
from crosspt.tasks.files import read_columns
from crosspt.tasks.registry import get_task
from crosspt.training.config import TrainingConfig
from crosspt.training.run import prepare, train

Config = TypeVar("Config", CrossPTConfig, TrainingConfig, DataConfig)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    command = options.command
    settings = options[command]
    logging.set_verbosity_error()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the Trainer logs to stdout
            content, shown = COMMANDS[command](settings)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"crosspt {command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except KeyboardInterrupt:
        print(f"crosspt {command}: interrupted", file=sys.stderr)
        return 130
    if settings.json:
        print(json.dumps(content, indent=2))
    else:
        console = Console()
        console.width = max(console.width, 100)
        for part in shown:
            console.print(part)
    return 0 if content.get("healthy", True) else 1


def build_parser() -> ArgumentParser:
    """The parser of all commands."""
    parser = ArgumentParser(prog="crosspt", description="Cross-task prompt tuning of a frozen T5.")
    commands = parser.add_subcommands(dest="command")
    commands.add_subcommand("train", _train_parser(), help="train prompts over a frozen T5 and report their accuracy")
    commands.add_subcommand("evaluate", _evaluate_parser(), help="report the accuracy of saved prompts")
    commands.add_subcommand("predict", _predict_parser(), help="answer rows of a task with saved prompts")
    commands.add_subcommand("doctor", _doctor_parser(), help="say what this machine can run, and check the operations")
    return parser


def _command_parser(description: str) -> ArgumentParser:
    parser = ArgumentParser(description=description)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file with any of the settings below")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


def _train_parser() -> ArgumentParser:
    parser = _command_parser(
        "Train the prompts of a scheme over a frozen T5, source prompts first where the scheme starts from them and "
        "none are given. Writes the prompts and results.json; a stopped run goes on with --resume."
    )
    parser.add_argument("--model", type=str, default="t5-base", help="folder or hub name of the T5")
    parser.add_argument(
        "--tasks", type=str | list[str], required=True, help="target tasks, separated by commas: names or .yaml files"
    )
    parser.add_argument("--source-tasks", type=str | list[str], help="tasks of stage 1; by default the targets")
    parser.add_argument("--source-prompts", type=str | list[str], help="folders with stage-1 prompts to start from")
    parser.add_argument("--output", type=str, required=True, help="folder of the run, new or empty")
    parser.add_argument("--resume", action="store_true", help="go on with the run that --output holds")
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained, and train nothing")
    _add_device(parser)
    _add_fields(parser, CrossPTConfig, skip={"tasks", "source_tasks"})
    _add_fields(parser, TrainingConfig)
    _add_fields(parser, DataConfig)
    return parser


def _evaluate_parser() -> ArgumentParser:
    parser = _command_parser("Report the metrics of saved prompts on the test rows of their tasks.")
    _add_checkpoint(parser)
    parser.add_argument("--tasks", type=str | list[str], help="tasks to report on; by default all the prompts are for")
    parser.add_argument("--output", type=str, help="folder for results.json; by default <checkpoint>/evaluation")
    parser.add_argument("--seed", type=int, help="of the draw of test rows; the same as --data-seed")
    _add_data_overrides(parser, skip={"shots"})
    return parser


def _predict_parser() -> ArgumentParser:
    parser = _command_parser("Answer rows of a task: one from --field, formatted ones from --text, or a file of them.")
    _add_checkpoint(parser)
    parser.add_argument("--task", type=str, required=True, help="the task whose prompt is used")
    parser.add_argument("--field", type=str, action="append", default=[], help="a column of one row: name=text")
    parser.add_argument("--text", type=str, action="append", default=[], help="an input that is formatted already")
    parser.add_argument("--input", type=str, help="file of rows: .jsonl, .csv, .tsv or .parquet")
    parser.add_argument("--output", type=str, help="JSON file for the answers")
    parser.add_argument("--seed", type=int, default=0, help="of the random generators; greedy answers do not use them")
    _add_data_overrides(parser, skip={"shots", "data_dir", "data_seed", "test_rows"})
    return parser


def _doctor_parser() -> ArgumentParser:
    parser = _command_parser("Say what this machine can run, and check the operations against their reference.")
    parser.add_argument("--output", type=str, help="JSON file for the findings")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs that the operations are checked on")
    return parser


def _names(value: str | list[str] | None) -> list[str]:
    """Names separated by commas, or a list from YAML; empty where nothing is given."""
    names = value.split(",") if isinstance(value, str) else value or []
    return [name.strip() for name in names if name.strip()]


def _add_device(parser: ArgumentParser) -> None:
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to compute")


def _add_checkpoint(parser: ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=str, required=True, help="folder of a run or of saved prompts")
    parser.add_argument("--model", type=str, help="T5 to use instead of the one the prompts were trained on")
    parser.add_argument("--batch-size", type=int, default=32, help="rows in a batch")
    parser.add_argument("--bf16", action="store_true", help="generate in bfloat16 autocast")
    _add_device(parser)


def _add_fields(parser: ArgumentParser, config: type, skip: AbstractSet[str] = frozenset()) -> None:
    """Add the fields of a dataclass as flags with dashes; a bool may stand without its value."""
    parser.add_class_arguments(config, None, skip=skip)
    flags = {"--" + field.name: field for field in dataclasses.fields(config) if field.name not in skip}
    for action in parser._actions:
        action.help = action.help and action.help.replace("``", "")
        for option in flags.keys() & set(action.option_strings):
            if flags[option].type is bool:
                action.nargs, action.const = "?", True
            action.option_strings = [option.replace("_", "-")]
            parser._option_string_actions[option.replace("_", "-")] = action


def _add_data_overrides(parser: ArgumentParser, skip: set[str]) -> None:
    """Add the data settings without defaults: what is not given stays as the run had it."""
    _add_fields(parser, DataConfig, skip=skip)
    parser.set_defaults({name: None for name in _field_names(DataConfig) if name not in skip})


def _field_names(config: type) -> list[str]:
    return [field.name for field in dataclasses.fields(config)]


def _pick(config: type[Config], settings: Namespace, **more: Any) -> Config:
    """An instance of a dataclass from the settings of its fields."""
    return config(**{name: settings[name] for name in _field_names(config) if name in settings}, **more)


def _override(run: RunConfig, settings: Namespace) -> None:
    given = {name: settings[name] for name in _field_names(DataConfig) if settings.get(name) is not None}
    run.data = dataclasses.replace(run.data, **given)


Shown = list[Table | str]


def _train(settings: Namespace) -> tuple[dict[str, Any], Shown]:
    targets, sources = _names(settings.tasks), _names(settings.source_tasks)
    specifications = list(dict.fromkeys([*targets, *sources]))
    tasks = {specification: get_task(specification).name for specification in specifications}
    files = [specification for specification in specifications if specification.endswith((".yaml", ".yml"))]
    run = RunConfig(
        model=settings.model,
        task_files={tasks[file]: str(Path(file).resolve()) for file in files},
        source_prompts=_names(settings.source_prompts),
        prompts=CrossPTConfig(
            tasks=[tasks[name] for name in targets],
            source_tasks=[tasks[name] for name in sources] or None,
            **{name: settings[name] for name in _field_names(CrossPTConfig) if name not in ("tasks", "source_tasks")},
        ),
        training=_pick(TrainingConfig, settings),
        data=_pick(DataConfig, settings),
    )
    if settings.dry_run:
        return _show_plan(run)
    folder = Path(settings.output)
    content = train(run, folder, resume=settings.resume, device=settings.device)
    table = results_table(content["results"], f"{run.prompts.scheme}, {_shots(run.data)}")
    return content, [table, f"temperature {run.prompts.temperature_value:.4g}; results in {folder / RESULTS_NAME}"]


def _show_plan(run: RunConfig) -> tuple[dict[str, Any], Shown]:
    jobs = prepare(run).describe(run)
    table = Table(title=f"{run.prompts.scheme}, {_shots(run.data)}; nothing is trained")
    for heading in jobs[0]:
        table.add_column(heading.replace("_", " "))
    for job in jobs:
        table.add_row(*(_text(value) for value in job.values()))
    return {"schema": 1, "config": run.to_dict(), "jobs": jobs}, [table]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {rate:g}" for name, rate in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)


def _shots(data: DataConfig) -> str:
    return "all rows" if data.shots is None else f"{data.shots} shots"


def _evaluate(settings: Namespace) -> tuple[dict[str, Any], Shown]:
    checkpoint = Path(settings.checkpoint)
    run = open_checkpoint(checkpoint, settings.model)
    _override(run, settings)
    if settings.seed is not None:
        run.data = dataclasses.replace(run.data, data_seed=settings.seed)
    content = evaluate(
        checkpoint,
        run,
        _names(settings.tasks),
        batch_size=settings.batch_size,
        device=settings.device,
        bf16=settings.bf16,
    )
    target = Path(settings.output or checkpoint / "evaluation") / RESULTS_NAME
    write_json(target, content)
    return content, [results_table(content["results"], str(checkpoint)), f"results in {target}"]


def _predict(settings: Namespace) -> tuple[dict[str, Any], Shown]:
    checkpoint = Path(settings.checkpoint)
    run = open_checkpoint(checkpoint, settings.model)
    _override(run, settings)
    set_seed(settings.seed)
    task = find_task(run, settings.task)
    if sum(map(bool, (settings.field, settings.text, settings.input))) != 1:
        raise ValueError("give the input as --field name=text for each column, as --text, or as --input FILE")
    inputs: list[Any] = settings.text
    if settings.field:
        inputs = [_parse_fields(settings.field, task.fields)]
    elif settings.input:
        columns = read_columns(Path(settings.input))
        inputs = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    answers = predict(
        checkpoint,
        run,
        task,
        inputs,
        batch_size=settings.batch_size,
        device=settings.device,
        bf16=settings.bf16,
        progress=len(inputs) > settings.batch_size,
    )
    content = {"schema": 1, "task": task.name, "answers": answers}
    if settings.output:
        write_json(Path(settings.output), content)
    return content, list(answers)


def _parse_fields(pairs: list[str], columns: tuple[str, ...]) -> dict[str, str]:
    row = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in columns or name in row:
            raise ValueError(f"--field must be name=text, once for each of {', '.join(columns)}, got {pair!r}")
        row[name] = text
    return row


def _doctor(settings: Namespace) -> tuple[dict[str, Any], Shown]:
    content = examine(settings.seed)
    if settings.output:
        write_json(Path(settings.output), content)
    table = Table(title="crosspt doctor")
    for heading in ("check", "finding", "ok"):
        table.add_column(heading)
    for check in content["checks"]:
        table.add_row(check["check"], check["finding"], {True: "yes", False: "NO", None: "-"}[check["ok"]])
    return content, [table]


COMMANDS = {"train": _train, "evaluate": _evaluate, "predict": _predict, "doctor": _doctor}


if __name__ == "__main__":
    sys.exit(main())

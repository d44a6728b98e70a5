"""The command line: ``crosspt demo | train | evaluate | predict | experiment | report | doctor``.

Flags and YAML files set the fields of the same dataclasses. Exit status: 0 done, 1 the run failed, 2 a mistake in what
was asked, 130 interrupted. Results go to stdout, everything else to stderr.
"""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tqdm import tqdm
from transformers import set_seed
from transformers.utils import logging

from crosspt.cli.arguments import parse_arguments, split_names
from crosspt.cli.demo import demo
from crosspt.cli.doctor import examine
from crosspt.cli.experiment import experiment
from crosspt.cli.report import report
from crosspt.config.data import DataConfig
from crosspt.config.files import check_writable, write_json
from crosspt.config.layout import RESULTS_NAME, RUN_NAME
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import EMBEDDED, Compute, RunConfig
from crosspt.config.training import TrainingConfig
from crosspt.config.values import pick
from crosspt.report.console import results_table, schemes_table
from crosspt.runs.evaluate import evaluate, evaluate_bare, open_checkpoint, predict
from crosspt.runs.tasks import find_task, name_tasks
from crosspt.runs.train import prepare, train
from crosspt.tasks.files import read_columns
from crosspt.tasks.registry import SUITES, get_task


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    options = parse_arguments(arguments)
    command = options.command
    settings = options[command]
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the Trainer logs to stdout
            content, shown = COMMANDS[command](settings)
    except (ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        _close_progress_bars()
        print(f"crosspt {command}: {reason}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except KeyboardInterrupt:
        _close_progress_bars()
        print(f"crosspt {command}: interrupted", file=sys.stderr)
        return 130
    if settings.json:
        print(json.dumps(content, indent=2))
    else:
        console = Console()
        console.width = max(console.width, 120)
        for part in shown:
            if isinstance(part, str):
                print(part)
            else:
                console.print(part)
    return 0 if content.get("healthy", True) else 1


def _close_progress_bars() -> None:
    """End the line of the Trainer's bar, which stays open where training stops with an error."""
    for bar in list(tqdm._instances):
        bar.close()


def _field_names(config: type) -> list[str]:
    return [field.name for field in dataclasses.fields(config)]


def _override(run: RunConfig, settings: Namespace) -> None:
    given = {name: settings[name] for name in _field_names(DataConfig) if settings.get(name) is not None}
    run.data = dataclasses.replace(run.data, **given)


Shown = list[Table | str]


def _train(settings: Namespace) -> tuple[dict[str, Any], Shown]:
    task_files: dict[str, str] = {}
    targets = name_tasks(
        task_files, list(SUITES[settings.suite]) if settings.tasks is None else split_names(settings.tasks)
    )
    sources = name_tasks(task_files, split_names(settings.source_tasks))
    prompts = {name: settings[name] for name in _field_names(CrossPTConfig)}
    texts = [settings.init_texts] if isinstance(settings.init_texts, str) else settings.init_texts
    prompts |= {"tasks": targets, "source_tasks": sources or None, "init_texts": texts}
    run = RunConfig(
        model=settings.model,
        task_files=task_files,
        source_prompts=split_names(settings.source_prompts),
        prompts=CrossPTConfig(**prompts),
        training=pick(TrainingConfig, vars(settings)),
        data=pick(DataConfig, vars(settings)),
        decode=settings.decode,
    )
    if settings.dry_run:
        return _show_plan(run)
    folder = Path(settings.output)
    content = train(run, folder, resume=settings.resume, device=settings.device)
    table = results_table(content["results"], f"{run.prompts.scheme}, {_shots(run.data)}")
    return content, [table, f"temperature {run.temperature_value:.4g}; results in {folder / RESULTS_NAME}"]


def _own_task(run: RunConfig, name: str) -> str:
    """The name of a task; one given as a YAML file is read from there instead of where the run had it."""
    if name.endswith((".yaml", ".yml")):
        file, name = name, get_task(name).name
        run.task_files[name] = file
    return name


def _show_plan(run: RunConfig) -> tuple[dict[str, Any], Shown]:
    jobs = prepare(run).describe()
    table = Table(title=Text(f"{run.prompts.scheme}, {_shots(run.data)}; nothing is trained"))
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
    if (settings.checkpoint is None) != settings.no_prompt:
        raise ValueError("give either --checkpoint, for the prompts of a folder, or --no-prompt, for the T5 alone")
    if settings.seed is not None:
        if settings.data_seed not in (None, settings.seed):
            raise ValueError(f"--seed and --data-seed are one setting, got {settings.seed} and {settings.data_seed}")
        settings.data_seed = settings.seed
    compute = Compute(settings.batch_size, settings.device, settings.bf16)
    if settings.no_prompt:
        return _evaluate_bare(settings, compute)
    checkpoint = Path(settings.checkpoint)
    run = open_checkpoint(checkpoint, settings.model)
    _override(run, settings)
    run.decode = settings.decode or run.decode
    folder = _results_folder(settings.output or checkpoint / "evaluation")
    names = split_names(settings.tasks) or list(SUITES.get(settings.suite, ()))
    content = evaluate(checkpoint, run, compute, [_own_task(run, name) for name in names])
    write_json(folder / RESULTS_NAME, content)
    return content, [results_table(content["results"], str(checkpoint)), f"results in {folder / RESULTS_NAME}"]


def _evaluate_bare(settings: Namespace, compute: Compute) -> tuple[dict[str, Any], Shown]:
    names = split_names(settings.tasks) or SUITES[settings.suite or EMBEDDED]
    given = {name: settings[name] for name in _field_names(DataConfig) if settings.get(name) is not None}
    folder = _results_folder(settings.output or Path("runs", "no-prompt"))
    model = settings.model or EMBEDDED
    tasks = [get_task(name) for name in names]
    content = evaluate_bare(model, tasks, DataConfig(**given), compute, settings.decode or "both")
    write_json(folder / RESULTS_NAME, content)
    return content, [results_table(content["results"], f"{model}, no prompt"), f"results in {folder / RESULTS_NAME}"]


def _results_folder(name: str | Path) -> Path:
    """The folder that results go to. Raises ValueError where they would replace those of a run."""
    folder = Path(name)
    if (folder / RUN_NAME).is_file():
        raise ValueError(f"--output {folder} is the folder of a run, whose {RESULTS_NAME} would be lost")
    check_writable(folder)
    return folder


def _demo(settings: Namespace) -> tuple[dict[str, Any], Shown]:
    folder = Path(settings.output)
    content = demo(folder, seed=settings.seed, device=settings.device)
    table = schemes_table(content["results"], "embedded suite and T5, 32 shots, no prefix; percent")
    seconds = sum(content["seconds"].values())
    return content, [table, f"{seconds:.0f} seconds; results and figures in {folder}"]


def _predict(settings: Namespace) -> tuple[dict[str, Any], Shown]:
    checkpoint = Path(settings.checkpoint)
    run = open_checkpoint(checkpoint, settings.model)
    _override(run, settings)
    set_seed(settings.seed)
    output = _output_file(settings.output)
    task = find_task(run, _own_task(run, settings.task))
    if sum(map(bool, (settings.field, settings.text, settings.input))) != 1:
        raise ValueError("give the input as --field name=text for each column, as --text, or as --input FILE")
    inputs: list[Any] = settings.text
    if settings.field:
        inputs = [_parse_fields(settings.field, task.fields)]
    elif settings.input:
        columns = read_columns(Path(settings.input))
        inputs = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        if not inputs:
            raise ValueError(f"{settings.input}: no rows for task {task.name!r}")
    progress = len(inputs) > settings.batch_size
    compute = Compute(settings.batch_size, settings.device, settings.bf16, progress)
    answers = predict(checkpoint, run, task, inputs, compute, settings.decode)
    content = {"schema": 1, "task": task.name, "answers": answers}
    if output:
        write_json(output, content)
    return content, list(answers)


def _parse_fields(pairs: list[str], columns: tuple[str, ...]) -> dict[str, str]:
    row = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in columns or name in row:
            raise ValueError(f"--field must be name=text, once for each of {', '.join(columns)}, got {pair!r}")
        row[name] = text
    return row


def _output_file(name: str | None) -> Path | None:
    """The file to write to, if any. Raises ValueError before any work is done where it cannot be written."""
    if not name:
        return None
    file = Path(name)
    if file.is_dir():
        raise ValueError(f"--output must be a file, got the folder {file}")
    check_writable(file.parent)
    return file


def _doctor(settings: Namespace) -> tuple[dict[str, Any], Shown]:
    output = _output_file(settings.output)
    content = examine(settings.seed)
    if output:
        write_json(output, content)
    table = Table(title="crosspt doctor")
    for heading in ("check", "finding", "ok"):
        table.add_column(heading)
    for check in content["checks"]:
        table.add_row(check["check"], check["finding"], {True: "yes", False: "NO", None: "-"}[check["ok"]])
    return content, [table]


COMMANDS = {
    "demo": _demo,
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "experiment": experiment,
    "report": report,
    "doctor": _doctor,
}


if __name__ == "__main__":
    sys.exit(main())

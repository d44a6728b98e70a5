"""The command ``predict``: answers to rows of a task with saved prompts."""

import dataclasses
from argparse import Namespace
from pathlib import Path
from typing import Any

from crosspt.cli.checkpoint import add_checkpoint, add_data, computing, open_run, own_task
from crosspt.cli.flags import add_decode
from crosspt.cli.outcome import Outcome, output_file, quiet_transformers
from crosspt.cli.parser import Parser
from crosspt.cli.together import is_first
from crosspt.config.files import write_json
from crosspt.config.run import Decode
from crosspt.runs.tasks import find_task
from crosspt.tasks.task import Task

HELP = "answer rows of a task with saved prompts"
DESCRIPTION = "Answer rows of a task: one from --field, formatted ones from --text, or a file of them."
INTERRUPTED = ""


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    add_checkpoint(parser)
    parser.add_setting("--task", str, "the task whose prompt is used", required=True)
    parser.add_setting("--field", list[str], "a column of one row", metavar="NAME=TEXT", default=[])
    parser.add_setting("--text", list[str], "an input that is formatted already", default=[])
    text = "file of rows: .jsonl, .json, .csv, .tsv, each also .gz, or .parquet"
    parser.add_setting("--input", str, text, metavar="FILE")
    parser.add_setting("--output", str, "JSON file for the answers", metavar="FILE")
    add_decode(parser, "generate", Decode)
    parser.add_setting("--seed", int, "of the random generators; greedy answers do not use them", default=0)
    add_data(parser, {"shots", "data_dir", "data_seed", "test_rows"})


def run(settings: Namespace) -> Outcome:
    """Answer the rows, one line each."""
    from transformers import set_seed

    from crosspt.runs.evaluate import predict

    quiet_transformers()
    checkpoint = Path(settings.checkpoint)
    run = open_run(settings)
    set_seed(settings.seed)
    output = output_file(settings.output) if is_first() else None
    task = find_task(run, own_task(run, settings.task))
    inputs = _inputs(settings, task)
    compute = dataclasses.replace(computing(settings), progress=len(inputs) > settings.batch_size)
    answers = predict(checkpoint, run, task, inputs, compute, settings.decode)
    content = {"schema": 1, "task": task.name, "answers": answers}
    if output:
        write_json(output, content)
    return Outcome(content, list(answers))


def _inputs(settings: Namespace, task: Task) -> list[Any]:
    if sum(map(bool, (settings.field, settings.text, settings.input))) != 1:
        raise ValueError("give the input as --field name=text for each column, as --text, or as --input FILE")
    if settings.field:
        return [_parse_fields(settings.field, task.fields)]
    if settings.text:
        return settings.text

    from crosspt.tasks.data import load_inputs

    return list(load_inputs(task, settings.input))


def _parse_fields(pairs: list[str], columns: tuple[str, ...]) -> dict[str, str]:
    row = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in columns or name in row:
            raise ValueError(f"--field must be name=text, once for each of {', '.join(columns)}, got {pair!r}")
        row[name] = text
    return row

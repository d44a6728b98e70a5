"""The command ``predict``: answers to rows of a task with saved prompts."""

import dataclasses
import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from crosspt.cli.checkpoint import add_checkpoint, add_data, computing, open_run, own_task
from crosspt.cli.flags import add_decode
from crosspt.cli.outcome import Outcome, output_file, quiet_transformers
from crosspt.cli.parser import Parser
from crosspt.cli.together import count, is_first
from crosspt.config.files import write_json
from crosspt.config.run import Decode, RunConfig
from crosspt.runs.tasks import find_task
from crosspt.tasks.task import Task

if TYPE_CHECKING:
    from crosspt.runs.answering import AnsweringTask
    from crosspt.tasks.stream import Checked, Inputs

HELP = "answer rows of a task with saved prompts"
DESCRIPTION = "Answer rows of a task: one from --field, formatted ones from --text, or a file of them."
INTERRUPTED = "where --output names a file of a batch job, the same command with --resume goes on"
STREAM = "-"
BATCHES = 8
"""Batches of a part: what is read, sorted by length, answered and written at once."""


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    add_checkpoint(parser)
    parser.add_setting("--task", str, "the task whose prompt is used", required=True)
    parser.add_setting("--field", list[str], "a column of one row", metavar="NAME=TEXT", default=[])
    parser.add_setting("--text", list[str], "an input that is formatted already", default=[])
    text = "file of rows: .jsonl, .json, .csv, .tsv, each also .gz, or .parquet; - reads JSON lines from stdin"
    parser.add_setting("--input", str, text, metavar="FILE")
    text = (
        "new file for the answers: .json holds all of them as one object; .jsonl, .csv and .parquet a row for each row "
    )
    text += "of the input, which is read and answered a part at a time; - writes JSON lines to stdout"
    parser.add_setting("--output", str, text, metavar="FILE")
    text = "column of the input that names a row, kept in the output; by default rows are numbered from 0"
    parser.add_setting("--id-column", str, text, metavar="NAME")
    parser.add_switch("--resume", "go on with a job that was stopped")
    add_decode(parser, "generate", Decode)
    parser.add_setting("--seed", int, "of the random generators; greedy answers do not use them", default=0)
    add_data(parser, {"shots", "data_dir", "data_seed", "test_rows"})


def run(settings: Namespace) -> Outcome:
    """Answer the rows, one line each, or into a file."""
    from transformers import set_seed

    quiet_transformers()
    run = open_run(settings)
    set_seed(settings.seed)
    output = output_file(settings.output) if is_first() and settings.output != STREAM else None
    if settings.output and Path(settings.output).suffix.lower() != ".json":
        if count() > 1:
            raise ValueError(f"a batch job is for one process, got {count()}")
        return _run_job(settings, run)
    if settings.resume or settings.id_column is not None:
        raise ValueError("--resume and --id-column go with --output in a .jsonl, .csv or .parquet file, or -")
    if output and output.exists():
        raise ValueError(f"{output} is there already; choose another --output")

    from crosspt.evaluation.mixed import answer_questions
    from crosspt.evaluation.prediction import ways_to_decode
    from crosspt.tasks.collation import warn_of_cut

    task = find_task(run, own_task(run, settings.task))
    ways_to_decode(task, settings.decode)
    rows, texts = _inputs(settings, task)
    asked = _load(settings, run, task)
    compute = dataclasses.replace(computing(settings), progress=len(rows) + len(texts) > settings.batch_size)
    if texts:
        questions = asked.ask_texts(texts, settings.decode)
    else:
        questions, cut = asked.ask(rows, settings.decode)
        warn_of_cut(task, cut, len(rows), run.data.max_length)
    replies = answer_questions(asked.model, asked.tokenizer, questions, compute, description=f"predict {task.name}")
    answers = [reply.text for reply in replies]
    content: dict[str, Any] = {"schema": 1, "task": task.name, "answers": answers}
    if settings.decode == "rank":
        content["probabilities"] = [reply.probability for reply in replies]
    if output:
        write_json(output, content)
    return Outcome(content, list(answers))


def _inputs(settings: Namespace, task: Task) -> tuple[list[dict[str, str]], list[str]]:
    """The rows, and the texts that are formatted already: one or the other."""
    if sum(map(bool, (settings.field, settings.text, settings.input))) != 1:
        raise ValueError("give the input as --field name=text for each column, as --text, or as --input FILE")
    if settings.field:
        return [_parse_fields(settings.field, task.fields)], []
    if settings.text:
        return [], settings.text

    from crosspt.tasks.data import load_inputs
    from crosspt.tasks.stream import stream_inputs

    if settings.input == STREAM:
        return [row for part in stream_inputs(task, sys.stdin.buffer, 2**10) for row in part.rows], []
    return load_inputs(task, settings.input), []


def _parse_fields(pairs: list[str], columns: tuple[str, ...]) -> dict[str, str]:
    row = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in columns or name in row:
            raise ValueError(f"--field must be name=text, once for each of {', '.join(columns)}, got {pair!r}")
        row[name] = text
    return row


def _load(settings: Namespace, run: RunConfig, task: Task) -> "AnsweringTask":
    from crosspt.models.loading import pick_device
    from crosspt.runs.answering import load_tasks
    from crosspt.runs.evaluate import load_run_model
    from crosspt.training.processes import join_processes

    join_processes(pick_device(settings.device).type)  # raises before anything is loaded
    base_model, tokenizer = load_run_model(run)
    return load_tasks(Path(settings.checkpoint), run, base_model, tokenizer, settings.device, [task.name])[task.name]


def _run_job(settings: Namespace, run: RunConfig) -> Outcome:
    """Answer a file into another, or a stream into another."""
    from crosspt.evaluation.prediction import ways_to_decode
    from crosspt.runs.job import SUFFIXES, Job, answer_parts, check_kinds, describe_job
    from crosspt.tasks.stream import check_inputs, stream_inputs

    piped = settings.output == STREAM
    output = Path(settings.output)
    if not piped and output.suffix.lower() not in SUFFIXES:
        raise ValueError(f"--output must end in .json, {', '.join(SUFFIXES)}, or be -, got {settings.output}")
    if not settings.input or settings.field or settings.text:
        raise ValueError(f"--output {settings.output} takes its rows from --input")
    if settings.resume and (piped or settings.input == STREAM):
        raise ValueError("--resume needs files: what came from stdin or went to stdout cannot be read again")
    if piped and settings.json:
        raise ValueError("--json and --output - both write to stdout")
    task = find_task(run, own_task(run, settings.task))
    ways_to_decode(task, settings.decode)
    compute = dataclasses.replace(computing(settings), progress=False)
    size = BATCHES * compute.batch_size
    source: Any = sys.stdin.buffer if settings.input == STREAM else Path(settings.input).expanduser()
    checked = None
    if settings.input != STREAM:
        checked = check_inputs(task, source, size, settings.id_column)
        if output.suffix.lower() == ".parquet":
            check_kinds(checked.kinds, source)
    parts = stream_inputs(task, source, size, settings.id_column)
    if piped:
        answered = answer_parts(_load(settings, run, task), parts, settings.decode, compute)
        return Outcome({}, [], status=_print(answered, settings.stdout))
    file = None if settings.input == STREAM else source
    identity = describe_job(Path(settings.checkpoint), run, task, settings.decode, file, settings.id_column)
    with Job(output, identity, settings.decode, resume=settings.resume) as job:
        asked = _load(settings, run, task)
        left = job.skip(_shown(parts, checked))
        for rows in answer_parts(asked, left, settings.decode, compute):
            job.write(rows)
        rows_written = job.finish()
    content = {"schema": 1, "task": task.name, "rows": rows_written, "output": str(output)}
    return Outcome(content, [f"{rows_written} rows in {output}"])


def _shown(parts: "Iterator[Inputs]", checked: "Checked | None") -> "Iterator[Inputs]":
    """The parts with a progress bar."""
    from crosspt.training.progress import Steps

    with Steps("predict", checked.rows if checked else 0, "rows") as steps:
        for part in parts:
            yield part
            steps.advance(len(part.rows))


def _print(answered: Iterator[list[dict[str, Any]]], stdout: TextIO) -> int:
    """Write answered rows as they come; a reader that goes away ends it, with status 1."""
    try:
        for rows in answered:
            stdout.write("".join(json.dumps(row) + "\n" for row in rows))
            stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())  # or its flush at the end would say so again
        return 1
    return 0

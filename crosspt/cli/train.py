"""The command ``train``: a run from its flags, its plan or its results."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from crosspt.cli.flags import (
    Names,
    add_decode,
    add_device,
    add_fields,
    add_report_to,
    add_suite,
    split_names,
    whole_path,
)
from crosspt.cli.outcome import Outcome, quiet_transformers
from crosspt.cli.parser import Parser
from crosspt.cli.together import count
from crosspt.config.data import DataConfig
from crosspt.config.layout import RESULTS_NAME
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import CROSSPT, EMBEDDED, RunConfig
from crosspt.config.training import TrainingConfig
from crosspt.methods import METHODS
from crosspt.runs.settings import default_values, make_run
from crosspt.runs.tasks import name_tasks
from crosspt.tasks.registry import SUITES

HELP = "train prompts over a frozen language model, or by another method, and report the accuracy"
DESCRIPTION = (
    "Train the prompts of a scheme over a frozen language model, source prompts first where the scheme starts from "
    "them and none are given; or learn by another --method. Writes what is learned, results.json and "
    "predictions.parquet; a stopped run goes on with --resume."
)
INTERRUPTED = "the same command with --resume goes on"


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    parser.add_setting("--model", str, "embedded, smollm2, or a folder, .gguf file or hub name", default=EMBEDDED)
    text = f"what learns: {', '.join(METHODS)}; settings that a method has no use for are refused"
    parser.add_setting("--method", str, text, metavar="NAME", default=CROSSPT)
    parser.derive = lambda settings: default_values(settings.method, settings.model)
    add_suite(parser, EMBEDDED)
    text = "target tasks, separated by commas: names or .yaml files of your own"
    parser.add_setting("--tasks", Names, text, metavar="NAMES")
    text = "tasks whose stage-1 prompts are started from; by default the targets"
    parser.add_setting("--source-tasks", Names, text, metavar="NAMES")
    text = "folders with stage-1 prompts to start from, not trained again"
    parser.add_setting("--source-prompts", Names, text, metavar="FOLDERS")
    text = "finished run that --tasks are added to, whose own tasks keep their prompts; settings are its, if not given"
    parser.add_setting("--extend", str, text, metavar="RUN")
    parser.add_setting("--output", str, "folder of the run, new or empty", metavar="FOLDER", required=True)
    parser.add_switch("--resume", "go on with the run that --output holds")
    parser.add_switch("--dry-run", "say what would be trained, and train nothing")
    add_decode(parser, "both")
    add_report_to(parser)
    add_device(parser)
    text = "for initialization text: one text, or a YAML list of one for every such prompt"
    parser.add_setting("--init-texts", Names, text, metavar="TEXTS")
    add_fields(parser, CrossPTConfig, {"tasks", "source_tasks", "init_texts", "freeze_shared"})
    add_fields(parser, TrainingConfig)
    add_fields(parser, DataConfig)


def run(settings: Namespace) -> Outcome:
    """Train a run, or show what would be trained."""
    run = _read_run(settings)
    quiet_transformers()
    if settings.dry_run:
        return _show_plan(run)

    from crosspt.report.tables import results_table
    from crosspt.runs.train import train

    folder = Path(settings.output)
    content = train(run, folder, resume=settings.resume, report_to=settings.report_to, device=settings.device)
    table = results_table(content["results"], f"{run.scheme}, {_shots(run.data)}")
    what = "prompts" if run.method == CROSSPT else "weights"
    selected = [
        f"{chosen['folder']}: the {what} of step {chosen['step']}, of {chosen['history'][-1]['step']}, "
        f"score {chosen['score']:.1f} on development rows"
        for chosen in content.get("selection", [])
    ]
    mixed = "" if run.temperature_value is None else f"temperature {run.temperature_value:.4g}; "
    return Outcome(content, [table, *_extended(run), *selected, f"{mixed}results in {folder / RESULTS_NAME}"])


def _read_run(settings: Namespace) -> RunConfig:
    task_files: dict[str, str] = {}
    targets = list(SUITES[settings.suite]) if settings.tasks is None else split_names(settings.tasks)
    settings.tasks = name_tasks(task_files, targets)
    settings.source_tasks = name_tasks(task_files, split_names(settings.source_tasks)) or None
    if settings.data_dir is not None:
        settings.data_dir = whole_path(settings.data_dir)
    if isinstance(settings.init_texts, str):
        settings.init_texts = [settings.init_texts]
    settings.model = whole_path(settings.model)
    source_prompts = [whole_path(folder) for folder in split_names(settings.source_prompts)]
    if settings.extend is None:
        return make_run(
            vars(settings),
            model=settings.model,
            task_files=task_files,
            source_prompts=source_prompts,
            decode=settings.decode,
        )

    from crosspt.runs.extend import extend_run

    extended = Path(settings.extend)
    if Path(settings.output).resolve().is_relative_to(extended.resolve()):
        raise ValueError(f"--output {settings.output} must lie outside the run that is extended, {extended}")
    if not settings.given & {"tasks", "suite"}:
        settings.tasks = []
    given = {name: getattr(settings, name) for name in settings.given}
    return extend_run(extended, settings.tasks, task_files, source_prompts, given)


def _show_plan(run: RunConfig) -> Outcome:
    from crosspt.report.table import Table
    from crosspt.runs.train import prepare

    run.processes = count()
    jobs = prepare(run).describe()
    rows = [{heading.replace("_", " "): _text(value) for heading, value in job.items()} for job in jobs]
    table = Table("jobs", f"{run.scheme}, {_shots(run.data)}; nothing is trained", rows)
    return Outcome({"schema": 1, "config": run.to_dict(), "jobs": jobs}, [table, *_extended(run)])


def _extended(run: RunConfig) -> list[str]:
    if run.extends is None:
        return []
    return [f"{', '.join(run.extends.tasks)} stay as in {run.extends.folder}"]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {rate:g}" for name, rate in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)


def _shots(data: DataConfig) -> str:
    return "all rows" if data.shots is None else f"{data.shots} shots"

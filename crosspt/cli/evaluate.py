"""The command ``evaluate``: saved prompts, or the language model alone, on the test rows of tasks."""

import itertools
from argparse import Namespace
from pathlib import Path

from crosspt.cli.checkpoint import add_checkpoint, add_data, computing, data_settings, open_run, own_task
from crosspt.cli.flags import Names, add_decode, add_suite, split_names
from crosspt.cli.outcome import Outcome, quiet_transformers
from crosspt.cli.parser import Parser
from crosspt.cli.together import is_first
from crosspt.config.data import DataConfig
from crosspt.config.files import check_writable
from crosspt.config.layout import RESULTS_NAME, RUN_NAME
from crosspt.config.run import EMBEDDED
from crosspt.tasks.registry import SUITES, get_task

HELP = "report the accuracy of saved prompts"
DESCRIPTION = "Report the metrics of saved prompts, or of the language model alone, on the test rows of tasks."
INTERRUPTED = ""


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    add_checkpoint(parser, required=False)
    parser.add_switch("--no-prompt", "evaluate the language model alone, by default the embedded one")
    add_suite(parser, None)
    text = "tasks to report on, separated by commas; by default all the prompts are for"
    parser.add_setting("--tasks", Names, text, metavar="NAMES")
    text = "for results and answers; by default <checkpoint>/evaluation or runs/no-prompt, or the first free one after"
    parser.add_setting("--output", str, text, metavar="FOLDER")
    parser.add_setting("--seed", int, "of the draw of test rows; the same as --data-seed")
    add_decode(parser, None)
    add_data(parser, {"shots"})


def run(settings: Namespace) -> Outcome:
    """Score prompts or the language model alone."""
    if (settings.checkpoint is None) != settings.no_prompt:
        raise ValueError(
            "give either --checkpoint, for the prompts of a folder, or --no-prompt, for the language model alone"
        )
    if settings.seed is not None:
        if settings.data_seed not in (None, settings.seed):
            raise ValueError(f"--seed and --data-seed are one setting, got {settings.seed} and {settings.data_seed}")
        settings.data_seed = settings.seed
    return _evaluate_bare(settings) if settings.no_prompt else _evaluate_prompts(settings)


def _evaluate_prompts(settings: Namespace) -> Outcome:
    from crosspt.evaluation.results import save_evaluation
    from crosspt.report.tables import results_table
    from crosspt.runs.evaluate import evaluate

    quiet_transformers()
    checkpoint = Path(settings.checkpoint)
    run = open_run(settings)
    run.decode = settings.decode or run.decode
    folder = _results_folder(settings.output, checkpoint / "evaluation")
    names = split_names(settings.tasks) or list(SUITES.get(settings.suite, ()))
    content, predictions = evaluate(checkpoint, run, computing(settings), [own_task(run, name) for name in names])
    save_evaluation(folder, content, predictions)
    table = results_table(content["results"], str(checkpoint))
    return Outcome(content, [table, f"results in {folder / RESULTS_NAME}"])


def _evaluate_bare(settings: Namespace) -> Outcome:
    data = DataConfig(**data_settings(settings))
    tasks = [get_task(name) for name in split_names(settings.tasks) or SUITES[settings.suite or EMBEDDED]]

    from crosspt.evaluation.results import save_evaluation
    from crosspt.report.tables import results_table
    from crosspt.runs.evaluate import evaluate_bare

    quiet_transformers()
    folder = _results_folder(settings.output, Path("runs", "no-prompt"))
    model = settings.model or EMBEDDED
    content, predictions = evaluate_bare(model, tasks, data, computing(settings), settings.decode or "both")
    save_evaluation(folder, content, predictions)
    table = results_table(content["results"], f"{model}, no prompt")
    return Outcome(content, [table, f"results in {folder / RESULTS_NAME}"])


def _results_folder(name: str | None, default: Path) -> Path:
    """The folder that results go to: the named one, or the first of ``default``, ``default-2``, ... that has none yet.

    Raises:
        ValueError: the results would replace those of a run, or cannot be written.
    """
    if not is_first():
        return default  # the first process writes
    numbered = (default.with_name(f"{default.name}-{number}") for number in itertools.count(2))
    free = (folder for folder in itertools.chain([default], numbered) if not (folder / RESULTS_NAME).exists())
    folder = Path(name) if name else next(free)
    if (folder / RUN_NAME).is_file():
        raise ValueError(f"--output {folder} is the folder of a run, whose {RESULTS_NAME} would be lost")
    check_writable(folder)
    return folder

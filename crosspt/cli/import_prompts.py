"""The command ``import``: prompts of other libraries as source prompts."""

from argparse import Namespace
from pathlib import Path

from crosspt.cli.flags import Names, split_names
from crosspt.cli.outcome import Outcome, quiet_transformers
from crosspt.cli.parser import Parser
from crosspt.config.files import SCHEMA

HELP = "read prompts of another library as source prompts"
DESCRIPTION = (
    "Read prompts of another library into a folder for --source-prompts of crosspt train: adapters of PEFT's prompt "
    "tuning, p-tuning and multitask prompt tuning, DePT's folders, ATTEMPT's prefix_embeddings.pt. Pickles are read as "
    "tensors alone, never run."
)
INTERRUPTED = ""


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    text = "an adapter's folder or file, or a folder of such folders or files"
    parser.add_setting("source", str, text, metavar="SOURCE")
    text = "new or empty folder, or one that holds just this already"
    parser.add_setting("--output", str, text, metavar="FOLDER", required=True)
    text = "names of the prompts' tasks in their order, separated by commas; by default as the files are named"
    parser.add_setting("--task", Names, text, metavar="NAMES")
    text = "model that the prompts were trained on; by default the one that the files name"
    parser.add_setting("--model", str, text)


def run(settings: Namespace) -> Outcome:
    """Import the prompts, and say what was written where."""
    from crosspt.runs.travel.imports import import_prompts

    quiet_transformers()
    output = Path(settings.output)
    rows = import_prompts(Path(settings.source), output, split_names(settings.task), settings.model)
    length, width = rows.prompts.shape[1:]
    content = {
        "schema": SCHEMA,
        "output": str(output),
        "tasks": rows.tasks,
        "prompt_length": length,
        "width": width,
        "base_model": rows.base_model,
    }
    return Outcome(content, [f"{', '.join(rows.tasks)}: {length} rows of width {width}, in {output}"])

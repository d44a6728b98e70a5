"""The command ``export``: the prompts of a run in another library's format."""

from argparse import Namespace
from pathlib import Path

from crosspt.cli.outcome import Outcome, quiet_transformers
from crosspt.cli.parser import Parser
from crosspt.config.files import SCHEMA
from crosspt.runs.travel import Target

HELP = "write saved prompts in another library's format"
DESCRIPTION = (
    "Write saved prompts in another library's format: peft, an adapter of prompt tuning for each task; peft-multitask, "
    "one adapter of all tasks; prefix, for causal language models an adapter of prefix tuning for each task; "
    "vocabulary, a copy of the model and its tokenizer in which prompts are tokens."
)
INTERRUPTED = ""


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    parser.add_setting("run", str, "folder of a run or of saved prompts", metavar="RUN")
    parser.add_setting("--to", Target, "the format", required=True)
    text = "new or empty folder, or one that holds just this already"
    parser.add_setting("--output", str, text, metavar="FOLDER", required=True)
    parser.add_setting("--model", str, "model to use instead of the one the prompts were trained on")


def run(settings: Namespace) -> Outcome:
    """Export the prompts, and say what was written where."""
    from crosspt.runs.evaluate import open_checkpoint
    from crosspt.runs.travel.export import export

    quiet_transformers()
    checkpoint, output = Path(settings.run), Path(settings.output)
    rows = export(checkpoint, open_checkpoint(checkpoint, settings.model), settings.to, output)
    length, width = rows.prompts.shape[1:]
    content = {
        "schema": SCHEMA,
        "to": settings.to,
        "output": str(output),
        "tasks": rows.tasks,
        "prompt_length": length,
        "width": width,
    }
    return Outcome(content, [f"{settings.to}: {', '.join(rows.tasks)}, {length} rows of width {width}, in {output}"])

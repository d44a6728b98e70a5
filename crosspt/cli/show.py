"""The command ``show``: what is known of a run."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from crosspt.cli.flags import Names, split_names
from crosspt.cli.outcome import Outcome, output_file
from crosspt.cli.parser import Parser

HELP = "show a run: settings, results, answers by class, weights and cost"
DESCRIPTION = (
    "Show what is known of a run, or of saved prompts: what was learned from what, results, how the prompts of each "
    "task are mixed, and what they cost. Needs no model."
)
INTERRUPTED = ""


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    parser.add_setting("run", str, "folder of a run or of saved prompts", metavar="RUN")
    parser.add_switch("--classes", "add how the rows of each class were answered")
    text = "for --classes: tasks, separated by commas; by default all that have classes"
    parser.add_setting("--tasks", Names, text, metavar="NAMES")
    parser.add_setting("--figure", str, "draw the weights into a .png or .svg file", metavar="FILE")


def run(settings: Namespace) -> Outcome:
    """Show the run."""
    figure = output_file(settings.figure)
    if figure is not None and figure.suffix not in (".png", ".svg"):
        raise ValueError(f"--figure must be a .png or .svg file, got {figure}")

    from crosspt.report.draw import draw_heatmap, save
    from crosspt.report.run import class_tables, facts_table, read_run, weights_frame, weights_tables
    from crosspt.report.tables import results_table
    from crosspt.runs.evaluate import open_checkpoint

    folder = Path(settings.run)
    run = open_checkpoint(folder)
    content = read_run(folder, run)
    shown: list[Any] = [facts_table(folder, run, content)]
    if content["finished"]:
        shown.append(results_table(content["results"], "results, percent"))
    if settings.classes:
        tables = class_tables(folder, split_names(settings.tasks))
        content["classes"] = {table.name: table.records for table in tables}
        shown += tables
    shown += weights_tables(content["banks"])
    if figure is not None:
        title = f"{run.scheme}: attention weights"
        save(draw_heatmap(weights_frame(content["banks"]), title, limits=(0.0, 1.0)), figure)
        shown.append(f"weights in {figure}")
    return Outcome(content, shown)

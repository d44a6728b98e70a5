"""The command ``demo``: four schemes on the embedded suite and the embedded T5, beside what they are compared with."""

import dataclasses
import math
from argparse import Namespace
from pathlib import Path
from typing import Any

from crosspt.cli.flags import add_device
from crosspt.cli.outcome import Outcome, quiet_transformers
from crosspt.cli.parser import Parser
from crosspt.config.data import DataConfig
from crosspt.config.layout import PREDICTIONS_NAME
from crosspt.config.prompts import CrossPTConfig
from crosspt.config.run import EMBEDDED, Compute, RunConfig
from crosspt.config.training import TrainingConfig
from crosspt.tasks.registry import SUITES, get_task

HELP = "train four schemes on the embedded suite and show them side by side"
DESCRIPTION = (
    "Train P, SL, SLP and SLPN on the embedded suite and the embedded T5 with 32 examples a task and no text prefix, "
    "beside the majority baseline, the bare T5 and the T5 with its text prefix. Needs no network."
)
INTERRUPTED = "the same command goes on"
SCHEMES = ("P", "SL", "SLP", "SLPN")
SHOTS = 32


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    parser.add_setting("--output", str, "for results and figures", metavar="FOLDER", default="runs/demo")
    parser.add_setting("--seed", int, "of initialisation, data order and drawn rows", default=0)
    add_device(parser)


def run(settings: Namespace) -> Outcome:
    """Show the four schemes."""
    from crosspt.report.tables import results_table

    quiet_transformers()
    folder = Path(settings.output)
    content = demo(folder, seed=settings.seed, device=settings.device)
    table = results_table(content["results"], "embedded suite and T5, 32 shots, no prefix; percent", brief=True).rich()
    seconds = sum(content["seconds"].values())
    return Outcome(content, [table, f"{seconds:.0f} seconds; results and figures in {folder}"])


def demo(folder: Path, *, seed: int = 0, device: str = "auto", progress: bool = True) -> dict[str, Any]:
    """Train P, SL, SLP and SLPN with 32 examples a task and no text prefix, and write results and figures.

    A demo that was stopped goes on where it stopped.

    Args:
        folder: where everything goes: ``results.json``, ``predictions.parquet``, ``weights.png``, ``means.png`` and a
            run for each scheme.
        seed: of initialisation, data order and the draw of rows.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: whether to show progress bars.

    Returns:
        The content of ``results.json``. Beside the schemes its rows are ``majority``, the answer most frequent in each
        task, ``bare``, the T5 with neither prompt nor prefix, and ``prefix``, the T5 with the text prefix of its
        pretraining: the ceiling.
    """
    import pandas as pd
    import torch

    from crosspt.evaluation.answers import join_predictions, read_predictions
    from crosspt.evaluation.results import make_results, save_evaluation
    from crosspt.report.draw import draw_bars, draw_heatmap, save
    from crosspt.report.summary import MEAN, summarize_run
    from crosspt.runs.evaluate import evaluate_bare
    from crosspt.runs.train import train

    torch.set_num_threads(1)  # a model this small gains nothing from more, and they stall on a busy machine
    names = list(SUITES["embedded"])
    tasks = [get_task(name) for name in names]
    data = DataConfig(shots=SHOTS, data_seed=seed)
    compute = Compute(device=device, progress=progress)
    parts, answers = {}, []
    for name, prefix in (("bare", False), ("prefix", True)):
        parts[name], given = evaluate_bare(EMBEDDED, tasks, dataclasses.replace(data, prefix=prefix), compute)
        answers.append(given)
    for scheme in SCHEMES:
        run = RunConfig(
            model=EMBEDDED,
            task_files={},
            source_prompts=[],
            prompts=CrossPTConfig(tasks=names, scheme=scheme),
            training=TrainingConfig(seed=seed),
            data=data,
        )
        parts[scheme] = train(run, folder / scheme, resume=True, device=device, progress=progress)
        answers.append(read_predictions(folder / scheme / PREDICTIONS_NAME, parts[scheme]["results"]))
    # Every part carries the majority baseline; the first one's comes first.
    rows = [row for row in parts["bare"]["results"] if row["scheme"] == "majority"]
    rows += [row for part in parts.values() for row in part["results"] if row["scheme"] != "majority"]
    content = make_results(
        {name: part["config"] for name, part in parts.items()},
        {name: sum(part["seconds"].values()) for name, part in parts.items()},
        rows,
        [{**bank, "folder": scheme} for scheme in SCHEMES for bank in parts[scheme]["analysis"]],
    )
    save_evaluation(folder, content, join_predictions(answers))
    means = {condition.scheme: condition.spreads.at[MEAN, "mean"] for condition in summarize_run(rows).conditions}
    bars = pd.DataFrame({"scheme": list(means), "mean over tasks, percent": list(means.values())})
    bars = bars.assign(low=math.nan, high=math.nan)  # one seed has no interval
    save(draw_bars(bars, "embedded suite, 32 training examples a task"), folder / "means.png")
    (bank,) = parts[SCHEMES[-1]]["analysis"]
    frame = pd.DataFrame(bank["weights"], bank["tasks"], bank["candidates"])
    heatmap = draw_heatmap(frame, f"attention weights of {SCHEMES[-1]}")
    save(heatmap, folder / "weights.png")
    return content

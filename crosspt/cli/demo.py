"""The command ``demo``: schemes on generated tasks, side by side with what they are compared with."""

import math
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from crosspt.cli.flags import add_device
from crosspt.cli.outcome import Outcome, quiet_transformers
from crosspt.cli.parser import Parser
from crosspt.config.data import DataConfig
from crosspt.config.layout import PREDICTIONS_NAME
from crosspt.config.run import EMBEDDED, SMOLLM2, Compute
from crosspt.config.values import pick
from crosspt.tasks.registry import SUITES, get_task

HELP = "train schemes on generated tasks and show them side by side"
DESCRIPTION = (
    "Train P, SL, SLP and SLPN on the embedded suite and the embedded T5 with 32 examples a task and no text prefix, "
    "beside the majority baseline, the bare T5 and the T5 with its text prefix. Needs no network."
)
INTERRUPTED = "the same command goes on"


@dataclass(frozen=True)
class Scene:
    """What a demo shows.

    Args:
        model: of the language model.
        suite: the suite whose tasks are learned.
        schemes: the schemes.
        without: what the model is shown as without a prompt, and whether with the task's text prefix.
        title: of the table.
        settings: of the runs.
        threads: that PyTorch computes in; by default as many as it takes.
    """

    model: str
    suite: str
    schemes: tuple[str, ...]
    without: dict[str, bool]
    title: str
    settings: dict[str, Any]
    threads: int | None = None


SMALL = Scene(
    model=EMBEDDED,
    suite="embedded",
    schemes=("P", "SL", "SLP", "SLPN"),
    without={"bare": False, "prefix": True},
    title="embedded suite and T5, 32 shots, no prefix; percent",
    settings={"shots": 32},
    threads=1,  # a small model gains nothing from more, and more stall on a busy machine
)
REAL = Scene(
    model=SMOLLM2,
    suite="plain",
    schemes=("P", "SLPN"),
    without={"bare": False},
    title="plain English and SmolLM2-135M-Instruct, 32 shots, 15 epochs; percent",
    settings={"shots": 32, "test_rows": 100, "epochs": 15},
)


def add_flags(parser: Parser) -> None:
    """Add the settings of the command."""
    text = "P and SLPN on two tasks in plain English and SmolLM2-135M-Instruct, which make smollm2 fetches"
    parser.add_switch("--real", text)
    text = "for results and figures; by default runs/demo or runs/demo-real"
    parser.add_setting("--output", str, text, metavar="FOLDER")
    parser.add_setting("--seed", int, "of initialisation, data order and drawn rows", default=0)
    add_device(parser)


def run(settings: Namespace) -> Outcome:
    """Show the schemes."""
    from crosspt.report.tables import results_table

    quiet_transformers()
    scene = REAL if settings.real else SMALL
    folder = Path(settings.output or f"runs/demo{'-real' if settings.real else ''}")

    def tables(rows: list[dict[str, Any]]) -> list[Any]:
        if not settings.real:
            return [results_table(rows, scene.title, brief=True)]
        ways = {decode: [row for row in rows if row["decode"] == decode] for decode in ("generate", "rank")}
        return [results_table(ways[decode], f"{scene.title}; {decode}", brief=True) for decode in ways]

    def before(content: dict[str, Any]) -> None:
        if settings.real:
            Outcome({}, tables(content["results"])).print(as_json=False)

    content = demo(folder, scene, seed=settings.seed, device=settings.device, before=before)
    seconds = sum(content["seconds"].values())
    shown = [*tables(content["results"]), f"{seconds:.0f} seconds; results and figures in {folder}"]
    return Outcome(content, shown)


def demo(
    folder: Path,
    scene: Scene = SMALL,
    *,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
    before: Callable[[dict[str, Any]], None] = lambda content: None,
) -> dict[str, Any]:
    """Train the schemes of a scene, and write results and figures.

    A demo that was stopped goes on where it stopped.

    Args:
        folder: where everything goes: ``results.json``, ``predictions.parquet``, ``weights.png``, ``means.png`` and a
            run for each scheme.
        scene: what is shown.
        seed: of initialisation, data order and the draw of rows.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: whether to show progress bars.
        before: called before anything is trained, with the results of the model without a prompt.

    Returns:
        The content of ``results.json``. Beside the schemes its rows are ``majority``, the answer most frequent in each
        task, ``bare``, the model with neither prompt nor prefix, and for the embedded T5 ``prefix``, the T5 with the
        text prefix of its pretraining: the ceiling.
    """
    import torch

    from crosspt.evaluation.answers import join_predictions, read_predictions
    from crosspt.evaluation.results import make_results, save_evaluation
    from crosspt.runs.evaluate import evaluate_bare
    from crosspt.runs.settings import make_run
    from crosspt.runs.train import train

    if scene.threads is not None:
        torch.set_num_threads(scene.threads)
    names = list(SUITES[scene.suite])
    tasks = [get_task(name) for name in names]
    data = pick(DataConfig, {**scene.settings, "data_seed": seed})
    parts, answers = {}, []
    for name, prefix in scene.without.items():
        compute = Compute(device=device, progress=progress)
        parts[name], given = evaluate_bare(scene.model, tasks, replace(data, prefix=prefix), compute)
        answers.append(given)
    before(parts["bare"])
    for scheme in scene.schemes:
        values = {**scene.settings, **asdict(data), "tasks": names, "scheme": scheme, "seed": seed}
        run = make_run(values, model=scene.model, task_files={}, source_prompts=[])
        parts[scheme] = train(run, folder / scheme, resume=True, device=device, progress=progress)
        answers.append(read_predictions(folder / scheme / PREDICTIONS_NAME, parts[scheme]["results"]))
    # Every part carries the majority baseline; the first one's comes first.
    rows = [row for row in parts["bare"]["results"] if row["scheme"] == "majority"]
    rows += [row for part in parts.values() for row in part["results"] if row["scheme"] != "majority"]
    content = make_results(
        {name: part["config"] for name, part in parts.items()},
        {name: sum(part["seconds"].values()) for name, part in parts.items()},
        rows,
        [{**bank, "folder": scheme} for scheme in scene.schemes for bank in parts[scheme]["analysis"]],
    )
    save_evaluation(folder, content, join_predictions(answers))
    _draw(folder, scene, rows, parts[scene.schemes[-1]]["analysis"])
    return content


def _draw(folder: Path, scene: Scene, rows: list[dict[str, Any]], analysis: list[dict[str, Any]]) -> None:
    """The means of all, and what the last scheme mixes."""
    import pandas as pd

    from crosspt.report.draw import draw_dots, draw_heatmap, save
    from crosspt.report.summary import MEAN, summarize_run

    known = {condition.scheme: condition.spreads.at[MEAN, "mean"] for condition in summarize_run(rows).conditions}
    means = pd.DataFrame({"scheme": list(known), "mean over tasks, percent": list(known.values())})
    means = means.assign(low=math.nan, high=math.nan)  # one seed has no interval
    title = f"{scene.suite} suite, {scene.settings['shots']} training examples a task"
    save(draw_dots(means, title, muted=set(means["scheme"]) - set(scene.schemes)), folder / "means.png")
    (bank,) = analysis
    frame = pd.DataFrame(bank["weights"], bank["tasks"], bank["candidates"])
    save(draw_heatmap(frame, f"attention weights of {scene.schemes[-1]}"), folder / "weights.png")

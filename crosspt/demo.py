"""The command ``demo``: four schemes on the embedded suite and the embedded T5, beside what they are compared with."""

from pathlib import Path
from typing import Any

from crosspt.config import CrossPTConfig
from crosspt.evaluation.results import RESULTS_NAME, make_results, write_json
from crosspt.evaluation.run import evaluate_bare
from crosspt.model import CrossPTModel
from crosspt.report.figures import draw_means, draw_weights
from crosspt.report.tables import mean, primary_values
from crosspt.runs import EMBEDDED, RunConfig, load_t5
from crosspt.tasks.config import DataConfig
from crosspt.tasks.registry import SUITES
from crosspt.training.config import TrainingConfig
from crosspt.training.run import train

SCHEMES = ("P", "SL", "SLP", "SLPN")
SHOTS = 32


def demo(folder: Path, *, seed: int = 0, device: str = "auto", progress: bool = True) -> dict[str, Any]:
    """Train P, SL, SLP and SLPN with 32 examples a task and no text prefix, and write results and figures.

    A demo that was stopped goes on where it stopped.

    Args:
        folder: where everything goes: ``results.json``, ``weights.png``, ``means.png`` and a run for each scheme.
        seed: of initialisation, data order and the draw of rows.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: whether to show progress bars.

    Returns:
        The content of ``results.json``. Beside the schemes its rows are ``majority``, the answer most frequent in each
        task, ``bare``, the T5 with neither prompt nor prefix, and ``prefix``, the T5 with the text prefix of its
        pretraining: the ceiling.
    """
    tasks = list(SUITES["embedded"])
    data = DataConfig(shots=SHOTS, data_seed=seed)
    bare, seconds = evaluate_bare(EMBEDDED, tasks, data, cell="bare", device=device, progress=progress)
    prefixed_data = DataConfig(shots=SHOTS, data_seed=seed, prefix=True)
    prefixed, more = evaluate_bare(EMBEDDED, tasks, prefixed_data, cell="prefix", device=device, progress=progress)
    seconds = {"bare": seconds, "prefix": more}
    rows = [*bare, *(row for row in prefixed if row["scheme"] != "majority")]
    config: dict[str, Any] = {}
    for scheme in SCHEMES:
        run = RunConfig(
            model=EMBEDDED,
            task_files={},
            source_prompts=[],
            prompts=CrossPTConfig(tasks=tasks, scheme=scheme),
            training=TrainingConfig(seed=seed),
            data=data,
        )
        content = train(run, folder / scheme, resume=True, device=device, progress=progress)
        seconds[scheme] = sum(content["seconds"].values())
        config[scheme] = content["config"]
        rows += [row for row in content["results"] if row["scheme"] != "majority"]
    content = make_results(config, seconds, rows)
    write_json(folder / RESULTS_NAME, content)
    draw_means({scheme: mean(list(values.values())) for scheme, values in primary_values(rows).items()}, folder / "means.png")
    model = CrossPTModel.from_pretrained(load_t5(EMBEDDED)[0], folder / SCHEMES[-1])
    candidates = [f"source {number + 1}" for number in range(model.config.num_sources)]
    draw_weights(model.embedding.mixing_weights(), tasks, [*candidates, "private"], folder / "weights.png")
    return content

"""CrossPTModel with a full and with an isolated prefix, beside PEFT prompt tuning and the T5 without prompts.

``python -m benchmarks.prefix_modes [--json]``: random weights at T5-small size, 8 tasks, prompts of 100 tokens before
texts of 24. A forward pass and answers of four tokens for 16 rows, with the isolated prefixes kept from before, and a
training step on 64. All take turns, and the median of the ratios within each round is quoted.
"""

import argparse
import json
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import steps
from benchmarks.comparisons import time_models
from benchmarks.shapes import Shape
from benchmarks.timing import Timing

SHAPES = {
    "inference": Shape(B=16, L=24, m=100),
    "answers": Shape(B=16, L=24, m=100),
    "training_step": Shape(B=64, L=24, m=100),
}


class Goal(NamedTuple):
    """A bound on a ratio of two models' times."""

    operation: str
    model: str
    beside: str
    at_most: float


GOALS = (
    Goal("inference", "CrossPTModel isolated", "PEFT prompt tuning", 1 / 3),
    Goal("inference", "CrossPTModel isolated", "plain", 1.25),
    Goal("inference", "CrossPTModel", "PEFT prompt tuning", 1.03),
    Goal("answers", "CrossPTModel isolated", "PEFT prompt tuning", 1 / 3),
    Goal("answers", "CrossPTModel isolated", "plain", 1.25),
    Goal("answers", "CrossPTModel", "PEFT prompt tuning", 1.03),
    Goal("training_step", "CrossPTModel isolated", "PEFT prompt tuning", 1 / 2),
    Goal("training_step", "CrossPTModel", "PEFT prompt tuning", 1.03),
)


def compare_prefix_modes(
    sizes: steps.Sizes,
    shapes: dict[str, Shape],
    device: str,
    rounds: int,
    budget: float = float("inf"),
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Time both modes beside their peers.

    Args:
        sizes: the T5's.
        shapes: a batch's by operation.
        device: where to measure.
        rounds: most rounds of each operation.
        budget: seconds after which no further round of an operation starts.

    Returns:
        rows as ``comparisons.compare_operation`` gives them, with ratios to PEFT prompt tuning, and for every goal
        {operation, model, beside, at_most, ratio, rounds, met}; where a model cannot run, ``missing`` says so instead.
    """
    rows: list[dict[str, Any]] = []
    timings: dict[str, dict[str, Timing]] = {}
    for operation, shape in shapes.items():
        wanted = {name for goal in GOALS if goal.operation == operation for name in (goal.model, goal.beside)}
        models = {name: steps.MODELS[name] for name in steps.PREFIX_MODELS if name in wanted}
        bench = steps.make_bench(sizes, shape, device)
        compared, timings[operation] = time_models(operation, bench, models, rounds, "PEFT prompt tuning", budget)
        rows += compared
    return rows, [_judge(goal, timings[goal.operation]) for goal in GOALS if goal.operation in timings]


def _judge(goal: Goal, timings: dict[str, Timing]) -> dict[str, Any]:
    about = goal._asdict()
    absent = [name for name in (goal.model, goal.beside) if name not in timings]
    if absent:
        return {**about, "missing": f"{' and '.join(absent)} did not run"}
    ratio = timings[goal.model].ratio_to(timings[goal.beside])
    return {**about, "ratio": ratio, "rounds": len(timings[goal.model].wall), "met": ratio <= goal.at_most}


def main() -> None:
    """Print the goals and what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prefix_modes", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows, goals = compare_prefix_modes(steps.T5_SMALL, SHAPES, device, options.rounds)
    if options.json:
        print(json.dumps({"schema": 1, "goals": goals, "rows": rows}, indent=2))
    else:
        print_goals(goals)
    for row in rows + goals:
        if "missing" in row:
            parser.exit(1, f"{row.get('peer', row.get('model'))}: {row['missing']}\n")


def print_goals(goals: list[dict[str, Any]]) -> None:
    """A table on standard output."""
    table = Table("operation", "model", "beside", "ratio", "at most", "rounds", title="time ratios within rounds")
    for goal in goals:
        figures = ["", f"{goal['at_most']:.3f}", ""]
        if "missing" in goal:
            figures[0] = goal["missing"]
        else:
            figures[0], figures[2] = f"{goal['ratio']:.3f}", str(goal["rounds"])
        table.add_row(goal["operation"], goal["model"], goal["beside"], *figures)
    Console(width=max(110, Console().width)).print(table)


if __name__ == "__main__":
    main()

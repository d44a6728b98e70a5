"""CrossPTModel with a full and with an isolated prefix, beside PEFT prompt tuning and the model without prompts.

``python -m benchmarks.prefix_modes [--json]``: random weights at T5-small size, 8 tasks, prompts of 100 tokens before
texts of 24. A forward pass and answers of four tokens for 16 rows, with prompts and prefixes kept, and a training step
on 64, turn by turn: the median of the ratios within each round is quoted. Then the one pass in which a causal model of
SmolLM2-135M's shape answers such rows.
"""

import argparse
import json
import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from rich.console import Console

from benchmarks import models, report
from benchmarks.causal import CAUSAL, SMOLLM2
from benchmarks.comparisons import Comparison, Outcome
from benchmarks.shapes import SMALL_T5

PEERS = ("CrossPTModel", "CrossPTModel isolated", "PEFT prompt tuning", "plain")
OPERATIONS = {
    operation.name: replace(operation, baseline="PEFT prompt tuning")
    for operation in (models.INFERENCE, models.ANSWERS, models.TRAINING_STEP, CAUSAL)
}
SHAPES = {name: SMALL_T5.moved(B=64 if name == "training_step" else 16, L=24, m=100) for name in OPERATIONS}
SHAPES[CAUSAL.name] = SMOLLM2


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
    Goal("causal answer", "CrossPTModel isolated", "PEFT prompt tuning", 1 / 2.5),
    Goal("causal answer", "CrossPTModel isolated", "plain", 1.25),
)


def comparison(operation: str, rounds: int, budget: float = float("inf"), **sizes: int) -> Comparison:
    """The comparison on which an operation's goals rest, with other sizes where they are given."""
    wanted = {name for goal in GOALS if goal.operation == operation for name in (goal.model, goal.beside)}
    peers = tuple(name for name in PEERS if name in wanted)
    return Comparison(OPERATIONS[operation], SHAPES[operation].moved(**sizes), rounds, budget, peers)


def judge(outcomes: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    """The goals of the operations that were measured.

    Rows are {operation, model, beside, at_most, ratio, rounds, met}, or with ``missing`` for the last three.
    """
    rows = []
    for goal in (goal for goal in GOALS if goal.operation in outcomes):
        timings = {name: timing for (_, name), timing in outcomes[goal.operation].timings.items()}
        absent = [name for name in (goal.model, goal.beside) if name not in timings]
        found: dict[str, Any] = {"missing": f"{' and '.join(absent)} did not run"}
        if not absent:
            ratios = timings[goal.model].ratios_to(timings[goal.beside])
            ratio = statistics.median(ratios)
            found = {"ratio": ratio, "rounds": len(ratios), "met": ratio <= goal.at_most}
        rows.append({**goal._asdict(), **found})
    return rows


def main() -> None:
    """Print the goals and what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prefix_modes", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    outcomes = {name: comparison(name, options.rounds).measure() for name in OPERATIONS}
    rows, goals = [row for outcome in outcomes.values() for row in outcome.to_json()], judge(outcomes)
    if options.json:
        print(json.dumps({"schema": 1, "goals": goals, "rows": rows}, indent=2))
    else:
        table = report.rich_table("time ratios within rounds", report.GOALS, goals)
        Console(width=max(110, Console().width)).print(table)
    for row in rows + goals:
        if "missing" in row:
            parser.exit(1, f"{row.get('peer', row.get('model'))}: {row['missing']}\n")


if __name__ == "__main__":
    main()

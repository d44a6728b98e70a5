"""A training step of CrossPTModel beside the same T5 with a bare trainable prompt concatenated.

``python -m benchmarks.training_step [--json]``: random weights at T5-small size, 8 sources and 8 tasks, turn by turn.
"""

import argparse
import json

from benchmarks.comparisons import Comparison
from benchmarks.models import TRAINING_STEP
from benchmarks.shapes import SMALL_T5


def main() -> None:
    """Print both medians and the median ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_step", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rows", type=int, default=16, help="B, rows in the batch")
    parser.add_argument("--tokens", type=int, default=64, help="L, input tokens of a row")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    shape = SMALL_T5.moved(B=options.rows, L=options.tokens)
    comparison = Comparison(TRAINING_STEP, shape, options.rounds, peers=("CrossPTModel", "bare prompt"))
    outcome = comparison.measure()
    for row in outcome.missing.values():
        parser.exit(1, f"{row['peer']}: {row['missing']}\n")
    ours, bare = outcome.rows.values()
    result = {
        "schema": 1,
        "rounds": ours["rounds"],
        "crosspt_seconds": ours["seconds"]["q50"],
        "bare_prompt_seconds": bare["seconds"]["q50"],
        "ratio": ours["ratio"]["q50"],
    }
    text = "training step, medians of {rounds} rounds: CrossPT {crosspt_seconds:.3f} s, bare prompt "
    text += "{bare_prompt_seconds:.3f} s, ratio {ratio:.3f}"
    print(json.dumps(result, indent=2) if options.json else text.format(**result))


if __name__ == "__main__":
    main()

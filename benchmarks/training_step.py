"""A training step of CrossPTModel beside the same T5 with a bare trainable prompt concatenated.

``python -m benchmarks.training_step [--json]``: random weights at T5-small size, 8 sources and 8 tasks. The two take
turns, and the median of the ratios within each round is quoted.
"""

import argparse
import json

import torch

from benchmarks import steps
from benchmarks.comparisons import time_models
from benchmarks.shapes import REFERENCE


def main() -> None:
    """Print both medians and the median ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_step", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rows", type=int, default=16, help="B, rows in the batch")
    parser.add_argument("--tokens", type=int, default=64, help="L, input tokens of a row")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    shape = REFERENCE.moved(B=options.rows, L=options.tokens)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bench = steps.make_bench(steps.T5_SMALL, shape, device)
    models = {name: steps.MODELS[name] for name in ("CrossPTModel", "bare prompt")}
    rows, _ = time_models("training_step", bench, models, options.rounds, baseline="bare prompt")
    by_peer = {row["peer"]: row for row in rows}
    for row in rows:
        if "missing" in row:
            parser.exit(1, f"{row['peer']}: {row['missing']}\n")
    result = {
        "schema": 1,
        "rounds": by_peer["CrossPTModel"]["rounds"],
        "crosspt_seconds": by_peer["CrossPTModel"]["seconds"]["q50"],
        "bare_prompt_seconds": by_peer["bare prompt"]["seconds"]["q50"],
        "ratio": by_peer["CrossPTModel"]["ratio"]["q50"],
    }
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print(
            f"training step, medians of {result['rounds']} rounds: CrossPT {result['crosspt_seconds']:.3f} s, "
            f"bare prompt {result['bare_prompt_seconds']:.3f} s, ratio {result['ratio']:.3f}"
        )


if __name__ == "__main__":
    main()

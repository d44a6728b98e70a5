"""A plain frozen T5 without prompts under each attention implementation, all with the same weights."""

import re
from functools import partial
from typing import Any

from benchmarks import steps
from benchmarks.comparisons import time_models
from benchmarks.providers import UnavailableError

IMPLEMENTATIONS = ("eager", "sdpa", "flex_attention", "crosspt")


def plain(bench: steps.Bench, implementation: str, operation: str) -> steps.Prompted:
    """The T5 on the embeddings of its tokens, which get a gradient; its answers are those to the tokens."""
    t5: Any = steps.with_attention(bench.t5, implementation)
    embeds = bench.batch.constant.detach().requires_grad_()
    mask = bench.mask(0)
    prompted = steps.Prompted(
        implementation,
        "",
        t5,
        lambda: t5(inputs_embeds=embeds, attention_mask=mask, labels=bench.labels).loss,
        lambda tokens: t5.generate(input_ids=bench.batch.input_ids, attention_mask=mask, **steps.greedy(tokens)),
        [embeds],
        lambda: embeds,
    )
    if implementation == "flex_attention":
        _try(prompted, operation)
    return prompted


def _try(prompted: steps.Prompted, operation: str) -> None:
    """Raise UnavailableError where the work fails: flex attention lacks dropout, and much on a CPU."""
    training = operation == "gradient"
    prompted.module.train(training)
    try:
        if training:
            prompted.loss().backward()
        else:
            prompted.generate(1)
    except (RuntimeError, ValueError) as error:
        reason = re.sub(r".*/\S* ", "", str(error).splitlines()[0])  # no path of a compiled file
        raise UnavailableError(f"fails in transformers: {reason.split('. ')[0]}") from error


def compare_attentions(bench: steps.Bench, rounds: int, budget: float = float("inf")) -> list[dict[str, Any]]:
    """Forward with backward to the embeddings, and answers; ratios are to eager attention, which is the reference."""
    eager = steps.Bench(steps.with_attention(bench.t5, "eager"), bench.shape, bench.batch, bench.labels)
    rows: list[dict[str, Any]] = []
    for operation in ("gradient", "answers"):
        models = {name: partial(plain, implementation=name, operation=operation) for name in IMPLEMENTATIONS}
        compared, _ = time_models(operation, eager, models, rounds, baseline="eager", budget=budget)
        rows += [{**row, "operation": f"plain T5, {row['operation']}"} for row in compared]
    return rows

"""What the paper or a user says in words: each statement tested, whether it agrees, differs or is not resolved."""

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from crosspt.report.paper import is_isolated, statements_of
from crosspt.report.statistics import (
    LEVEL,
    Estimate,
    adjust,
    estimate,
    find_consistency,
    flip_signs,
    least_seeds,
    seeds_needed,
)
from crosspt.report.summary import MEAN, WSSP, Condition, Summary, axis_name, plain_task, show, source_weight
from crosspt.report.table import Entry

AGREES, DIFFERS, UNRESOLVED = "agrees", "differs", "not resolved"


class Comparison(NamedTuple):
    """One thing that a statement says is higher than another."""

    higher: str
    lower: str
    above: float  # by how much the statement says it is at least
    differences: np.ndarray  # of each seed (n,), less ``above``
    found: Estimate  # of these

    @property
    def consistency(self) -> float:
        """What the test of these goes by."""
        return float(find_consistency(self.differences[:, None])[0])

    def to_dict(self) -> dict[str, Any]:
        """The difference itself as plain JSON values."""
        numbers = {"difference": self.found.mean, "low": self.found.low, "high": self.found.high}
        shown = {name: None if math.isnan(value) else value + self.above for name, value in numbers.items()}
        return {"higher": self.higher, "lower": self.lower, "seeds": self.found.seeds, **shown}


class Side(NamedTuple):
    """What one name of a statement stands for."""

    name: str
    conditions: list[Condition]
    quantity: str


def check_statements(summary: Summary) -> list[dict[str, Any]]:
    """Every statement about an experiment, its verdict and what that rests on, as plain JSON values.

    A statement says that each of some conditions is higher than each of others, over the seeds that all of them have.
    It agrees where every difference is resolved in its direction, and differs where one is resolved in the
    other. A difference is resolved where its interval does not contain zero and Holm's p, over the experiment's
    statements, is at most ``LEVEL``. The p of a statement is the largest of its differences, or where any is against it
    that of the surest of these among all.
    """
    statements = statements_of(summary)
    compared = [_compare(summary, one) for one in statements]
    ps = [_find_p(comparisons) for comparisons, _ in compared if comparisons]
    adjusted, tests, verdicts = iter(adjust(ps)), len(ps), []
    for one, (comparisons, lack) in zip(statements, compared, strict=True):
        sides = [_sides(summary, one, side) for side in ("higher", "lower")]
        said = {
            "where": one["where"],
            "own": one.get("own", False),
            "text": one["text"],
            "ours": " / ".join(", ".join(_show_side(side, one["quantity"]) for side in names) for names in sides),
            "comparisons": [each.to_dict() for each in comparisons],
            "footnotes": one.get("footnotes", []),
        }
        judged: dict[str, Any] = {
            "verdict": UNRESOLVED,
            "reason": lack,
            "p": None,
            "decisive": None,
            "more_seeds": None,
        }
        verdicts.append(said | (_judge(comparisons, next(adjusted), tests) if comparisons else judged))
    return verdicts


def _compare(summary: Summary, statement: Mapping[str, Any]) -> tuple[list[Comparison], str]:
    """The comparisons of a statement, or why there are none."""
    if statement["quantity"] == "deviation":
        return [], "a deviation over seeds has no value of a single seed that could be tested"
    higher, lower = (
        {one.name: _sample(summary, one) for one in _sides(summary, statement, side)} for side in ("higher", "lower")
    )
    if lacking := [name for name, sample in (*higher.items(), *lower.items()) if sample.empty]:
        return [], f"no value of {', '.join(lacking)}"
    shared = reduce(pd.Index.intersection, [sample.index for sample in (*higher.values(), *lower.values())])
    if shared.empty:
        return [], "no seed that all have"
    comparisons = []
    for (one, above), (other, below) in itertools.product(higher.items(), lower.items()):
        least = statement.get("above", 0.0)
        # What sums in another order round to is no difference.
        differences = (above.loc[shared] - below.loc[shared] - least).round(9)
        comparisons.append(Comparison(one, other, least, differences[0].to_numpy(), estimate(differences)))
    return comparisons, ""


def _sides(summary: Summary, statement: Mapping[str, Any], side: str) -> list[Side]:
    """What the names of a side stand for: conditions, those that differ in settings that it does not name alike."""
    found = []
    for one in statement[side]:
        selector = one if isinstance(one, dict) else {"scheme": one}
        settings = {**statement.get("at", {}), **selector}
        task = settings.pop("task", None)
        named = next((name for name in summary.tasks if plain_task(name) == task), "")
        quantities = {"wssp": WSSP, "task": named, "source_weight": source_weight(named)}
        conditions = [
            known for known in summary.find(**settings) if statement.get("own") or not is_isolated(known.settings)
        ]
        words = [axis_name(axis) * (axis not in ("scheme", "task")) + f" {show(selector[axis])}" for axis in selector]
        found.append(Side(",".join(words).strip(), conditions, quantities.get(statement["quantity"], MEAN)))
    return found


def _show_side(side: Side, quantity: str) -> str:
    column = "std" if quantity == "deviation" else "mean"
    values = [one.spreads[column].get(side.quantity, math.nan) for one in side.conditions]
    return f"{side.name} {Entry(float(pd.Series(values, dtype=float).mean(skipna=False))).shown}"


def _sample(summary: Summary, side: Side) -> pd.DataFrame:
    """The mean of a side's conditions, of the seeds that all of them have."""
    known = [one for one in side.conditions if side.quantity in one.values]
    samples = [summary.sample(one, side.quantity) for one in known]
    if not samples or len(known) < len(side.conditions):
        return pd.DataFrame()
    return (reduce(pd.DataFrame.add, samples) / len(samples)).dropna(subset=[0])


def _find_p(comparisons: Sequence[Comparison]) -> float:
    """The p of a statement: all differences must be right for it to agree, and any one wrong for it to differ."""
    differences = np.stack([one.differences for one in comparisons], axis=1)
    if (differences.mean(axis=0) < 0).any():
        return flip_signs(differences)
    return max(flip_signs(-column[:, None]) for column in differences.T)


def _judge(comparisons: Sequence[Comparison], p: float, tests: int) -> dict[str, Any]:
    """The verdict of a statement with Holm's p among so many tested ones, why, and what it stands or falls with."""
    decisive = min(comparisons, key=lambda one: one.consistency)
    if differs := decisive.found.mean < 0:
        concerned = [decisive]
    else:
        decisive = min(comparisons, key=lambda one: (one.found.low > 0, one.consistency))
        concerned = list(comparisons)
    found, seeds, least = decisive.found, decisive.found.seeds, least_seeds(tests)
    verdict, reason = UNRESOLVED, ""
    if seeds < least:
        reason = f"{seeds} seed{'s' * (seeds != 1)}, of {least} or more that the test needs"
    elif math.isnan(found.low):
        reason = "no interval, as answers are missing"
    elif found.low <= 0 <= found.high:
        reason = f"the interval contains {decisive.above:g}"
    elif p > LEVEL:
        reason = f"p is above {LEVEL:g}"
    else:
        verdict, reason = DIFFERS if differs else AGREES, "interval and p"
    needed = max(seeds_needed(one.found, tests) for one in concerned)
    more = max((needed if math.isfinite(needed) else least) - seeds, 1)
    return {
        "verdict": verdict,
        "reason": reason,
        "p": p,
        "decisive": decisive.to_dict(),
        "more_seeds": int(more) if verdict == UNRESOLVED and needed != math.inf else None,
    }

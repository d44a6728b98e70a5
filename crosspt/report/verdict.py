"""Which condition is best, by how much, and whether that is sure."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from crosspt.report.statistics import LEVEL, MOST_SEEDS, Estimate, estimate, flip_signs, least_seeds, seeds_needed
from crosspt.report.summary import MEAN, Condition, Summary, axis_name, show

BASELINE = "P"  # a prompt of its own for each task, and nothing that tasks share
MOST_NAMED = 4  # conditions in a sentence


def judge_best(summary: Summary) -> list[dict[str, Any]]:
    """Of each set of conditions that differ in their scheme alone the one with the highest mean, and who may beat it.

    Where no two conditions differ in their scheme alone all conditions are one set. A difference to the best is
    resolved where its interval is above zero and its p, times the number of conditions of all sets that are not the
    best, is at most ``LEVEL``: by Bonferroni's inequality the chance of any false "best" is then no more, although the
    best is chosen by the same rows.

    Returns:
        For each set, as plain JSON values, ``where`` it differs from the others; ``best`` with its ``mean``, ``low``
        and ``high``; ``sure``, whether all its differences are resolved; ``comparisons`` to the others, the next
        first; and in words ``headline`` and ``text``.
    """
    sets = [one for one in _sets(summary) if len(one[1]) > 1]
    tests = sum(len(conditions) - 1 for _, conditions, _ in sets)
    return [_judge(summary, where, conditions, inside, tests) for where, conditions, inside in sets]


def _sets(summary: Summary) -> Iterator[tuple[str, list[Condition], list[str]]]:
    """What sets a set apart, its conditions, the highest mean first, and the axes that tell them apart."""
    finished = [one for one in summary.find() if one.spreads.at[MEAN, "count"]]
    ranked = sorted(finished, key=lambda one: -one.spreads.at[MEAN, "mean"])
    around = [axis for axis in summary.varying if axis != "scheme"]
    found: dict[str, list[Condition]] = {}
    for condition in finished:  # in the order of the grid
        where = ", ".join(f"{axis_name(axis)} {show(condition.settings[axis])}" for axis in around)
        found.setdefault(where, []).append(condition)
    if all(len(conditions) == 1 for conditions in found.values()):
        yield "", ranked, list(summary.varying)
        return
    for where, conditions in found.items():
        yield where, [one for one in ranked if one in conditions], ["scheme"]


def _judge(
    summary: Summary, where: str, conditions: Sequence[Condition], inside: Sequence[str], tests: int
) -> dict[str, Any]:
    best, *others = conditions
    names = [_name(one, inside) for one in conditions]
    sample = summary.sample(best, MEAN)
    found, comparisons = estimate(sample), []
    for name, other in zip(names[1:], others, strict=True):
        differences = (sample - summary.sample(other, MEAN)).dropna(subset=[0]).round(9)
        comparisons.append({"to": name, "scheme": other.scheme, **_compare(differences, tests)})
    content = {
        "where": where,
        "best": names[0],
        "scheme": best.scheme,
        **_plain(found),
        "seeds": found.seeds,
        "sure": all(one["resolved"] for one in comparisons),
        "comparisons": comparisons,
    }
    return {**content, "headline": _headline(content), "text": _text(content, tests)}


def _compare(differences: Any, tests: int) -> dict[str, Any]:
    """The best's differences to another condition, a line for each seed that both have."""
    found = estimate(differences)
    p = min(1.0, tests * flip_signs(-differences[[0]].to_numpy())) if found.seeds else 1.0
    needed = seeds_needed(found, tests)
    more = None if math.isinf(needed) else (least_seeds(tests) if math.isnan(needed) else int(needed)) - found.seeds
    resolved = bool(found.low > 0 and p <= LEVEL)
    kept = None if resolved or more is None else max(more, 1)
    return {**_plain(found), "p": p, "resolved": resolved, "more_seeds": kept}


def _plain(found: Estimate) -> dict[str, float | None]:
    numbers = {"mean": found.mean, "low": found.low, "high": found.high}
    return {name: None if math.isnan(value) else value for name, value in numbers.items()}


def _name(condition: Condition, inside: Sequence[str]) -> str:
    axes = [f"{axis_name(axis)} {show(condition.settings[axis])}" for axis in inside if axis != "scheme"]
    return ", ".join([condition.scheme] * (not axes or "scheme" in inside) + axes)


def _headline(content: dict[str, Any]) -> str:
    start = f"{content['where']}: " if content["where"] else ""
    if content["sure"]:
        return f"{start}{content['best']} is best."
    rivals = [one["to"] for one in content["comparisons"] if not one["resolved"]]
    named = f"{', '.join(rivals[:-1])} or {rivals[-1]}" if len(rivals) > 1 else rivals[0]
    named = named if len(rivals) <= MOST_NAMED else f"{len(rivals)} of {len(content['comparisons'])} others"
    return f"{start}{content['best']} is ahead, but {named} may be as good or better."


def _text(content: dict[str, Any], tests: int) -> str:
    """By how much, and what would make it sure."""
    first = content["comparisons"][0]
    base = next((one for one in content["comparisons"][1:] if one["scheme"] == BASELINE), None)
    parts = [f"Mean over tasks {_number(content, '%')}, {_number(first, 'points')} ahead of the next, {first['to']}"]
    parts[0] += f", and {_number(base, 'points')} ahead of {base['to']}." if base else "."
    for one in (first, base):
        if one is None:
            continue
        if one["resolved"]:
            parts.append(f"The difference to {one['to']} is resolved.")
        elif content["seeds"] < 2:
            break
        elif one["more_seeds"] is None:
            parts.append(f"The difference to {one['to']} is none.")
        else:
            more = f"over {MOST_SEEDS}" if one["more_seeds"] > MOST_SEEDS else f"about {one['more_seeds']}"
            parts.append(f"The difference to {one['to']} is not resolved; {more} more seeds would be needed.")
    if content["seeds"] < (least := least_seeds(tests)):
        few = (
            "One seed leaves all of it open"
            if content["seeds"] < 2
            else f"{content['seeds']} seeds can resolve nothing"
        )
        parts.append(f"{few}: {least} or more are needed.")
    return " ".join(parts)


def _number(one: dict[str, Any], unit: str) -> str:
    interval = "" if one["low"] is None else f" [{one['low']:.1f}, {one['high']:.1f}]"
    return f"{one['mean']:.1f} {unit}{interval}"

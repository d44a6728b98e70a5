"""Renders ``results.json``: Markdown tables and one figure."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt

from benchmarks.shapes import label


def markdown(results: dict[str, Any]) -> str:
    """All tables, each under a line that says whether it is measured or counted."""
    machine, threads = results["machine"], results["environment"]["torch_threads"]
    where = f"{machine['cpu']}, {threads} threads" + (f", {results['gpu']}" if results["gpu"] else ", no GPU")
    load = " to ".join(f"{value:.1f}" for value in results["load_average"])
    parts = [
        "# Benchmark results",
        f"Measured on {where}, torch {results['versions']['torch']}, commit {results['commit']}, "
        f"{results['date']}; load average {load}.",
        "Wall time of one call, the device waited for. Peers took turns; ratios are medians of those within rounds.",
    ]
    for operation, shape in _groups(results["comparisons"]):
        rows = [r for r in results["comparisons"] if (r["operation"], label(r["shape"])) == (operation, shape)]
        baseline = rows[0]["baseline"]
        headings = ["peer", "pass", "median ms", "q10 to q90", "ratio", "peak MB", "does not do"]
        if results["gpu"]:
            headings.insert(4, "device ms")
        parts += [
            f"## {operation}, measured, {shape}",
            f"Ratios are to: {baseline}.",
            _table(headings, map(_timing, rows)),
        ]
    parts += [
        "## Goals of the prefix modes, measured",
        "Medians of the ratios within rounds; prompts of 100 tokens before texts of 24, 8 tasks.",
        _table(["operation", "model", "beside", "ratio", "at most", "rounds"], map(_goal, results["goals"])),
    ]
    ledger = results["ledger"]
    for operation, shape in _groups(ledger["rows"]):
        rows = [r for r in ledger["rows"] if (r["operation"], label(r["shape"])) == (operation, shape)]
        headings = [
            "peer",
            "pass",
            "launches",
            "MB",
            "unique MB",
            "MFLOP",
            "floor MB",
            "ratio",
            "best µs",
            "counted by",
        ]
        parts += [
            f"## {operation}, counted, {shape}",
            f"Best time is that of a {ledger['gpu']['name']} ({ledger['gpu']['source']}). Nothing here is measured.",
            _table(headings, map(_count, rows)),
        ]
    parts += [
        "## Growth, measured",
        "Slope of log time over log size, from the ratios within rounds; forward and backward, or a training step.",
        _table(
            ["operation", "size", "values", "peer", "slope", "time ratio, largest to smallest", "memory slope"],
            (
                [
                    row["operation"],
                    row["size"],
                    f"{row['from']} to {row['to']}",
                    row["peer"],
                    f"{row['slope']:.2f}",
                    f"{row['ratio']:.2f}",
                    f"{row['memory_slope']:.2f}",
                ]
                for row in results["slopes"]
            ),
        ),
        "![growth](growth.png)",
        "## Suites",
        "pytest-benchmark's own timings, one benchmark after the other, are in results.json under `suites`.",
    ]
    return "\n\n".join(parts) + "\n"


def _groups(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["operation"], label(row["shape"])) for row in rows))


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _timing(row: dict[str, Any]) -> list[str]:
    if "missing" in row:
        return [row["peer"], row["missing"], "", "", "", "", ""]
    seconds, device = row["seconds"], row["device_seconds"]
    return [
        row["peer"],
        row["pass"],
        f"{1e3 * seconds['q50']:.2f}",
        f"{1e3 * seconds['q10']:.2f} to {1e3 * seconds['q90']:.2f}",
        *([f"{1e3 * device['q50']:.3f}"] if device else []),
        f"{row['ratio']['q50']:.2f}",
        f"{row['peak_bytes'] / 1e6:.1f}",
        row["lacks"],
    ]


def _goal(row: dict[str, Any]) -> list[str]:
    names = [row["operation"], row["model"], row["beside"]]
    if "missing" in row:
        return [*names, row["missing"], f"{row['at_most']:.2f}", ""]
    return [*names, f"{row['ratio']:.3f}", f"{row['at_most']:.2f}", str(row["rounds"])]


def _count(row: dict[str, Any]) -> list[str]:
    if "missing" in row:
        return [row["peer"], row["missing"], *[""] * 8]
    floor = row["floor_bytes"]
    return [
        row["peer"],
        row["pass"],
        str(row["launches"]),
        *(f"{row[name] / 1e6:.2f}" for name in ("bytes", "unique_bytes", "flops")),
        f"{floor / 1e6:.2f}" if floor else "",
        f"{row['ratio']:.2f}" if floor else "",
        f"{1e6 * row['best_seconds']:.1f}",
        row["counted_by"],
    ]


def figure(results: dict[str, Any], path: Path) -> None:
    """Time over every size that grows, both axes logarithmic; slopes stand in the legends."""
    panels = list(dict.fromkeys((row["operation"], row["size"]) for row in results["growth"]))
    figure, grid = plt.subplots(2, -(-len(panels) // 2), figsize=(14, 8), squeeze=False, layout="constrained")
    names = list(dict.fromkeys(row["peer"] for row in results["growth"]))
    slopes = {(row["operation"], row["size"], row["peer"]): row["slope"] for row in results["slopes"]}
    for axes, panel in zip(grid.flat, panels, strict=False):
        for number, name in enumerate(names):
            rows = [r for r in results["growth"] if (r["operation"], r["size"], r["peer"]) == (*panel, name)]
            if not rows:
                continue
            values = [row["value"] for row in rows]
            medians = [1e3 * row["seconds"]["q50"] for row in rows]
            label = f"{name}: {slopes[panel[0], panel[1], name]:.2f}"
            axes.loglog(values, medians, "o-", color=f"C{number}", label=label)
        axes.set(title=f"{panel[0].replace('_', ' ')} over {panel[1]}", xlabel=panel[1], ylabel="ms")
        axes.set_xticks(values, [str(value) for value in values])
        axes.xaxis.minorticks_off()
        axes.grid(True, which="major", alpha=0.3)
        axes.legend(title="slope", fontsize="small")
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    figure.savefig(path, dpi=120)
    plt.close(figure)

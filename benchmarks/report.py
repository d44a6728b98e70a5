"""Renders ``results.json`` as Markdown tables and one figure, and rows as tables of a terminal."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.shapes import label

Row = dict[str, Any]
Columns = Mapping[str, Callable[[Row], str]]


def _of_peer(name: str, row: Row) -> str:
    """The time of a peer, in microseconds."""
    return f"{1e6 * row['peers'][name]:.0f}" if name in row["peers"] else "-"


PEER: Columns = {"peer": itemgetter("peer"), "pass": itemgetter("pass")}
TIMINGS: Columns = {
    **PEER,
    "median ms": lambda row: f"{1e3 * row['seconds']['q50']:.2f}",
    "q10 to q90": lambda row: f"{1e3 * row['seconds']['q10']:.2f} to {1e3 * row['seconds']['q90']:.2f}",
    "device ms": lambda row: f"{1e3 * row['device_seconds']['q50']:.3f}",
    "ratio": lambda row: f"{row['ratio']['q50']:.2f}",
    "peak MB": lambda row: f"{row['peak_bytes'] / 1e6:.1f}",
    "does not do": itemgetter("lacks"),
}
GOALS: Columns = {
    **{name: itemgetter(name) for name in ("operation", "model", "beside")},
    "ratio": lambda row: f"{row['ratio']:.3f}",
    "at most": lambda row: f"{row['at_most']:.3g}",
    "rounds": lambda row: str(row["rounds"]),
}
SLOPES: Columns = {
    **{name: itemgetter(name) for name in ("operation", "size")},
    "values": lambda row: f"{row['from']} to {row['to']}",
    "peer": itemgetter("peer"),
    "slope": lambda row: f"{row['slope']:.2f}",
    "time ratio, largest to smallest": lambda row: f"{row['ratio']:.2f}",
    "memory slope": lambda row: f"{row['memory_slope']:.2f}",
}
COUNTS: Columns = {
    **PEER,
    "launches": lambda row: str(row["launches"]),
    "MB": lambda row: f"{row['bytes'] / 1e6:.3g}",
    "unique MB": lambda row: f"{row['unique_bytes'] / 1e6:.3g}",
    "MFLOP": lambda row: f"{row['flops'] / 1e6:.3g}",
    "floor MB": lambda row: f"{row['floor_bytes'] / 1e6:.3g}",
    "ratio": lambda row: f"{row['ratio']:.2f}",
    "estimated µs": lambda row: f"{1e6 * row['estimated_seconds']:.1f}",
    "counted by": itemgetter("counted_by"),
}
VERDICTS: Columns = {
    "shape": itemgetter("title"),
    "use": itemgetter("use"),
    "triton µs": lambda row: f"{1e6 * row['seconds']:.0f}",
    **{name: partial(_of_peer, name) for name in ("torch", "eager", "sdpa", "torch.compile", "flex attention")},
    "eager: auto": lambda row: f"{row['eager']['verdict']}: {row['eager']['auto']}",
    "compiled: auto": lambda row: f"{row['compiled']['verdict']}: {row['compiled']['auto']}",
}
WORDS = {
    "peer", "pass", "shape", "use", "eager: auto", "compiled: auto", "operation", "model", "beside", "does not do",
    "counted by",
}  # fmt: skip


def cells(columns: Columns, row: Row) -> list[str]:
    """A row as text. None is an empty cell; of a missing peer, the first cell that it has not holds the reason."""
    texts, reasons = [], [row["missing"]] if "missing" in row else []
    for column in columns.values():
        try:
            texts.append(column(row))
        except TypeError:
            texts.append("")
        except KeyError:
            if "missing" not in row:
                raise
            texts.append(reasons.pop() if reasons else "")
    return texts


def groups(rows: Iterable[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    """The operation, the shape and the rows of each table."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["operation"], label(row["shape"])), []).append(row)
    return ((*names, group) for names, group in found.items())


def rich_table(title: str, columns: Columns, rows: Iterable[Row]) -> Table:
    """A table for a terminal."""
    table = Table(title=title)
    for name in columns:
        table.add_column(name, justify="left" if name in WORDS else "right", no_wrap=name in PEER)
    for row in rows:
        table.add_row(*cells(columns, row))
    return table


def _table(columns: Columns, rows: Iterable[Row]) -> str:
    """A table in Markdown."""
    lines = [list(columns), ["---"] * len(columns), *(cells(columns, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(results: dict[str, Any]) -> str:
    """All tables, each under a line that says whether it is measured or counted."""
    machine, threads, ledger = results["machine"], results["environment"]["torch_threads"], results["ledger"]
    where = f"{machine['cpu']}, {threads} threads" + (f", {results['gpu']}" if results["gpu"] else ", no GPU")
    load = " to ".join(f"{value:.1f}" for value in results["load_average"])
    timings = {name: column for name, column in TIMINGS.items() if results["gpu"] or name != "device ms"}
    measured = [
        f"## {operation}, measured, {shape}\n\nRatios are to: {rows[0]['baseline']}.\n\n{_table(timings, rows)}"
        for operation, shape, rows in groups(results["comparisons"])
    ]
    estimated = f"Estimated for a {ledger['gpu']['assumptions']} Nothing here is measured."
    counted = [
        f"## {operation}, counted, {shape}\n\n{estimated}\n\n{_table(COUNTS, rows)}"
        for operation, shape, rows in groups(ledger["rows"])
    ]
    parts = [
        "# Benchmark results",
        f"Measured on {where}, torch {results['versions']['torch']}, commit {results['commit']}, "
        f"{results['date']}; load average {load}.",
        "Wall time of one call, the device waited for. Peers took turns; ratios are medians of those within rounds.",
        *measured,
        "## Goals of the prefix modes, measured",
        "Medians of the ratios within rounds; prompts of 100 tokens before texts of 24, 8 tasks.",
        _table(GOALS, results["goals"]),
        *counted,
        "## Growth, measured",
        "Slope of log time over log size, from the ratios within rounds; forward and backward, or a training step.",
        _table(SLOPES, results["slopes"]),
        "![growth](growth.png)",
    ]
    return "\n\n".join(parts) + "\n"


def figure(results: dict[str, Any], path: Path) -> None:
    """Time over every size that grows, both axes logarithmic; slopes stand in the legends."""
    rows = pd.DataFrame(results["growth"])
    rows["ms"] = [1e3 * row["seconds"]["q50"] for row in results["growth"]]
    slopes = {(row["operation"], row["size"], row["peer"]): row["slope"] for row in results["slopes"]}
    colors = {name: f"C{number}" for number, name in enumerate(rows["peer"].unique())}
    panels = rows.groupby(["operation", "size"], sort=False)
    figure = Figure(figsize=(14, 8), layout="constrained")
    grid = list(figure.subplots(2, -(-len(panels) // 2), squeeze=False).flat)
    for axes, ((operation, size), panel) in zip(grid, panels, strict=False):
        lines = panel.pivot(index="value", columns="peer", values="ms")
        title = f"{operation.replace('_', ' ')} over {size}"
        lines.plot(ax=axes, loglog=True, style="o-", color=colors, title=title, xlabel=size, ylabel="ms")
        axes.set_xticks(lines.index, lines.index.astype(str))
        axes.xaxis.minorticks_off()
        axes.grid(True, which="major", alpha=0.3)
        axes.legend([f"{name}: {slopes[operation, size, name]:.2f}" for name in lines], title="slope", fontsize="small")
    for axes in grid[len(panels) :]:
        axes.remove()
    figure.savefig(path, dpi=120)

"""A table: as text in a terminal, as CSV, as Markdown, and for the page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import rich.table
from rich.text import Text

from crosspt.config.values import fits


class Entry(NamedTuple):
    """One place of a table."""

    value: Any = ""  # text, or a number in full; None and NaN are undefined, and "" does not apply
    std: float = math.nan  # over seeds
    low: float = math.nan  # the interval
    high: float = math.nan
    paper: float = math.nan  # the paper's number
    paper_std: float = math.nan  # the deviation that the paper prints with it
    notes: Sequence[str] = ()  # names of footnotes
    text: str = ""  # shown in place of the value
    digits: int = 1  # decimals shown

    @property
    def shown(self) -> str:
        """The value as text, with its deviation and interval."""
        if self.text or not (fits(self.value, float) or self.value is None):
            return self.text or str(self.value)
        if pd.isna(self.value):
            return "undefined"
        spread = "" if math.isnan(self.std) else f" ± {self.std:.{self.digits}f}"
        interval = "" if math.isnan(self.low) else f" [{self.low:.{self.digits}f}, {self.high:.{self.digits}f}]"
        return f"{self.value:,.{0 if isinstance(self.value, int) else self.digits}f}{spread}{interval}"

    @property
    def beside(self) -> str:
        """The paper's number as text."""
        spread = "" if math.isnan(self.paper_std) else f" ± {self.paper_std:g}"
        return "" if math.isnan(self.paper) else f"paper {self.paper:g}{spread}"

    @property
    def with_paper(self) -> str:
        """The value as text, with the paper's number."""
        return f"{self.shown} ({self.beside})" if self.beside else self.shown


Row = dict[str, Any]  # an Entry or what it would hold, by column


class Table(NamedTuple):
    """A table: the name of its files, what it shows, and an entry for each column of each row."""

    name: str
    title: str
    rows: Sequence[Row]
    section: str = ""  # of the page

    @property
    def columns(self) -> dict[str, list[Entry]]:
        """The entries of each column by its heading."""
        headings = dict.fromkeys(heading for row in self.rows for heading in row)
        found = {heading: [row.get(heading, Entry()) for row in self.rows] for heading in headings}
        return {name: [one if isinstance(one, Entry) else Entry(one) for one in found[name]] for name in found}

    @property
    def numeric(self) -> dict[str, bool]:
        """The headings, and whether their columns hold numbers."""
        return {name: any(fits(entry.value, float) for entry in column) for name, column in self.columns.items()}

    @property
    def entries(self) -> list[tuple[Entry, ...]]:
        """The entries of each row, one for each column."""
        return list(zip(*self.columns.values(), strict=True))

    @property
    def records(self) -> list[dict[str, Any]]:
        """The values of each row by heading, numbers in full."""
        return [{name: one.value if isinstance(one, Entry) else one for name, one in row.items()} for row in self.rows]

    def rich(self) -> rich.table.Table:
        """The table for a terminal."""
        table = rich.table.Table(title=Text(self.title))
        for heading, numeric in self.numeric.items():
            table.add_column(Text(heading), justify="right" if numeric else "left")
        for entries in self.entries:
            table.add_row(*(Text(entry.with_paper) for entry in entries))
        return table

    def csv(self) -> str:
        """Every number in full; deviations, intervals and the paper's numbers in columns of their own."""
        columns: dict[str, list[Any]] = {}
        for heading, column in self.columns.items():
            columns[heading] = [entry.value for entry in column]
            for field in ("std", "low", "high", "paper", "paper_std"):
                numbers = [getattr(entry, field) for entry in column]
                if not all(map(math.isnan, numbers)):
                    columns[f"{heading} {field.replace('_', ' ')}"] = numbers
        return pd.DataFrame(columns, dtype=object).to_csv(index=False, lineterminator="\n")

    def markdown(self, numbers: Mapping[str, int], texts: Mapping[str, str]) -> str:
        """A table of GitHub's Markdown with its footnotes below; notes have the page's numbers."""
        lines = [list(self.numeric), ["---:" if numeric else "---" for numeric in self.numeric.values()]]
        for entries in self.entries:
            marks = ["".join(f" [{numbers[note]}]" for note in entry.notes) for entry in entries]
            lines.append([entry.with_paper + mark for entry, mark in zip(entries, marks, strict=True)])
        used = {note for entries in self.entries for entry in entries for note in entry.notes}
        text = "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)
        notes = "".join(f"\n{number}. {texts[note]}" for note, number in numbers.items() if note in used)
        return f"**{_plain(self.title)}**\n\n{text}\n" + (f"{notes}\n" if notes else "")


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

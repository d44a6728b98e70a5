"""A table: as text in a terminal, as CSV, as Markdown, and for the page."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import rich.table
from rich.box import MINIMAL
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from crosspt.config.values import fits

BETWEEN = " │ "  # columns in a terminal
MOST_OF_TEXT = 24  # letters of a line that a column of text must have


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
    style: str = ""  # in a terminal

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
        spread = "" if math.isnan(self.paper_std) else f" ± {self.paper_std:.{self.digits}f}"
        return "" if math.isnan(self.paper) else f"paper {self.paper:.{self.digits}f}{spread}"

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
    keys: int = 1  # columns that say which row one is

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

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """The table for a terminal. Columns that do not fit beside the others follow below, after the first ones again.

        Numbers are never cut off or broken over lines; text is.
        """
        for number, headings in enumerate(self._blocks(options.max_width)):
            table = rich.table.Table(box=MINIMAL, show_edge=False, pad_edge=False, title_justify="left")
            table.title = Text(self.title + ", continued" * bool(number))
            for heading in headings:
                numeric = self.numeric[heading]
                options_of: dict[str, Any] = {"justify": "right", "no_wrap": True} if numeric else {}
                table.add_column(Text(heading), overflow="fold", **options_of)
            for entries in zip(*(self.columns[heading] for heading in headings), strict=True):
                table.add_row(*(Text(entry.with_paper, entry.style) for entry in entries))
            yield from (table, Text())

    def _blocks(self, width: int) -> list[list[str]]:
        """The headings that fit side by side, in one line of them or in several that each begin with the keys."""
        widths = {heading: self._least_width(heading) for heading in self.columns}
        keys = list(widths)[: self.keys]
        blocks = [keys]
        for heading in list(widths)[self.keys :]:
            beside = [*blocks[-1], heading]
            if sum(map(widths.__getitem__, beside)) + len(BETWEEN) * (len(beside) - 1) > width and blocks[-1] != keys:
                beside = [*keys, heading]
                blocks.append(beside)
            blocks[-1] = beside
        return blocks

    def _least_width(self, heading: str) -> int:
        texts = [heading, *(entry.with_paper for entry in self.columns[heading])]
        widest = max(map(cell_len, texts))
        longest = max(cell_len(word) for text in texts for word in [*text.split(), ""])
        return widest if self.numeric[heading] else min(widest, max(longest, 12), MOST_OF_TEXT)

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

    @property
    def notes(self) -> list[str]:
        """The names of its footnotes, in order."""
        return list(dict.fromkeys(note for entries in self.entries for entry in entries for note in entry.notes))

    def markdown(self, texts: Mapping[str, str]) -> str:
        """A table of GitHub's Markdown with its footnotes below, from 1: lists of Markdown begin with that.

        Args:
            texts: of footnotes by name.
        """
        numbers = {note: number for number, note in enumerate(self.notes, start=1)}
        lines = [list(self.numeric), ["---:" if numeric else "---" for numeric in self.numeric.values()]]
        for entries in self.entries:
            marks = ["".join(f" [{numbers[note]}]" for note in entry.notes) for entry in entries]
            lines.append([entry.with_paper + mark for entry, mark in zip(entries, marks, strict=True)])
        text = "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)
        notes = "".join(f"\n{number}. {texts[note]}" for note, number in numbers.items())
        return f"**{_plain(self.title)}**\n\n{text}\n" + (f"{notes}\n" if notes else "")


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

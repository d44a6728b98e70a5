"""A table of the report: its content once, shown as Markdown and as CSV, and by the page."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One place of a table.

    Attributes:
        text: what it says; empty for a number, which is then shown as one.
        number: its value.
        deviation: its sample standard deviation over seeds.
        digits: decimals shown.
        printed: the paper's number.
        printed_deviation: the deviation that the paper prints with it.
        notes: footnotes to the paper's number.
    """

    text: str = ""
    number: float | None = None
    deviation: float | None = None
    digits: int = 1
    printed: float | None = None
    printed_deviation: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The value as text, without the paper's."""
        if self.text or self.number is None:
            return self.text
        spread = "" if self.deviation is None else f" ± {self.deviation:.{self.digits}f}"
        return f"{self.number:,.{self.digits}f}{spread}"

    @property
    def paper(self) -> str:
        """The paper's number as text."""
        if self.printed is None:
            return ""
        spread = "" if self.printed_deviation is None else f" ± {self.printed_deviation:g}"
        return f"{self.printed:g}{spread}"


@dataclass(frozen=True)
class Column:
    """A column's heading, and whether it holds numbers."""

    heading: str
    numeric: bool = True


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        name: of its files.
        title: what it shows.
        columns: from the left.
        rows: an entry for each column.
    """

    name: str
    title: str
    columns: list[Column]
    rows: list[list[Entry]]

    def csv(self) -> str:
        """Every number in full; deviations and the paper's numbers in columns of their own."""
        parts: list[list[tuple[str, str]]] = []
        for place, column in enumerate(self.columns):
            entries = [row[place] for row in self.rows]
            kept = [(column.heading, "number" if column.numeric else "text")]
            for label, attribute in (("std", "deviation"), ("paper", "printed"), ("paper std", "printed_deviation")):
                if any(getattr(entry, attribute) is not None for entry in entries):
                    kept.append((f"{column.heading} {label}", attribute))
            parts.append(kept)
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([heading for kept in parts for heading, _ in kept])
        for row in self.rows:
            cells = [getattr(entry, attribute) for entry, kept in zip(row, parts, strict=True) for _, attribute in kept]
            writer.writerow(["" if value is None else value for value in cells])
        return file.getvalue()

    def markdown(self, notes: Mapping[str, int], texts: Mapping[str, str]) -> str:
        """A table of GitHub's Markdown with its footnotes below; notes have the page's numbers."""
        lines = [f"**{_plain(self.title)}**", ""]
        lines.append(_line([column.heading for column in self.columns]))
        lines.append(_line(["---:" if column.numeric else "---" for column in self.columns]))
        for row in self.rows:
            lines.append(_line([_markdown(entry, notes) for entry in row]))
        used = {note for row in self.rows for entry in row for note in entry.notes}
        if used:
            lines += ["", *(f"{notes[note]}. {texts[note]}" for note in sorted(used, key=lambda note: notes[note]))]
        return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(entry: Entry, notes: Mapping[str, int]) -> str:
    marks = "".join(f" [{notes[note]}]" for note in entry.notes)
    paper = f" (paper {entry.paper})" if entry.paper else ""
    return _plain(entry.shown) + paper + marks


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

"""A table as a page shows it, and as CSV with the numbers behind what is shown."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

MOST_SHOWN = 3_000  # rows; the CSV has all


class Cell(NamedTuple):
    """A text; mark: good, bad, dim, number, several of them with spaces, or empty."""

    text: str
    mark: str = ""


class Row(NamedTuple):
    """A row: its cells, and the same as a record for the CSV."""
    cells: tuple[Cell, ...]
    record: Mapping[str, Any]  # of the CSV
    mark: str = ""  # dim where another is better in every way


@dataclass(frozen=True)
class Table:
    """Rows under a head, in the order in which they are shown."""

    head: tuple[str, ...]
    rows: tuple[Row, ...]

    def csv(self) -> str:
        """All rows as CSV."""
        names = list(dict.fromkeys(name for row in self.rows for name in row.record))
        text = io.StringIO()
        lines = csv.DictWriter(text, names, lineterminator="\n")
        lines.writeheader()
        lines.writerows(row.record for row in self.rows)
        return text.getvalue()

    def html(self) -> str:
        """The table as an HTML element. Every text is escaped, because labels and files come from users."""
        head = "".join(f'<th scope="col" tabindex="0">{escape(title)}</th>' for title in self.head)
        body = "".join(
            f'<tr class="{row.mark}">'
            + "".join(f'<td class="{cell.mark}">{escape(cell.text)}</td>' for cell in row.cells)
            + "</tr>"
            for row in self.rows[:MOST_SHOWN]
        )
        more = len(self.rows) - MOST_SHOWN
        rest = f'<p class="note">and {more:,} more rows: the CSV has them all</p>' if more > 0 else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def number_cell(text: str, mark: str = "") -> Cell:
    """A cell with a number, aligned as one."""
    return Cell(text, f"number {mark}".strip())


def records_table(records: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> Table:
    """Records as a table with these columns."""
    return Table(tuple(shown), tuple(Row(tuple(_cell(each.get(name)) for name in shown), each) for each in records))


def _cell(value: Any) -> Cell:
    if value is None or isinstance(value, str):
        return Cell(value or "–")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    return number_cell(f"{value:,}" if isinstance(value, int) else f"{value:.6g}")

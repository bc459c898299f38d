"""What a report is made of, and how it becomes one self-contained HTML file: no scripts, no fonts, nothing fetched.

Text is escaped by jinja2; figures are images within the file. Called by report.py, which fills it.
"""

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from nextone.experiments.runs.files import write_text
from nextone.experiments.runs.number_text import difference_text
from nextone.experiments.runs.statistics import PairedDifference
from nextone.version import __version__

TEMPLATE = Path(__file__).with_name("report.html")


class Cell(NamedTuple):
    """A cell of a table; mark: good, bad, dim or empty."""

    text: str
    mark: str = ""


class Table(NamedTuple):
    """The first `words` columns are text, the others numbers."""

    head: tuple[str, ...]
    rows: list[list[Cell]]
    words: int = 1


class Figure(NamedTuple):
    """A drawing and what it shows."""

    svg: str
    caption: str

    @property
    def source(self) -> str:
        """As an image's address, which holds the image itself."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


@dataclass(frozen=True)
class Section:
    """A part of the page: text, figures, a table, something verbatim."""

    title: str
    text: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    table: Table | None = None
    verbatim: str = ""
    folded: bool = False  # only its title is shown until it is opened; printed whole


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    question: str
    facts: tuple[tuple[str, str], ...]
    answer: tuple[str, ...]
    sections: tuple[Section, ...]
    warnings: tuple[str, ...] = ()
    version: str = field(default=__version__)


def write_page(page: Page, path: Path) -> None:
    """Whole or not at all."""
    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    text = template.render(page=page).replace(" %", "\N{NO-BREAK SPACE}%")  # no number parted from its unit
    write_text(path, text)


def difference_cell(d: PairedDifference | None, better: str) -> Cell:
    """A paired difference, percent with half its interval, as in the terminal's tables."""
    text = difference_text(d, better)
    return Cell(text.plain.strip(), {"green": "good", "red": "bad", "dim": "dim"}.get(str(text.style), ""))

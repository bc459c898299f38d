"""What a report is made of, and how it becomes one self-contained HTML file, with the numbers as CSV beside it. Nothing
is fetched, no font, and the only script is our own, which sorts tables.

Text is escaped by jinja2; figures are images within the file. Called by report.py, which fills it.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv as pa_csv

from nextone.experiments.runs.files import write_text, write_whole
from nextone.experiments.runs.number_text import difference_text
from nextone.experiments.runs.statistics import PairedDifference
from nextone.version import __version__

TEMPLATE, SCRIPT = (Path(__file__).with_name(name) for name in ("report.html", "sorting.js"))


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
        """The image itself, in the form of an address."""
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
    """Write the page, whole or not at all. It may run its own script, which sorts tables, and no other."""
    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    script = SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()  # of the one script that may run
    text = template.render(page=page, script=script, script_sha256=digest, csv=path.with_suffix(".csv").name)
    write_text(path, text.replace(" %", "\N{NO-BREAK SPACE}%"))  # no number parted from its unit


def write_numbers(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write rows, as `flat` makes them, as CSV, whole or not at all."""
    flattened = [flat(row) for row in rows]
    names = dict.fromkeys(name for row in flattened for name in row)
    table = pa.Table.from_pylist([dict.fromkeys(names) | row for row in flattened])
    write_whole(path, lambda tmp: pa_csv.write_csv(table, tmp))


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of JSON as a row of a table: a list becomes one text, and the entries of a nested object columns
    `name_part`."""
    return {
        **{name: value for name, value in row.items() if not isinstance(value, Mapping | list)},
        **{name: "; ".join(map(str, value)) for name, value in row.items() if isinstance(value, list)},
        **{f"{name}_{part}": each for name, value in row.items() if isinstance(value, Mapping)
           for part, each in value.items()},
    }  # fmt: skip


def flat_cell(row: Mapping[str, Any], fields: Mapping[str, object]) -> dict[str, Any]:
    """A row of `sweep_rows`, with the swept fields of its cell and with both differences in separate columns."""
    nested = ("settings", "vs_policy", "vs_default")
    return {**fields, **{name: value for name, value in flat(row).items() if name not in nested}}


def difference_cell(d: PairedDifference | None, better: str) -> Cell:
    """A paired difference, percent with half its interval, as in the terminal's tables."""
    text = difference_text(d, better)
    return Cell(text.plain.strip(), {"green": "good", "red": "bad", "dim": "dim"}.get(str(text.style), ""))

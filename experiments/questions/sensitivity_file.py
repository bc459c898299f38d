"""The table of `nextone sensitivity` on disk: JSON that loads back equal, CSV and Markdown for people.

The table of the default scenario comes with the package; `claims.py` makes its page from it.
"""

import csv
import io
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nextone.experiments.runs.files import write_text
from nextone.experiments.runs.number_text import signed
from nextone.sim.scenario import SettingError

SHIPPED = "sensitivity.json"
GAIN, LEVEL = "gain", "level"
MINUS = "−"
MOST = 5  # settings named that move a level
HOW_TO_READ = (
    "An answer moves from the default to the low end and to the high end of each setting: gains in percentage points, "
    "levels in percent. Intervals cover luck and people. Settings come in the order of the least move of a gain that "
    "its interval allows. A star marks an interval without 0; one in twenty has it by luck."
)


@dataclass(frozen=True)
class Span:
    """A number with its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def least(self) -> float:
        """The smallest size within the interval; 0 if it contains 0."""
        return max(0.0, self.low, -self.high)

    def __str__(self) -> str:
        decimals = 2 if abs(self.mean) < 10 else 1
        return f"{signed(self.mean)} ±{self.high - self.mean:.{decimals}f}{'*' if self.least > 0 else ''}"


@dataclass(frozen=True)
class Answer:
    """One of the answers: a gain of the phone in percent, or a level, in the scenario as it is."""

    name: str
    kind: str  # GAIN or LEVEL
    unit: str
    found: Span | None


@dataclass(frozen=True)
class Move:
    """How far an answer moves from the default to one end: a gain in percentage points, a level in percent. None where
    undefined; exactly 0 at an end that is the default."""

    answer: str
    at_low: Span | None
    at_high: Span | None

    @property
    def ends(self) -> tuple[Span, ...]:
        """The moves to those ends that are defined."""
        return tuple(end for end in (self.at_low, self.at_high) if end is not None)


@dataclass(frozen=True)
class Row:
    """One setting from its low end to its high end, with everything else unchanged."""

    setting: str
    unit: str
    default: str
    low: str
    high: str
    reason: str
    moves: tuple[Move, ...]

    def size(self, answers: tuple[str, ...]) -> tuple[float, float]:
        """How far it moves any of these answers: (at least, as estimated), the larger of both ends."""
        ends = [end for move in self.moves if move.answer in answers for end in move.ends]
        return max((end.least for end in ends), default=0.0), max((abs(end.mean) for end in ends), default=0.0)

    @property
    def sure(self) -> bool:
        """Whether it surely moves any answer."""
        return any(end.least > 0 for move in self.moves for end in move.ends)


@dataclass(frozen=True)
class Drawn:
    """The range of an answer if something is drawn again: the central 95 % over draws."""

    what: str
    holds: str  # what the interval holds
    answer: str
    draws: int
    found: Span | None
    agree: float | None  # share of the draws that have the sign of the scenario's own answer


@dataclass(frozen=True)
class NotWalked:
    """A setting that was not varied, and why."""
    setting: str
    why: str


@dataclass(frozen=True)
class Table:
    """All that was found, and the sizes it was found with. Rows come by how far they move gains, the farthest first."""

    scenario: str
    version: str
    people: int
    minutes: float
    replications: int
    seed: int
    took_min: float
    answers: tuple[Answer, ...]
    rows: tuple[Row, ...]
    drawn: tuple[Drawn, ...]
    not_walked: tuple[NotWalked, ...]
    provenance: dict[str, Any] = field(default_factory=dict)  # see experiments/runs/provenance.py

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of the answers of a kind."""
        return tuple(answer.name for answer in self.answers if answer.kind == kind)

    def level_moves_most(self) -> str:
        """The settings that move a level most, with both ends, as a sentence."""
        levels = self.names(LEVEL)
        rows = [row for row in self.rows if row.size(levels)[0] > 0]
        told = [
            f"{row.setting} ({', '.join(span_text(end) for end in move.ends)} %)"
            for row in sorted(rows, key=lambda row: row.size(levels), reverse=True)[:MOST]
            for move in row.moves
            if move.answer in levels
        ]
        return f"The {' and '.join(levels)} moves most with {'; '.join(told)}." if told else ""

    def gains_depend_on(self, most: int = 3) -> tuple[str, ...]:
        """The settings that surely move a gain, the farthest first."""
        gains = self.names(GAIN)
        return tuple(row.setting for row in self.rows if row.size(gains)[0] > 0)[:most]

    def sizes(self) -> str:
        """People, window, replications and seed, in words."""
        return (
            f"{self.people:,} people, {self.minutes:g} min, {self.replications} replications with shared luck, seed "
            f"{self.seed}, ample servers"
        )


_ADAPTER = TypeAdapter(Table)


def table_json(table: Table) -> str:
    """The whole table as JSON."""
    return _ADAPTER.dump_json(table, indent=1).decode()


def parse_table(text: str | bytes, name: str) -> Table:
    """The table in a text of `table_json`. Raises SettingError."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SettingError(
            f"{name}: is not a table written by nextone sensitivity ({first['msg']}); write it again"
        ) from None


def shipped_table() -> Table:
    """The table of the default scenario, which comes with the package."""
    return parse_table(files(__package__).joinpath(SHIPPED).read_bytes(), SHIPPED)


def table_csv(table: Table) -> str:
    """A line for each setting, answer and end."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(["rank", "setting", "unit", "default", "answer", "end", "value", "moved", "moved_low", "moved_high"])
    for rank, row in enumerate(table.rows, 1):
        for move in row.moves:
            for end, value, span in (("low", row.low, move.at_low), ("high", row.high, move.at_high)):
                numbers = ["", "", ""] if span is None else [f"{x:.6g}" for x in (span.mean, span.low, span.high)]
                out.writerow([rank, row.setting, row.unit, row.default, move.answer, end, value, *numbers])
    return text.getvalue()


def table_markdown(table: Table) -> str:
    """The table as Markdown, with the draws; settings that surely move nothing share a line."""
    named = [answer.name for answer in table.answers]
    headings = " | ".join(name_and_unit(answer) for answer in table.answers)
    lines = [
        f"Of {table.scenario}: {table.sizes()}. Intervals are 95 %.",
        "",
        "A row of draws gives the range of their central 95 %, and the share of draws with the scenario's own sign.",
        "",
        f"| what an interval holds | {headings} |",
        "|---|" + "---|" * len(named),
        "| luck and people | " + " | ".join(answer_text(answer) for answer in table.answers) + " |",
    ]
    for what in dict.fromkeys(each.what for each in table.drawn):
        of_kind = {each.answer: each for each in table.drawn if each.what == what}
        first = next(iter(of_kind.values()))
        lines.append(
            f"| {first.holds} ({first.draws} draws) | " + " | ".join(range_text(of_kind[name]) for name in named) + " |"
        )
    lines += [
        "",
        HOW_TO_READ,
        "",
        f"| setting | default | from low to high | {headings} |",
        "|---|---|---|" + "---|" * len(named),
        *(
            f"| `{row.setting}` | {row.default} | {row.low} to {row.high} | "
            + " | ".join(f"{span_text(move.at_low)}, {span_text(move.at_high)}" for move in row.moves) + " |"
            for row in table.rows if row.sure
        ),
    ]  # fmt: skip
    if table.level_moves_most():
        lines += ["", table.level_moves_most()]
    still = [f"`{row.setting}` ({row.low} to {row.high})" for row in table.rows if not row.sure]
    if still:
        lines += ["", f"No move of these settings can be told from 0: {', '.join(still)}."]
    if table.not_walked:
        lines += ["", "Not varied:", "", *(f"- `{each.setting}`: {each.why}" for each in table.not_walked)]
    return "\n".join(lines) + "\n"


def save_sensitivity(table: Table, folder: Path) -> list[Path]:
    """JSON, CSV and Markdown; returns their paths."""
    texts = {SHIPPED: table_json(table), "sensitivity.csv": table_csv(table), "sensitivity.md": table_markdown(table)}
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def name_and_unit(answer: Answer) -> str:
    """The heading of an answer."""
    return f"{answer.name}, {answer.unit}"


def span_text(span: Span | None) -> str:
    """A move or an answer as text; 0 if nothing at all moves."""
    if span is None:
        return "–"
    return "0" if span.mean == span.low == span.high == 0 else str(span)


def answer_text(answer: Answer) -> str:
    """The answer in the scenario as it is."""
    if answer.kind == GAIN or answer.found is None:
        return span_text(answer.found)
    return f"{answer.found.mean:.2f} ±{answer.found.high - answer.found.mean:.2f}"


def range_text(drawn: Drawn) -> str:
    """The range of the draws, and the share of them with the sign of the scenario's own answer."""
    if drawn.found is None:
        return "–"
    agree = "" if drawn.agree is None else f" ({drawn.agree:.0%})"
    return f"{drawn.found.low:.2f} to {drawn.found.high:.2f}{agree}".replace("-", MINUS)

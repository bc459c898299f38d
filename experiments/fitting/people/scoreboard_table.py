"""The scoreboard shown: a table for the terminal, JSON, Markdown for the documentation, files.

Called by the command line.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
from rich.table import Table
from rich.text import Text

from nextone.experiments.fitting.scoreboard import Row
from nextone.experiments.runs.files import write_table, write_text, write_whole
from nextone.experiments.runs.number_text import MISSING

from .validate import Validation

HEADINGS = ("quantity", "log", "95 % of the log", "simulated", "tolerance", "noise floors")
MARKS = {"self-check": "=", "shown": "-"}  # else a tick or a cross


def verdict(of: Validation) -> str:
    """How many rows are within their tolerance, in words."""
    judged, checks = of.judged, sum(row.kind == "self-check" for row in of.rows)
    return f"{sum(row.ok for row in judged)} of {len(judged)} rows within tolerance; {checks} self-checks not counted"


def mark(row: Row) -> str:
    """The mark before a row: ticks and crosses are counted, other marks are not."""
    return MARKS.get(row.kind, "✓" if row.ok else "✗")


def scoreboard_table(of: Validation) -> Table:
    """The scoreboard as a table for the terminal, grouped by section, with a green or red mark for each row."""
    about = of.about()
    title = (
        f"{about['log']}, {about['impressions']:,} impressions, against {about['users']:,} simulated people over "
        f"{about['days']} days; seed {about['seed']}, scenario {about['scenario']}, nextone {about['version']}"
    )
    table = Table(title=Text(title), caption=Text("\n".join(of.notes())), title_justify="left", caption_justify="left")
    table.add_column("", width=1, no_wrap=True)
    for heading in HEADINGS:
        words = heading == "quantity"  # alone gives way where the terminal is narrow; a number cut off is none
        table.add_column(heading, justify="left" if words else "right", no_wrap=not words, min_width=len(heading))
    for section, rows in of.sections.items():
        table.add_section()
        table.add_row("", Text(section, style="bold"))
        for row in rows:
            style = "dim" if row.kind in MARKS else "green" if row.ok else "bold red"
            table.add_row(Text(mark(row), style=style), *(Text(cell) for cell in cells(row)))
    return table


def scoreboard_markdown(of: Validation) -> str:
    """The scoreboard as a Markdown table."""
    lines = ["| " + " | ".join(("", *HEADINGS)) + " |", "|---|---|--:|--:|--:|--:|--:|"]
    for section, rows in of.sections.items():
        lines.append(f"| | **{section}** | | | | | |")
        lines += [f"| {mark(row)} | " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join(lines)


def scoreboard_json(of: Validation) -> dict[str, Any]:
    """`{"rows": [...]}` and what was compared; None where undefined, never NaN."""
    rows = [{name: _finite(value) for name, value in row._asdict().items()} for row in of.rows]
    return {"rows": rows, **of.about(), "within_tolerance": sum(row.ok for row in of.judged), "notes": of.notes()}


def save_scoreboard(of: Validation, out: Path) -> list[Path]:
    """scoreboard.json, .csv, .parquet and .md; each whole or not at all."""
    found = scoreboard_json(of)
    table = pa.table(
        {
            "section": [section for section, rows in of.sections.items() for _ in rows],
            **{name: [row[name] for row in found["rows"]] for name in Row._fields},
        }
    ).replace_schema_metadata({"nextone": json.dumps(of.about())})
    write_text(out / "scoreboard.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
    write_text(out / "scoreboard.md", scoreboard_markdown(of) + "\n")
    write_table(table, out / "scoreboard.parquet")
    write_whole(out / "scoreboard.csv", lambda tmp: pa_csv.write_csv(table, tmp))
    return [out / f"scoreboard.{kind}" for kind in ("json", "csv", "parquet", "md")]


def cells(row: Row) -> Iterator[str]:
    """Quantity, target, interval, simulated and tolerance, with as many digits as the tolerance asks for, and the
    distance in noise floors."""
    digits = 3 if math.isinf(row.tolerance) else 4
    if 0 < row.tolerance < math.inf:
        digits = max(0, 1 - math.floor(math.log10(row.tolerance)))
    yield row.quantity
    yield _number(row.target, digits)
    yield MISSING if math.isnan(row.low) else f"{_number(row.low, digits)} to {_number(row.high, digits)}"
    yield _number(row.simulated, digits)
    yield MISSING if math.isinf(row.tolerance) else f"± {_number(row.tolerance, digits)}"
    yield _number(row.floors, 1)


def _number(x: float, digits: int) -> str:
    return MISSING if not math.isfinite(x) else f"{x:.{digits}f}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

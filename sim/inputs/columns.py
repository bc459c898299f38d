"""`--columns NAME=COLUMN[:UNIT],...`: what a user's file calls each column, where its header does not use our names.

NAME is a name that nextone knows (t_s, mbps, play_s), COLUMN is the file's name for it or its position from 1, and UNIT
is the unit where it differs from that of NAME. Called for links (`trace_files.py`) and for logs
(experiments/fitting/logs).
"""

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .errors import UserError, fail, short


class Choice(NamedTuple):
    """One part of `--columns`, and where the file has it."""

    name: str  # ours
    place: int  # of the column in the file, from 0
    unit: str  # of `known[name]`; "" if none was given


def parse_columns(text: str, known: Mapping[str, Collection[str]]) -> dict[str, str]:
    """What follows `=` in each part, by our name. known: our names, and the units that each may be given in. A part
    with a comma in it stands in double quotes. Raises UserError."""
    said: dict[str, str] = {}
    for part in next(csv.reader([text], skipinitialspace=True), []):
        name, is_there, column = (word.strip() for word in part.partition("="))
        if not (name and is_there and column):
            raise UserError(f"--columns {short(part, 60)!r} must be NAME=COLUMN or NAME=COLUMN:UNIT; e.g. t_s=1,mbps=2")
        if name not in known:
            raise UserError(f"--columns {short(name, 40)!r} is no name for a column; known: {', '.join(known)}")
        if name in said:
            raise UserError(f"--columns names {name} twice; leave one")
        said[name] = column
    if not said:
        raise UserError("--columns is empty; give NAME=COLUMN, e.g. t_s=1,mbps=2")
    return said


def placed(
    path: Path, said: Mapping[str, str], known: Mapping[str, Collection[str]], header: Sequence[str], headed: bool
) -> list[Choice]:
    """Find where the columns that `parse_columns` returned are in this file. headed: whether it has a header; a file
    without one has positions only. Raises UserError that names what the file has."""
    return [_placed(path, name, column, known[name], header, headed) for name, column in said.items()]


def _placed(path: Path, name: str, text: str, units: Collection[str], header: Sequence[str], headed: bool) -> Choice:
    column, colon, unit = text.rpartition(":")
    place = _find(path, text, header, headed)
    if place is not None:  # also a header with a colon in it
        return Choice(name, place, "")
    place = _find(path, column.strip(), header, headed) if colon else None
    if place is None:
        has = f"has {', '.join(header)}" if headed else f"has no header and {len(header)} columns, 1 to {len(header)}"
        fail(path, f"has no column {short(column if colon else text, 40)!r} for {name}; it {short(has, 200)}", 1)
    exact = unit.strip()
    near = [exact] if exact in units else [each for each in units if each.lower() == exact.lower()]
    if len(near) != 1:
        fail(path, f"{name} cannot be in {short(exact, 20)!r}; known units: {', '.join(units) or 'none'}")
    return Choice(name, place, near[0])


def _find(path: Path, column: str, header: Sequence[str], headed: bool) -> int | None:
    """A name as it is, then in any case, then a position."""
    if headed:
        for names, wanted in ((list(header), column), ([name.lower() for name in header], column.lower())):
            if names.count(wanted) > 1:
                fail(path, f"has {names.count(wanted)} columns named {short(column, 40)}; give the position, from 1", 1)
            if wanted in names:
                return names.index(wanted)
    return int(column) - 1 if column.isdecimal() and len(column) < 6 and 1 <= int(column) <= len(header) else None

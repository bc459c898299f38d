"""A user's own measurements of links: throughput traces and logs of round trips, each file understood or refused.

A file is recognised by its content, so both kinds may be in one directory, and one file may be both. The world takes
them in place of the shipped ones (`network.traces`, `network.rtt`); `nextone calibrate --traces` reports on them.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import UserError, fail, plural, raised_as, short
from .files import Content, cannot_open, contents, mode_of
from .link_checks import Found, Run, Table, checked
from .link_tables import LIMITS, read_table
from .round_trips import Pings
from .traces import TraceError, Traces, flatten

NO_TRACE = "holds no trace; put files with t_s,mbps, or of another format of docs/your-own-links.md, directly into it"
NO_PINGS = "holds no log of round trips; put files with t_s,rtt_ms, or what ping prints, directly into it"
SHOWN = 5  # names of files in a line
TABLES = (".csv", ".tsv", ".parquet", ".json")  # so named, a file that is not about links is refused


class FileRead(NamedTuple):
    """One file that was understood."""

    path: Path
    format: str
    rows: int
    traces: int
    runs: int
    notes: tuple[str, ...]  # conversions, what was left out


class PassedOver(NamedTuple):
    """Something in the folder that is not used, and why."""

    path: Path
    why: str


class Links(NamedTuple):
    """All that a file or folder says about links."""

    traces: Traces | None
    pings: Pings | None
    read: tuple[FileRead, ...]
    passed_over: tuple[PassedOver, ...]  # also traces that deliver nothing

    def understood(self) -> tuple[str, ...]:
        """How the files were read, in a line for each way."""
        ways = (("; ".join([each.format, *each.notes]), f"{each.path.name} ({each.rows:,} rows)") for each in self.read)
        return tuple(f"{_named(names)}: {how}" for how, names in _alike(ways))

    def left(self) -> tuple[str, ...]:
        """What in the folder is not used, in a line for each reason."""
        reasons = ((each.why, each.path.name) for each in self.passed_over)
        return tuple(f"{plural(len(names), 'file')}, {_named(names)}: {why}" for why, names in _alike(reasons))

    def notices(self) -> list[str]:
        """What somebody who did not ask how the files were read has to know: conversions, and what is left out."""
        converted = self._replace(read=tuple(each for each in self.read if each.notes))
        return [f"read {line}" for line in converted.understood()] + [f"passed over {line}" for line in self.left()]


@raised_as(TraceError)
def read_links(path: str | os.PathLike[str], columns: str = "") -> Links:
    """Traces and logs of round trips from a file, or from the files directly in a directory, by name; packed ones
    (.gz, .zip) as what is in them.

    Tables have a time and a rate, bytes or round trips, whose unit the header names, or `columns` (`columns.py`); the
    other formats are those of `link_formats.py`. A row holds until the next one, bytes are those delivered while it
    holds; the last row holds for the median interval, then the trace repeats. A trace is cut where a row would hold
    for a hundred times the median one and a minute; one that delivers nothing is passed over where there are others.
    Raises TraceError; a row's number is its line in a text file, its position from 1 in Parquet.
    """
    root = Path(path)
    passed: list[PassedOver] = []
    found = [(file.path, *each) for file in _files(root, passed) if (each := _checked(root, file, columns, passed))]
    if sum(len(table.row) for _, table, _ in found) > LIMITS.rows:
        fail(root, f"holds more than {LIMITS.rows:,} rows; {LIMITS.remedy}")
    dead = [PassedOver(path, each.dead) for path, _, each in found if each.dead]
    curves = [curve for _, _, each in found for curve in each.curves]
    runs = [run for _, _, each in found for run in each.runs]
    if dead and not curves:
        fail(dead[0].path, dead[0].why)
    if not curves and not runs and passed:
        fail(passed[0].path, f"{passed[0].why}; {short(root, 100)} {NO_TRACE}")
    read = tuple(
        FileRead(path, table.format, len(table.row), len(each.curves), len(each.runs), tuple(each.notes))
        for path, table, each in found if each.curves or each.runs
    )  # fmt: skip
    return Links(flatten(curves) if curves else None, _pings(runs) if runs else None, read, (*passed, *dead))


def read_traces(path: str | os.PathLike[str], columns: str = "") -> Traces:
    """The traces of `read_links`; logs of round trips are passed over. Raises TraceError."""
    return traces_in(read_links(path, columns), path)


def read_pings(path: str | os.PathLike[str], columns: str = "") -> Pings:
    """One run of pings from each log of `read_links`: what a file is here, a session is to a person. Throughput traces
    are passed over. Raises TraceError."""
    return pings_in(read_links(path, columns), path)


@raised_as(TraceError)
def traces_in(links: Links, path: str | os.PathLike[str]) -> Traces:
    """The traces of what was read from `path`. Raises TraceError if there are none."""
    return fail(Path(path), NO_TRACE) if links.traces is None else links.traces


@raised_as(TraceError)
def pings_in(links: Links, path: str | os.PathLike[str]) -> Pings:
    """The round trips of what was read from `path`. Raises TraceError if there are none."""
    return fail(Path(path), NO_PINGS) if links.pings is None else links.pings


def _alike(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, list[str]]]:
    """Each first with the seconds it comes with, in their order."""
    seconds: dict[str, list[str]] = {}
    for first, second in pairs:
        seconds.setdefault(first, []).append(second)
    return seconds.items()


def _named(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


def _files(root: Path, passed: list[PassedOver]) -> Iterator[Content]:
    """What is in the file, or in those directly in the directory, by name."""
    if not stat.S_ISDIR(mode_of(root)):
        yield from contents(root, LIMITS)
        return
    paths = _listed(root)
    if sum(path.stat().st_size for path in paths if _is_table(path) and path.is_file()) > LIMITS.bytes:
        fail(root, f"holds more than {LIMITS.bytes // 10**6} MB; {LIMITS.remedy}")
    for path in paths:
        if path.name.startswith("."):
            passed.append(PassedOver(path, "is hidden"))
        elif path.is_dir() and not _is_table(path):
            passed.append(PassedOver(path, "is a folder; give it by itself"))
        else:
            try:
                yield from contents(path, LIMITS)
            except UserError as error:
                _pass_over(path, error, passed)


@raised_as(TraceError)
def link_files(root: Path) -> list[Path]:
    """The files that `read_links` looks into, by name. Raises TraceError if there are none."""
    if stat.S_ISREG(mode_of(root)):
        return [root]
    files = [path for path in _listed(root) if path.is_file() and not path.name.startswith(".")]
    if not files:
        fail(root, NO_TRACE)
    return files


def _listed(root: Path) -> list[Path]:
    try:
        return sorted(root / name for name in os.listdir(root))
    except OSError as error:
        fail(root, cannot_open(error))


def _is_table(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(TABLES) and not name.startswith(".")


def _pass_over(path: Path, error: UserError, passed: list[PassedOver]) -> None:
    """Takes a file that is not named like a table for one that is not about links; refuses one that is."""
    if _is_table(path):
        raise error
    passed.append(PassedOver(path, str(error).removeprefix(short(path, 200)).lstrip(":0123456789 ")))


def _checked(root: Path, file: Content, columns: str, passed: list[PassedOver]) -> tuple[Table, Found] | None:
    """What a file gives; None if it is passed over."""
    table = None
    try:
        table = read_table(file, columns)
        if table is None:
            fail(file.path, "names no column of links in line 1; name a time and a rate, such as t_s,mbps", 1)
    except UserError as error:
        if file.path == root:
            raise
        _pass_over(file.path, error, passed)
    return None if table is None else (table, checked(table))


def _pings(runs: list[Run]) -> Pings:
    return Pings(
        first=np.cumsum([0] + [len(run.t_us) for run in runs]),
        t_us=np.concatenate([run.t_us for run in runs]),
        rtt_us=np.concatenate([run.rtt_us for run in runs]),
        sent=np.array([run.sent for run in runs]),
    )

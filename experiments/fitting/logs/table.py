"""A user's files as one table: delimited text or Parquet, one file or several with the same columns.

Which columns to take is said by whoever calls; what they mean is not known here. Called by `user_log.py` and
`video_table.py`; reading a file runs no code.
"""

import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nextone.sim.inputs.delimited import Delimited, delimited, read_words
from nextone.sim.inputs.errors import UserError, raised_as, short
from nextone.sim.inputs.errors import fail as refuse
from nextone.sim.inputs.files import Content, Limits, contents, mode_of
from nextone.sim.inputs.numerals import plain_numbers

from .columns import EVENTS, IDS, Column

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

LIMITS = Limits(2_000_000_000, 20_000_000, "give some of the users, with all their rows")
EXAMPLE = "user,video,time_ms,duration_ms,play_ms"
ENDINGS = (".csv", ".tsv", ".txt", ".inter", ".parquet", ".gz", ".zip", ".dat", ".log")
MISSING = ["", "NA", "N/A", "n/a", "<NA>", "NULL", "null", "None"]  # words for an absent value; NaN is a number


class UserLogError(UserError):
    """Bad log, in one line that names the file, the column and the row where there are such, and the remedy."""


class Rows(NamedTuple):
    """Where rows come from: each from one of the files."""

    paths: tuple[Path, ...]
    part: NDArray[np.int16]  # (n,) index into paths
    line: IntArray  # (n,) the line of a text file, the position from 1 in Parquet

    def select(self, which: BoolArray) -> "Rows":
        """The rows of `which` (n,)."""
        return Rows(self.paths, self.part[which], self.line[which])


class Header(NamedTuple):
    """What a file's columns are called."""

    path: Path
    names: list[str]  # as written; positions from 1 where there is no header
    headed: bool


class LogFile(NamedTuple):
    """The columns that were chosen, by what they are; columns from text are all strings."""

    path: Path  # what messages call the whole: the file, the first of several, or the folder
    header: Header
    columns: dict[str, Column]
    table: pa.Table
    rows: Rows
    ragged: Rows  # lines of text files that had another number of fields, and are left out
    passed_over: tuple[str, ...] = ()  # files of a folder that are not read, and why


Choose = Callable[[Header], dict[str, Column] | str]
"""The columns to read, by what they are; or why this is not the table that was asked for, one phrase."""


def read_files(given: Sequence[Path], choose: Choose, is_known: Callable[[str], bool]) -> LogFile:
    """The chosen columns of a file, of several files, or of a folder. Files of a folder or an archive that are no such
    table are passed over. Raises UserLogError."""
    parts: list[LogFile] = []
    passed: list[str] = []
    for path in given:
        files, others = _listed(path)
        passed += others
        for file in files:
            with raised_as(UserLogError):
                opened = [(content.path, _read(content, choose, is_known)) for content in contents(file, LIMITS)]
            whole = [part for _, part in opened if isinstance(part, LogFile)]
            why = [(where, part) for where, part in opened if isinstance(part, str)]
            if why and not whole and len(files) == 1:
                fail(why[0][0], why[0][1], 1)
            parts += whole
            passed += [f"{where.name} ({short(reason, 100)})" for where, reason in why]
    if not parts:
        fail(given[0], f"holds no such table: {short('; '.join(passed), 300)}")
    return _together(given, parts, passed)


def _listed(path: Path) -> tuple[list[Path], list[str]]:
    """(files, what of a folder is passed over and why). Folders in it are gone through where they are partitions,
    such as `date=2023-11-14`."""
    with raised_as(UserLogError):
        is_folder = stat.S_ISDIR(mode_of(path))
    if not is_folder:
        return [path], []
    files: list[Path] = []
    passed: list[str] = []
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        fail(path, f"cannot be opened ({error.strerror}); name a readable folder")
    for entry in entries:
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir() and "=" in entry.name:
            more, others = _listed(entry)
            files += more
            passed += others
        elif entry.is_dir() or not (entry.suffix.lower() in ENDINGS or re.fullmatch(r"part-\w+", entry.name)):
            passed.append(f"{entry.name} ({'a folder' if entry.is_dir() else 'by its ending no table'})")
        else:
            files.append(entry)
    if not files and "=" not in path.name:
        fail(path, f"is a folder without a log in it; put files there that end in {', '.join(ENDINGS)}")
    return files, passed


def _together(given: Sequence[Path], parts: list[LogFile], passed: list[str]) -> LogFile:
    """The rows of all parts. Raises UserLogError unless they have the same columns."""
    first = parts[0]
    for other in parts[1:]:
        if len(parts) * len(other.table) and set(other.columns) != set(first.columns):
            differ = sorted(set(other.columns) ^ set(first.columns))
            names = [(other.columns.get(x) or first.columns[x]).name for x in differ]
            fail(other.path, f"has other columns than {first.path.name}: {', '.join(names)} in one only; "
                             "give files with the same header")  # fmt: skip
        for thing, column in other.columns.items():
            if (column.name, column.unit) != (first.columns[thing].name, first.columns[thing].unit):
                fail(other.path, f"calls {column.name} what {first.path.name} calls {first.columns[thing].name}; "
                                 "give files with the same header")  # fmt: skip
    try:
        table = pa.concat_tables([p.table.select(list(first.columns)) for p in parts], promote_options="permissive")
    except pa.ArrowException as error:
        fail(first.path, f"has columns of other types than the other files ({short(error)}); store all parts alike")
    if len(table) > LIMITS.rows:
        fail(given[0], f"has more than {LIMITS.rows:,} rows; {LIMITS.remedy}")
    paths = tuple(p.path for p in parts)
    ragged, rows = (
        Rows(
            paths, np.repeat(np.arange(len(parts), dtype=np.int16), [len(of.line) for of in each]),
            np.concatenate([of.line for of in each]),
        )
        for each in ([p.ragged for p in parts], [p.rows for p in parts])
    )  # fmt: skip
    whole = given[0] if len(given) == 1 else first.path
    return LogFile(whole, first.header, first.columns, table, rows, ragged, tuple(passed))


def _read(content: Content, choose: Choose, is_known: Callable[[str], bool]) -> LogFile | str:
    if content.data.startswith(b"PAR1"):
        return _read_parquet(content, choose)
    return _read_text(delimited(content, LIMITS, is_known, EXAMPLE), choose)


def fail(path: Path, problem: str, row: int | None = None) -> NoReturn:
    """Refuse a log. Raises UserLogError."""
    with raised_as(UserLogError):
        refuse(path, problem, row)
    raise AssertionError


def _read_parquet(content: Content, choose: Choose) -> LogFile | str:
    path = content.path
    try:
        with pq.ParquetFile(pa.BufferReader(content.data), page_checksum_verification=True) as file:
            if file.metadata.num_rows > LIMITS.rows:
                fail(path, f"has more than {LIMITS.rows:,} rows; {LIMITS.remedy}")
            header = Header(path, file.schema_arrow.names, True)
            columns = choose(header)
            if isinstance(columns, str):
                return columns
            names = {thing: header.names[column.place] for thing, column in columns.items()}
            table = file.read(list(names.values()), use_threads=False)
    except UserLogError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        fail(path, f"is not a readable Parquet file ({short(error)}); write it again")
    arrays = [_as_words(path, name, table[name]) for name in names.values()]
    rows = Rows((path,), np.zeros(len(table), np.int16), np.arange(1, len(table) + 1))
    return LogFile(path, header, columns, pa.table(arrays, list(names)), rows, rows.select(rows.line < 0))


def _as_words(path: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without a dictionary, and with text where it is stored as bytes."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        try:
            return column.cast(pa.string())
        except pa.ArrowInvalid:
            fail(path, f"column {name} holds bytes that are no UTF-8 text; store numbers or text")
    return column


def _read_text(text: Delimited, choose: Choose) -> LogFile | str:
    header = Header(text.path, text.names, text.headed)
    columns = choose(header)
    if isinstance(columns, str):
        return columns
    places = list(dict.fromkeys(column.place for column in columns.values()))
    words = read_words(text, places, MISSING)
    named = {thing: words.columns[places.index(column.place)] for thing, column in columns.items()}
    numeric = {columns[thing].name: named[thing] for thing in named if thing not in (*IDS, *EVENTS)}
    told = plain_numbers(text.path, numeric)
    table = {thing: told.get(columns[thing].name, column) if thing not in IDS else column
             for thing, column in named.items()}  # fmt: skip
    rows, ragged = (
        Rows((text.path,), np.zeros(len(line), np.int16), line) for line in (words.line, words.ragged)
    )
    return LogFile(text.path, header, columns, pa.table(table), rows, ragged)

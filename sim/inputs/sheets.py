"""A user's files as columns of numbers: .csv, .tsv and .parquet, opened, decoded and parsed, or refused in one line.

What the numbers mean, and their checks, are sim/inputs/trace_files.py's, which calls this.
"""

import csv
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from .traces import FloatArray, TraceError

MAX_FILE_BYTES = 200_000_000
MAX_ROWS = 5_000_000
NO_TRACE = "holds no trace; put .csv, .tsv or .parquet files directly into it"

Choose = Callable[[Path, list[str]], list[str]]
"""choose(file, names of its columns) -> the names to read; none: the file is passed over."""


class Sheet(NamedTuple):
    """The chosen columns of one file, before any check of their values."""

    file: Path
    first_row: int  # what the first row of data is called in messages
    columns: dict[str, FloatArray]  # by name, in the order in which they were chosen

    def refuse(self, bad: NDArray[np.bool_], name: str, rule: str) -> None:
        """Names the first bad row."""
        if bad.any():
            row = int(np.argmax(bad))
            fail(self.file, f"{name}={self.columns[name][row]:.12g} {rule}", self.first_row + row)


def read_sheets(path: str | os.PathLike[str], choose: Choose) -> Iterator[Sheet]:
    """The file, or those directly in the directory by name, that hold something chosen."""
    root, rows = Path(path), 0
    files = sheet_files(root)
    if sum(file.stat().st_size for file in files) > MAX_FILE_BYTES:
        fail(root, f"holds more than {MAX_FILE_BYTES // 10**6} MB; cut or resample it")
    for file in files:
        sheet = _read_parquet(file, choose) if file.suffix.lower() == ".parquet" else _read_text(file, choose)
        if sheet.columns:
            rows += len(next(iter(sheet.columns.values())))
            if rows > MAX_ROWS:
                fail(root, f"holds more than {MAX_ROWS:,} rows; cut or resample it")
            yield sheet


def sheet_files(root: Path) -> list[Path]:
    """The files to read, in order of their names. Raises TraceError if there are none, or if one is no plain file."""
    if not stat.S_ISDIR(_mode(root)):
        files = [root]
    else:
        files = sorted(root / name for name in _listed(root) if _is_named_as_sheet(root / name))
    if not files:
        fail(root, NO_TRACE)
    for file in files:
        if not stat.S_ISREG(_mode(file)):  # opening a pipe or a device could wait for ever
            fail(file, "is not a regular file; copy the trace into one, or take it out of the directory")
        if not _is_named_as_sheet(file):
            fail(file, "must end in .csv, .tsv or .parquet; rename it after what it is")
    return files


def _mode(path: Path) -> int:
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError) as error:
        _fail_to_open(path, error)


def _listed(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except OSError as error:
        _fail_to_open(path, error)


def _is_named_as_sheet(path: Path) -> bool:
    return path.suffix.lower() in (".csv", ".tsv", ".parquet") and not path.name.startswith(".")


def _read_text(file: Path, choose: Choose) -> Sheet:
    text = _bytes_of(file)
    if b"\0" in text or text.startswith(b"PAR1"):
        fail(file, "is binary, not text; export it as UTF-8 CSV, or name Parquet files .parquet")
    if max(text.count(b"\n"), text.count(b"\r")) > MAX_ROWS:
        fail(file, f"has more than {MAX_ROWS:,} rows; cut or resample it")
    try:
        header = text[:10_000].splitlines()[0].decode()
        text.decode()
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        fail(file, "is not UTF-8 text here; save the file with one encoding, UTF-8", line)
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    wanted = choose(file, names)
    table = _parse(file, text, names, delimiter, wanted) if wanted else {}
    return Sheet(file, 2, {name: _floats(file, name, table[name]) for name in wanted})


def _bytes_of(file: Path) -> bytes:
    """The file without byte order mark and trailing blank lines, not empty."""
    try:
        text = file.read_bytes().removeprefix(b"\xef\xbb\xbf").rstrip()
    except OSError as error:
        _fail_to_open(file, error)
    if not text:
        fail(file, "is empty; write a header such as t_s,mbps and at least two rows")
    return text


def _parse(file: Path, text: bytes, names: list[str], delimiter: str, wanted: list[str]) -> Any:
    """The wanted columns as strings, row for row."""
    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    unique = [name if name in wanted else f"{name}#{k}" for k, name in enumerate(names)]  # repeated others don't matter
    try:
        return pa.csv.read_csv(
            io.BytesIO(text + b"\n"),
            read_options=pa.csv.ReadOptions(use_threads=False, column_names=unique, skip_rows=1, block_size=1 << 24),
            parse_options=pa.csv.ParseOptions(
                delimiter=delimiter, ignore_empty_lines=False, invalid_row_handler=refuse
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted, strings_can_be_null=False
            ),
        )
    except pa.ArrowException as error:
        if ragged:
            has, expected, line = ragged[0].actual_columns, ragged[0].expected_columns, ragged[0].number
            fail(file, f"has {has} fields, must have the header's {expected}; repair the row", line)
        fail(file, f"is not a table ({short(error)}); write a header such as t_s,mbps and one line a row")


def _floats(file: Path, name: str, words: pa.ChunkedArray) -> FloatArray:
    """Strings as numbers; refuses the first that is none."""
    parts = [np.empty(0)]
    for chunk in words.chunks:
        trimmed = pa.compute.utf8_trim_whitespace(chunk)
        numbers = _parse_floats(trimmed)
        if numbers is None:
            k = _first_bad(trimmed)
            line = 2 + sum(map(len, parts)) + k
            fail(file, f"{name}={short(chunk[k].as_py(), 40)!r} is not a number; write it like 12.5", line)
        parts.append(numbers)
    return np.concatenate(parts)


def _parse_floats(words: pa.Array) -> FloatArray | None:
    try:
        return np.asarray(pa.compute.cast(words, pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        return None


def _first_bad(words: pa.Array) -> int:
    """Where the first word stands that is not a number, given that there is one; by halving."""
    low, high = 0, len(words)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _parse_floats(words[low:middle]) is None else (middle, high)
    return low


def _read_parquet(file: Path, choose: Choose) -> Sheet:
    if file.stat().st_size == 0:
        fail(file, "is empty; write it again")
    try:
        with pa.parquet.ParquetFile(file, page_checksum_verification=True) as parquet:
            if parquet.metadata.num_rows > MAX_ROWS:
                fail(file, f"has more than {MAX_ROWS:,} rows; cut or resample it")
            schema = parquet.schema_arrow
            wanted = choose(file, list(schema.names))
            for name in wanted:
                kind = schema.field(name).type
                if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
                    fail(file, f"column {name} is {short(kind)}; store plain numbers")
            table = parquet.read(wanted)
    except TraceError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        fail(file, f"is not a readable Parquet file ({short(error)}); write it again")
    # an absent value reads as NaN, which is refused later
    return Sheet(file, 1, {name: np.asarray(table[name].to_numpy(), dtype=np.float64) for name in wanted})


def _fail_to_open(path: Path, error: Exception) -> NoReturn:
    fail(path, f"cannot be opened ({getattr(error, 'strerror', None) or short(error)}); name a readable file")


def fail(path: Path, problem: str, row: int | None = None) -> NoReturn:
    where = short(path, 200) + (f":{row}" if row is not None else "")
    raise TraceError(f"{where}: {problem}") from None


def short(value: object, most: int = 80) -> str:
    """One printable line of at most so many characters."""
    line = "".join(c if c.isprintable() else " " for c in str(value))
    return line if len(line) <= most else line[: most - 3] + "..."

"""A table from a user's own file: delimited text or Parquet, told apart by content, gzipped or not.

Its columns are taken out as numbers or as ids; what they mean is not known here. Called by `user_log.py`;
reading a file runs no code.
"""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nextone.sim.inputs.delimited import delimited, read_words
from nextone.sim.inputs.errors import UserError, fail, short
from nextone.sim.inputs.files import Content, Limits, content

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LIMITS = Limits(2_000_000_000, 20_000_000, "give some of the users, with all their rows")
EXAMPLE = "user,video,time_ms,duration_ms,play_ms"
_MISSING = ["", "NA", "N/A", "n/a", "<NA>", "NULL", "null", "None"]  # words for an absent value; NaN is a number


class UserLogError(UserError):
    """Bad log, in one line that names the file, the column and the row where there are such, and the remedy."""


class LogFile(NamedTuple):
    """The columns of one file that the caller knows, by lower-case name; from text they are all strings."""

    path: Path
    names: list[str]  # of all columns
    table: pa.Table
    row: IntArray  # what messages call each row: its line in a text file, its position from 1 in Parquet
    ragged: IntArray  # lines of a text file that had another number of fields, and are left out


def read_file(path: Path, known: Collection[str]) -> LogFile:
    """The known columns of a file. Raises UserError."""
    file = content(path, LIMITS)
    return _read_parquet(file, known) if file.data.startswith(b"PAR1") else _read_text(file, known)


def numbers(file: LogFile, name: str) -> FloatArray:
    """A column as numbers, a bit as 0 or 1, a Parquet timestamp as unix ms; NaN where there is none."""
    column = _column(file, name)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64())
    elif _is_text(column.type):
        try:
            column = column.cast(pa.float64())
        except pa.ArrowInvalid:
            return _coerced(column)
    elif not (_is_number(column.type) or pa.types.is_boolean(column.type)):
        fail(file.path, f"column {name} is of type {short(column.type)}; store plain numbers")
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def iso_times(file: LogFile, name: str) -> FloatArray:
    """A column of ISO 8601 text, UTC where no offset is given, or of Parquet timestamps, as unix ms; NaN where there
    is none. Refuses plain numbers, whose unit nothing tells."""
    column = _column(file, name)
    if pa.types.is_timestamp(column.type):
        return numbers(file, name)
    if not _is_text(column.type) or _is_float(column.drop_null()[0:1]):
        fail(file.path, f"column {name} holds plain numbers in no stated unit; name it time_ms or time_s")
    import pandas as pd  # late: only for what it alone reads

    times = pd.to_datetime(pd.Series(column.to_pylist(), dtype=object), format="ISO8601", utc=True, errors="coerce")
    ms = times.dt.tz_localize(None).to_numpy("datetime64[ms]")
    return np.where(np.isnat(ms), np.nan, ms.astype(np.int64).astype(np.float64))


def ids(file: LogFile, name: str, *, lists: bool = False) -> pa.DictionaryArray:
    """A column of whole numbers or text as text, dictionary-encoded; null where there is none. lists: of words with
    commas between them the first counts."""
    column = _column(file, name)
    try:
        if pa.types.is_floating(column.type):  # whole numbers beside absent ones, as pandas stores them
            column = column.cast(pa.int64())
        elif not (pa.types.is_integer(column.type) or _is_text(column.type)):
            raise pa.ArrowInvalid(f"type {short(column.type)}")
    except pa.ArrowInvalid as error:
        fail(file.path, f"column {name} is no id ({short(error)}); store whole numbers or text")
    coded = column.cast(pa.string()).dictionary_encode()
    words = pc.replace_substring_regex(coded.dictionary, ",.*", "") if lists else coded.dictionary
    words = pc.utf8_trim_whitespace(words)
    return pc.if_else(pc.equal(words, ""), None, words).take(coded.indices).dictionary_encode()


def codes(of: pa.DictionaryArray) -> tuple[IntArray, tuple[str, ...]]:
    """0, 1, ... for each id that is there, shorter ones first, then by text (whole numbers: by size); -1 for null.
    Also what the codes stand for."""
    words = of.dictionary.to_pylist()
    index = of.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    there = np.flatnonzero(np.bincount(index[index >= 0], minlength=len(words)))
    used = sorted(there.tolist(), key=lambda k: (len(words[k]), words[k]))
    code = np.full(len(words) + 1, -1)
    code[used] = np.arange(len(used))
    return code[index], tuple(words[k] for k in used)


def _column(file: LogFile, name: str) -> pa.Array:
    column = file.table[name].combine_chunks()
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_float(words: pa.Array) -> bool:
    try:
        words.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return len(words) > 0


def _coerced(words: pa.Array) -> FloatArray:
    """Text some of which is no number."""
    import pandas as pd  # late: only for what it alone reads

    series = pd.Series(words.to_pylist(), dtype=object).str.strip().str.lower().replace({"true": "1", "false": "0"})
    return np.asarray(pd.to_numeric(series, errors="coerce"), dtype=np.float64)


def _read_parquet(file: Content, known: Collection[str]) -> LogFile:
    try:
        with pq.ParquetFile(pa.BufferReader(file.data), page_checksum_verification=True) as parquet:
            if parquet.metadata.num_rows > LIMITS.rows:
                fail(file.path, f"has more than {LIMITS.rows:,} rows; {LIMITS.remedy}")
            held = parquet.schema_arrow.names
            names = [name.strip().lower() for name in held]
            wanted = _wanted(file.path, names, known)
            table = parquet.read([held[k] for k in wanted], use_threads=False)
    except UserError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        fail(file.path, f"is not a readable Parquet file ({short(error)}); write it again")
    table = table.select([held[k] for k in wanted]).rename_columns([names[k] for k in wanted])
    return LogFile(file.path, names, table, np.arange(1, table.num_rows + 1), np.zeros(0, np.int64))


def _read_text(file: Content, known: Collection[str]) -> LogFile:
    text = delimited(file, LIMITS, lambda name: name.lower() in known, EXAMPLE)
    names = [name.lower() for name in text.names]
    wanted = _wanted(file.path, names, known)
    if not wanted:
        return LogFile(file.path, names, pa.table({}), np.zeros(0, np.int64), np.zeros(0, np.int64))
    words = read_words(text, wanted, _MISSING)
    return LogFile(file.path, names, pa.table(words.columns, [names[k] for k in wanted]), words.line, words.ragged)


def _wanted(path: Path, names: list[str], known: Collection[str]) -> list[int]:
    """Which columns to read; none may be there twice."""
    wanted = [k for k, name in enumerate(names) if name in known]
    for k in wanted:
        if names.count(names[k]) > 1:
            fail(path, f"has {names.count(names[k])} columns named {names[k]}; leave one", 1)
    return wanted

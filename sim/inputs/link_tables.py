"""A file of links as columns of numbers: delimited text, Parquet, or a format of `link_formats.py`.

`link_columns.py` decides from their names what the columns mean, and `link_checks.py` whether their values can be that.
"""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .delimited import Delimited, delimited, read_words
from .errors import UserError, fail, short
from .files import Content, Limits
from .link_checks import TWO_RUNS, Table
from .link_columns import OURS, Field, field_of, fields, needs
from .link_formats import packets, table_of, two_columns
from .numerals import hide_digits, plain_numbers
from .traces import FloatArray, IntArray

LIMITS = Limits(200_000_000, 5_000_000, "cut or resample it")
A_DATE = "2023-11-14 10:00:00"
DATE = r"^\d{4}[-.]\d\d[-.]\d\d([T _]|$)"
NETTRACK_TIME = re.compile(r"^(\d{4})\.(\d\d)\.(\d\d)_(\d\d)\.(\d\d)\.(\d\d)")


def read_table(file: Content, columns: str) -> Table | None:
    """The columns of a file that are about links; None if none is. columns: the text of `--columns`, for files whose
    header does not say it. Raises UserError."""
    if file.data.startswith(b"PAR1") or file.path.suffix.lower() == ".parquet":
        return _parquet(file, columns)
    found = table_of(file)
    return found if found is not None else _text(file, columns)


def _text(file: Content, columns: str) -> Table | None:
    text = delimited(file, LIMITS, lambda name: field_of(name, 0) is not None, "t_s,mbps")
    if not text.headed and not columns:
        return _without_header(file, text)
    chosen = fields(file.path, text.names, text.headed, columns)
    if not chosen:
        return None
    words = read_words(text, [each.place for each in chosen])
    if len(words.ragged):
        commas = "; are these decimal commas? then separate the columns by ;" if text.delimiter == "," else ""
        problem = f"has {words.fields} fields, must have the header's {len(text.names)}{commas or '; repair the row'}"
        fail(file.path, problem, int(words.ragged[0]))
    return _numbers(file, chosen, words.columns, words.line)


def _numbers(file: Content, chosen: list[Field], columns: list[pa.ChunkedArray], row: IntArray) -> Table:
    name = f"delimited text ({', '.join(each.name for each in chosen)})"
    notes = _conversions(chosen)
    if any(
        each.name.lower() == "dl_bitrate" for each in chosen[1:2]
    ):  # G-NetTrack writes - where the phone told nothing
        there = np.asarray(pc.not_equal(columns[1], "-").to_numpy())
        if not there.all():
            notes.append(f"{np.count_nonzero(~there):,} rows with - left out")
            columns, row = [column.filter(pa.array(there)) for column in columns], row[there]
    dates = len(columns[0]) and pc.match_substring_regex(columns[0][:1], DATE)[0].as_py()
    numbers = list(range(1 if dates else 0, len(columns)))
    plain = list(plain_numbers(file.path, {chosen[k].name: columns[k] for k in numbers}).values())
    for k in numbers:
        hidden = hide_digits(columns[k]) if chosen[k].role in ("time", "seq") else np.zeros(0)
        if np.count_nonzero(hidden) > len(hidden) / 2:
            at = int(np.argmax(hidden))
            rounded = "was rounded by a spreadsheet; export its digits in full"
            fail(file.path, f"{chosen[k].name}={columns[k][at].as_py()} {rounded}", int(row[at]))
    values = [_floats(file, chosen[k], words, row) for k, words in zip(numbers, plain, strict=True)]
    if not dates:
        if chosen[0].unit == "" and len(row):
            seen = f"{chosen[0].name}={short(columns[0][0].as_py(), 40)} has no unit"
            remedy = f"name the column t_s or t_ms, or say --columns t_s={chosen[0].name}; write dates as {A_DATE}"
            fail(file.path, f"{seen}; {remedy}", int(row[0]))
        return Table(file.path, name, chosen, values, row, notes=tuple(notes))
    time = chosen[0]._replace(factor=1.0, unit="", decided=True)
    values = [_dates(file, time, columns[0], row), *values]
    table = Table(
        file.path, name, [time, *chosen[1:]], values, row, words=columns[0], notes=(*notes, "times are dates")
    )
    return _one_a_second(table)


def _conversions(chosen: list[Field]) -> list[str]:
    """How the columns were understood, where that needs a word."""
    said = []
    for each in chosen:
        if each.role == "rate" and ("B" in each.unit or "byte" in each.unit.lower()):
            said.append(f"{each.name} in {each.unit}, bytes a second: times 8")
        elif each.name.lower() not in OURS and each.unit:
            said.append(f"{each.name} in {each.unit}")
    return said


def _floats(file: Content, field: Field, words: pa.ChunkedArray, row: IntArray) -> FloatArray:
    """Words as numbers; refuses the first that is none."""
    parts = [np.empty(0)]
    for chunk in words.chunks:
        numbers = _parsed(chunk)
        if numbers is None:
            k = _first_bad(chunk)
            word = str(chunk[k].as_py())
            line = int(row[sum(map(len, parts)) + k])
            if word.strip().lower() == field.name.strip().lower():
                fail(file.path, f"the header stands here again: {TWO_RUNS}", line)
            like = f"write it like 12.5, or a date like {A_DATE}" if field.role == "time" else "write it like 12.5"
            remedy = "leave a lost ping out, its seq tells" if field.role == "rtt" else like
            fail(file.path, f"{field.name}={short(word, 40)!r} is not a number; {remedy}", line)
        parts.append(numbers)
    return np.concatenate(parts)


def _parsed(words: pa.Array) -> FloatArray | None:
    try:
        return np.asarray(pc.cast(words, pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        return None


def _first_bad(words: pa.Array) -> int:
    """Where the first word stands that is not a number, given that there is one; by halving."""
    low, high = 0, len(words)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _parsed(words[low:middle]) is None else (middle, high)
    return low


def _dates(file: Content, field: Field, words: pa.ChunkedArray, row: IntArray) -> FloatArray:
    """Dates as microseconds since 1970; refuses the first word that is none."""
    import pandas as pd  # late: only for what it alone reads

    text = [NETTRACK_TIME.sub(r"\1-\2-\3 \4:\5:\6", str(word)) for word in words.to_pylist()]
    times = pd.to_datetime(pd.Series(text, dtype=object), format="ISO8601", utc=True, errors="coerce")
    us = times.dt.tz_localize(None).to_numpy("datetime64[us]")
    if np.isnat(us).any():
        k = int(np.argmax(np.isnat(us)))
        remedy = f"write it like {A_DATE}"
        fail(file.path, f"{field.name}={short(words[k].as_py(), 40)!r} is no date; {remedy}", int(row[k]))
    return np.asarray(us.astype(np.int64).astype(np.float64))


def _one_a_second(table: Table) -> Table:
    """Dates of whole seconds, several rows to one of them: the mean rate, or the sum of the bytes, of each second."""
    time, k = table.values[0], table.at("rate", "bytes")
    same = np.append(False, np.diff(time) == 0)
    if not same.any() or k is None or table.at("rtt") is not None or (time % 1e6).any():
        return table
    first = np.flatnonzero(~same)
    amount = np.add.reduceat(table.values[k], first)
    if table.fields[k].role == "rate":
        amount = amount / np.diff(np.append(first, len(time)))
    assert table.words is not None
    note = f"{np.count_nonzero(same):,} rows of the second before taken together with it"
    return table._replace(values=[time[first], amount], row=table.row[first], words=table.words.take(pa.array(first)),
                          notes=(*table.notes, note))  # fmt: skip


def _without_header(file: Content, text: Delimited) -> Table | None:
    """Packet times, or a time and a rate whose values tell their units."""
    if len(text.names) > 2:
        seen = f"has no header and {len(text.names)} columns"
        fail(file.path, f"{seen}; name them in a header, or say --columns t_s=1,mbps=2", 1)
    words = read_words(text, range(len(text.names)))
    if len(words.ragged):
        fail(
            file.path, f"has {words.fields} fields, line 1 has {len(text.names)}; repair the row", int(words.ragged[0])
        )
    plain = plain_numbers(file.path, {f"column {k}": column for k, column in enumerate(words.columns, 1)})
    columns = [
        _floats(file, Field("", f"column {k}", k - 1, 1.0, ""), each, words.line)
        for k, each in enumerate(plain.values(), 1)
    ]
    if len(columns) == 1:
        table = packets(file, columns[0])
        if table is None:
            seen = "is one column of numbers, not the rising milliseconds of Mahimahi"
            fail(file.path, f"{seen}; give a time and a rate, t_s,mbps")
        return table
    found = two_columns(*columns)
    if found is None:
        seen = "has no header, and its two columns could be several things"
        fail(file.path, f"{seen}; write one, or say --columns t_s=1,mbps=2 or t_ms=1,kbps=2", 1)
    time, rate, note = found
    return Table(file.path, "two columns without header", [time, rate], columns, words.line, notes=(note,))


def _parquet(file: Content, columns: str) -> Table | None:
    if not file.data:
        fail(file.path, "is empty; write it again")
    try:
        with pq.ParquetFile(pa.BufferReader(file.data), page_checksum_verification=True) as parquet:
            if parquet.metadata.num_rows > LIMITS.rows:
                fail(file.path, f"has more than {LIMITS.rows:,} rows; {LIMITS.remedy}")
            schema = parquet.schema_arrow
            chosen = fields(file.path, list(schema.names), True, columns)
            if not chosen:
                return None
            for each in chosen:
                kind = schema.field(each.place).type
                if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind)):
                    fail(file.path, f"column {each.name} is {short(kind)}; store plain numbers")
                if each.unit == "" and each.role == "time" and not pa.types.is_timestamp(kind):
                    fail(file.path, needs("time", [], schema.names, []), 1)
            table = parquet.read([schema.names[each.place] for each in chosen], use_threads=False)
    except UserError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        fail(file.path, f"is not a readable Parquet file ({short(error)}); write it again")
    # an absent value reads as NaN, which is refused later
    row = np.arange(1, table.num_rows + 1)
    held = [table[each.name] for each in chosen]
    if pa.types.is_timestamp(held[0].type):
        held[0] = held[0].cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        chosen[0] = chosen[0]._replace(factor=1.0, unit="us", decided=True)
    values = [np.asarray(column.to_numpy(), dtype=np.float64) for column in held]
    name = f"Parquet ({', '.join(each.name for each in chosen)})"
    return Table(file.path, name, chosen, values, row, notes=tuple(_conversions(chosen)))

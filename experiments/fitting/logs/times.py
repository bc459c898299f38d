"""When each row happened: numbers in a stated unit, ISO 8601 text, or Parquet timestamps, as milliseconds.

A date taken for a number is refused by name. Called by `user_log.py`.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nextone.sim.inputs.errors import short
from nextone.sim.inputs.numerals import hide_digits

from .checks import TEN_YEARS_MS, YEAR_2000_MS, YEAR_2100_MS
from .columns import MS, UNIX, Format
from .numbers import as_floats, coerced, is_text, parsed, share_of_numbers
from .table import BoolArray, FloatArray, LogFile, fail

UTC_OFFSETS_H = (-12, 14)  # of all inhabited places
KUAIRAND_UTC_OFFSET_H = 8.0  # Source: KuaiRand, KuaiRec and KuaiSAR, of an app whose users live in China
EXCEL_DAYS = (36_526.0, 73_050.0)  # 2000 to 2100, as spreadsheets count days
HOUR_MS = 3_600_000.0
ISO = "write ISO 8601 such as 2023-11-14T22:13:20+08:00 under `time`, or unix time as time_ms or time_s"
OFFSET = r"\d{2}:\d{2}.*(?P<offset>[+-]\d{2}(?::?\d{2})?)\s*$"


class Offset(NamedTuple):
    """By how many hours the users' clocks are ahead of UTC, and how this is known."""

    hours: float
    why: str


def times_ms(file: LogFile, format: Format) -> FloatArray:
    """(n,) milliseconds, unix time or from any origin; NaN if absent. Raises UserLogError for values that are no
    times."""
    column, (_, name, unit, *_) = file.table["time_ms"].combine_chunks(), file.columns["time_ms"]
    if pa.types.is_timestamp(column.type):
        return as_floats(column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64()))
    if pa.types.is_date(column.type):
        fail(file.path, f"{name} holds dates without a time of day; {ISO}")
    if is_text(column):
        hidden = hide_digits(file.table["time_ms"])
        if hidden.sum() > max(1.0, 0.01 * len(hidden)):
            example = short(column[int(np.argmax(hidden))].as_py(), 30)
            fail(file.path, f"{name} is rounded in {hidden.sum():,} of {len(hidden):,} rows, such as {example}: a "
                            "spreadsheet kept some of its digits; export it again with all of them")  # fmt: skip
        plain = parsed(column)
        if plain is None and share_of_numbers(column) < 0.5:
            local_h = KUAIRAND_UTC_OFFSET_H if format in ("kuairec", "kuaisar") else 0.0
            return _iso_ms(file, column, name) - np.where(_has_offset(column), 0.0, local_h * HOUR_MS)
        values = coerced(column) if plain is None else plain
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        if pa.types.is_floating(column.type) and column.type.bit_width < 64:
            fail(file.path, f"column {name} is {column.type}, too coarse for a time; store 64 bits")
        values = as_floats(column)
    else:
        fail(file.path, f"column {name} is of type {short(column.type)}; store plain numbers, or timestamps")
    _refuse_dates(file, name, values, unit)
    if unit == UNIX:
        unit = _unix_unit(file, name, values)
    if not unit:
        fits = unit_that_fits(values)
        remedy = f"they fit unix {fits}: name it time_{fits}" if fits in ("s", "ms") else "name it time_ms or time_s"
        fail(file.path, f"column {name} holds plain numbers in no stated unit; {remedy}")
    return values * MS[unit]


def unit_that_fits(values: FloatArray) -> str:
    """The unit in which most of these numbers are unix times between 2000 and 2100, or ""."""
    finite = values[np.isfinite(values)]
    for unit, ms in MS.items():
        if len(finite) and np.quantile(finite, 0.1) * ms >= YEAR_2000_MS and np.median(finite) * ms <= YEAR_2100_MS:
            return unit if unit in ("ns", "us", "ms", "s") else ""
    return ""


def offset_of(file: LogFile, ms: FloatArray, format: Format, given: float | None) -> Offset:
    """By how much the users' clocks are ahead of UTC, and how this is known. given: what the user said, in hours."""
    if given is not None:
        return Offset(given, "--utc-offset")
    column, name = file.table["time_ms"].combine_chunks(), file.columns["time_ms"].name
    if pa.types.is_timestamp(column.type) and column.type.tz not in (None, "UTC", "Z", "+00:00"):
        import pandas as pd  # late: only for what it alone reads

        there = pd.Timestamp(np.nanmedian(ms), unit="ms", tz=column.type.tz).utcoffset()
        if there is not None:
            return Offset(there.total_seconds() / 3600, f"{name} is in {short(column.type.tz, 40)}")
    if is_text(column):
        told = _told_hours(column)
        if told:
            also = f", the most common of {len(told)}" if len(told) > 1 else ""
            return Offset(max(told, key=lambda h: told[h]), f"the offset in {name}{also}")
    if "clock" in file.table.column_names:
        clock = file.table["clock"].combine_chunks()
        if is_text(clock):
            hours = np.round((_iso(clock) - ms) / HOUR_MS * 4) / 4
            known = hours[np.isfinite(hours)]
            if len(known) and np.mean(known == known[0]) > 0.99 and known[0] != 0 and abs(known[0]) <= 14:
                return Offset(float(known[0]), f"{file.columns['clock'].name} is so far ahead of {name}")
    if format != "generic":
        return Offset(KUAIRAND_UTC_OFFSET_H, "China's: KuaiRand's columns, of an app whose users live there")
    return Offset(KUAIRAND_UTC_OFFSET_H, "ASSUMED, China's: nothing in the log tells; say --utc-offset HOURS, "
                                         "0 if its times are the users' own")  # fmt: skip


def _told_hours(column: pa.Array) -> dict[float, int]:
    """Hours of the offsets from UTC that the words end in, with the rows of each."""
    words = pc.struct_field(pc.extract_regex(column, OFFSET), "offset").drop_null()
    hours: dict[float, int] = {}
    for each in pc.value_counts(words).to_pylist():
        word = each["values"].replace(":", "")
        there = (-1 if word[0] == "-" else 1) * (int(word[1:3]) + int(word[3:5] or 0) / 60)
        hours[there] = hours.get(there, 0) + each["counts"]
    return {} if set(hours) <= {0.0} else hours


def _has_offset(column: pa.Array) -> BoolArray:
    return np.asarray(pc.fill_null(pc.match_substring_regex(column, r":\d{2}.*(Z|[+-]\d{2}:?(\d{2})?)\s*$"), False))


def _iso_ms(file: LogFile, column: pa.Array, name: str) -> FloatArray:
    """Text as unix ms, UTC where no offset is given."""
    example = short(next((word for word in column.drop_null()[:1].to_pylist()), ""), 40)
    ms = _iso(column)
    there = np.asarray(column.is_valid())
    if not np.isfinite(ms[there]).any():
        fail(file.path, f"{name} is missing or no time, such as {example!r}, in all rows; {ISO}")
    if pc.all(pc.match_substring_regex(column.drop_null(), r"^\s*\d{4}.\d{1,2}.\d{1,2}\s*$")).as_py():
        fail(file.path, f"{name} holds dates without a time of day, such as {example!r}; {ISO}")
    return ms


def _iso(column: pa.Array) -> FloatArray:
    import pandas as pd  # late: only for what it alone reads

    words = pc.replace_substring_regex(column, r"^\s*(\d{4})/(\d{2})/(\d{2})", r"\1-\2-\3")
    series = pd.Series(words.to_pylist(), dtype=object)
    times = pd.to_datetime(series, format="ISO8601", utc=True, errors="coerce")
    ms = times.dt.tz_localize(None).to_numpy("datetime64[ms]")
    return np.where(np.isnat(ms), np.nan, ms.astype(np.int64).astype(np.float64))


def _refuse_dates(file: LogFile, name: str, values: FloatArray, unit: str) -> None:
    """Whole numbers that are all dates, such as 20231114; under no unit, or ms, days as spreadsheets count them."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return
    distinct = np.unique(finite[:1_000_000])
    example = f"{distinct[0]:.14g}"
    if np.all(distinct == np.rint(distinct)):
        for digits, from_day in ((8, 1), (12, 1e4), (14, 1e6), (17, 1e9)):
            if np.all((distinct >= 1e7 * from_day) & (distinct < 1e8 * from_day)) and _are_dates(distinct // from_day):
                kind = "a date without a time of day" if digits == 8 else "a date and time in one number"
                fail(file.path, f"{name}: looks like {kind}, {example}; {ISO}")
    elif unit in ("", "ms") and EXCEL_DAYS[0] <= distinct[0] and distinct[-1] < EXCEL_DAYS[1]:
        fail(file.path, f"{name}: looks like days as spreadsheets count them, {example}; {ISO}")


def _are_dates(days: FloatArray) -> bool:
    year, month, day = days // 10_000, days // 100 % 100, days % 100
    return bool(np.all((year >= 1990) & (year < 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)))


def _unix_unit(file: LogFile, name: str, values: FloatArray) -> str:
    unit = unit_that_fits(values)
    if not unit:
        fail(file.path, f"{name} holds numbers that are no unix times in any unit; say what it is: "
                        f"--columns time_s={name}:s")  # fmt: skip
    return unit


def is_own_origin(ms: FloatArray) -> bool:
    """Whether times count from an origin of the log's own, so that the hour of the day is unknown."""
    return bool(len(ms) and np.nanmedian(ms) < YEAR_2000_MS and np.nanmedian(ms) <= TEN_YEARS_MS)

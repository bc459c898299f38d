"""Columns of numbers, and of feedback: 1 where it happened, however that is written. Called by `user_log.py`."""

import re
from contextlib import suppress

import numpy as np
import pyarrow as pa

from nextone.sim.config import FEEDBACK
from nextone.sim.inputs.errors import short

from .checks import YEAR_2000_MS, YEAR_2100_MS, Finding
from .table import FloatArray, LogFile, fail

YES, NO = ("1", "true", "yes", "y", "t", "on"), ("0", "false", "no", "n", "f", "off", "none")
MAX_COUNT = 1e6  # of one kind of feedback during one impression; above, a number is something else
A_TIME = "holds the time at which it happened"
DATE = r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"


def numbers(file: LogFile, thing: str) -> FloatArray:
    """A column as numbers in its own unit, a bit as 0 or 1; NaN where there is none. Raises UserLogError."""
    column = file.table[thing].combine_chunks()
    if is_text(column):
        plain = parsed(column)
        return coerced(column) if plain is None else plain
    kind = column.type
    if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
            or pa.types.is_decimal(kind) or pa.types.is_null(kind)):  # fmt: skip
        fail(file.path, f"column {file.columns[thing].name} is of type {short(kind)}; store plain numbers")
    return as_floats(column)


def no_number(file: LogFile, thing: str, values: FloatArray) -> str:
    """The first word of a text column that is no finite number, or ""."""
    column = file.table[thing].combine_chunks()
    wrong = ~np.isfinite(values) & np.asarray(column.is_valid())
    return str(column[int(np.argmax(wrong))].as_py()) if is_text(column) and wrong.any() else ""


def flags(file: LogFile, thing: str) -> tuple[FloatArray, list[Finding]]:
    """(0 or 1 for each row; how many rows had other words, and what was taken for 1). Words such as true or `like`, the
    time at which it happened and counts are 1. Absent values are 0 if the file writes only what happened."""
    name = file.columns[thing].name
    column = file.table[thing].combine_chunks()
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return np.asarray(column.is_valid()).astype(float), [_taken(name, A_TIME, len(column) - column.null_count)]
    found: list[Finding] = []
    if is_text(column) and parsed(column) is None:
        values, said = _of_words(column, thing)
        found += [_taken(name, what, rows) for what, rows in said.items()]
    else:
        values = numbers(file, thing)
    if thing in FEEDBACK:
        with np.errstate(invalid="ignore"):
            whole = values == np.rint(values)
            for what, low, high in (("is a count", 2.0, MAX_COUNT), (A_TIME, YEAR_2000_MS / 1e3, YEAR_2100_MS * 1e6)):
                other = whole & (values >= low) & (values < high)
                if other.any():
                    found.append(_taken(name, what, int(other.sum())))
                values = np.where(other, 1.0, values)
        absent = np.isnan(values)
        if 2 * absent.sum() >= len(values) and (values[~absent] == 1).all() and not absent.all():
            nulls = np.asarray(column.is_null()) if is_text(column) else absent
            found.append(Finding(name, "is absent where it did not happen: taken for 0", int(nulls.sum()), "kept"))
            values = np.where(absent & nulls, 0.0, values)
    return values, found


def _taken(name: str, what: str, rows: int) -> Finding:
    return Finding(name, f"{what}: taken for 1", rows, "kept")


def _of_words(column: pa.Array, thing: str) -> tuple[FloatArray, dict[str, int]]:
    """(values, what words that are no plain yes or no mean -> rows)."""
    coded = column.dictionary_encode()
    words = [word.strip().lower() for word in coded.dictionary.to_pylist()]
    itself = {thing, f"{thing}d", f"{thing}ed", f"is_{thing}"}
    value = np.full(len(words) + 1, np.nan)
    kinds: dict[str, str] = {}
    for k, word in enumerate(words):
        if word in YES or word in itself or (thing in FEEDBACK and re.match(DATE, word)):
            value[k] = 1.0
            kinds[word] = "" if word in YES else f"is {short(word, 20)!r}" if word in itself else A_TIME
        elif word in NO or word in {f"un{thing}", f"not {thing}d", f"no {thing}"}:
            value[k] = 0.0
        else:
            with suppress(ValueError):
                value[k] = float(word)
    index = coded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
    rows = np.bincount(index, minlength=len(words) + 1)
    said: dict[str, int] = {}
    for k, word in enumerate(words):
        if kinds.get(word):
            said[kinds[word]] = said.get(kinds[word], 0) + int(rows[k])
    return value[index], said


def is_text(column: pa.Array) -> bool:
    """Whether a column holds text."""
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def as_floats(column: pa.Array) -> FloatArray:
    """A column of numbers as float64, NaN for null."""
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def parsed(words: pa.Array) -> FloatArray | None:
    """All words as numbers, NaN for null; None if one is no number."""
    try:
        return as_floats(words.cast(pa.float64()))
    except pa.ArrowInvalid:
        return None


def coerced(words: pa.Array) -> FloatArray:
    """Words as numbers, NaN for those that are none."""
    import pandas as pd  # late: only for what it alone reads

    series = pd.Series(words.to_pylist(), dtype=object).str.strip()
    return np.asarray(pd.to_numeric(series, errors="coerce"), dtype=np.float64)


def share_of_numbers(words: pa.Array) -> float:
    """Of the words that are there, how many are numbers."""
    there = words.drop_null()
    return float(np.isfinite(coerced(there)).mean()) if len(there) else 0.0

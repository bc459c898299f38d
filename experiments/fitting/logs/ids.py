"""Columns of ids and of words, as text: one id one spelling, of a list the first; ids that lost digits are refused.

Called by `user_log.py` and `video_table.py`.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nextone.sim.inputs.errors import short

from .checks import Audit, Finding
from .numbers import is_text
from .table import IntArray, LogFile, fail

EXACT = 2**53  # whole numbers up to here are exact in 64-bit floating point
FEW_IDS = 4
MIN_ZEROS = 8  # at the ends of long ids, all together: one digit is 0 once in ten times
SAME_NUMBER = r"^\+?0*(\d+?)(\.0+)?$"  # +1, 01, 1.0 and 1
ROUNDED = r"^\d([.,]\d*)?[eE]\+?\d{1,3}$"
NOBODY = ("-1", "unknown", "undefined", "nan", "nil", "anonymous", "anon", "guest", "-", "(not set)", "(null)", "\\n",
          "none")  # fmt: skip


class Ids(NamedTuple):
    """A column of ids."""

    words: pa.DictionaryArray  # (n,) null where there is none
    findings: list[Finding]


def ids(file: LogFile, thing: str) -> Ids:
    """A column of whole numbers or text as ids; one number in several spellings is one id. Raises UserLogError for
    numbers that were rounded, because several ids would become one."""
    name = file.columns[thing].name
    column = _as_text(file, thing, name)
    coded = column.dictionary_encode()
    words = pc.utf8_trim_whitespace(coded.dictionary)
    words = pc.if_else(pc.equal(words, ""), None, words)
    _refuse_rounded(file, name, words, coded.indices)
    plain = pc.replace_substring_regex(words, SAME_NUMBER, r"\1")
    found = []
    spellings, kinds = pc.count_distinct(words).as_py(), pc.count_distinct(plain).as_py()
    if kinds < spellings:
        odd = pc.not_equal(words, plain).take(coded.indices)
        first = words.filter(pc.not_equal(words, plain))[0].as_py()
        problem = f"has {spellings - kinds:,} numbers in two spellings, such as {short(first, 30)}: one id each"
        found.append(Finding(name, problem, pc.sum(odd).as_py() or 0, "kept"))
    return Ids(plain.take(coded.indices).dictionary_encode(), found)


def first_words(file: LogFile, thing: str) -> pa.DictionaryArray:
    """A column of categories; of a list in any notation, such as `3,1`, `[3, 1]`, `3|1` or `['a', 'b']`, the first."""
    column = _column(file, thing)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = pc.list_slice(column, 0, 1)
        parents = np.asarray(pc.list_parent_indices(column))
        values = np.full(len(column), None, dtype=object)
        values[parents] = column.flatten().to_pylist()
        column = pa.array([None if v is None else str(v) for v in values], pa.string())
    else:
        column = _as_text(file, thing, file.columns[thing].name)
    coded = column.dictionary_encode()
    marks = r"[,|;\s].*$" if file.columns[thing].words else r"[,|;].*$"
    words = pc.utf8_trim_whitespace(coded.dictionary)
    words = pc.replace_substring_regex(words, r"^[\[({\s]+", "")
    words = pc.replace_substring_regex(words, marks, "")
    words = pc.replace_substring_regex(words, r"[\])}\s]+$", "")
    words = pc.utf8_trim_whitespace(pc.utf8_trim(words, "\"'"))
    words = pc.replace_substring_regex(words, SAME_NUMBER, r"\1")
    return pc.if_else(pc.equal(words, ""), None, words).take(coded.indices).dictionary_encode()


def codes(of: pa.DictionaryArray) -> tuple[IntArray, tuple[str, ...]]:
    """Numbers 0, 1, ... for the ids that occur, shorter ones first, then by text (whole numbers: by size), and -1 for
    null; and what the numbers stand for."""
    words = of.dictionary.to_pylist()
    index = of.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    there = np.flatnonzero(np.bincount(index[index >= 0], minlength=len(words)))
    used = sorted(there.tolist(), key=lambda k: (len(words[k]), words[k]))
    code = np.full(len(words) + 1, -1)
    code[used] = np.arange(len(used))
    return code[index], tuple(words[k] for k in used)


def check_capitals(of: pa.DictionaryArray, column: str, audit: Audit) -> None:
    """Warn of ids or words that differ only in capitals."""
    code, names = codes(of)
    alike: dict[str, list[int]] = {}
    for k, name in enumerate(names):
        alike.setdefault(name.lower(), []).append(k)
    twice = [kinds for kinds in alike.values() if len(kinds) > 1]
    if twice:
        rows = np.bincount(code[audit.keep & (code >= 0)], minlength=len(names))
        differ = [k for kinds in twice for k in kinds]
        first, other = (short(names[k], 30) for k in twice[0][:2])
        problem = f"has {len(differ):,} names that differ by capitals only, such as {first} and {other}: told apart"
        audit.warn(column, problem, int(rows[differ].sum()))


def check_people(of: pa.DictionaryArray, column: str, audit: Audit) -> None:
    """Warn of a user id that stands for many people, or for nobody."""
    code, names = codes(of)
    rows = np.bincount(code[audit.keep & (code >= 0)], minlength=len(names))
    usual = float(np.median(rows[rows > 0])) if rows.any() else 0.0
    least = max(2.5 * usual, 0.1 * rows.sum())
    crowded = [name for name, n in zip(names, rows, strict=True) if name == "0" and n >= least]
    for k in [k for k, name in enumerate(names) if name.lower() in (*NOBODY, *crowded) and rows[k]]:
        problem = f"{short(names[k], 30)!r} reads as nobody's id, and has {rows[k] / rows.sum():.0%} of all rows"
        audit.warn(column, f"{problem}: one person, or many who share it?", int(rows[k]))
    largest = int(np.argmax(rows))
    others = np.delete(rows, largest)
    others = others[others > 0]
    share = rows[largest] / max(rows.sum(), 1)
    if len(others) < FEW_IDS or names[largest].lower() in (*NOBODY, *crowded):
        return
    times_second = rows[largest] / others.max()
    if (share >= 0.15 and times_second >= 2.5) or (share >= 0.01 and times_second >= 10):
        problem = f"{short(names[largest], 30)} has {share:.0%} of all rows: one person, or many who share an id?"
        audit.warn(column, problem, int(rows[largest]))


def _column(file: LogFile, thing: str) -> pa.Array:
    return file.table[thing].combine_chunks()


def _as_text(file: LogFile, thing: str, name: str) -> pa.Array:
    column = _column(file, thing)
    try:
        if pa.types.is_floating(column.type):  # whole numbers beside absent ones, as pandas stores them
            largest = pc.max(pc.abs(column)).as_py() or 0
            exact = EXACT if column.type.bit_width == 64 else 2**24
            if exact < largest < 1e22:
                fail(file.path, f"column {name} has ids up to {largest:.4g} as {column.type}, in which different ids "
                                "become one; store whole numbers or text")  # fmt: skip
            column = column.cast(pa.int64())
        elif not (pa.types.is_integer(column.type) or pa.types.is_decimal(column.type) or is_text(column)):
            raise pa.ArrowInvalid(f"type {short(column.type)}")
    except pa.ArrowInvalid as error:
        fail(file.path, f"column {name} is no id ({short(error)}); store whole numbers or text")
    return column.cast(pa.string())


def _refuse_rounded(file: LogFile, name: str, words: pa.Array, index: pa.Array) -> None:
    """Ids with exponents, and long ones that all end in zeros: what is left after a spreadsheet or a 64-bit float."""
    rounded = pc.and_(pc.match_substring_regex(words, ROUNDED), pc.match_substring_regex(words, r"[.,+]"))
    rows = pc.sum(rounded.take(index)).as_py() or 0
    example = words.filter(rounded)
    if not rows:
        long = words.filter(pc.match_substring_regex(words, r"^\d{17,}$"))
        zeros = [len(word) - len(word.rstrip("0")) for word in long.to_pylist()]
        at_least = [max(len(word) - 17, 1) for word in long.to_pylist()]
        by_luck = sum(zeros) < MIN_ZEROS or len(zeros) < FEW_IDS - 1
        if by_luck or any(there < least for there, least in zip(zeros, at_least, strict=True)):
            return
        example, rows = long, pc.sum(pc.match_substring_regex(words, r"^\d{17,}$").take(index)).as_py()
    fail(
        file.path,
        f"{name} is rounded in {rows:,} of {len(index):,} rows, such as {short(example[0].as_py(), 30)}: a spreadsheet "
        "or floating point kept some of its digits, and different ids became one; export it again as text",
    )

"""How people and spreadsheets write numbers: decimal commas, separators of thousands, exponents that hide digits.

Called by all code that takes columns of numbers, or of ids, out of a text file.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .errors import fail, short

EXPONENT = r"([eE][+-]?\d+)?$"
SPACES = "[ '’\u00a0\u202f\u2009]"  # Source: what locales of spreadsheets put between thousands
NUMBER = re.compile(rf"^[+-]?(\d[\d.,]*|[.,]\d+){EXPONENT}")
TIME = re.compile(r"^\d{4}-\d{2}-\d{2}([T ].*)?$|^\d{1,2}:\d{2}(:\d{2}.*)?$")
HIDDEN = r"^[+-]?\d(?:[.,](?P<digits>\d*))?[eE]\+?(?P<exponent>\d{1,2})$"


def _grouped(mark: str) -> str:
    """The beginning of a number in groups of three, such as 1,234,567; before the first mark no 0."""
    return rf"^[+-]?[1-9]\d{{0,2}}({mark}\d{{3}})+"


def _only(decimal: str, thousands: str) -> str:
    """Numbers that have one reading, with this decimal mark: 1.234,5; 1.234.567; 1234,567 and 0,567; 12,5."""
    return "|".join((
        rf"{_grouped(thousands)}{decimal}\d+{EXPONENT}",
        rf"{_grouped(thousands)}{thousands}\d{{3}}$",
        rf"^[+-]?(\d{{4,}}|0\d*|){decimal}\d+{EXPONENT}",
        rf"^[+-]?\d+{decimal}(\d{{1,2}}|\d{{4,}}){EXPONENT}",
    ))  # fmt: skip


def _any(decimal: str, thousands: str) -> str:
    """Numbers with this decimal mark, with and without separators of thousands."""
    return rf"{_grouped(thousands)}({decimal}\d*)?$|^[+-]?\d*{decimal}?\d*{EXPONENT}"


COMMA, POINT = ("[,]", "[.]"), ("[.]", "[,]")


def plain_numbers(path: Path, columns: Mapping[str, pa.ChunkedArray]) -> dict[str, pa.ChunkedArray]:
    """Columns of words that should be numbers, trimmed, without separators of thousands and with decimal points:
    1.234,5 becomes 1234.5. All numbers of a file have the same decimal mark. Words that are no numbers stay as they
    are.

    Raises UserError if the file can be read in two ways: it has 1,234, and nothing shows what the comma means."""
    words = {name: _without_spaces(column) for name, column in columns.items()}
    unsure = {name: _first(column, r"^[+-]?\d+,\d{3}$") for name, column in words.items()}
    comma = next(filter(None, (_first(column, _only(*COMMA)) for column in words.values())), None)
    if comma is None and not any(unsure.values()) and not any(_has(column, ",") for column in words.values()):
        return words
    point = next(filter(None, (_first(column, _only(*POINT)) for column in words.values())), None)
    if comma and point:
        fail(path, f"writes {short(comma, 20)!r} and {short(point, 20)!r}; write all numbers with decimal points")
    for name, word in unsure.items():
        if word and not comma and not point:
            seen = f"{name}={word!r} could be with decimals or with thousands"
            fail(path, f"{seen}; write all numbers with decimal points")
    return {name: _rewritten(column, *(COMMA if comma else POINT)) for name, column in words.items()}


def _rewritten(words: pa.ChunkedArray, decimal: str, thousands: str) -> pa.ChunkedArray:
    plain = pc.replace_substring_regex(pc.replace_substring_regex(words, thousands, ""), decimal, ".")
    return pc.if_else(pc.match_substring_regex(words, _any(decimal, thousands)), plain, words)


def _without_spaces(words: pa.ChunkedArray) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(words)
    spaced = pc.match_substring_regex(trimmed, _grouped(SPACES) + r"([.,]\d*)?$")
    if not pc.any(spaced).as_py():
        return trimmed
    return pc.if_else(spaced, pc.replace_substring_regex(trimmed, SPACES, ""), trimmed)


def _has(words: pa.ChunkedArray, part: str) -> bool:
    return bool(pc.any(pc.match_substring(words, part)).as_py())


def _first(words: pa.ChunkedArray, pattern: str) -> str | None:
    place = pc.index(pc.match_substring_regex(words, pattern), True).as_py()
    return None if place < 0 else str(words[place].as_py())


def hide_digits(words: pa.ChunkedArray) -> NDArray[np.bool_]:
    """(n,) which words have an exponent beyond their digits, such as 1.7E+12: what a spreadsheet leaves of a long id
    or of a time in milliseconds. Exact powers, such as 1e6, are among them."""
    parts = pc.extract_regex(pc.utf8_trim_whitespace(words), HIDDEN)
    digits = pc.utf8_length(pc.fill_null(pc.struct_field(parts, "digits"), ""))
    beyond = pc.greater(pc.cast(pc.struct_field(parts, "exponent"), pa.int32()), digits)
    return np.asarray(pc.fill_null(beyond, False).to_numpy())


def looks_like_data(fields: Sequence[str]) -> bool:
    """Whether a file's first line is a row and not a header: half of its fields or more are numbers or times."""
    words = [field.strip() for field in fields]
    return 2 * sum(bool(NUMBER.match(word) or TIME.match(word)) for word in words) >= max(len(words), 1)

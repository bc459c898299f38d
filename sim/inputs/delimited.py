"""Delimited text as columns of words: its header, its delimiter, and the line of each row.

The header decides how it is read, whatever the file is called. The callers know what the columns mean: links
(`trace_files.py`) and logs (experiments/fitting/logs).
"""

import csv
import io
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from .errors import fail, short
from .files import Content, Limits, decoded
from .numerals import looks_like_data

DELIMITERS = ";\t|,"  # the comma last: of numbers with decimal commas the others are the delimiter
MAX_HEADER, MAX_COLUMNS = 1_000_000, 5_000


class Delimited(NamedTuple):
    """Text of at least one line, its delimiter found."""

    path: Path
    text: bytes  # UTF-8, no trailing blank lines
    delimiter: str  # " ": any run of spaces and tabs
    names: list[str]  # of its columns, as written; in a file without header their positions, from 1
    headed: bool
    skip: int  # lines before the first row of data


class Words(NamedTuple):
    """The wanted columns of text, as they stand there."""

    columns: list[pa.ChunkedArray]  # of strings; null where the word is one of `missing`
    line: NDArray[np.int64]  # of each row in the file, from 1
    ragged: NDArray[np.int64]  # lines that have another number of fields, left out of the columns
    fields: int  # of the first of them


def delimited(file: Content, limits: Limits, is_known: Callable[[str], bool], example: str) -> Delimited:
    """The text with its delimiter: of comma, semicolon, tab, bar and blanks, the one with which most names are known. A
    first line `sep=;` says it, too. example: a header, for messages. Raises UserError."""
    text = decoded(file)
    if not text.strip():
        fail(file.path, f"is empty; write a header such as {example} and a line for each row")
    if max(text.count(b"\n"), text.count(b"\r")) > limits.rows + 1:
        fail(file.path, f"has more than {limits.rows:,} rows; {limits.remedy}")
    lines = text[:MAX_HEADER].decode(errors="ignore").splitlines()
    skip = next(k for k, line in enumerate(lines) if line.strip())
    said = re.fullmatch(r"\"?sep=(.)\"?", lines[skip].strip(" "), re.IGNORECASE)  # what spreadsheets put there
    skip += bool(said)
    skip += _comments(lines[skip:])
    first, second = (*lines[skip : skip + 2], "", "")[:2]
    first = first.lstrip("# ") if first.startswith("#") else first
    if max(first.count(mark) for mark in DELIMITERS) >= MAX_COLUMNS:
        fail(file.path, f"has more than {MAX_COLUMNS:,} columns; write a line for each row", skip + 1)
    delimiter = said.group(1) if said else _delimiter(first, second, is_known)
    names = split(first, delimiter)
    if looks_like_data(names) and not any(map(is_known, names)):
        return Delimited(file.path, text, delimiter, [str(k + 1) for k in range(len(names))], False, skip)
    return Delimited(file.path, text, delimiter, names, True, skip + 1)


def _comments(lines: list[str]) -> int:
    """How many lines before the header begin with #; where rows follow them, the last one is the header."""
    before = next((k for k, line in enumerate(lines) if not line.startswith("#")), 0)
    if not before:
        return 0
    is_row = looks_like_data(re.split(r"[\s;,|]+", lines[before].strip()))
    return before - 1 if is_row else before


def _delimiter(first: str, second: str, is_known: Callable[[str], bool]) -> str:
    by_mark = {mark: split(first, mark) for mark in DELIMITERS}
    scores = {mark: (sum(map(is_known, names)), len(names) > 1, len(names)) for mark, names in by_mark.items()}
    if looks_like_data(by_mark[max(scores, key=lambda mark: scores[mark])]):  # decimal commas would give more fields
        scores = {mark: (0, len(names) > 1, 0) for mark, names in by_mark.items()}
    best = max(scores, key=lambda mark: scores[mark])
    blanks = len(first.split())
    if scores[best][1] or blanks < 2 or blanks != len((second or first).split()):
        return best if scores[best][1] else ","
    return " "


def split(line: str, delimiter: str) -> list[str]:
    """The trimmed fields of one line."""
    if delimiter == " ":
        return line.split()
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:  # a field longer than any name
        return []


def read_words(file: Delimited, wanted: Sequence[int], missing: Collection[str] = ()) -> Words:
    """The columns at these places, row for row. missing: words that mean an absent value. Raises UserError."""
    ragged: list[int] = []
    fields: list[int] = []

    def skip_row(row: Any) -> str:
        ragged.append(row.number)
        fields.append(row.actual_columns)
        return "skip"

    text, delimiter = file.text, file.delimiter
    if delimiter == " ":
        text, delimiter = re.sub(rb"[ \t]+", b"\t", re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", text)), "\t"
    names = [f"{k}" for k in range(len(file.names))]
    chosen = [names[k] for k in wanted]
    try:
        table = pa_csv.read_csv(
            io.BytesIO(text + b"\n"),
            read_options=pa_csv.ReadOptions(
                use_threads=False, skip_rows=file.skip, block_size=1 << 24, column_names=names
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=delimiter, ignore_empty_lines=False, invalid_row_handler=skip_row
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(chosen, pa.string()), include_columns=chosen, null_values=list(missing),
                strings_can_be_null=bool(missing),
            ),
        )  # fmt: skip
    except pa.ArrowException as error:
        fail(file.path, f"is not a table ({short(error)}); write a header and one line a row, in UTF-8")
    lines = np.arange(1 + file.skip, 1 + file.skip + table.num_rows + len(ragged))
    kept = np.setdiff1d(lines, ragged) if ragged else lines
    return Words([table[name] for name in chosen], kept, np.array(ragged, np.int64), fields[0] if fields else 0)

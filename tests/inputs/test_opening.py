"""A user's file, opened: what is unpacked, decoded, split into columns; and what `--columns` may say of them."""

import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from nextone.sim.inputs.columns import Choice, parse_columns, placed
from nextone.sim.inputs.delimited import delimited, read_words
from nextone.sim.inputs.errors import UserError
from nextone.sim.inputs.files import Content, Limits, content, contents
from nextone.sim.inputs.numerals import hide_digits, looks_like_data, plain_numbers

LIMITS = Limits(1_000_000, 1_000, "cut it")
TEXT = "t_s,mbps\n0,1\n1,2.5\n"


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def columns_of(data: bytes, wanted: tuple[int, ...] = (0, 1)) -> list[list[str]]:
    file = delimited(Content(Path("a"), data), LIMITS, {"t_s", "mbps"}.__contains__, "t_s,mbps")
    words = read_words(file, wanted)
    plain = plain_numbers(Path("a"), dict(zip("xy", words.columns, strict=True)))
    assert words.ragged.tolist() == []
    return [column.to_pylist() for column in plain.values()]


@pytest.mark.parametrize("data", [
    TEXT.encode(), gzip.compress(TEXT.encode()), zipped({"a.csv": TEXT.encode()}),
    zipped({"day/a.gz": gzip.compress(TEXT.encode())}),
], ids=["plain", "gzip", "zip", "gzip in zip"])  # fmt: skip
def test_packed_or_not_it_is_the_same_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "whatever").write_bytes(data)
    assert content(tmp_path / "whatever", LIMITS).data == TEXT.encode()


def test_each_member_of_an_archive_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"x.csv": b"1", "day/y.csv": b"2", "__MACOSX/z": b"3"}))
    found = list(contents(tmp_path / "a.zip", LIMITS))
    assert found == [(tmp_path / "a.zip/x.csv", b"1"), (tmp_path / "a.zip/day/y.csv", b"2")]


BAD_FILES = {
    "several": (zipped({"a": b"1", "b": b"2"}), r"holds 2 files \(a, b\); unpack it"),
    "a bomb": (gzip.compress(bytes(2_000_000)), "holds more than 1 MB; cut it"),
    "a zipped bomb": (zipped({"a": bytes(2_000_000)}), "holds more than 1 MB; cut it"),
    "an archive of nothing": (zipped({}), "is an archive without a file in it"),
    "too deep": (gzip.compress(gzip.compress(gzip.compress(gzip.compress(b"1")))), "is packed"),
    "another packer": (lzma.compress(TEXT.encode()), r"is packed \(xz\); unpack it"),
    "a workbook": (zipped({"[Content_Types].xml": b"", "xl": b""}), "is a workbook of a spreadsheet; save"),
    "half an archive": (zipped({"a": b"1" * 999})[:-30], "cannot be unpacked"),
    "half a stream": (gzip.compress(TEXT.encode())[:-9], "cannot be unpacked"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_what_cannot_be_unpacked_is_refused(tmp_path: Path, case: str) -> None:
    data, message = BAD_FILES[case]
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(UserError, match=message):
        content(tmp_path / "a", LIMITS)


TABLES = {
    "commas": TEXT,
    "semicolons": "t_s;mbps\n0;1\n1;2.5\n",
    "tabs": "t_s\tmbps\n0\t1\n1\t2.5\n",
    "bars": "t_s|mbps\n0|1\n1|2.5\n",
    "blanks": "t_s  mbps\n 0\t1 \n1   2.5\n",
    "a line that says so": "sep=;\nt_s;mbps\n0;1\n1;2.5\n",
    "its comma": "sep=,\r\nt_s,mbps\r\n0,1\r\n1,2.5\r\n",
    "a header that is a comment": "# t_s mbps\n0 1\n1 2.5\n",
    "comments first": "# a trace\n# of ours\nt_s,mbps\n0,1\n1,2.5\n",
    "blank lines first": "\n\nt_s,mbps\n0,1\n1,2.5\n",
    "decimal commas": "t_s;mbps\n0;1\n1;2,5\n",
    "quoted decimal commas": 't_s,mbps\n0,1\n1,"2,5"\n',
    "no header": "0,1\n1,2.5\n",
    "no header, decimal commas": "0;1\n1;2,5\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("case", TABLES)
def test_one_table_in_many_spellings(case: str, encoding: str) -> None:
    assert columns_of(TABLES[case].encode(encoding)) == [["0", "1"], ["1", "2.5"]]


def test_rows_keep_their_lines() -> None:
    file = delimited(Content(Path("a"), b"sep=;\n\na;b\n1;2\n3\n4;5\n"), LIMITS, lambda name: False, "a")
    assert (file.names, file.headed, file.skip) == ([], True, 2)
    file = delimited(Content(Path("a"), b"sep=;\na;b\n1;2\n3\n4;5\n"), LIMITS, lambda name: False, "a")
    words = read_words(file, [1, 0])
    assert [column.to_pylist() for column in words.columns] == [["2", "5"], ["1", "4"]]
    assert (words.line.tolist(), words.ragged.tolist(), words.fields) == ([3, 5], [4], 1)


@pytest.mark.parametrize(
    ("words", "plain"),
    [
        (["1.234,5", "1.234"], ["1234.5", "1234"]),
        (["1,234.5", "1,234"], ["1234.5", "1234"]),
        (["1,234,567", "12"], ["1234567", "12"]),
        (["1.234.567", "1.234"], ["1234567", "1234"]),
        (["0,750", "1,234"], ["0.750", "1.234"]),
        (["1 234,5", "1\u202f234\u202f567"], ["1234.5", "1234567"]),
        (["1'234.5", " 7 "], ["1234.5", "7"]),
        (["1,5e3", ""], ["1.5e3", ""]),
        (["1.234", "2.5"], ["1.234", "2.5"]),
        (["a,b", "1.2.3"], ["a,b", "1.2.3"]),
    ],
)
def test_numbers_as_people_write_them(words: list[str], plain: list[str]) -> None:
    assert plain_numbers(Path("a"), {"x": pa.chunked_array([words])})["x"].to_pylist() == plain


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": ["1,234", "12"]}, "x='1,234' could be with decimals or with thousands; write"),
        ({"x": ["0.5", "1.5"], "y": ["7,5", "8"]}, "writes '7,5' and '0.5'"),
    ],
)
def test_what_could_be_two_numbers_is_refused(columns: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plain_numbers(Path("a"), {name: pa.chunked_array([words]) for name, words in columns.items()})


def test_exponents_that_hide_digits() -> None:
    words = pa.chunked_array([["1.7E+12", "7.10000E+18", "1,7E+12", "1e6", "1.25e2", "1.25e-3", "12", "", None, "x"]])
    assert hide_digits(words).tolist() == [True] * 4 + [False] * 6


def test_a_row_is_no_header() -> None:
    assert all(map(looks_like_data, (["0", "5.1"], ["u3", "7", "2023-01-01T10:00", "1e6"], ["-", "3,5"])))
    assert not any(map(looks_like_data, (["t_s", "mbps"], ["1", "a", "b"], [], [""])))


KNOWN = {"t_s": ("s", "ms"), "mbps": ("Mbps", "MBps"), "user": ()}
HEADER = ["Time, s", "rate:down", "Rate", "rate"]


def test_columns_by_name_and_by_place() -> None:
    said = parse_columns('"t_s=Time, s:MS", mbps=rate:down', KNOWN)
    assert placed(Path("a"), said, KNOWN, HEADER, True) == [Choice("t_s", 0, "ms"), Choice("mbps", 1, "")]
    said = parse_columns("t_s=1,mbps=2:MBps", KNOWN)
    assert placed(Path("a"), said, KNOWN, ["1", "2"], False) == [Choice("t_s", 0, ""), Choice("mbps", 1, "MBps")]
    assert placed(Path("a"), {"mbps": "4"}, KNOWN, HEADER, True) == [Choice("mbps", 3, "")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--columns is empty"),
        ("t_s", "must be NAME=COLUMN"),
        ("t_s=", "must be NAME=COLUMN"),
        ("speed=2", "--columns 'speed' is no name for a column; known: t_s, mbps, user"),
        ("t_s=1,t_s=2", "names t_s twice"),
        ("t_s=when", "a:1: has no column 'when' for t_s; it has Time, s"),
        ("t_s=9", "has no column '9'"),
        ("t_s=1:parsec", "t_s cannot be in 'parsec'; known units: s, ms"),
        ("mbps=3:mbps", "mbps cannot be in 'mbps'; known units: Mbps, MBps"),
        ("user=3:s", "user cannot be in 's'; known units: none"),
        ("mbps=RATE", "has 2 columns named RATE; give the position"),
    ],
)
def test_columns_that_say_nothing_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        placed(Path("a"), parse_columns(text, KNOWN), KNOWN, HEADER, True)

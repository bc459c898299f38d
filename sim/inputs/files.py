"""A user's file as bytes: opened, unpacked and, where it is text, decoded; or refused in one line.

Links (`trace_files.py`) and logs (experiments/fitting/logs) are both opened here. The meaning of the bytes is not known
here. A file is recognised by its content, whatever its name ends in. Reading a file runs no code.
"""

import codecs
import gzip
import io
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from .errors import fail, short

GZIP, ZIP = b"\x1f\x8b", (b"PK\x03\x04", b"PK\x05\x06")  # the second: an archive of nothing
OTHER_PACKERS = {
    b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf": "7-Zip", b"Rar!": "RAR",
}  # fmt: skip
BYTE_ORDER_MARKS = {  # longest first: that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
MAX_DEPTH = 2  # a packed file in an archive, no further
PIECE = 1 << 24


class Limits(NamedTuple):
    """How much one file, unpacked, may hold, and what to do about more."""

    bytes: int
    rows: int
    remedy: str


class Content(NamedTuple):
    """One file's bytes. path: what messages call it; a member of an archive is `archive.zip/member`."""

    path: Path
    data: bytes


def mode_of(path: Path) -> int:
    """The file's `st_mode`. Raises UserError."""
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError) as error:
        fail(path, cannot_open(error))


def cannot_open(error: Exception) -> str:
    """The end of the message for a file that the system does not open: why, and what to do."""
    return f"cannot be opened ({getattr(error, 'strerror', None) or short(error)}); name a readable file"


def contents(path: Path, limits: Limits) -> Iterator[Content]:
    """The contents of a file: the file itself, what is in a .gz file, or each member of a .zip archive. Raises
    UserError."""
    if not stat.S_ISREG(mode_of(path)):  # opening a pipe or a device could wait for ever
        fail(path, "is not a regular file; name the file itself, or copy what it gives into one")
    try:
        if path.stat().st_size > limits.bytes:
            fail(path, _too_large(limits))
        with path.open("rb") as file:
            yield from _unpacked(path, file, limits, 0)
    except OSError as error:
        fail(path, cannot_open(error))


def content(path: Path, limits: Limits) -> Content:
    """The one content of a file. Raises UserError, also for an archive with several members."""
    found = list(contents(path, limits))
    if len(found) > 1:
        names = short(", ".join(each.path.name for each in found), 100)
        fail(path, f"holds {len(found)} files ({names}); unpack it and name one")
    return found[0]


def _unpacked(path: Path, file: IO[bytes], limits: Limits, depth: int) -> Iterator[Content]:
    head = file.read(512)
    file.seek(0)
    if depth <= MAX_DEPTH and head.startswith(GZIP):
        yield from _unpacked(path, io.BytesIO(_read(path, gzip.GzipFile(fileobj=file), limits)), limits, depth + 1)
    elif depth <= MAX_DEPTH and head.startswith(ZIP):
        yield from _members(path, file, limits, depth)
    else:
        packer = next((name for start, name in OTHER_PACKERS.items() if head.startswith(start)), None)
        if head[257:262] == b"ustar":
            packer = "tar"
        if packer or head.startswith((GZIP, *ZIP)):
            fail(path, f"is packed ({packer or 'archive within archive'}); unpack it, or pack it as .gz or .zip")
        yield Content(path, _read(path, file, limits))


def _members(path: Path, file: IO[bytes], limits: Limits, depth: int) -> Iterator[Content]:
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [each for each in archive.infolist() if not each.is_dir()]
            if any(each.filename == "[Content_Types].xml" for each in entries):
                fail(path, "is a workbook of a spreadsheet; save the sheet as CSV")
            if sum(each.file_size for each in entries) > limits.bytes:
                fail(path, _too_large(limits))
            shown = [each for each in entries if not _is_hidden(each.filename)]
            if not shown:
                fail(path, "is an archive without a file in it; pack it again")
            for entry in shown:
                with archive.open(entry) as member:
                    data = io.BytesIO(_read(path / entry.filename.lstrip("/"), member, limits))
                yield from _unpacked(path / entry.filename.lstrip("/"), data, limits, depth + 1)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
        fail(path, f"cannot be unpacked ({short(error)}); write it again, without a password")


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _read(path: Path, file: IO[bytes] | gzip.GzipFile, limits: Limits) -> bytes:
    """All of it, or a refusal: what unpacks to more than allowed never fills the memory."""
    try:
        data = file.read(limits.bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        fail(path, f"cannot be unpacked ({short(error)}); write it again")
    if len(data) > limits.bytes:
        fail(path, _too_large(limits))
    return data


def _too_large(limits: Limits) -> str:
    size = limits.bytes // 10**6
    return f"holds more than {f'{size:,} MB' if size < 1_000 else f'{size // 1_000} GB'}; {limits.remedy}"


def decoded(file: Content) -> bytes:
    """The text as UTF-8 without byte order mark, whatever Unicode encoding its mark says; b"" if it is blank. Raises
    UserError for what is no text."""
    data = file.data
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8-sig":
        data = data.removeprefix(codecs.BOM_UTF8)
    elif encoding != "utf-8":
        try:
            data = data.decode(encoding).encode()
        except UnicodeDecodeError:
            fail(file.path, f"is not the {encoding.upper()} text that its first bytes announce; save it as UTF-8")
    if b"\0" in data:
        fail(file.path, "is binary, not text; export it as UTF-8 text, such as CSV, or as Parquet")
    _check_utf8(file.path, data)
    return data.rstrip()


def _check_utf8(path: Path, data: bytes) -> None:
    """In pieces: text takes up to four times the room of its bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), PIECE):
        try:
            decoder.decode(data[start : start + PIECE], final=start + PIECE >= len(data))
        except UnicodeDecodeError as error:
            line = 1 + data.count(b"\n", 0, start) + error.object.count(b"\n", 0, error.start)
            fail(path, "is not UTF-8 text here; save the file with one encoding, UTF-8", line)

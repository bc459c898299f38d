"""Files written whole or not at all: filled beside their place and renamed into it, so that none is ever half there."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nextone.sim.inputs.errors import not_saved


def write_table(table: pa.Table, path: Path | str) -> None:
    """Parquet with a checksum per page, whole or not at all."""
    write_whole(path, lambda tmp: pq.write_table(table, tmp, compression="zstd", write_page_checksum=True))


def write_text(path: Path | str, text: str) -> None:
    """Text as UTF-8, whole or not at all."""
    write_whole(path, lambda tmp: tmp.write_text(text, encoding="utf-8"))


def write_whole(path: Path | str, write: Callable[[Path], object]) -> None:
    """Let `write` fill a new file beside `path`, flush it to disk, and rename it into place; on any error, nothing.

    Raises UserError, one line, if the system refuses: a full disk, a folder that is gone."""
    path = Path(path)
    try:
        descriptor, name = tempfile.mkstemp(prefix=".nextone-", suffix=path.suffix, dir=path.parent)
        os.close(descriptor)
        _fill(Path(name), write, path)
    except OSError as error:
        raise not_saved(path, error) from error


def _fill(tmp: Path, write: Callable[[Path], object], path: Path) -> None:
    try:
        write(tmp)
        with tmp.open("r+b") as file:  # Windows flushes only what is open for writing
            os.fsync(file.fileno())
        with suppress(OSError):  # some network drives have no permissions to set
            tmp.chmod(0o666 & ~_umask())
        tmp.replace(path)
    finally:
        tmp.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

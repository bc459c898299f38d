"""Parquet files that say what they are: a record (JSON under `nextone`), a checksum per page, a digest over everything.

Page checksums tell a damaged page; the digest tells a damaged header, schema or record as well. Reading runs no code.
"""

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nextone.experiments.runs.files import write_table
from nextone.sim.config import NEVER_US
from nextone.sim.scenario import SettingError

DAMAGE = (pa.ArrowException, ArithmeticError, LookupError, TypeError, ValueError, RecursionError, MemoryError)
"""What reading a damaged file can raise, apart from OSError."""


def write_record(table: pa.Table, record: dict[str, Any], path: Path) -> None:
    """Write a table with its record and a digest of both, whole or not at all."""
    record = record | {"rows": table.num_rows}
    record |= {"sha256": digest(record, table)}
    write_table(table.replace_schema_metadata({b"nextone": json.dumps(record).encode()}), path)


def read_record(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """(table, record) of a file written by `write_record`, every byte of both checked. Raises SettingError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingError(f"{str(path)!r} is not a file; give a folder that nextone sweep wrote")
        with pq.ParquetFile(path, page_checksum_verification=True, memory_map=False) as file:
            record = json.loads((file.metadata.metadata or {})[b"nextone"])
            table = file.read(use_threads=False).replace_schema_metadata(None)
        if record.pop("sha256") != digest(record, table) or record.pop("rows") != table.num_rows:
            raise ValueError("its contents do not match their checksum")
        return table, record
    except SettingError:
        raise
    except OSError as error:
        raise SettingError(f"{str(path)[:200]!r} cannot be read: {error.strerror or error}") from None
    except DAMAGE as error:
        reason = str(error).rstrip(". ")[:200]
        raise SettingError(
            f"{str(path)[:200]!r} is damaged: {reason}; write it again with nextone sweep --resume {path.parent}"
        ) from None


def digest(record: dict[str, Any], table: pa.Table) -> str:
    """SHA-256 of everything that a file says: the record, names and types of columns, and every value."""
    found = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        found.update(f"{name}:{column.type}".encode())
        found.update(_bytes(column))
    return found.hexdigest()


def _bytes(column: pa.ChunkedArray) -> bytes:
    """A column's values as bytes, the same however they are held."""
    if pa.types.is_string(column.type):
        return "\n".join(column.to_pylist()).encode()
    if pa.types.is_nested(column.type):
        return repr(column.to_pylist()).encode()
    values = (pc.fill_null(column, -NEVER_US) if column.null_count else column).to_numpy()
    return np.ascontiguousarray(values).tobytes()

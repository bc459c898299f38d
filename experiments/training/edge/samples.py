"""Training samples: one Parquet file, one row per rerank request. Its columns, how they are written and read.

Written by `collect.py`, read by the training of edge networks and the offline table. docs/edge-models.md
shows the table of columns, which is made from `COLUMNS`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nextone.envs.features import CANDIDATE, CONTEXT, HISTORY
from nextone.experiments.runs.files import write_whole
from nextone.policies.trained import features_hash
from nextone.sim.config import FEEDBACK
from nextone.sim.inputs.errors import UserError
from nextone.sim.state import PXTR
from nextone.version import __version__

FORMAT = 2
FILE = "samples.parquet"
SPLITS = ("train", "valid", "test")
UNKNOWN = -1
KINDS = FEEDBACK[: len(PXTR) - 2]
RATED = ("effective_view", "long_view", *KINDS)
"""What came of a video that was shown, in the order of the server's predicted rates."""
Array = NDArray[Any]


class SampleError(UserError):
    """The folder holds no samples that can be used; one line says why."""


class Column(NamedTuple):
    """One column: its type, its length (P slots, H past impressions, times features; "" for a number), its meaning."""

    name: str
    type: Any
    length: str
    meaning: str


_I8, _I16, _I32, _I64, _F32 = pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32()
EVALUATION = "evaluation only: keyed, as if it had been shown now"
COLUMNS = (
    Column("split", _I8, "", "0 train, 1 valid, 2 test: other people, and test later too"),
    Column("person", _I64, "", "person"),
    Column("session", _I32, "", "session in this person's life"),
    Column("page", _I32, "", "request that brought the page, in this person's life: the group of GAUC"),
    Column("impression", _I32, "", "impression in this person's life that this request decided"),
    Column("time_us", _I64, "", "of the request, since the window began"),
    Column("candidates", _F32, "P x Fc", "columns of docs/observation.md, in server order, empty slots last"),
    Column("live", _I8, "P", "1: the slot holds a video"),
    Column("video", _I32, "P", "index into the catalogue, -1 none"),
    Column("history", _F32, "H x Fh", "columns of docs/observation.md, newest first: both behaviour sequences"),
    Column("page_view", _I8, "H", "1: engaged with; 0: exposure, or no such row (column `present`)"),
    Column("context", _F32, "Fx", "columns of docs/observation.md"),
    Column("shown", _I16, "", "slot shown next"),
    Column("picked_at_random", _I8, "", "1: by chance, not by the policy"),
    Column("propensity", _F32, "", "chance that the logging policy showed it; NaN where its ranking came too late"),
    Column("shown_after", _I16, "P", "0 shown next, 1 after that, ...; -1 not while the page lasted, or unknown"),
    Column("effective_view", _I8, "P", "1 valid play, 0 not; -1 where not shown"),
    Column("long_view", _I8, "P", "1 long view, 0 not; -1 where not shown"),
    *(Column(kind, _I8, "P", f"1 {kind} during it, 0 not; -1 where not shown") for kind in KINDS),
    Column("watch", _F32, "P", "time played, as the history's `play_time`; -1 where not shown"),
    Column("stall_s", _F32, "P", "interruptions of play, s; -1 where not shown"),
    Column("has_next", _I8, "P", "1 swiped on after it, 0 left the app; -1 where not shown"),
    Column("engaged", _I8, "P", "1 long view or feedback other than hate, 0 not; -1 where not shown"),
    Column("leaves_soon", _I8, "", "1: the session ends within 5 impressions, 0 not; -1 unknown"),
    Column("wants_page", _I8, "", "1: no effective view in the rest of the page (2 or more); 0 not; -1 unknown"),
    Column("reference", _F32, "P", "evaluation only: the reference filter's score; NaN in train"),
    Column("would_effective_view", _I8, "P", EVALUATION + "; -1 empty"),
    Column("would_engage", _I8, "P", EVALUATION + "; -1 empty"),
)
LABELS = (*RATED, "has_next", "watch", "engaged")
WOULD = tuple(column.name for column in COLUMNS if column.meaning.startswith("evaluation only"))


def columns_markdown() -> str:
    """The columns as Markdown, for the documentation."""
    lines = ["| column | type | per row | meaning |", "|---|---|---|---|"]
    lines += [f"| `{c.name}` | {c.type} | {c.length or 'one'} | {c.meaning} |" for c in COLUMNS]
    return "\n".join(lines) + "\n"


def shape_of(column: Column, slots: int, past: int) -> tuple[int, ...]:
    """The shape of one row's value, for P slots and H past impressions."""
    return {
        "": (), "P": (slots,), "H": (past,), "Fx": (len(CONTEXT),),
        "P x Fc": (slots, len(CANDIDATE)), "H x Fh": (past, len(HISTORY)),
    }[column.length]  # fmt: skip


class Samples(NamedTuple):
    """The rows of one split."""

    columns: dict[str, Array]  # by name, (N, ...)
    about: dict[str, Any]  # what the file says of itself

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.columns["person"])

    def of(self, *names: str) -> tuple[Array, ...]:
        """Columns by name."""
        return tuple(self.columns[name] for name in names)


def write_samples(folder: Path, parts: Iterator[Mapping[str, Array]], slots: int, past: int, about: object) -> Path:
    """Write folder/samples.parquet from parts of its rows, a row group for each part. The file appears whole or not at
    all."""
    about = {"format": FORMAT, "nextone": __version__, "features": features_hash(), "slots": slots, "past": past,
             "run": about}  # fmt: skip
    fields = []
    for column in COLUMNS:
        size = int(np.prod(shape_of(column, slots, past)))
        kind = pa.list_(column.type, size) if column.length else column.type
        fields.append(pa.field(column.name, kind, False, {"meaning": column.meaning}))
    schema = pa.schema(fields, {"nextone": json.dumps(about)})

    def write(path: Path) -> None:
        with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
            for part in parts:
                arrays = []
                for field in fields:
                    flat = pa.array(part[field.name].ravel())
                    listed = isinstance(field.type, pa.FixedSizeListType)
                    arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type) if listed else flat)
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

    write_whole(folder / FILE, write)
    return folder / FILE


def read_samples(folder: Path, split: str | None, names: tuple[str, ...] | None = None) -> Samples:
    """Rows of a split (of all if None), with these columns (all if None; person always). Raises SampleError."""
    path = folder / FILE
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, memory_map=False) as file:
            about = json.loads((file.schema_arrow.metadata or {})[b"nextone"])
            if about["format"] != FORMAT:
                raise SampleError(f"{str(path)!r} is not of format {FORMAT}; collect again")
            if about["features"] != features_hash():
                raise SampleError(f"{str(path)!r} holds another table of features than this version's; collect again")
            wanted = [c for c in COLUMNS if names is None or c.name in names or c.name == "person"]
            parts: dict[str, list[Array]] = {column.name: [] for column in wanted}
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, ["split", *(c.name for c in wanted if c.name != "split")])
                keep = slice(None) if split is None else np.asarray(table["split"]) == SPLITS.index(split)
                for column in wanted:
                    values = table[column.name].combine_chunks()
                    flat = values.flatten() if column.length else values
                    shape = shape_of(column, about["slots"], about["past"])
                    parts[column.name].append(flat.to_numpy().reshape(len(table), *shape)[keep])
        columns = {name: np.concatenate(arrays) for name, arrays in parts.items() if arrays}
    except SampleError:
        raise
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such file" if missing else " ".join(str(error).split())[:200]
        raise SampleError(f"samples {str(path)[:200]!r}: {reason}; nextone collect writes them") from None
    samples = Samples(columns, about)
    if not columns or not samples.rows:
        raise SampleError(f"{str(path)!r} has no rows for {split or 'all'}; collect more people, or a longer window")
    return samples

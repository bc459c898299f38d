"""A table of videos beside a log: what each row's video is about, whose it is and how long. Called by `user_log.py`."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from nextone.sim.inputs.errors import short

from .checks import Audit, Finding
from .columns import MS, Column, Meaning, likely, plain
from .ids import first_words, ids
from .numbers import numbers
from .table import FloatArray, Header, fail, read_files

VIDEO_FILES = ("videos.parquet", "video_features_basic_*.csv*", "item_categories.csv")
"""What the logs of KuaiRand and KuaiRec have beside them."""
OF_VIDEOS = {  # columns of such a table, as KuaiRand, KuaiRec and the generic schema call them
    "video_id": Meaning("video"), "video": Meaning("video"), "item_id": Meaning("video"), "tag": Meaning("tag"),
    "feat": Meaning("tag"), "author_id": Meaning("author"), "author": Meaning("author"),
    "video_duration": Meaning("duration_ms", "ms"), "duration_ms": Meaning("duration_ms", "ms"),
    "duration_s": Meaning("duration_ms", "s"),
}  # fmt: skip


def look_up(
    path: Path, video: pa.DictionaryArray, duration_ms: FloatArray, audit: Audit
) -> dict[str, pa.DictionaryArray]:
    """The tag and author of each row, as far as a table of videos has them; unknown durations are filled in from it."""
    file = read_files([path], _columns, lambda name: plain(name) in OF_VIDEOS)
    at = pc.index_in(video.dictionary, value_set=ids(file, "video").words.cast(pa.string())).take(video.indices)
    if at.null_count == len(at):
        fail(path, "knows no video of the log; give the table that belongs to it")
    if "duration_ms" in file.columns:
        unit = MS[file.columns["duration_ms"].unit]
        there = unit * numbers(file, "duration_ms")[at.fill_null(0).to_numpy(zero_copy_only=False)]
        fill = ~(duration_ms > 0) & (there > 0) & at.is_valid().to_numpy(zero_copy_only=False)
        duration_ms[fill] = there[fill]
        if fill.any():
            audit.findings.append(Finding("duration_ms", f"unknown, taken from {path.name}", int(fill.sum()), "kept"))
    found: dict[str, pa.DictionaryArray] = {}
    for what in (what for what in ("tag", "author") if what in file.columns):
        of_table = first_words(file, what) if what == "tag" else ids(file, what).words
        words = of_table.cast(pa.string()).take(at).dictionary_encode()
        audit.findings.append(Finding(what, f"taken from {path.name}", len(words) - words.null_count, "kept"))
        found[what] = words
    return found


def _columns(header: Header) -> dict[str, Column] | str:
    names = [plain(name) for name in header.names]
    found: dict[str, Column] = {}
    for called, (thing, unit) in OF_VIDEOS.items():
        if called in names and thing not in found:
            found[thing] = Column(thing, called, unit, names.index(called))
    if len(found) > 1 and "video" in found:
        return found
    missing, needed = ("video", "video_id") if "video" not in found else ("tag", "tag, author_id or video_duration")
    meant = likely(missing, OF_VIDEOS, names)
    hint = f"did you mean {meant}?" if meant else f"it has {short(', '.join(header.names), 200)}"
    return f"has no column {needed}; {hint}"

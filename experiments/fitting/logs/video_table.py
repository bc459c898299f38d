"""A table of videos beside a log: what each row's video is about, whose it is and how long. Called by `user_log.py`."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nextone.sim.inputs.errors import fail, short
from nextone.sim.scenario import nearest

from .checks import Audit, Finding, FloatArray
from .table import ids, numbers, read_file

VIDEO_FILES = ("videos.parquet", "video_features_basic_*.csv*")  # what KuaiRand's log has beside it
OF_VIDEOS = {  # columns of such a table, by what they are; as KuaiRand and as the generic schema call them
    "video": ("video_id", "video"), "tag": ("tag",), "author": ("author_id", "author"),
    "duration_ms": ("video_duration", "duration_ms"),
}  # fmt: skip


def look_up(
    path: Path, video: pa.DictionaryArray, duration_ms: FloatArray, audit: Audit
) -> dict[str, pa.DictionaryArray]:
    """Each row's tag and author, as far as a table of videos has them; unknown durations are filled in from there."""
    file = read_file(path, {name for names in OF_VIDEOS.values() for name in names})
    called = {what: next((x for x in names if x in file.names), "") for what, names in OF_VIDEOS.items()}
    if not called["video"]:
        fail(path, f"has no column video_id{_nearest('video_id', file.names)}", 1)
    if not any(called[what] for what in ("tag", "author", "duration_ms")):
        fail(path, f"has no column tag, author_id or video_duration{_nearest('tag', file.names)}", 1)
    at = pc.index_in(video.dictionary, value_set=ids(file, called["video"]).cast(pa.string())).take(video.indices)
    if at.null_count == len(at):
        fail(path, "knows no video of the log; give the table that belongs to it")
    if called["duration_ms"]:
        there = numbers(file, called["duration_ms"])[at.fill_null(0).to_numpy(zero_copy_only=False)]
        fill = ~(duration_ms > 0) & (there > 0) & np.asarray(at.is_valid())
        duration_ms[fill] = there[fill]
        if fill.any():
            audit.findings.append(Finding("duration_ms", f"unknown, taken from {path.name}", int(fill.sum()), "kept"))
    found = {}
    for what in ("tag", "author"):
        if called[what]:
            words = ids(file, called[what], lists=what == "tag").cast(pa.string()).take(at).dictionary_encode()
            audit.findings.append(Finding(what, f"taken from {path.name}", len(words) - words.null_count, "kept"))
            found[what] = words
    return found


def _nearest(name: str, names: list[str]) -> str:
    return short(nearest(name, names).replace("; known:", "; the file has"), 300)

"""A log of impressions in memory, and what is said of it to people. Called by everything that fits or compares logs."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from nextone.sim.config import FEEDBACK

from .checks import YEAR_2000_MS, Finding
from .table import BoolArray, FloatArray, IntArray
from .times import KUAIRAND_UTC_OFFSET_H

Int32Array = NDArray[np.int32]
Int16Array = NDArray[np.int16]

COLUMNS = (
    "user", "video", "time_ms", "duration_ms", "play_ms", "comment_open_ms", "randomised", "tag", "author", "session",
    "request", "stall_ms", "network",
)  # fmt: skip


class ReadAs(NamedTuple):
    """How a file was understood."""

    format: str
    files: tuple[str, ...]
    passed_over: tuple[str, ...]  # files of a folder that were not read, and why
    columns: dict[str, str]  # our name -> the file's, with its unit
    videos: str  # name of the table of videos; "" for none
    clock: str  # what says by how much the users' clocks are ahead

    def sentence(self) -> str:
        """How the file was understood, as a sentence."""
        parts = f"{len(self.files)} files, " if len(self.files) > 1 else ""
        parts += ", ".join(f"{ours} = {theirs}" for ours, theirs in self.columns.items())
        videos = f"; videos from {self.videos}" if self.videos else ""
        over = f".\nPassed over: {'; '.join(self.passed_over)}" if self.passed_over else ""
        return f"Read as {self.format}: {parts}{videos}{over}."


@dataclass(frozen=True, eq=False)
class UserLog:
    """n impressions sorted by user, time and order in the file. Arrays have shape (n,); None: no such column."""

    source: str
    """Name of the file, for people."""
    rows_read: int
    findings: tuple[Finding, ...]
    users: int
    videos: int
    user: Int32Array  # 0 to users - 1, each present
    video: Int32Array  # 0 to videos - 1, each present
    time_ms: IntArray  # unix, or from any origin
    duration_ms: IntArray  # of the video, > 0
    play_ms: IntArray  # >= 0; loops make it exceed the duration
    feedback: dict[str, BoolArray]  # by kind, those of config.FEEDBACK that the log has, in its order
    comment_open_ms: IntArray | None = None
    randomised: BoolArray | None = None  # shown at random, not recommended
    tag: Int16Array | None = None  # the video's first tag, from 0; -1 unknown
    author: Int32Array | None = None  # the video's author, from 0; -1 unknown
    session: Int32Array | None = None  # from 0, each of one user; -1 unknown
    request: Int32Array | None = None  # from 0, each of one user and session; -1 unknown
    stall_ms: IntArray | None = None
    network: Int16Array | None = None  # index into networks; -1 unknown
    networks: tuple[str, ...] = ()
    labels: dict[str, BoolArray] = field(default_factory=dict)
    """What the log itself says a play counts as, of LABELS; for the rest, thresholds of the play time."""
    utc_offset_h: float = KUAIRAND_UTC_OFFSET_H
    """Hours by which the users' clocks are ahead of `time_ms`: the hour of the day is that of the users."""
    read_as: ReadAs | None = None  # of a log that was a file

    @property
    def has_hours(self) -> bool:
        """Whether `time_ms` is unix time; an origin of the log's own does not tell the hour of the day."""
        return bool(np.median(self.time_ms) >= YEAR_2000_MS)

    @property
    def hour(self) -> FloatArray:
        """The hour of the users' day, [0, 24), at which each row was delivered, (n,)."""
        return np.asarray((self.time_ms / 3.6e6 + self.utc_offset_h) % 24)

    def report(self) -> Table:
        """What was read, found and done, for people."""
        used, read = len(self.user), self.rows_read
        lines = [self.read_as.sentence()] if self.read_as else []
        table = Table(
            title=f"{self.source}: {used:,} of {read:,} rows used, {self.users:,} users, {self.videos:,} videos",
            caption="\n".join([*lines, self.clock, "Not in the log: " + (", ".join(self.absent) or "nothing")]),
            title_justify="left", caption_justify="left",
        )  # fmt: skip
        for heading in ("rows", "", "column", "found", "first row"):
            table.add_column(heading, justify="right" if heading in ("rows", "first row") else "left")
        for f in self.findings:
            row = "" if f.row is None else f"{f.file}:{f.row}" if f.file else f"{f.row:,}"
            table.add_row(f"{f.rows:,}", f.action, f.column, f.problem, row)
        return table

    @property
    def clock(self) -> str:
        """How the hour of the day is known."""
        if not self.has_hours:
            return "Times count from an origin of the log's own: nothing tells the hour of the day, no rows by hour."
        why = f" ({self.read_as.clock})" if self.read_as else ""
        return f"Hours of the day: users' clocks are {self.utc_offset_h:g} h ahead of UTC{why}."

    def as_json(self) -> dict[str, Any]:
        """The report as plain numbers and words."""
        return {
            "source": self.source, "rows_read": self.rows_read, "rows_used": len(self.user), "users": self.users,
            "videos": self.videos, "read_as": self.read_as._asdict() if self.read_as else None,
            "utc_offset_h": self.utc_offset_h if self.has_hours else None, "clock": self.clock, "absent": self.absent,
            "findings": [f._asdict() for f in self.findings],
        }  # fmt: skip

    def select(self, keep: BoolArray) -> "UserLog":
        """The rows of `keep` (n,), with people and videos numbered from 0 again."""
        parts = {name: getattr(self, name) for name in COLUMNS}
        chosen: dict[str, Any] = {name: column[keep] for name, column in parts.items() if column is not None}
        for name in ("user", "video"):
            codes, chosen[name] = np.unique(chosen[name], return_inverse=True)
            chosen[name] = chosen[name].astype(np.int32)
            chosen[f"{name}s"] = len(codes)
        for name in ("feedback", "labels"):
            chosen[name] = {k: v[keep] for k, v in getattr(self, name).items()}
        return replace(self, **chosen)

    @property
    def absent(self) -> list[str]:
        """Optional columns that the log does not have, by their generic names."""
        optional = ("randomised", "comment_open_ms", "tag", "author", "session", "request", "stall_ms", "network")
        return [k for k in FEEDBACK if k not in self.feedback] + [k for k in optional if getattr(self, k) is None]

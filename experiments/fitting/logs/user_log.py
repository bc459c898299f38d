"""A user's own impression log: one row per impression, read, checked, and sorted by person and time.

Two formats: `generic`, documented in docs/your-own-log.md, and `kuairand`, the columns of KuaiRand's logs as they are.
Called by the fit and by `nextone calibrate` and `validate`; `simulated_log` makes the same of a simulated run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.table import Table

from nextone.experiments.runs.files import write_table, write_whole
from nextone.sim.config import FEEDBACK, LINK_CLASSES
from nextone.sim.data import open_data
from nextone.sim.inputs.errors import fail, raised_as, short
from nextone.sim.scenario import nearest

from .checks import (
    Audit,
    BoolArray,
    Finding,
    FloatArray,
    IntArray,
    check_flags,
    check_present,
    check_units,
    check_values,
    check_whole,
)
from .table import LogFile, UserLogError, codes, ids, iso_times, numbers, read_file
from .video_table import VIDEO_FILES, look_up

if TYPE_CHECKING:
    from nextone.sim.state import Array, World

__all__ = ["Finding", "UserLog", "UserLogError", "read_user_log", "shipped_log", "simulated_log", "write_generic"]

Format = Literal["kuairand", "generic"]
Int32Array = NDArray[np.int32]
Int16Array = NDArray[np.int16]

# What a column is called -> what it is. A name that ends in _s is in seconds.
GENERIC = {
    "user": "user", "video": "video", "time": "time_ms", "time_ms": "time_ms", "time_s": "time_ms",
    "duration_ms": "duration_ms", "duration_s": "duration_ms", "play_ms": "play_ms", "play_s": "play_ms",
    **{kind: kind for kind in FEEDBACK}, "randomised": "randomised",
    "stall_ms": "stall_ms", "stall_s": "stall_ms", "comment_open_ms": "comment_open_ms",
    "comment_open_s": "comment_open_ms", "tag": "tag", "author": "author", "session": "session", "request": "request",
    "page": "request", "network": "network",
}  # fmt: skip
KUAIRAND = {
    "user_id": "user", "video_id": "video", "time_ms": "time_ms", "duration_ms": "duration_ms",
    "play_time_ms": "play_ms", **{f"is_{kind}": kind for kind in FEEDBACK if kind != "profile"},
    "is_profile_enter": "profile", "is_rand": "randomised", "comment_stay_time": "comment_open_ms", "tab": "tab",
    "is_click": "valid play", "long_view": "long view",
}  # fmt: skip
SPELLINGS = {"kuairand": KUAIRAND, "generic": GENERIC}
NEEDED = ("user", "video", "time_ms", "duration_ms", "play_ms")
TIMES = ("time_ms", "duration_ms", "play_ms", "stall_ms", "comment_open_ms")
IDS = ("user", "video", "tag", "author", "session", "request", "network")
LABELS = ("valid play", "long view")
FLAGS = (*FEEDBACK, "randomised", *LABELS)
COLUMNS = (
    "user", "video", "time_ms", "duration_ms", "play_ms", "comment_open_ms", "randomised", "tag", "author", "session",
    "request", "stall_ms", "network",
)  # fmt: skip
MAIN_FEED_TAB = 1
UTC_OFFSETS_H = (-12, 14)  # of all inhabited places
KUAIRAND_UTC_OFFSET_H = 8.0  # Source: KuaiRand, of an app whose users live in China


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

    @property
    def hour(self) -> FloatArray:
        """Of the users' day, [0, 24), at which each row was delivered."""
        return np.asarray((self.time_ms / 3.6e6 + self.utc_offset_h) % 24)

    def report(self) -> Table:
        """What was read, found and done, for people."""
        used, read = len(self.user), self.rows_read
        table = Table(
            title=f"{self.source}: {used:,} of {read:,} rows used, {self.users:,} users, {self.videos:,} videos",
            caption="Not in the log: " + (", ".join(self.absent) or "nothing"),
            title_justify="left", caption_justify="left",
        )  # fmt: skip
        for heading in ("rows", "", "column", "found", "first row"):
            table.add_column(heading, justify="right" if heading in ("rows", "first row") else "left")
        for f in self.findings:
            table.add_row(f"{f.rows:,}", f.action, f.column, f.problem, "" if f.row is None else f"{f.row:,}")
        return table

    def select(self, keep: BoolArray) -> "UserLog":
        """The rows of `keep` (n,), with people and videos numbered anew."""
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


@raised_as(UserLogError)
def read_user_log(
    path: Path, format: Format | None = None, videos: Path | None = None, utc_offset_h: float | None = None
) -> UserLog:
    """Read and check a log: delimited text or Parquet, gzipped or not, told apart by content.

    format: by the column names if None. videos: a table of videos (`video_table.OF_VIDEOS`) with tag (comma-separated,
    the first one counts), author, and duration in ms, used where the log has none; if None, for `kuairand`, looked for
    beside the log. utc_offset_h: hours by which the users' clocks are ahead of the log's times; None: 8, as in China.
    Of a KuaiRand log with a `tab` column only tab 1, the main single-column feed, is used, and of that the rows whose
    duration is known: a `duration_ms` of 0 means unknown. Of the 155,291 rows of KuaiRand-Pure that the shipped log
    comes from (70 % of the users) 121,148 are of tab 1; 1,852 of these have duration 0 and none in the video table
    either, and 119,296 remain, the rows of sim/data/kuairand/log.parquet, also those with a play time of 0.
    Raises UserLogError, one line.
    """
    if format not in (None, *get_args(Format)):
        raise UserLogError(f"format={short(format)!r} must be kuairand or generic; leave it out to go by the columns")
    offset_h = KUAIRAND_UTC_OFFSET_H if utc_offset_h is None else utc_offset_h
    if not UTC_OFFSETS_H[0] <= offset_h <= UTC_OFFSETS_H[1]:
        raise UserLogError(
            f"utc-offset={offset_h:g} must be >= {UTC_OFFSETS_H[0]} and <= {UTC_OFFSETS_H[1]}, the hours by which the "
            "users' clocks are ahead of the log's times; 8 in China"
        )
    path = Path(path)
    file = read_file(path, {*GENERIC, *KUAIRAND})
    if format is None:
        is_kuairand = sum(name in KUAIRAND for name in file.names) > sum(name in GENERIC for name in file.names)
        format = "kuairand" if is_kuairand else "generic"
    early = Audit(path, np.concatenate([file.row, file.ragged]))
    spelled = _spelled(file, SPELLINGS[format], early)
    early.drop(np.isin(early.row, file.ragged), "", "has another number of fields than the header", "repair the rows")
    if format == "kuairand" and file.table.num_rows:
        file = _main_feed(file, early)
    if file.table.num_rows == 0:
        fail(path, "has no row of data; write one row per impression under the header")

    audit = Audit(path, file.row)
    named = {name: ids(file, spelled[name], lists=name == "tag") for name in IDS if name in spelled}
    values = {name: _milliseconds(file, spelled[name]) for name in TIMES if name in spelled}
    flags = {name: numbers(file, spelled[name]) for name in FLAGS if name in spelled}
    if format == "kuairand":
        videos = videos or next((found for glob in VIDEO_FILES for found in sorted(path.parent.glob(glob))), None)
    if videos is not None:
        named = look_up(videos, named["video"], values["duration_ms"], audit) | named
    for name in ("user", "video"):
        audit.drop(np.asarray(named[name].is_null()), spelled[name], "is missing", "give each row user and video")
    check_present(values | flags, spelled, audit)
    check_units(values, spelled, audit)
    check_values(values, spelled, audit)
    check_flags(flags, spelled, audit, labels=LABELS)
    return replace(_assembled(named, values, flags, spelled, audit, early), utc_offset_h=offset_h)


def _spelled(file: LogFile, spellings: dict[str, str], audit: Audit) -> dict[str, str]:
    """What this file calls each thing it has. A needed thing that is missing is told, with the nearest name."""
    spelled: dict[str, str] = {}
    for name in (name for name in file.names if name in spellings):
        if spellings[name] in spelled:
            fail(file.path, f"has columns {spelled[spellings[name]]} and {name}, the same thing; leave one", 1)
        spelled[spellings[name]] = name
    for thing in NEEDED:
        if thing not in spelled:
            known = [name for name in spellings if spellings[name] == thing]
            hint = nearest(known[0], file.names).replace("; known:", "; the file has")
            fail(file.path, f"has no column {' or '.join(known)}{short(hint, 300)}", 1)
    for name in file.names:
        hint = nearest(name, [known for known in spellings if spellings[known] not in spelled])
        if name not in spellings and hint.startswith("; did"):
            audit.warn(name, f"column not used{hint}", 0)
    return spelled


def _main_feed(file: LogFile, audit: Audit) -> LogFile:
    """The rows of the main feed, where the log tells."""
    if "tab" not in file.names:
        audit.warn("tab", "no such column: every row is taken for one of the main feed")
        return file
    main = numbers(file, "tab") == MAIN_FEED_TAB
    if not main.any():
        fail(file.path, f"has no row of tab {MAIN_FEED_TAB}, the main feed; give a log of it, or take `tab` out")
    others = np.append(~main, np.zeros(len(file.ragged), np.bool_))
    audit.drop(others, "tab", f"is not {MAIN_FEED_TAB}, the main feed", "", most=1.0)
    return file._replace(table=file.table.filter(pa.array(main)), row=file.row[main])


def _milliseconds(file: LogFile, name: str) -> FloatArray:
    if name == "time":
        return iso_times(file, name)
    return numbers(file, name) * (1_000.0 if name.endswith("_s") else 1.0)


def _assembled(
    named: dict[str, pa.DictionaryArray],
    values: dict[str, FloatArray],
    flags: dict[str, FloatArray],
    spelled: dict[str, str],
    audit: Audit,
    early: Audit,
) -> UserLog:
    """Duplicates left out, ids coded, sorted."""
    _drop_repeats(codes(named["user"])[0], codes(named["video"])[0], values, flags, audit)
    rows = np.flatnonzero(audit.keep)
    rows = rows[np.lexsort((values["time_ms"][rows], codes(named["user"].take(pa.array(rows)))[0]))]
    coded = {name: codes(of.take(pa.array(rows))) for name, of in named.items()}
    numbered = {name: code for name, (code, _) in coded.items()}
    user, video = numbered["user"], numbered["video"]
    kept = {name: np.rint(column[rows]).astype(np.int64) for name, column in values.items()}
    check_whole(user, video, kept, spelled, audit)
    if "tag" in coded:
        _check_tags(numbered["tag"], len(coded["tag"][1]), spelled.get("tag", "tag"), audit)
    session = _within((user,), numbered["session"]) if "session" in coded else None
    parents = (user,) if session is None else (user, session)
    network, networks = coded.get("network", (None, ()))
    return UserLog(
        source=audit.path.name,
        rows_read=len(early.row),
        findings=(*early.findings, *audit.findings),
        users=int(user.max()) + 1,
        videos=int(video.max()) + 1,
        user=user.astype(np.int32),
        video=video.astype(np.int32),
        time_ms=kept["time_ms"],
        duration_ms=kept["duration_ms"],
        play_ms=kept["play_ms"],
        feedback={kind: flags[kind][rows] == 1 for kind in FEEDBACK if kind in flags},
        comment_open_ms=kept.get("comment_open_ms"),
        randomised=flags["randomised"][rows] == 1 if "randomised" in flags else None,
        tag=numbered["tag"].astype(np.int16) if "tag" in coded else None,
        author=numbered["author"].astype(np.int32) if "author" in coded else None,
        session=session,
        request=_within(parents, numbered["request"]) if "request" in coded else None,
        stall_ms=kept.get("stall_ms"),
        network=None if network is None else network.astype(np.int16),
        networks=networks,
        labels={name: flags[name][rows] == 1 for name in LABELS if name in flags},
    )


def _drop_repeats(
    user: IntArray, video: IntArray, values: dict[str, FloatArray], flags: dict[str, FloatArray], audit: Audit
) -> None:
    """Of the rows with one user, video and time the first stays."""
    rows = np.flatnonzero(audit.keep)
    order = rows[np.lexsort((video[rows], values["time_ms"][rows], user[rows]))]
    again = _same_as_before((user, video, values["time_ms"]), order)
    exact = _same_as_before((*values.values(), *flags.values()), order)
    for bad, problem, remedy, most in (
        (again & exact, "is there before: same user, video, time and values", "", 1.0),
        (again & ~exact, "has the user, video and time of another, not its values", "give one row per impression", 0.1),
    ):
        repeats = np.zeros(len(user), np.bool_)
        repeats[order[1:][bad]] = True
        audit.drop(repeats, "", problem, remedy, most)


def _same_as_before(columns: Sequence[NDArray[Any]], order: IntArray) -> BoolArray:
    """(len(order) - 1,) whether each row, from the second, equals the one before it in this order."""
    return np.asarray(np.all([column[order][1:] == column[order][:-1] for column in columns], axis=0))


def _check_tags(tag: IntArray, tags: int, name: str, audit: Audit) -> None:
    if tags > np.iinfo(np.int16).max:
        audit.refuse(name, f"has {tags:,} different values", "give a category of the video, or leave the column out")
    if (tag < 0).any():
        audit.warn(name, "is unknown", int((tag < 0).sum()))


def _within(parents: Sequence[NDArray[Any]], code: IntArray) -> NDArray[np.int32]:
    """Ids that mean something within their parents only (a session of a user), numbered across all; -1 stays."""
    key = np.zeros(len(code), np.int64)
    for part in (*parents, code):
        key = np.unique(key * (int(part.max()) + 2) + part + 1, return_inverse=True)[1]  # dense: never overflows
    number = np.full(len(code), -1, np.int32)
    known = code >= 0
    number[known] = np.unique(key[known], return_inverse=True)[1]
    return number


def shipped_log() -> UserLog:
    """The main feed of KuaiRand-Pure, 119,296 impressions, as `read_user_log` would read it."""
    with open_data("kuairand/log.parquet") as file, open_data("kuairand/authors.parquet") as of_videos:
        table, authors = pq.read_table(file), pq.read_table(of_videos)
    column = {name: table[name].to_numpy() for name in table.column_names}
    at = np.searchsorted(authors["video_id"].to_numpy(), column["video_id"])
    video = np.unique(column["video_id"], return_inverse=True)[1]
    flags = {name: column["flags"] & (1 << k) != 0 for k, name in enumerate((*FEEDBACK, *LABELS))}
    return UserLog(
        source="KuaiRand-Pure",
        rows_read=len(video),
        findings=(),
        users=int(column["user"].max()) + 1,
        videos=int(video.max()) + 1,
        user=column["user"].astype(np.int32),
        video=video.astype(np.int32),
        feedback={kind: flags[kind] for kind in FEEDBACK},
        tag=column["tag"].astype(np.int16),
        author=authors["author"].to_numpy()[at].astype(np.int32),
        labels={name: flags[name] for name in LABELS},
        **{name: column[name].astype(np.int64) for name in ("time_ms", "duration_ms", "play_ms", "comment_open_ms")},
    )


def simulated_log(rows: "Array", world: "World") -> UserLog:
    """What a log of our own impressions (state.IMPRESSION, of whole ones) would hold; time is when each took the
    screen, from the window's start."""
    rows = rows[np.lexsort((rows["start_us"], rows["user"]))]
    (users, user), (videos, video) = (np.unique(rows[name], return_inverse=True) for name in ("user", "video"))
    of_video = world.videos[rows["video"]]
    session = _within((user,), rows["session"].astype(np.int64))
    networks, network = np.unique(world.users["link"][rows["user"]], return_inverse=True)
    return UserLog(
        source="simulation",
        rows_read=len(rows),
        findings=(),
        users=len(users),
        videos=len(videos),
        user=user.astype(np.int32),
        video=video.astype(np.int32),
        time_ms=rows["start_us"] // 1_000,
        duration_ms=of_video["duration_us"] // 1_000,
        play_ms=rows["play_us"] // 1_000,
        feedback={kind: (rows["feedback"] >> k & 1) != 0 for k, kind in enumerate(FEEDBACK)},
        tag=of_video["tag"].astype(np.int16),
        session=session,
        request=_within((user, session), rows["request"].astype(np.int64)),
        stall_ms=rows["stall_us"] // 1_000,
        network=network.astype(np.int16),
        networks=tuple(LINK_CLASSES[k] for k in networks),
    )


def write_generic(path: Path, log: UserLog) -> None:
    """A log in the generic schema, whole or not at all: Parquet if the name ends so, else CSV."""
    columns: dict[str, Any] = {name: getattr(log, name) for name in NEEDED}
    columns |= {kind: given.astype(np.int8) for kind, given in log.feedback.items()}
    if log.randomised is not None:
        columns["randomised"] = log.randomised.astype(np.int8)
    columns |= {name: getattr(log, name) for name in ("stall_ms", "comment_open_ms") if getattr(log, name) is not None}
    for name in ("tag", "author", "session", "request"):
        if getattr(log, name) is not None:
            columns[name] = pa.array(getattr(log, name), mask=getattr(log, name) < 0)
    if log.network is not None:
        words = np.array([*log.networks, None], dtype=object)  # the last one for -1
        columns["network"] = pa.array(words[log.network], pa.string())
    table = pa.table(columns)
    if path.suffix.lower() == ".parquet":
        write_table(table, path)
    else:
        write_whole(path, lambda tmp: pa_csv.write_csv(table, tmp, pa_csv.WriteOptions(quoting_style="needed")))

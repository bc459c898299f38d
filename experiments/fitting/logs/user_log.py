"""A user's own impression log: one row per impression, read, checked, and sorted by person and time.

There are two formats: `generic`, documented in docs/your-own-log.md, and `kuairand`, the columns of KuaiRand's logs.
Called by the fit and by `nextone calibrate` and `validate`; `simulated_log` makes the same from a simulated run.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nextone.experiments.runs.files import write_table, write_whole
from nextone.sim.config import FEEDBACK, LINK_CLASSES
from nextone.sim.data import open_data
from nextone.sim.inputs.columns import parse_columns
from nextone.sim.inputs.errors import raised_as, short

from .checks import Audit, Finding, check_flags, check_lengths, check_present, check_units, check_values, check_whole
from .columns import (
    FLAGS,
    IDS,
    KNOWN,
    LABELS,
    MS,
    NEEDED,
    SHARES,
    TIMES,
    TOLD,
    Column,
    Format,
    format_of,
    log_columns,
    missing_columns,
    plain,
    unused_hint,
)
from .events import check_event_column, check_events, check_repeats
from .ids import check_capitals, check_people, codes, first_words, ids
from .impressions import ReadAs, UserLog
from .numbers import flags as read_flags
from .numbers import no_number, numbers
from .table import BoolArray, FloatArray, Header, IntArray, LogFile, Rows, UserLogError, fail, read_files
from .times import UTC_OFFSETS_H, Offset, offset_of, times_ms
from .video_table import VIDEO_FILES, look_up

if TYPE_CHECKING:
    from nextone.sim.state import Array, World

__all__ = ["Finding", "UserLog", "UserLogError", "read_user_log", "shipped_log", "simulated_log", "write_generic"]

MAIN_FEED_TAB = 1


def read_user_log(
    path: Path | str | Sequence[Path | str], format: Format | None = None, videos: Path | str | None = None,
    utc_offset_h: float | None = None, columns: str | None = None,
) -> UserLog:  # fmt: skip
    """Read and check a log: delimited text or Parquet, packed or not, recognised by its content.

    path: a file, several files with the same header, or a folder of such. format: by the column names if None. videos:
    a table of videos (`video_table.OF_VIDEOS`) with tag (of a list the first counts), author, and duration, which is
    used where the log has none; if None, it is looked for beside the log, for the formats of Kuaishou. utc_offset_h: by
    how many hours the users' clocks are ahead of UTC; None: as the log says, else 8, as in China. columns:
    `NAME=COLUMN[:UNIT],...`, what the file calls each thing where its header does not use our names.

    Of a KuaiRand log with a `tab` column, only tab 1 is used, the main single-column feed, and of that the rows whose
    duration is known: a `duration_ms` of 0 means unknown. Of the 155,291 rows of KuaiRand-Pure from which the shipped
    log comes (70 % of the users), 121,148 are of tab 1. Of these, 1,852 have duration 0 and no duration in the video
    table either. The other 119,296 are the rows of sim/data/kuairand/log.parquet, also those with a play time of 0.

    Raises UserLogError, one line."""
    if format not in (None, *get_args(Format)):
        known = ", ".join(get_args(Format)[:-1])
        raise UserLogError(f"format={short(format)!r} must be {known} or generic; leave it out to go by the columns")
    if utc_offset_h is not None and not UTC_OFFSETS_H[0] <= utc_offset_h <= UTC_OFFSETS_H[1]:
        raise UserLogError(
            f"utc-offset={utc_offset_h:g} must be >= {UTC_OFFSETS_H[0]} and <= {UTC_OFFSETS_H[1]}, the hours by which "
            "the users' clocks are ahead of the log's times; 8 in China"
        )
    given = [Path(path)] if isinstance(path, (str, Path)) else [Path(each) for each in path]
    file = _opened(given, format, columns, videos is not None)
    format = format or format_of([plain(name) for name in file.header.names])
    early = Audit(file.path, _all_rows(file))
    ragged = np.arange(len(early.keep)) >= len(file.rows.line)
    early.drop(ragged, "", "has another number of fields than the header", "repair the rows")
    _tell_unused(file, early)
    check_event_column(file)
    if format == "kuairand" and file.table.num_rows:
        file = _main_feed(file, early)
    if file.table.num_rows == 0:
        fail(file.path, "has no row of data; write one row per impression under the header")
    audit = Audit(file.path, file.rows)
    videos = None if videos is None else Path(videos)
    if videos is None and format != "generic":
        folder = given[0] if given[0].is_dir() else given[0].parent
        videos = next((found for glob in VIDEO_FILES for found in sorted(folder.glob(glob))), None)
    log, offset = _checked(file, audit, early, format, videos, utc_offset_h)
    shown = {column.thing.removesuffix("_ms"): column.name + (f" in {column.unit}" if column.unit else "")
             for column in file.columns.values() if column.thing not in ("clock", "event")}  # fmt: skip
    read_as = ReadAs(
        format, tuple(each.name for each in file.rows.paths), file.passed_over, shown, videos.name if videos else "",
        offset.why,
    )  # fmt: skip
    source = given[0].name if len(given) == 1 else f"{given[0].name} and {len(given) - 1} more"
    return replace(log, source=source, utc_offset_h=offset.hours, read_as=read_as)


def _opened(given: Sequence[Path], format: Format | None, columns: str | None, has_videos: bool) -> LogFile:
    """The columns of these files that a log may have."""
    with raised_as(UserLogError):
        said = parse_columns(columns, TOLD) if columns is not None else {}
    words = {part.lower() for text in said.values() for part in (text, text.rpartition(":")[0]) if not part.isdecimal()}

    def choose(header: Header) -> dict[str, Column] | str:
        found, wrong = log_columns(header.path, header.names, header.headed, format, said)
        return wrong or missing_columns(found, header.names, header.headed, format, has_videos) or found

    return read_files(given, choose, lambda name: plain(name) in KNOWN or name.strip().lower() in words)


def _all_rows(file: LogFile) -> Rows:
    """The rows, then the lines that are no rows."""
    rows, ragged = file.rows, file.ragged
    return Rows(
        rows.paths, np.concatenate([rows.part, ragged.part]), np.concatenate([rows.line, ragged.line])
    )


def _tell_unused(file: LogFile, audit: Audit) -> None:
    """Columns that are not read, and whose names say that they may be meant to be."""
    absent = [thing for thing in (*FLAGS, *IDS, *TIMES) if thing not in file.columns]
    used = {column.name for column in file.columns.values()}
    for name in map(plain, file.header.names):
        meant = unused_hint(name, absent) if file.header.headed and name not in used else ""
        if meant:
            audit.warn(name, f"column not used; did you mean {meant.removesuffix('_ms')}?", 0)


def _main_feed(file: LogFile, audit: Audit) -> LogFile:
    """The rows of the main feed, where the log tells."""
    if "tab" not in file.columns:
        audit.warn("tab", "no such column: every row is taken for one of the main feed")
        return file
    main = numbers(file, "tab") == MAIN_FEED_TAB
    if not main.any():
        fail(file.path, f"has no row of tab {MAIN_FEED_TAB}, the main feed; give a log of it, or take `tab` out")
    others = np.append(~main, np.zeros(len(file.ragged.line), np.bool_))
    audit.drop(others, "tab", f"is not {MAIN_FEED_TAB}, the main feed", "", most=1.0)
    return file._replace(table=file.table.filter(pa.array(main)), rows=file.rows.select(main))


def _checked(
    file: LogFile, audit: Audit, early: Audit, format: Format, videos: Path | None, utc_offset_h: float | None
) -> tuple[UserLog, Offset]:
    """The log with every check passed, and by how much the users' clocks are ahead."""
    spelled = {thing: column.name for thing, column in file.columns.items()}
    named: dict[str, pa.DictionaryArray] = {}
    for thing in (thing for thing in IDS if thing in file.columns):
        if thing == "tag":
            named[thing] = first_words(file, thing)
            continue
        named[thing], found = ids(file, thing)
        audit.findings += found
    values, flags = {"time_ms": times_ms(file, format)}, {}
    offset = offset_of(file, values["time_ms"], format, utc_offset_h)
    for thing in (thing for thing in TIMES[1:] if thing in file.columns):
        values[thing] = numbers(file, thing) * (MS | SHARES).get(file.columns[thing].unit, np.nan)
    values.setdefault("duration_ms", np.full(len(values["time_ms"]), np.nan))
    spelled.setdefault("duration_ms", "duration")
    for thing in (thing for thing in FLAGS if thing in file.columns):
        flags[thing], found = read_flags(file, thing)
        audit.findings += found
    if videos is not None:
        named = look_up(videos, named["video"], values["duration_ms"], audit) | named
    play_unit = file.columns["play_ms"].unit
    if play_unit in SHARES:
        values["play_ms"] = values["play_ms"] * values["duration_ms"]
    for name in ("user", "video"):
        audit.drop(np.asarray(named[name].is_null()), spelled[name], "is missing", "give each row user and video")
    words = {thing: no_number(file, thing, of) for thing, of in (values | flags).items() if thing in file.columns}
    check_present(values | flags, spelled, {thing: word for thing, word in words.items() if word}, audit)
    check_units(values, spelled, play_unit, audit)
    check_lengths(codes(named["video"])[0], values["duration_ms"], spelled["duration_ms"], audit)
    check_values(values, spelled, audit, videos is not None)
    check_flags(flags, spelled, audit, labels=LABELS)
    for thing in ("user", "video", "tag", "author"):
        if thing in spelled and thing in named:
            check_capitals(named[thing], spelled[thing], audit)
    check_people(named["user"], spelled["user"], audit)
    return _assembled(named, values, flags, spelled, audit, early), offset


def _assembled(
    named: dict[str, pa.DictionaryArray],
    values: dict[str, FloatArray],
    flags: dict[str, FloatArray],
    spelled: dict[str, str],
    audit: Audit,
    early: Audit,
) -> UserLog:
    """Duplicates left out, ids coded, sorted."""
    of_user, of_video = codes(named["user"])[0], codes(named["video"])[0]
    _drop_repeats(of_user, of_video, values, flags, audit)
    check_events(of_user, of_video, values, {k: v for k, v in flags.items() if k in FEEDBACK}, audit)
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
        rows_read=len(early.keep),
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
    check_repeats({k: v for k, v in flags.items() if k in FEEDBACK}, order[:-1][again], order[1:][again], audit)
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
    """The log of simulated impressions (rows of state.IMPRESSION, whole ones only). Time is when each took the screen,
    from the window's start."""
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


def write_generic(path: Path | str, log: UserLog) -> None:
    """Write a log in the generic format, whole or not at all: Parquet if the name ends in .parquet, else CSV."""
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
    if Path(path).suffix.lower() == ".parquet":
        write_table(table, path)
    else:
        write_whole(path, lambda tmp: pa_csv.write_csv(table, tmp, pa_csv.WriteOptions(quoting_style="needed")))
